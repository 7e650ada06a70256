"""Carvana: train/ beside train_masks/, whose names end in _mask; GIF masks, as the original has, show cars."""

from collections.abc import Sequence
from pathlib import Path

from trainer import InputError
from trainer.data.files import list_folders
from trainer.data.layouts.base import PARTS, Found, merge_parts
from trainer.data.layouts.folders import holds_images, pair_folders
from trainer.data.layouts.meanings import name_only_class

ENDING = "_masks"


def fits(root: Path) -> bool:
    return bool(_find_parts(root))


def find(root: Path, classes: Sequence[str] | None) -> Found:
    """Pair images and masks by stem. Samples are named `train/<stem>`; folders of images alone are left out."""
    parts = _find_parts(root)
    if not parts:
        raise InputError(f"{root}: needs the folders train/ and train{ENDING}/, with pictures in them")
    found = merge_parts({part: pair_folders(*folders) for part, folders in parts.items()}, root)
    if all(sample.mask_file.lower().endswith(".gif") for sample in found.samples):
        name_only_class(found, "car", classes, root)
    return found


def _find_parts(root: Path) -> dict[str, tuple[Path, Path]]:
    """Part -> folder of its images and folder of its masks."""
    folders = {path.name: path for path in list_folders(root) if path.name[0] != "."}
    pairs = {part: (path, folders[part + ENDING]) for part, path in folders.items() if part + ENDING in folders}
    return {part: pair for part, pair in pairs.items() if part.lower() in PARTS and all(map(holds_images, pair))}
