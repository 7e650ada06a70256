"""nnU-Net's raw folders: imagesTr/<stem>_0000.png, labelsTr/<stem>.png, and dataset.json with the labels."""

import json
from collections.abc import Sequence
from pathlib import Path

from trainer import InputError
from trainer.data.files import IMAGE_SUFFIXES, list_images, read_bytes
from trainer.data.layouts.base import Found, by_stem, pair
from trainer.data.value_map import BACKGROUND, UNMAPPED

IMAGES, MASKS, RECORD = "imagesTr", "labelsTr", "dataset.json"
CHANNEL = "_0000"


def fits(root: Path) -> bool:
    return (root / IMAGES).is_dir() and (root / MASKS).is_dir()


def find(root: Path, classes: Sequence[str] | None) -> Found:
    """Pair images and masks by stem; labels come from dataset.json. Only pictures of one file each are read."""
    if not fits(root):
        raise InputError(f"{root}: needs the folders {IMAGES}/ and {MASKS}/")
    files = list_images(root / IMAGES)
    if not files:
        held = sorted({"".join(path.suffixes) for path in (root / IMAGES).iterdir()})
        raise InputError(f"{root / IMAGES}: no pictures ({', '.join(held) or 'empty'}); this program reads "
                         f"{', '.join(IMAGE_SUFFIXES)}, no volumes")  # fmt: skip
    more = [file for file in files if not file.stem.endswith(CHANNEL)]
    if more:
        raise InputError(f"{more[0]} and {len(more) - 1} more: not {CHANNEL}, the first channel; put the channels of a "
                         "picture into one RGB file, or name it so")  # fmt: skip
    images, problems = by_stem(files, CHANNEL)
    masks, more_problems = by_stem(list_images(root / MASKS))
    found = pair(images, masks, sorted(set(images) | set(masks)), (root / IMAGES, root / MASKS))
    found.problems = problems + more_problems + found.problems
    if (root / "imagesTs").is_dir():
        found.notes.append(f"{root}: imagesTs neither trains nor validates; left out")
    if classes is None and (root / RECORD).is_file():
        found.names, found.value_map = _labels(root / RECORD)
    return found


def _labels(file: Path) -> tuple[tuple[str, ...], dict[int | str, str]]:
    """The K class names and what each stored value means. Raises InputError naming the file."""
    try:
        record = json.loads(read_bytes(file))
    except (ValueError, RecursionError) as error:
        raise InputError(f"{file}: no valid JSON ({error}); mend it") from None
    try:
        # Version 1 writes {"1": "cat"}, version 2 {"cat": 1}.
        labels = record["labels"].items()
        pairs = [(int(key), value) if key.isdigit() else (int(value), key) for key, value in labels]
    except (ValueError, KeyError, TypeError, AttributeError):
        raise InputError(f'{file}: its labels are not one value for each name; write {{"background": 0, "cat": 1}}. '
                         "Regions of several values are not possible here") from None  # fmt: skip
    values = dict(sorted(pairs))
    own = [name for value, name in values.items() if value and name != "ignore"]
    usable = all(0 <= value <= 255 for value in values) and len(values) == len(pairs)
    if not usable or not 0 < len(own) == len(set(own)) < UNMAPPED:
        raise InputError(f"{file}: labels {dict(pairs)}; give each its own name and a value from 0 to 255")
    entries: dict[int | str, str] = {value: name if value else "background" for value, name in values.items()}
    return (BACKGROUND, *own), {0: "background", 255: "ignore"} | entries
