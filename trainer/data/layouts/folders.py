"""Two parallel folders, images and masks; perhaps each with, or each within, train and val."""

import os
from collections.abc import Sequence
from pathlib import Path

from trainer import InputError
from trainer.data.files import is_image, list_folders, list_images
from trainer.data.layouts.base import PARTS, Found, by_stem, pair, split_parts

IMAGES = ("images", "image", "imgs", "img", "img_dir", "jpegimages", "photos", "pictures")
MASKS = ("masks", "mask", "labels", "label", "annotations", "annotation", "ann_dir", "gt", "gts", "ground_truth",
         "groundtruth", "segmentations", "segmentation")  # fmt: skip
"""Names of folders, in any case; earlier ones first."""


def fits(root: Path) -> bool:
    """Whether a folder of images and one of masks lie in it, or in its train and val, that hold pictures."""
    return any(masks is not None for _, masks in _parts_of(root).values())


def find(root: Path, classes: Sequence[str] | None) -> Found:
    """Pair images and masks by stem; an ending that all masks' names share, such as `_mask`, is no part of the stem.

    Samples in parts are called `train/<stem>` and `val/<stem>`.
    """
    parts = _parts_of(root)
    if not parts:
        raise InputError(f"{root}: needs the folders images/ and masks/, or train/ and val/, with pictures in them")
    found = {part: _paired(*folders) for part, folders in parts.items()}
    return found[""] if "" in found else split_parts(found, root)


def _parts_of(root: Path) -> dict[str, tuple[Path, Path | None]]:
    """Part, "" where there are none, -> its folder of images, and of masks; both hold pictures."""
    images, masks = _with_pictures(root, IMAGES), _with_pictures(root, MASKS)
    if images and masks:
        return {"": (images, masks)}
    parts: dict[str, tuple[Path, Path | None]] = {}
    for part, folder in _in_parts(root).items():
        inside = _with_pictures(folder, IMAGES)
        if inside:
            parts[part] = inside, _with_pictures(folder, MASKS)
    if parts:
        return parts
    all_masks = {PARTS[part]: folder for part, folder in _split(root, MASKS).items()}  # valid/ beside val/ is the same
    return {part: (folder, all_masks.get(PARTS[part])) for part, folder in _split(root, IMAGES).items()}


def _folders(folder: Path) -> dict[str, Path]:
    """Lower-case name -> folder directly in `folder`."""
    return {path.name.lower(): path for path in list_folders(folder) if path.name[0] != "."}


def _in_parts(folder: Path) -> dict[str, Path]:
    return {name: path for name, path in _folders(folder).items() if name in PARTS}


def _with_pictures(folder: Path, names: Sequence[str]) -> Path | None:
    """The first folder of these names that holds pictures."""
    there = _folders(folder)
    return next((there[name] for name in names if name in there and _holds_pictures(there[name])), None)


def _holds_pictures(folder: Path) -> bool:
    with os.scandir(folder) as entries:  # which stops at the first; a list of a million files takes seconds
        return any(is_image(entry.name) for entry in entries)


def _split(folder: Path, names: Sequence[str]) -> dict[str, Path]:
    """Part -> its folder within the first of these names that has parts with pictures."""
    there = _folders(folder)
    for name in names:
        parts = (
            {part: path for part, path in _in_parts(there[name]).items() if _holds_pictures(path)}
            if name in there
            else {}
        )
        if parts:
            return parts
    return {}


def _paired(image_folder: Path, mask_folder: Path | None) -> Found:
    if mask_folder is None:
        return Found(problems=[f"{image_folder}: there is no folder of masks for it; add one or move the images out"])
    image_files, mask_files = list_images(image_folder), list_images(mask_folder)
    image_ending, mask_ending = _endings([file.stem for file in image_files], [file.stem for file in mask_files])
    images, image_problems = by_stem(image_files, image_ending)
    masks, mask_problems = by_stem(mask_files, mask_ending)
    found = pair(images, masks, sorted(set(images) | set(masks)), (image_folder, mask_folder), mask_ending)
    found.problems = image_problems + mask_problems + found.problems
    return found


def _endings(images: Sequence[str], masks: Sequence[str]) -> tuple[str, str]:
    """What all images' and all masks' stems end in that the others' do not: the shortest that pairs most of them."""
    best, most = ("", ""), -1
    for image_ending in _shared(images):
        stems = {stem.removesuffix(image_ending) for stem in images}
        for mask_ending in _shared(masks):
            paired = len(stems & {stem.removesuffix(mask_ending) for stem in masks})
            shorter = paired == most and len(image_ending + mask_ending) < len("".join(best))
            if paired > most or shorter:
                best, most = (image_ending, mask_ending), paired
    return best


def _shared(stems: Sequence[str]) -> list[str]:
    """Endings that all of `stems` share and that begin with a sign between words; "" among them."""
    first = stems[0] if stems else ""
    endings = [first[place:] for place, sign in enumerate(first) if place and sign in "_-. "]
    return ["", *(ending for ending in endings if all(stem.endswith(ending) for stem in stems))]
