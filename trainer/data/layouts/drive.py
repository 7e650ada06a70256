"""DRIVE: images/, 1st_manual/ with the vessels, and mask/ with the field of view, perhaps in training/ and test/.

HRF has manual1/ instead. Pixels outside the field of view are ignored.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from trainer import IGNORE, InputError
from trainer.data.files import list_folders, list_images, read_bytes
from trainer.data.layouts.base import Found, merge_parts
from trainer.data.layouts.class_masks import read_cover
from trainer.data.layouts.folders import holds_images, pair_folders
from trainer.data.layouts.meanings import name_only_class
from trainer.data.sample import Sample
from trainer.data.stored_palette import StoredPalette
from trainer.data.value_map import ValueMap

IMAGES, FIELDS = "images", "mask"
MANUALS = ("1st_manual", "manual1")


@dataclass(frozen=True, slots=True)
class FieldSample(Sample):
    """An image and mask with the field of view, outside of which nothing was labelled."""

    field_file: str
    """Path of the mask file of the field of view."""

    @property
    def files(self) -> tuple[str, ...]:
        return self.image_file, self.mask_file, self.field_file

    def mask_content(self) -> bytes:
        return read_bytes(self.mask) + read_bytes(Path(self.field_file))

    def read_labels(self, values: ValueMap, content: bytes | None = None) -> tuple[np.ndarray, StoredPalette | None]:
        mask, palette = Sample.read_labels(self, values)  # `super()` fails in classes with slots
        field = read_cover(Path(self.field_file))
        if field.shape != mask.shape:
            raise InputError(f"{self.field_file}: not of the size of {self.mask_file}; make them the same size")
        return np.where(field, mask, np.uint8(IGNORE)), palette


def fits(root: Path) -> bool:
    return any(_manual(folder) is not None for folder in (root, *list_folders(root)))


def find(root: Path, classes: Sequence[str] | None) -> Found:
    """Pair images, vessels and fields of view by the number in their names."""
    if _manual(root):
        found = _find_part(root)
    else:
        parts = {folder.name: _find_part(folder) for folder in list_folders(root) if _manual(folder)}
        if not parts:
            raise InputError(f"{root}: needs the folders {IMAGES}/ and {MANUALS[0]}/, or training/ with them")
        found = merge_parts(parts, root)
    name_only_class(found, "vessel", classes, root)
    return found


def _manual(folder: Path) -> Path | None:
    """Folder with the vessels; None where `folder` is not laid out like DRIVE."""
    manuals = (folder / name for name in MANUALS)
    images = folder / IMAGES
    usable = images.is_dir() and holds_images(images)
    return next((manual for manual in manuals if usable and manual.is_dir() and holds_images(manual)), None)


def _find_part(folder: Path) -> Found:
    manual, fields = _manual(folder), folder / FIELDS
    found = pair_folders(folder / IMAGES, manual)
    if not fields.is_dir() or not list_images(fields):
        return found
    field_of = {sample.image_file: sample.mask_file for sample in pair_folders(folder / IMAGES, fields).samples}
    missing = [sample for sample in found.samples if sample.image_file not in field_of]
    found.problems += [f"{sample.image}: no field of view in {fields}; add it" for sample in missing]
    found.samples = [
        FieldSample(sample.name, sample.image_file, sample.mask_file, field_of[sample.image_file])
        for sample in found.samples
        if sample.image_file in field_of
    ]
    found.notes.append(
        f"{folder}: {manual and manual.name}/ has the masks; outside of {FIELDS}/, the field of view, "
        "pixels are ignored"
    )
    return found
