"""Pascal VOC: JPEGImages/, SegmentationClassPNG/ or SegmentationClass/, and perhaps ImageSets/Segmentation/."""

from collections.abc import Sequence
from pathlib import Path

from trainer import InputError
from trainer.data.files import list_images, read_lines
from trainer.data.layouts.base import Found, by_stem, pair

IMAGES = "JPEGImages"
MASK_FOLDERS = ("SegmentationClassPNG", "SegmentationClass")


def fits(root: Path) -> bool:
    return (root / IMAGES).is_dir() or any((root / name).is_dir() for name in MASK_FOLDERS)


def find(root: Path, classes: Sequence[str] | None) -> Found:
    """Pair images and masks by stem. Lists in ImageSets/Segmentation, where there are any, say which and for what."""
    mask_folder = next((root / name for name in MASK_FOLDERS if (root / name).is_dir()), None)
    if mask_folder is None or not (root / IMAGES).is_dir():
        raise InputError(f"{root}: needs the folders {IMAGES}/ and {MASK_FOLDERS[0]}/ (or {MASK_FOLDERS[1]}/)")
    images, image_problems = by_stem(list_images(root / IMAGES))
    masks, mask_problems = by_stem(list_images(mask_folder))
    if not images:
        raise InputError(f"{root / IMAGES}: no images there")
    parts = _lists(root / "ImageSets" / "Segmentation")
    everything = sorted(set(images) | set(masks))
    if len(set(parts.values())) == 1:  # one list alone: the others are for the other part
        other = "val" if "train" in parts.values() else "train"
        parts = dict.fromkeys(everything, other) | parts
    found = pair(images, masks, sorted(parts) or everything, (root / IMAGES, mask_folder))
    found.parts = parts
    found.problems = image_problems + mask_problems + found.problems
    return found


def _lists(folder: Path) -> dict[str, str]:
    """Stem -> "train" or "val" from train.txt and val.txt; empty where there are no such lists."""
    files = {part: folder / f"{part}.txt" for part in ("train", "val")}
    lists = {part: read_lines(file) for part, file in files.items() if file.is_file()}
    both = sorted(set(lists.get("train", ())) & set(lists.get("val", ())))
    if both:
        raise InputError(f"{folder}: {', '.join(both[:5])} in both train.txt and val.txt; keep each in one")
    return {stem: part for part, stems in lists.items() for stem in stems}
