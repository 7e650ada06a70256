"""Samples, classes and split of the data folders, found without decoding an image."""

import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from trainer import InputError
from trainer.config import DataConfig
from trainer.data.account import Account, take_stock
from trainer.data.class_names import CLASS_NAMES_FILE, default_names, names_file, read_class_names
from trainer.data.files import Reason
from trainer.data.layouts import Options, find
from trainer.data.layouts.base import Found
from trainer.data.sample import Sample
from trainer.data.split import Split, split_samples
from trainer.data.unlabelled import UnlabelledSample, find_unlabelled
from trainer.data.value_map import ValueMap, value_map

PAGES = Reason("behind the first page of a stack, or of another size")
MOST_PROBLEMS = 20
"""Problems that an error lists; it counts the others."""


def find_samples(
    roots: Sequence[Path],
    layout: str = "auto",
    classes: Sequence[str] | None = None,
    options: Options | None = None,
) -> Found:
    """Find the samples of several folders, sorted by name. `classes`: the K class names if they are known.

    `options`: those that name the folders, in messages; by default train.py's.
    Raises InputError if a folder has no layout that can be read, or the folders do not fit together.
    """
    whole = Found()
    named: dict[tuple[str, ...], Path] = {}
    maps: list[Mapping[int | str, str] | None] = []
    for root, name in zip(roots, _root_names(roots), strict=True):
        found = find(root, layout, classes, options)
        prefix = f"{name}/" if len(roots) > 1 else ""
        whole.samples += [replace(sample, name=prefix + sample.name) if prefix else sample for sample in found.samples]
        whole.parts |= {prefix + stem: part for stem, part in found.parts.items()}
        whole.parts_by = whole.parts_by or found.parts_by
        whole.add(found)
        maps.append(found.value_map)
        if found.names is not None:
            named[found.names] = root
        elif found.value_map is None and not names_file(root).exists():
            whole.unnamed += [root] if any(not sample.drawn for sample in found.samples) else []
    if len(named) > 1:
        folders = " and ".join(map(str, named.values()))
        raise InputError(f"{folders}: different classes; name them all with data.classes, in one order")
    if any(entries != maps[0] for entries in maps):
        raise InputError("data.root: the folders' masks mean different things; convert them to one layout")
    whole.names, whole.value_map = next(iter(named), None), maps[0]
    whole.samples.sort(key=lambda sample: sample.name)
    return whole


def _root_names(roots: Sequence[Path]) -> list[str]:
    """Name of each root: its last folder, with as many parents as make the names different."""
    paths = [root.resolve() for root in roots]
    if len(set(paths)) < len(paths):
        raise InputError(f"data.root: {', '.join(map(str, roots))}: a folder is named twice; name it once")
    for depth in range(1, 20):
        names = ["/".join(path.parts[-depth:]) for path in paths]
        if len(set(names)) == len(names):
            return names
    return [str(path) for path in paths]


def raise_all(problems: Sequence[str]) -> None:
    """Raise one InputError that lists the problems, if there are any."""
    if problems:
        more = [f"... and {len(problems) - MOST_PROBLEMS} more"] if len(problems) > MOST_PROBLEMS else []
        raise InputError("\n".join([*problems[:MOST_PROBLEMS], *more]))


@dataclass(frozen=True)
class Sources:
    """Facts about the data that are known without decoding an image."""

    title: str
    """Names of the root folders, joined by +."""

    samples: list[Sample]
    """Samples of all roots, sorted by name."""

    split: Split
    names: tuple[str, ...] | None
    """K class names, the background's first; None if neither settings nor files name them."""

    values: ValueMap
    notes: tuple[str, ...] = ()
    """Warnings about the folders."""

    problems: tuple[str, ...] = ()
    """Errors of the folders; raised together with those of the files."""

    account: Account = field(default_factory=Account)
    """Files of the folders that no sample uses, and why."""

    unlabelled: tuple[UnlabelledSample, ...] = ()
    """Images that train without labels."""

    parts: Mapping[str, str] = field(default_factory=dict)
    """Sample name -> "train" or "val", where the folders themselves say so."""

    parts_by: str = ""
    """What a person divides the folders with, as `Found` has it."""


def find_sources(
    config: DataConfig, roots: Sequence[Path] | None = None, validate_all: bool = False, train_all: bool = False
) -> Sources:
    """Find samples, classes and split in `roots`, by default those of data.root, without decoding an image.

    `validate_all`, `train_all`: all samples are in that part. Raises InputError where no sample can be used.
    """
    roots = roots or config.roots
    classes = read_class_names(roots, config.classes)
    found = find_samples(roots, config.layout, classes)
    one_listed = classes is not None and len(classes) == 2  # class_names.txt leaves one meaning for the value 1
    if config.classes is None and not config.value_map and not one_listed:
        _refuse_unnamed(found, classes or found.names)
    found.records += [root / CLASS_NAMES_FILE for root in roots]
    unlabelled = find_unlabelled(config, found)
    if config.unlabelled != "auto":
        found.notes += found.unlabelled_notes
    elif not unlabelled:
        found.notes += ["data.unlabelled: auto: every picture has labels; none is left to train without"]
    used = itertools.chain(used_files(found), (sample.image_file for sample in unlabelled))
    account = take_stock(roots, used, found.left_out)
    for file, pages in found.unused_pages.items():
        for number in range(pages):
            account.add(PAGES, f"{file}#{number + 2}")
    _refuse_value_map(config, found)
    values, names = value_map(config.value_map or found.value_map, classes or found.names)
    if not found.samples:
        left_out = f"; left out, {account.summary()}" if account.count else ""
        raise_all([*found.problems, f"{', '.join(map(str, roots))}: no labelled picture is left{left_out}"])
    try:
        everything = tuple(range(len(found.samples)))
        if validate_all or train_all:
            split = Split((), everything) if validate_all else Split(everything, ())
        else:
            split = split_samples(found.samples, found.parts, config.val_fraction, config.fold)
    except InputError as error:
        raise_all([*found.problems, str(error)])
        raise
    title = "+".join(root.resolve().name for root in roots)
    notes = (*found.notes, *account.warnings())
    return Sources(
        title,
        found.samples,
        split,
        names,
        values,
        notes,
        tuple(found.problems),
        account,
        unlabelled,
        found.parts,
        found.parts_by,
    )


def _refuse_unnamed(found: Found, names: tuple[str, ...] | None) -> None:
    """Raise InputError where masks would get the class names of another folder, whose class ids may be others.

    `names`: the K names that the folders give. Names such as class_1 say no more than the class ids themselves.
    """
    if not found.unnamed or names is None or names == default_names(range(len(names))):
        return
    raise InputError(
        f"{', '.join(map(str, found.unnamed))}: no names for the values in these masks, while another folder names "
        f"{', '.join(names[1:])}; name all classes with data.classes, in the order of the values in the masks"
    )


def _refuse_value_map(config: DataConfig, found: Found) -> None:
    """Raise InputError where data.value_map would be ignored, since masks are made of annotations."""
    drawn = next((sample for sample in found.samples if sample.drawn), None)
    if config.value_map and drawn is not None:
        raise InputError(
            f"data.value_map: the masks are made from {drawn.mask.name} and others like it, where classes have names, "
            "so no stored values are to be mapped; leave it out, and choose the classes with data.classes"
        )


def used_files(found: Found) -> Iterator[str]:
    """Paths of all files that samples are made from, and of those that say how."""
    for sample in found.samples:
        yield from sample.files
        yield sample.mask_file
    yield from map(str, found.records)
