"""Roboflow's "Semantic Segmentation Masks": train/, valid/ and test/ with x.jpg, x_mask.png and _classes.csv."""

import csv
from collections.abc import Sequence
from pathlib import Path

from trainer import InputError
from trainer.data.files import list_folders, list_images, read_lines
from trainer.data.layouts.base import Found, merge_parts, pair
from trainer.data.layouts.meanings import name_values
from trainer.system.text import label

CLASSES = "_classes.csv"
"""File with the lines `value, class`, below a heading."""

ENDING = "_mask"

REST = ("background", "_background_", "unlabeled", "unlabelled", "")
"""Names, in lower case, that value 0 has where it is not a class."""


def fits(root: Path) -> bool:
    return any(_is_part(folder) for folder in (root, *list_folders(root)))


def find(root: Path, classes: Sequence[str] | None) -> Found:
    """Pair each image with its mask. Raises InputError where parts have different classes."""
    folders = {"": root} if _is_part(root) else {path.name: path for path in list_folders(root) if _is_part(path)}
    if not folders:
        raise InputError(f"{root}: needs train/ and valid/ with images, {ENDING}.png files and {CLASSES}")
    files = [folder / CLASSES for folder in folders.values()]
    labels = [_read_labels(file) for file in files]
    for file, other in zip(files, labels, strict=True):
        if other != labels[0]:
            raise InputError(f"{file} and {files[0]}: different classes; make them the same")
    parts = {part: _pair(folder) for part, folder in folders.items()}
    found = parts[""] if "" in parts else merge_parts(parts, root)
    name_values(found, labels[0], classes, files[0])
    found.records += files
    return found


def _is_part(folder: Path) -> bool:
    return (folder / CLASSES).is_file()


def _pair(folder: Path) -> Found:
    files = list_images(folder)
    masks = [file for file in files if file.stem.endswith(ENDING)]
    images = [file for file in files if not file.stem.endswith(ENDING)]
    return pair(images, masks, (folder, folder), endings=("", ENDING))


def _read_labels(file: Path) -> dict[int, str]:
    """Value -> label, ascending; value 0 is the background unless it has another name. Raises InputError."""
    labels: dict[int, str] = {}
    for cells in list(csv.reader(read_lines(file), skipinitialspace=True))[1:]:
        value, name = (cells[0].strip(), label(cells[1])) if len(cells) == 2 else ("", "")
        if not value.isdecimal() or int(value) > 255 or int(value) in labels:
            raise InputError(f"{file}: {', '.join(cells)!r} is no value and class; write VALUE, CLASS, each value once")
        labels[int(value)] = "background" if value == "0" and name.lower() in REST else name
    names = [name for name in labels.values() if name != "background"]
    if not names or "" in names or len(set(names)) < len(names):
        raise InputError(f"{file}: classes {names}; give each value a name of its own")
    return {0: "background"} | dict(sorted(labels.items()))
