"""ISIC's skin lesions: folders of images and of masks x_segmentation.png, or both in one folder.

ISIC2018_Task1-2_Training_Input/          ISIC2018_Task1_Training_GroundTruth/
ISIC-2017_Training_Data/                  ISIC-2017_Training_Part1_GroundTruth/
"""

import os
import re
from collections.abc import Sequence
from itertools import islice
from pathlib import Path

from trainer import InputError
from trainer.data.files import Reason, list_folders, list_images
from trainer.data.layouts.base import Found, merge_parts, pair
from trainer.data.layouts.meanings import name_only_class

ENDING = "_segmentation"
TRIED = 1000
"""Number of files of a folder that are looked at for masks."""

PART = re.compile(r"isic.*(training|validation|test)", re.IGNORECASE)
NO_IMAGE = ("_superpixels", ENDING)
"""Endings, in lower case, of files beside the images that are none."""

SUPERPIXELS = Reason("with superpixels")


def fits(root: Path) -> bool:
    return bool(_find_parts(root))


def find(root: Path, classes: Sequence[str] | None) -> Found:
    """Pair images and masks by stem; the only class is the lesion."""
    folders = _find_parts(root)
    if not folders:
        raise InputError(f"{root}: needs images and masks named x{ENDING}.png, in one folder or in ISIC's folders")
    parts = {part: _pair(*pair_of_folders) for part, pair_of_folders in folders.items()}
    found = parts[""] if "" in parts else merge_parts(parts, root)
    name_only_class(found, "lesion", classes, root)
    return found


def _find_parts(root: Path) -> dict[str, tuple[Path, Path]]:
    """Part -> folder of its images and folder of its masks; the only part is "" for masks beside the images."""
    if root.is_dir() and _holds_masks(root):
        return {"": (root, root)}
    by_part: dict[str, list[Path]] = {}
    for folder in list_folders(root):
        match = PART.search(folder.name)
        if match:
            by_part.setdefault(match[1].lower(), []).append(folder)
    pairs: dict[str, tuple[Path, Path]] = {}
    for part, folders in by_part.items():
        masks = [folder for folder in folders if _holds_masks(folder)]
        images = [folder for folder in folders if folder.name.lower().endswith(("_input", "_data"))]
        if masks and images:
            pairs[part] = images[0], masks[0]
    return pairs


def _holds_masks(folder: Path) -> bool:
    with os.scandir(folder) as entries:  # lazy; there may be many files
        return any(Path(entry.name).stem.lower().endswith(ENDING) for entry in islice(entries, TRIED))


def _pair(image_folder: Path, mask_folder: Path) -> Found:
    files = list_images(image_folder)
    images = [file for file in files if not file.stem.lower().endswith(NO_IMAGE)]
    masks = [file for file in list_images(mask_folder) if file.stem.lower().endswith(ENDING)]
    ending = masks[0].stem[-len(ENDING) :] if masks else ENDING  # 2016 has _Segmentation
    found = pair(images, masks, (image_folder, mask_folder), endings=("", ending))
    found.leave_out(SUPERPIXELS, *(set(files) - {*images, *masks}))
    return found
