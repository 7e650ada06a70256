"""LoveDA: Train/, Val/ and Test/ with Rural/ and Urban/, each with images_png/ and masks_png/."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from trainer import InputError
from trainer.data.files import list_folders, list_images
from trainer.data.layouts.base import PARTS, Found, merge_parts, pair
from trainer.data.layouts.meanings import name_values

IMAGES, MASKS = "images_png", "masks_png"
LABELS = dict(
    enumerate(("ignore", "background", "building", "road", "water", "barren", "forest", "agriculture"))
)  # 0 is where there is no data


def fits(root: Path) -> bool:
    return any((place / MASKS).is_dir() for place in _find_places(root))


def find(root: Path, classes: Sequence[str] | None) -> Found:
    """Pair images and masks by stem; samples are named by the folders that they are in, such as `Train/Rural/0`."""
    places = _find_places(root)
    if not places:
        raise InputError(f"{root}: needs Train/Rural/{IMAGES}/ and Train/Rural/{MASKS}/, or folders like these")
    parts: dict[str, Found] = {}
    for place in places:
        inner = place.relative_to(root).parts
        part = inner[0] if inner and inner[0].lower() in PARTS else ""
        prefix = "".join(f"{name}/" for name in (inner[1:] if part else inner))
        whole = parts.setdefault(part, Found())
        masks = list_images(place / MASKS) if (place / MASKS).is_dir() else []
        if not masks and PARTS.get(part.lower(), "") is None:  # the masks of the test part are not published
            continue
        found = pair(list_images(place / IMAGES), masks, (place / IMAGES, place / MASKS))
        whole.samples += [replace(sample, name=prefix + sample.name) for sample in found.samples]
        whole.add(found)
    found = parts[""] if set(parts) == {""} else merge_parts(parts, root)
    name_values(found, LABELS, classes, root)
    return found


def _find_places(root: Path) -> list[Path]:
    """Folders with images: `root`, those in it, or those in these."""
    below = list_folders(root)
    deeper = [folder for path in below for folder in list_folders(path)]
    return [folder for folder in (root, *below, *deeper) if (folder / IMAGES).is_dir()]
