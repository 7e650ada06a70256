"""Checks of position.json, a checkpoint's JSON file: a damaged or made-up one is refused before anything is loaded."""

import math
import types
import typing
from collections.abc import Callable, Mapping
from itertools import islice
from reprlib import repr as abbreviate
from typing import Any

import torch

from trainer import InputError
from trainer.engine.parameters import freeze_encoder, parameter_groups
from trainer.model.contract import Shapes
from trainer.model.segmenter import Contract, Segmenter

MOST_STEPS = 2**31
"""Limit of numbers of steps and evaluations."""

MOMENTS = ("exp_avg", "exp_avg_sq")
"""AdamW's state beside the number of steps: for each parameter a tensor of its shape."""


def check_position(content: Any, state_type: type, folder_name: str) -> None:
    """Check the parts of the file, by name and type, and the progress in it against the folder's name, step-N.

    `state_type`: dataclass of the progress; its annotations are the schema. Raises InputError naming the entry.
    """
    if not isinstance(content, dict):
        raise InputError("not a JSON object")
    for key, holds, may_be in PARTS:
        if not holds(content.get(key)):
            raise InputError(f"{key}: {abbreviate(content.get(key))} is not possible; it may be {may_be}")
    state = content["position"]
    hints = typing.get_type_hints(state_type)
    for name in state:
        if name not in hints:
            raise InputError(f"position.{abbreviate(name)}: unknown; there are {', '.join(hints)}")
    for name, hint in hints.items():
        if name in state and not _fits(state[name], hint):
            raise InputError(f"position.{name}: {abbreviate(state[name])} is not possible; it may be {_words(hint)}")
    step, total = state.get("step", 0), state.get("total_steps", 0)
    if total and step > total:
        raise InputError(f"position.step: {step} of {total} in total_steps; it may be no more")
    for name in ("best_step", "evaluated_step"):
        if (state.get(name) or 0) > step:
            raise InputError(f"position.{name}: {state[name]} after step {step}; it may be no later")
    number = folder_name.rpartition("-")[2]
    if number.isdecimal() and int(number) != step:
        raise InputError(f"position.step: {step} in a folder named {folder_name}; it may be {number}")


def expected_optimizer(contract: Contract, content: Mapping[str, Any], found: Mapping[str, Any]) -> Shapes:
    """Tensors that the optimizer's file must hold; `content` of position.json, `found` in the file by name.

    Empty where no step was taken yet. Raises InputError where the groups in `content` are not those of the network.
    """
    with torch.device("meta"):
        network = Segmenter(contract).network
    freeze_encoder(network, content["config"].get("model.freeze") is True)
    expected = parameter_groups(network)
    ordered = [parameter for group in expected for parameter in group]
    groups, numbers = content["optimizer"]["param_groups"], iter(range(len(ordered)))
    if [group.get("params") for group in groups] != [list(islice(numbers, len(group))) for group in expected]:
        raise InputError(f"optimizer.param_groups: not those of the network's {len(ordered)} parameters")
    for group in groups:
        for key, holds in HYPERPARAMETERS.items():
            if not holds(group.get(key)):
                raise InputError(f"optimizer.param_groups: {key} {abbreviate(group.get(key))} is not possible")
    if not found and (content["position"].get("step", 0) == 0 or content["scaler"] is not None):  # fp16 skips steps
        return {}
    shapes: Shapes = {}
    for number, parameter in enumerate(ordered):
        shapes |= {f"{number}.{name}": (torch.float32, tuple(parameter.shape)) for name in MOMENTS}
        shapes[f"{number}.step"] = (torch.float32, ())
    wrong = [name for name in content["optimizer"]["channels_last"] if len(shapes.get(name, (None, ()))[1]) != 4]
    if wrong:
        raise InputError(f"optimizer.channels_last: {abbreviate(wrong[0])} is not a tensor of four dimensions")
    return shapes


def _finite(value: Any, least: float = 0.0, most: float = 1e300) -> bool:
    return type(value) in (int, float) and math.isfinite(value) and least <= value <= most  # True is an int


def _table(value: Any, holds: Callable[[Any], bool]) -> bool:
    return isinstance(value, dict) and all(holds(one) for one in value.values())


def _optimizer(value: Any) -> bool:
    if not isinstance(value, dict) or set(value) != {"param_groups", "channels_last"}:
        return False
    groups, names = value["param_groups"], value["channels_last"]
    named = isinstance(names, list) and all(isinstance(name, str) for name in names)
    return named and isinstance(groups, list) and all(isinstance(group, dict) for group in groups)


PARTS: tuple[tuple[str, Callable[[Any], bool], str], ...] = (
    ("position", lambda value: isinstance(value, dict), "the progress, by name"),
    ("optimizer", _optimizer, "param_groups and channels_last"),
    ("world", lambda value: _table(value, lambda one: isinstance(one, str)), "texts by name"),
    ("config", lambda value: isinstance(value, dict), "the settings by dotted key"),
    ("scaler", lambda value: value is None or _table(value, _finite), "null, or numbers by name"),
)
"""Each part of the file, its check, and what it may be."""

HYPERPARAMETERS: dict[str, Callable[[Any], bool]] = {
    "lr": _finite,
    "eps": _finite,
    "weight_decay": _finite,
    "betas": lambda value: isinstance(value, list) and len(value) == 2 and all(_finite(one, 0, 1) for one in value),
}


def _fits(value: Any, hint: Any) -> bool:
    """Return whether a value may be that of a field with this annotation; annotations of other kinds hold for all."""
    if isinstance(hint, types.UnionType):
        return any(_fits(value, one) for one in typing.get_args(hint))
    if hint is types.NoneType:
        return value is None
    if hint is int:
        return type(value) is int and 0 <= value < MOST_STEPS
    if hint == list[float]:
        return isinstance(value, list) and all(map(_finite, value))
    return _finite(value) if hint is float else True


def _words(hint: Any) -> str:
    if isinstance(hint, types.UnionType):
        return " or ".join(_words(one) for one in typing.get_args(hint))
    words = {
        int: f"a whole number from 0 to {MOST_STEPS}",
        types.NoneType: "null",
        list[float]: "a list of numbers of 0 or more",
    }
    return words.get(hint, "a number of 0 or more")
