"""The ways in which people lay out labelled pictures in folders: which there are, and which one a folder has.

A layout is a module with `fits(root) -> bool`, which must be cheap, and `find(root, classes) -> Found`.
"""

import importlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType

from trainer import InputError
from trainer.data.files import list_images
from trainer.data.sample import Sample

LAYOUTS = ("voc", "labelme")
"""In the order in which they are tried; each is a module of this package."""


@dataclass
class Found:
    """What lies in one folder."""

    samples: list[Sample] = field(default_factory=list)
    parts: dict[str, str] = field(default_factory=dict)
    """Sample name -> "train" or "val", for those that the folder's own lists assign."""

    names: tuple[str, ...] | None = None
    """K class names, the background's first, where the layout itself tells them."""

    value_map: Mapping[int | str, str] | None = None
    """What stored mask values mean in this layout, where they are not class ids."""

    problems: list[str] = field(default_factory=list)
    """What keeps the folder from being used, a line each: file, fault, remedy."""

    notes: list[str] = field(default_factory=list)
    """What a person should know."""


def find(root: Path, layout: str, classes: Sequence[str] | None) -> Found:
    """What lies in `root`, whose layout is named or "auto". `classes`: the K names where data.classes gives them.

    Raises InputError where the folder is not there, or is of no layout.
    """
    if not root.exists():
        raise InputError(f"{root}: no such folder; give --data.root the folder that holds your labelled pictures")
    name = next((name for name in LAYOUTS if _module(name).fits(root)), None) if layout == "auto" else layout
    if name is None:
        raise InputError(f"{root}: no layout of labelled pictures that is known here. {_hint(root)}")
    found: Found = _module(name).find(root, classes)
    return found


def _module(name: str) -> ModuleType:
    return importlib.import_module(f"trainer.data.layouts.{name}")


def _hint(root: Path) -> str:
    expected = "Expected JPEGImages/ and SegmentationClassPNG/, or Labelme's JSON files beside the images"
    if root.is_dir():
        below = [path.name for path in sorted(root.iterdir()) if path.is_dir() and path.name[0] != "."]
        held = f"; it holds {', '.join(below[:6])}" if below else f"; it holds {len(list_images(root))} images"
        return expected + held
    return expected


def by_stem(files: Sequence[Path], ending: str = "") -> tuple[dict[str, Path], list[str]]:
    """Stem, without `ending`, -> file; and a problem for each stem that occurs twice."""
    found: dict[str, Path] = {}
    problems = []
    for path in files:
        stem = path.stem.removesuffix(ending)
        if stem in found:
            problems.append(f"{path}: {found[stem].name} has the same stem; rename or remove one")
        found[stem] = path
    return found, problems


def pair(
    images: Mapping[str, Path], masks: Mapping[str, Path], wanted: Sequence[str], folders: tuple[Path, Path]
) -> Found:
    """The samples of stems `wanted` that have both files, and a problem for each other one.

    `folders` of the images and of the masks, for what is missing.
    """
    found = Found()
    for stem in sorted(wanted):
        if stem not in images and stem not in masks:
            found.problems.append(f"{folders[0]}: the lists name {stem}, but there is no such image; take the line out")
        elif stem not in images:
            found.problems.append(f"{masks[stem]}: no image of that name in {folders[0]}; add it or remove the mask")
        elif stem not in masks:
            where = f"no mask {stem}.png in {folders[1]}"
            found.problems.append(f"{images[stem]}: {where}; label the picture or move it out")
        else:
            found.samples.append(Sample(stem, images[stem], masks[stem]))
    return found
