"""nnU-Net's raw folders: imagesTr/<stem>_0000.png, labelsTr/<stem>.png, and dataset.json with the labels."""

from collections.abc import Sequence
from pathlib import Path

from trainer import InputError
from trainer.data.files import IMAGE_SUFFIXES, list_images
from trainer.data.layouts.base import Found, left_part, pair, read_json
from trainer.data.value_map import BACKGROUND, UNMAPPED

IMAGES, MASKS, RECORD = "imagesTr", "labelsTr", "dataset.json"
CHANNEL = "_0000"
"""Ending of an image's stem for the first channel, the only one that is read."""


def fits(root: Path) -> bool:
    return (root / IMAGES).is_dir() and (root / MASKS).is_dir()


def find(root: Path, classes: Sequence[str] | None) -> Found:
    """Pair images and masks by stem, with the labels of dataset.json. Raises InputError for volumes."""
    if not fits(root):
        raise InputError(f"{root}: needs the folders {IMAGES}/ and {MASKS}/")
    images = list_images(root / IMAGES)
    if not images:
        suffixes = sorted({"".join(path.suffixes) for path in (root / IMAGES).iterdir()})
        raise InputError(
            f"{root / IMAGES}: no pictures ({', '.join(suffixes) or 'empty'}); this program reads "
            f"{', '.join(IMAGE_SUFFIXES)}, no volumes"
        )
    others = [file for file in images if not file.stem.endswith(CHANNEL)]
    if others:
        raise InputError(
            f"{others[0]} and {len(others) - 1} more: not {CHANNEL}, the first channel; put the channels of a "
            "picture into one RGB file, or name it so"
        )
    found = pair(images, list_images(root / MASKS), (root / IMAGES, root / MASKS), endings=(CHANNEL, ""))
    if (root / "imagesTs").is_dir():
        found.leave_out(left_part("test"), root / "imagesTs", root / "labelsTs")
        found.notes.append(f"{root}: imagesTs neither trains nor validates; left out")
    if classes is None and (root / RECORD).is_file():
        found.names, found.value_map = _read_labels(root / RECORD)
        found.records.append(root / RECORD)
    return found


def _read_labels(file: Path) -> tuple[tuple[str, ...], dict[int | str, str]]:
    """K class names and the meaning of each stored value. Raises InputError naming the file."""
    record = read_json(file, "fix it")
    try:
        # Version 1 writes {"1": "cat"}, version 2 {"cat": 1}.
        labels = record["labels"].items()
        pairs = [(int(key), value) if key.isdigit() else (int(value), key) for key, value in labels]
    except (ValueError, KeyError, TypeError, AttributeError):
        raise InputError(
            f'{file}: its labels are not one value for each name; write {{"background": 0, "cat": 1}}. '
            "Regions of several values are not possible here"
        ) from None
    values = dict(sorted(pairs))
    foreground = [name for value, name in values.items() if value and name != "ignore"]
    usable = all(0 <= value <= 255 for value in values) and len(values) == len(pairs)
    if not usable or not 0 < len(foreground) == len(set(foreground)) < UNMAPPED:
        raise InputError(f"{file}: labels {dict(pairs)}; give each its own name and a value from 0 to 255")
    entries: dict[int | str, str] = {value: name if value else "background" for value, name in values.items()}
    return (BACKGROUND, *foreground), {0: "background", 255: "ignore"} | entries
