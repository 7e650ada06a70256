"""Layouts of labelled images in folders: detect the layout of a folder and read the folder through it.

A layout is a module with `fits(root) -> bool`, which must be cheap, and `find(root, classes) -> Found`; PARTS_BY, where
it has one, is `Found.parts_by`.
"""

import importlib
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

from trainer import InputError
from trainer.data.files import is_hidden, list_folders
from trainer.data.layouts.base import Found
from trainer.data.layouts.cvat_labelmap import LABELMAP, read_labelmap
from trainer.data.layouts.stacks import split_stacks
from trainer.system.text import join, option

LAYOUTS = (
    *("pets", "coco", "nnunet", "drive", "label_studio", "class_masks", "folders", "voc", "labelme", "csv"),
    *("roboflow_masks", "coco_file", "via", "label_studio_json", "yolo", "supervisely"),
    *("cityscapes", "loveda", "isic", "carvana"),
)
"""Layouts in the order in which they are tried; each is a module of this package and a value of data.layout."""


@dataclass(frozen=True)
class Options:
    """Options of the command that names the folders, for messages."""

    layout: str = "--data.layout"
    folders: str = ""
    """One that takes several words; empty for data.root, which takes a list."""

    def of(self, folders: Sequence[Path]) -> str:
        """Words that give these folders."""
        if self.folders or len(folders) == 1:
            return f"{self.folders or '--data.root'} {join(folders)}"
        return option("data.root", folders)


def find(root: Path, layout: str, classes: Sequence[str] | None, options: Options | None = None) -> Found:
    """Find the samples in `root`, whose layout is named or "auto". `classes`: the K names where data.classes is set.

    `options`: those of the command line, by default train.py's.
    Raises InputError where the folder does not exist, or no layout fits it.
    """
    options = options or Options()
    if not root.exists():
        key = options.folders or "--data.root"
        raise InputError(f"{root}: no such folder; give {key} the folder that holds your labelled pictures")
    name = detect_layout(root) if layout == "auto" else layout
    if name is None:
        raise InputError(f"{root}: no layout of labelled pictures that is known here. {_hint(root, options)}")
    found: Found = _module(name).find(root, classes)
    found.parts_by = getattr(_module(name), "PARTS_BY", "")
    labelmap = (root if root.is_dir() else root.parent) / LABELMAP
    if labelmap.is_file() and found.names is None and found.value_map is None:
        found.names, found.value_map, notes = read_labelmap(labelmap, classes)
        found.records.append(labelmap)
        found.notes += notes
    split_stacks(found)
    return found


def detect_layout(root: Path) -> str | None:
    """Name of the first layout that fits `root`; None if no layout does."""
    return next((name for name in LAYOUTS if _module(name).fits(root)), None)


def _module(layout: str) -> ModuleType:
    return importlib.import_module(f"trainer.data.layouts.{layout}")


def _hint(root: Path, options: Options) -> str:
    """Advice for a folder of no known layout: a subfolder that has one, or else the expected and actual contents."""
    below = [path for path in list_folders(root) if not is_hidden(path.name)]
    usable = [folder for folder in below if detect_layout(folder)]
    if usable:
        several = f", or several as {options.of(usable)}" if len(usable) > 1 else ""
        return f"There is one within: give {options.of(usable[:1])}{several}"
    contents = [f"{folder.name}/ ({_count_files(folder)})" for folder in below[:6]]
    return (
        "Expected images/ and masks/, or JPEGImages/ and SegmentationClassPNG/, or Labelme's JSON files beside the "
        "images, or COCO's annotations/instances_*.json, or a CSV list of image and mask, or a form of another tool "
        "(all are in .github/USING.md); "
        + (f"it holds {', '.join([*contents, _count_files(root)])}" if root.is_dir() else "it is a file")
        + f". To see why none fits, name the one that you meant: {options.layout} {' or '.join(LAYOUTS)}"
    )


def _count_files(folder: Path) -> str:
    """Number of files of each suffix, such as `6 .png, 1 .txt`."""
    files = [path for path in folder.iterdir() if path.is_file() and path.name[0] != "."]
    suffixes = Counter(path.suffix.lower() or "without suffix" for path in files)
    return ", ".join(f"{count} {suffix}" for suffix, count in suffixes.most_common(4)) or "no files"
