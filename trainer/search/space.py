"""Space of a sweep: the settings that are tried, and the values that each may have.

optim.lr: {low: 1e-4, high: 1e-2, log: true}
train.batch_size: {low: 4, high: 16, step: 4}
model.norm: [batch, group]
"""

import json
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from types import NoneType
from typing import TYPE_CHECKING, Any, get_args, get_type_hints

import yaml

from trainer import InputError
from trainer.config import Config, dotted, flatten

if TYPE_CHECKING:
    from optuna import Trial

Check = Callable[[str, Any], None]
"""Function that raises InputError where a setting cannot have a value."""

REFUSED = {
    ("resume", "tracking.", "registry."): "decides nothing about the model",
    (
        "train.folds",
        "train.only_fold",
        "train.seeds",
        "train.final",
    ): "is alike for all trials, by the sweep's own option --folds",
    (
        *("data.root", "data.layout", "data.classes", "data.value_map", "data.val_fraction", "data.fold"),
        "data.generated_images",
    ): "decides which pictures validate, and scores on different pictures are not to be compared",
}
"""Beginnings of settings that a space cannot have, and why."""

RANGE_KEYS = ("low", "high", "step", "log")
"""Keys of a range."""

EXAMPLE = "optim.lr: {low: 1e-4, high: 1e-2, log: true}"
"""Line of a space."""

SEVERAL = 2
"""Fewest values of a list."""

Scalar = bool | int | float | str | None
"""Value that Optuna stores."""


@dataclass(frozen=True)
class Range:
    """Numbers from `low` to `high`, both included: whole ones, or all; in steps, or on a logarithmic scale."""

    low: float
    high: float
    step: float | None = None
    log: bool = False
    whole: bool = False

    def suggest(self, trial: "Trial", key: str) -> Scalar:
        """Value of a trial: the one that it has already, or else a new one."""
        if self.whole:
            return trial.suggest_int(key, int(self.low), int(self.high), step=int(self.step or 1), log=self.log)
        return trial.suggest_float(key, self.low, self.high, step=self.step, log=self.log)

    def value(self, stored: Scalar) -> Any:
        """Setting that a stored value stands for."""
        return stored

    def stored(self, value: Any) -> Scalar:
        """Stored value of a setting. Raises ValueError where the range does not have it."""
        if isinstance(value, bool) or not isinstance(value, int | float) or not self.low <= value <= self.high:
            raise ValueError(value)
        steps = (value - self.low) / self.step if self.step else 0.0
        if abs(steps - round(steps)) > 1e-9 or (self.whole and int(value) != value):
            raise ValueError(value)
        return value

    def ends(self) -> list[float]:
        """First, second and last value: where the setting allows only some numbers, one of these is none."""
        if not self.whole and self.step is None:
            return [self.low, self.high]
        second = self.low + (self.step or 1)
        return [int(one) if self.whole else one for one in (self.low, second, self.high)]


@dataclass(frozen=True)
class Choice:
    """A few values, of any kind."""

    values: tuple[Any, ...]

    def labels(self) -> dict[Scalar, Any]:
        """Stored value -> setting; what is not a single value is stored as JSON."""
        return {one if isinstance(one, Scalar) else json.dumps(one): one for one in self.values}

    def suggest(self, trial: "Trial", key: str) -> Scalar:
        """Value of a trial: the one that it has already, or else a new one."""
        return trial.suggest_categorical(key, list(self.labels()))

    def value(self, stored: Scalar) -> Any:
        """Setting that a stored value stands for."""
        return self.labels()[stored]

    def stored(self, value: Any) -> Scalar:
        """Stored value of a setting. Raises ValueError where it is none of them."""
        for label, one in self.labels().items():
            if one == value and isinstance(one, bool) == isinstance(value, bool):
                return label
        raise ValueError(value)


@dataclass(frozen=True)
class Space:
    """All settings that are tried."""

    entries: Mapping[str, Range | Choice]
    content: Mapping[str, Any]
    """What the file says, by dotted keys; equal for equal spaces."""

    def suggest(self, trial: "Trial") -> dict[str, Scalar]:
        """Stored values of a trial; those that it lacks are chosen now."""
        return {key: entry.suggest(trial, key) for key, entry in self.entries.items()}

    def settings(self, stored: Mapping[str, Scalar]) -> dict[str, Any]:
        """Settings of a trial, by dotted keys."""
        return {key: entry.value(stored[key]) for key, entry in self.entries.items()}

    def stored(self, settings: Mapping[str, Any]) -> dict[str, Scalar]:
        """Stored values of those settings that the space has, such as the ones from which a sweep begins."""
        found = {}
        for key, entry in self.entries.items():
            try:
                found[key] = entry.stored(settings[key])
            except ValueError:
                continue
        return found


def read_space(file: Path, check: Check) -> Space:
    """Read a space and check every value in it. Raises InputError naming the file and the key."""
    content = _read(file)
    sections = {part.name for part in fields(Config)}
    plain = {key: value for key, value in content.items() if key not in sections or not isinstance(value, Mapping)}
    content = plain | dotted({key: value for key, value in content.items() if key not in plain})
    if not content:
        raise InputError(f"{file}: names no setting; write lines such as {EXAMPLE}")
    entries = {}
    for key, given in content.items():
        try:
            entries[key] = _entry(key, given, check)
        except InputError as error:
            raise InputError(f"{file}: {error}") from None
    return Space(entries, content)


def _read(file: Path) -> dict[str, Any]:
    try:
        content = yaml.load(file.read_text(encoding="utf-8"), _Loader)
    except OSError as error:
        raise InputError(f"--space {file}: {error.strerror}; give a YAML file such as configs/sweep.yaml") from None
    except (yaml.YAMLError, UnicodeDecodeError, RecursionError) as error:
        where = getattr(error, "problem_mark", None)
        line = f", line {where.line + 1}" if where else ""
        raise InputError(f"--space {file}{line}: not valid YAML ({getattr(error, 'problem', None) or error})") from None
    if content is not None and not (isinstance(content, dict) and all(isinstance(key, str) for key in content)):
        raise InputError(f"--space {file}: holds no settings; write lines such as {EXAMPLE}")
    return content or {}


class _Loader(yaml.SafeLoader):
    """Loader for which a key that is there twice is an error: one of the two would be lost."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen = set()
        for key, _ in node.value:
            if key.value in seen:
                raise yaml.constructor.ConstructorError(None, None, f"{key.value} is there twice", key.start_mark)
            seen.add(key.value)
        return super().construct_mapping(node, deep)


def _entry(key: str, given: Any, check: Check) -> Range | Choice:
    if key in (part.name for part in fields(Config)) and key != "resume":
        raise InputError(f"{key}: {given!r} is not possible; give keys of this section, such as {EXAMPLE}")
    if key not in flatten(Config()):
        check(key, "")  # names the nearest key
    for beginnings, why in REFUSED.items():
        if key.startswith(beginnings):
            raise InputError(f"{key}: {why}; leave it out")
    if isinstance(given, list):
        return _choice(key, given, check)
    if isinstance(given, Mapping):
        return _range(key, given, check)
    raise InputError(f"{key}: {given!r} is one value; give [value, value, ...] or {{low: ..., high: ...}}")


def _choice(key: str, given: list[Any], check: Check) -> Choice:
    numeric = _kind(key) is not None
    entry = Choice(tuple(_number(one) if numeric and isinstance(one, str) else one for one in given))
    if len(entry.values) < SEVERAL or len(entry.labels()) < len(entry.values):
        raise InputError(f"{key}: {given} is not possible; give two or more different values")
    for value in entry.values:
        check(key, value)
    return entry


def _range(key: str, given: Mapping[str, Any], check: Check) -> Range:
    wrong = [name for name in given if name not in RANGE_KEYS]
    if wrong:
        raise InputError(f"{key}.{wrong[0]}: no such key; give {', '.join(RANGE_KEYS)}")
    missing = [name for name in ("low", "high") if name not in given]
    if missing:
        raise InputError(f"{key}: {missing[0]} is missing; give {{low: ..., high: ...}}")
    kind = _kind(key)
    if kind is None:
        raise InputError(f"{key}: takes no numbers; give a list of its values")
    numbers = {name: _number(given[name]) for name in ("low", "high", "step") if name in given}
    for name, value in numbers.items():
        usable = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
        if not usable or (kind is int and not isinstance(value, int)):
            raise InputError(f"{key}.{name}: {given[name]!r} is not possible; give a {_word(kind)}")
    log = given.get("log", False)
    if not isinstance(log, bool):
        raise InputError(f"{key}.log: {log!r} is not possible; give true or false")
    entry = Range(numbers["low"], numbers["high"], numbers.get("step"), log, kind is int)
    _require_possible(key, entry)
    for value in entry.ends():
        try:
            check(key, value)
        except InputError as error:
            stepped = value in (entry.low, entry.high) or entry.step is not None
            raise InputError(f"{error}" if stepped else f"{error}; or give the range a step") from None
    return entry


def _require_possible(key: str, entry: Range) -> None:
    """Raise InputError where no number, or only one, is in the range, or a scale is impossible."""
    if entry.low >= entry.high:
        raise InputError(f"{key}: low {entry.low:g} is not less than high {entry.high:g}")
    if entry.log and entry.step is not None:
        raise InputError(f"{key}: step and log exclude each other; leave one of them out")
    if entry.log and entry.low <= 0:
        raise InputError(f"{key}.low: {entry.low:g} is not possible with log: true; give more than 0")
    if entry.step is not None:
        steps = (entry.high - entry.low) / entry.step if entry.step > 0 else 0.0
        last = entry.low + math.floor(steps + 1e-9) * entry.step
        if steps < 1 - 1e-9:
            raise InputError(f"{key}.step: {entry.step:g} is not possible; give more than 0, and at most high - low")
        if abs(last - entry.high) > 1e-9 * max(1.0, abs(entry.high)):
            raise InputError(f"{key}.high: {entry.high:g} is not low plus some steps; give {last:g}")


def _kind(key: str) -> type[int] | type[float] | None:
    """Kind of number that a setting takes; None for one that takes none."""
    section, _, name = key.partition(".")
    annotation = get_type_hints(get_type_hints(Config)[section])[name]
    kinds = [one for one in (get_args(annotation) or (annotation,)) if one is not NoneType]
    return float if float in kinds else int if int in kinds else None


def _word(kind: type) -> str:
    return "whole number" if kind is int else "number"


def _number(value: Any) -> Any:
    """Number that a text stands for, which YAML has not recognised: 1e-4 has no point. Other values stay."""
    if isinstance(value, str):
        try:
            return float(value)
        except ValueError:
            return value
    return value
