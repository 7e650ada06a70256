"""The ways in which people lay out labelled pictures in folders: which there are, and which one a folder has.

A layout is a module with `fits(root) -> bool`, which must be cheap, and `find(root, classes) -> Found`.
"""

import importlib
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import ModuleType

from trainer import InputError
from trainer.data.files import list_folders
from trainer.data.labelmap import LABELMAP, read_labelmap
from trainer.data.sample import Sample

LAYOUTS = ("pets", "coco", "nnunet", "folders", "voc", "labelme", "csv")
"""In the order in which they are tried; each is a module of this package, and a value of data.layout."""

PARTS = {"train": "train", "training": "train", "val": "val", "valid": "val", "validation": "val", "test": None,
         "testing": None}  # fmt: skip
"""What people call the parts of a dataset -> who is in it; None is left out."""


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
    labelmap = (root if root.is_dir() else root.parent) / LABELMAP
    if labelmap.is_file() and found.names is None and found.value_map is None:
        found.names, found.value_map, notes = read_labelmap(labelmap, classes)
        found.notes += notes
    return found


def _module(name: str) -> ModuleType:
    return importlib.import_module(f"trainer.data.layouts.{name}")


def _hint(root: Path) -> str:
    """What was expected and what is there instead; or the folder within it that was perhaps meant."""
    below = [path for path in list_folders(root) if path.name[0] != "."]
    usable = [folder for folder in below if any(_module(name).fits(folder) for name in LAYOUTS)]
    if usable:
        several = f', or several as --data.root "[{",".join(map(str, usable[:2]))}]"' if len(usable) > 1 else ""
        return f"There is one within: give --data.root {usable[0]}{several}"
    held = [f"{folder.name}/ ({_files(folder)})" for folder in below[:6]]
    return (
        "Expected images/ and masks/, or JPEGImages/ and SegmentationClassPNG/, or Labelme's JSON files beside the "
        "images, or COCO's annotations/instances_*.json, or one CSV list; "
        + (f"it holds {', '.join([*held, _files(root)])}" if root.is_dir() else "it is a file")
        + f". To hear what keeps it from being one, name that: --data.layout {' or '.join(LAYOUTS)}"
    )


def _files(folder: Path) -> str:
    """Such as `6 .png, 1 .txt`."""
    files = [path for path in folder.iterdir() if path.is_file() and path.name[0] != "."]
    kinds = Counter(path.suffix.lower() or "without suffix" for path in files)
    return ", ".join(f"{number} {kind}" for kind, number in kinds.most_common(4)) or "no files"


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
    images: Mapping[str, Path],
    masks: Mapping[str, Path],
    wanted: Sequence[str],
    folders: tuple[Path, Path],
    ending: str = "",
) -> Found:
    """The samples of stems `wanted` that have both files, and a problem for each other one.

    `folders` of the images and of the masks, and the `ending` of the masks' names, for what is missing.
    """
    found = Found()
    if images and masks and not set(images) & set(masks):
        names = " and ".join(next(iter(files.values())).name for files in (images, masks))
        found.problems.append(f"{folders[0]} and {folders[1]}: not one name in common (such as {names}); "
                              "name each mask after its image")  # fmt: skip
        return found
    for stem in sorted(wanted):
        if stem not in images and stem not in masks:
            found.problems.append(f"{folders[0]}: the lists name {stem}, but there is no such image; take the line out")
        elif stem not in images:
            found.problems.append(f"{masks[stem]}: no image of that name in {folders[0]}; add it or remove the mask")
        elif stem not in masks:
            where = f"no mask {stem}{ending}.png in {folders[1]}"
            found.problems.append(f"{images[stem]}: {where}; label the picture or move it out")
        else:
            found.samples.append(Sample(stem, str(images[stem]), str(masks[stem])))
    return found


def split_parts(found: Mapping[str, Found], root: Path) -> Found:
    """One Found of those of several parts, part name -> what lies in it; samples are called `<part>/<name>`.

    A part that only tests is left out with a note; where none or nothing but validates, nobody's part is fixed.
    """
    whole = Found()
    roles = {part: PARTS.get(part.lower().rstrip("0123456789_-"), "") for part in found}  # as in train2017
    for part, inside in found.items():
        role = roles[part]
        if role is None:
            whole.notes.append(
                f"{root}: {part} ({len(inside.samples)} pictures) neither trains nor validates; left out"
            )
            continue
        samples = [replace(sample, name=f"{part}/{sample.name}") for sample in inside.samples]
        whole.samples += samples
        if role and {"train", "val"} <= set(roles.values()):
            whole.parts |= {sample.name: role for sample in samples}
        whole.problems += inside.problems
        whole.notes += inside.notes
    return whole
