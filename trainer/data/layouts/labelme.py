"""Labelme: JSON files beside the images, or with the images in them."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from trainer import IGNORE, InputError
from trainer.data.files import list_images
from trainer.data.layouts.base import Found, by_stem
from trainer.data.layouts.labelme_json import (
    IGNORED,
    find_annotations,
    image_bytes,
    image_path,
    read_labels,
    read_record,
    read_shapes,
)
from trainer.data.sample import Sample
from trainer.data.value_map import BACKGROUND, BACKGROUNDS, UNMAPPED, ValueMap

LABELS_FILE = "labels.txt"
TRIED = 10
"""Files that are looked at to find out whether they are Labelme's."""


@dataclass(frozen=True, slots=True)
class LabelmeSample(Sample):
    """A picture whose mask is drawn from outlines. `mask` is the JSON file; `image` too, where it holds the image."""

    folder: Path
    """Nothing outside it is opened."""

    ids: tuple[tuple[str, int], ...]
    """(label, class id)."""

    def image_content(self) -> bytes:
        return image_bytes(self.mask, self.folder, read_record(self.mask, self.folder))[1]

    def mask_content(self) -> bytes:
        return Sample.mask_content(self) + self.own_content()  # `super()` fails in classes with slots

    def own_content(self) -> bytes:
        return repr(self.ids).encode()

    def read_mask(self, values: ValueMap, content: bytes | None = None) -> np.ndarray:
        return read_shapes(self.mask, self.folder, dict(self.ids))

    @property
    def lossy(self) -> bool:
        return False


def fits(root: Path) -> bool:
    """Whether JSON files lie directly in it, and one of the first few is Labelme's; others may be damaged."""
    try:
        files = find_annotations(root)
    except InputError:
        return False
    return any(_is_sound(file, root) for file in files[:TRIED])


def _is_sound(file: Path, root: Path) -> bool:
    try:
        read_record(file, root)
    except (InputError, OSError):
        return False
    return True


def find(root: Path, classes: Sequence[str] | None) -> Found:
    """One sample for each JSON file. Without `classes` the labels come from labels.txt, or else from the files."""
    files, problems = by_stem(find_annotations(root))
    found = Found(problems=problems)
    images: dict[str, Path] = {}
    labels: set[str] = set()
    for stem, file in files.items():
        try:
            record = read_record(file, root)
            labels |= _labels(record)
            images[stem] = image_path(file, root, record) or file
        except InputError as error:
            found.problems += str(error).splitlines()
    ids = _ids(root, classes, labels, found)
    pairs = tuple(ids.items())
    found.samples = [
        LabelmeSample(stem, str(image), str(files[stem]), root, pairs) for stem, image in sorted(images.items())
    ]
    taken = set(images.values())  # without links, like those that are looked for
    bare = [image for image in list_images(root) if image.stem not in files and image.resolve() not in taken]
    if bare:
        found.notes.append(f"{root}: {len(bare)} images have no JSON file yet; they are left out")
    return found


def _labels(record: dict[str, Any]) -> set[str]:
    entries = [entry.get("label") for entry in record["shapes"] if isinstance(entry, dict)]
    return {label for label in entries if isinstance(label, str)} - {IGNORED, *BACKGROUNDS}


def _ids(root: Path, classes: Sequence[str] | None, labels: set[str], found: Found) -> dict[str, int]:
    """Label -> class id; says in `found` where the classes come from."""
    reserved = {IGNORED: IGNORE, BACKGROUND: 0, "background": 0}
    if classes is not None:
        return reserved | {name: number for number, name in enumerate(classes) if number}
    if (root / LABELS_FILE).is_file():
        ids = read_labels(root / LABELS_FILE)
    else:
        names = sorted(labels)
        if not 0 < len(names) < UNMAPPED:
            raise InputError(f"{root}: {len(names)} different labels in the JSON files; name the classes in "
                             f"{root / LABELS_FILE}, one a line")  # fmt: skip
        ids = reserved | {name: number for number, name in enumerate(names, start=1)}
        found.notes.append(f"{root}: no {LABELS_FILE}; the classes are the labels found: {', '.join(names)}")
    found.names = (BACKGROUND, *(name for name, number in ids.items() if 0 < number < IGNORE))
    return ids
