"""Pascal VOC: JPEGImages/, SegmentationClassPNG/ or SegmentationClass/, and optionally ImageSets/Segmentation/."""

from collections.abc import Sequence
from pathlib import Path

from trainer import InputError
from trainer.data.files import list_images, read_lines
from trainer.data.layouts.base import Found, pair
from trainer.system.text import match_names

IMAGES = "JPEGImages"
MASKS = "SegmentationClassPNG"
"""Folder of the masks, as this program writes it."""

MASK_FOLDERS = (MASKS, "SegmentationClass")


def fits(root: Path) -> bool:
    return (root / IMAGES).is_dir() or any((root / name).is_dir() for name in MASK_FOLDERS)


def find(root: Path, classes: Sequence[str] | None) -> Found:
    """Pair images and masks by stem. Lists in ImageSets/Segmentation select the samples and assign their parts."""
    mask_folder = next((root / name for name in MASK_FOLDERS if (root / name).is_dir()), None)
    if mask_folder is None or not (root / IMAGES).is_dir():
        raise InputError(f"{root}: needs the folders {IMAGES}/ and {MASK_FOLDERS[0]}/ (or {MASK_FOLDERS[1]}/)")
    images, masks = list_images(root / IMAGES), list_images(mask_folder)
    if not images:
        raise InputError(f"{root / IMAGES}: no images there")
    parts = _read_lists(root / "ImageSets" / "Segmentation")
    meant = match_names(parts, {file.stem for file in images})
    parts = {meant.get(stem, stem): part for stem, part in parts.items()}
    if len(set(parts.values())) == 1:  # with one list alone, all other samples belong to the other part
        other = "val" if "train" in parts.values() else "train"
        parts = dict.fromkeys(sorted({file.stem for file in images + masks}), other) | parts
    found = pair(images, masks, (root / IMAGES, mask_folder), wanted=parts)
    found.parts = parts
    return found


def _read_lists(folder: Path) -> dict[str, str]:
    """Stem -> "train" or "val" from train.txt and val.txt; empty without such lists."""
    files = {part: folder / f"{part}.txt" for part in ("train", "val")}
    lists = {part: read_lines(file) for part, file in files.items() if file.is_file()}
    both = sorted(set(lists.get("train", ())) & set(lists.get("val", ())))
    if both:
        raise InputError(f"{folder}: {', '.join(both[:5])} in both train.txt and val.txt; keep each in one")
    return {stem: part for part, stems in lists.items() for stem in stems}
