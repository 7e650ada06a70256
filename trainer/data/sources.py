"""Samples, classes and split of the data folders, found without decoding an image."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from trainer import InputError
from trainer.config import DataConfig
from trainer.data.class_names import read_class_names
from trainer.data.layouts import find
from trainer.data.layouts.base import Found
from trainer.data.sample import Sample
from trainer.data.split import Split, split_samples
from trainer.data.value_map import ValueMap, value_map

SHOWN = 20  # problems listed in full; the rest is counted


def find_samples(roots: Sequence[Path], layout: str = "auto", classes: Sequence[str] | None = None) -> Found:
    """What lies in several folders together; samples sorted by name. `classes`: the K names where they are known."""
    whole = Found()
    told: dict[tuple[str, ...], Path] = {}
    maps: list[Mapping[int | str, str] | None] = []
    for root, label in zip(roots, _labels(roots), strict=True):
        found = find(root, layout, classes)
        prefix = f"{label}/" if len(roots) > 1 else ""
        whole.samples += [replace(sample, name=prefix + sample.name) if prefix else sample for sample in found.samples]
        whole.parts |= {prefix + name: part for name, part in found.parts.items()}
        whole.problems += found.problems
        whole.notes += found.notes
        maps.append(found.value_map)
        if found.names is not None:
            told[found.names] = root
    if len(told) > 1:
        raise InputError(
            f"{' and '.join(map(str, told.values()))}: different classes; name them all with data.classes, in one order"
        )
    if any(entries != maps[0] for entries in maps):
        raise InputError("data.root: the folders' masks mean different things; convert them to one layout")
    whole.names, whole.value_map = next(iter(told), None), maps[0]
    whole.samples.sort(key=lambda sample: sample.name)
    return whole


def _labels(roots: Sequence[Path]) -> list[str]:
    """A name for each root: its last folder, with as many parents as it takes to tell them apart."""
    whole = [root.resolve() for root in roots]
    if len(set(whole)) < len(whole):
        raise InputError(f"data.root: {', '.join(map(str, roots))}: a folder is named twice; name it once")
    for parts in range(1, 20):
        labels = ["/".join(path.parts[-parts:]) for path in whole]
        if len(set(labels)) == len(labels):
            return labels
    return [str(path) for path in whole]


def raise_all(problems: Sequence[str]) -> None:
    """Raise one InputError that lists every problem, if there is any."""
    if problems:
        more = [f"... and {len(problems) - SHOWN} more"] if len(problems) > SHOWN else []
        raise InputError("\n".join([*problems[:SHOWN], *more]))


@dataclass(frozen=True)
class Sources:
    """All that is known of the data without decoding a picture."""

    title: str
    samples: list[Sample]
    split: Split
    names: tuple[str, ...] | None
    """K class names, the background's first; None where nobody tells them."""

    values: ValueMap
    notes: tuple[str, ...] = ()
    """What a person should know."""

    problems: tuple[str, ...] = ()
    """What is wrong with the folders; raised together with what is wrong in the files."""


def find_sources(config: DataConfig, roots: Sequence[Path] | None = None) -> Sources:
    """Find samples, classes and split in `roots`, by default those of data.root, without decoding an image.

    Raises InputError where no sample can be used.
    """
    roots = roots or config.roots
    classes = read_class_names(roots, config.classes)
    found = find_samples(roots, config.layout, classes)
    values, names = value_map(config.value_map or found.value_map, classes or found.names)
    if not found.samples:
        raise_all([*found.problems, f"{', '.join(map(str, roots))}: no labelled picture is left"])
    try:
        split = split_samples(found.samples, found.parts, config.val_fraction, config.fold)
    except InputError as error:
        raise_all([*found.problems, str(error)])
        raise
    title = "+".join(root.resolve().name for root in roots)
    return Sources(title, found.samples, split, names, values, tuple(found.notes), tuple(found.problems))
