"""Feature maps of a network of `transformers`, measured without memory, and which of them a UNet reads."""

import functools
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from reprlib import repr as abbreviate
from typing import Any

import torch
from torch import Tensor, nn

from trainer import InputError
from trainer.model.hub_settings import (
    STRIDES,
    arguments,
    as_text,
    bands_of,
    build_network,
    check_values,
    config_class,
    own_fields,
    patches,
    refusing,
    set_bands,
)

RGB_ALONE = ("bit",)
"""Families whose first layer cannot be adapted to other bands: it scales its weights by their own spread."""

MAPS = 4
"""Maps of a vision transformer that are read, at equal distances, the last one among them (Ranftl 2021, DPT)."""

PROBE_SIDE = 64
"""Side in pixels of the image without memory that shows the strides of a network."""

FIXED = {"reshape_hidden_states": True, "return_class_token": False}
"""Settings that do not depend on the folder: maps are images."""


@dataclass(frozen=True)
class Geometry:
    """Shape of an encoder's features."""

    strides: tuple[int, ...]
    """Stride of each map: rising ones, or all alike for a vision transformer."""

    channels: tuple[int, ...]
    """Channels of each map."""

    unused: frozenset[str]
    """Parameters that have no part in the maps, by name."""

    numbers_per_pixel: float
    """Size of the largest result of a layer, per pixel of the image."""

    @property
    def flat(self) -> bool:
        """True where all maps have one stride."""
        return len(set(self.strides)) < len(self.strides)


def encoder_settings(file: Path, content: Mapping[str, Any], channels: int = 3) -> str:
    """Settings that rebuild a network, as JSON: those of its architecture in `content` of config.json, with defaults.

    It takes images of `channels` bands, whatever it was made for. Raises InputError naming `file` where the network is
    none that this program can train.
    """
    try:
        kind = config_class(content)
        if content.get("num_channels", 3) != 3:
            made_for = abbreviate(content["num_channels"])
            raise InputError(f"num_channels: {made_for} is not possible; it may be 3, which is adapted to other bands")
        given = {name: content[name] for name in own_fields(kind) if name in content} | FIXED
        settings = {"model_type": content["model_type"]}
        settings |= {name: value for name, value in given.items() if name in own_fields(kind)}
        check_values(settings, kind)
        with refusing():
            config = kind(**arguments(settings))
            stages = list(config.stage_names)
        settings |= {name: getattr(config, name) for name in own_fields(kind)}
        if channels != 3:
            family = content["model_type"]
            if "num_channels" not in settings or family in RGB_ALONE:
                raise InputError(f"the family {family} takes no images of {channels} bands; choose another encoder")
            settings = set_bands(settings, channels)
        chosen = _choose(_probe(as_text(settings | {"out_features": stages})), stages)
        text = as_text(settings | {"out_features": chosen})
        geometry(text)
    except InputError as error:
        raise InputError(f"{file}: {error}") from error
    return text


@functools.cache
def geometry(settings: str) -> Geometry:
    """Geometry of the network of a text of `encoder_settings`. Raises InputError where a UNet cannot read its maps."""
    found = _probe(settings)
    if found.flat:
        fits = len(found.strides) == MAPS and found.strides[0] in STRIDES
    else:
        rising = sorted(set(found.strides)) == list(found.strides)
        fits = rising and set(found.strides) <= set(STRIDES) and found.strides[-1] == STRIDES[-1]
    if not fits:
        raise InputError(
            f"its maps have strides {abbreviate(list(found.strides))}; it may be some of {STRIDES} with the last one, "
            f"or {MAPS} maps of one of these"
        )
    return found


def _choose(found: Geometry, stages: list[str]) -> list[str]:
    """Stages whose maps are read: the last one of each stride, or MAPS at equal distances where all are alike."""
    if found.flat:
        layers = len(stages) - 1  # the first one is what goes into the first layer
        if layers < MAPS:
            raise InputError(f"a vision transformer of {layers} layers; it may have {MAPS} or more")
        return [stages[round(layers * part / MAPS)] for part in range(1, MAPS + 1)]
    last = dict(zip(found.strides, stages, strict=True))
    return [last[stride] for stride in STRIDES if stride in last]


@functools.cache
def _probe(settings: str) -> Geometry:
    """Send an image through the network, both without memory."""
    with torch.device("meta"), torch.inference_mode(False), torch.enable_grad():
        network, (patch, scaled) = build_network(settings), patches(json.loads(settings))
        pixels, largest = PROBE_SIDE * patch // scaled, 0

        def measure(_layer: nn.Module, _given: object, result: object) -> None:
            nonlocal largest
            if isinstance(result, Tensor):
                largest = max(largest, result.numel())

        for layer in network.modules():
            layer.register_forward_hook(measure)
        with refusing():
            maps = network(torch.zeros(1, bands_of(settings), pixels, pixels)).feature_maps
    if not all(one.ndim == 4 and one.shape[2] == one.shape[3] and PROBE_SIDE % one.shape[2] == 0 for one in maps):
        shapes = abbreviate([list(one.shape) for one in maps])
        raise InputError(
            f"its maps of an image of {PROBE_SIDE} x {PROBE_SIDE} pixels are {shapes}, which are not square"
        )
    used = {id(parameter) for parameter in _leaves(maps)}
    return Geometry(
        strides=tuple(PROBE_SIDE // one.shape[2] for one in maps),
        channels=tuple(one.shape[1] for one in maps),
        unused=frozenset(name for name, parameter in network.named_parameters() if id(parameter) not in used),
        numbers_per_pixel=largest / PROBE_SIDE**2,
    )


def _leaves(results: tuple[Tensor, ...]) -> Iterator[Tensor]:
    """Yield the parameters that the results were computed from."""
    seen, waiting = set(), [one.grad_fn for one in results]
    while waiting:
        node = waiting.pop()
        if node is None or node in seen:
            continue
        seen.add(node)
        if hasattr(node, "variable"):
            yield node.variable
        waiting += [before for before, _ in node.next_functions]
