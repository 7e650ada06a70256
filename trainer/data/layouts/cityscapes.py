"""Cityscapes: leftImg8bit/<part>/<city>/ and gtFine/<part>/<city>/ with *_labelIds.png or *_labelTrainIds.png."""

from collections.abc import Sequence
from pathlib import Path

from trainer import InputError
from trainer.data.files import list_folders, list_images
from trainer.data.layouts.base import Found, merge_parts, pair
from trainer.data.layouts.meanings import name_values

IMAGES, MASKS = "leftImg8bit", "gtFine"
KINDS = ("labelTrainIds", "labelIds")
"""Endings of mask files; the first are made by Cityscapes' own scripts, perhaps with other classes left out."""

LABELS = {
    7: "road", 8: "sidewalk", 11: "building", 12: "wall", 13: "fence", 17: "pole", 19: "traffic light",
    20: "traffic sign", 21: "vegetation", 22: "terrain", 23: "sky", 24: "person", 25: "rider", 26: "car", 27: "truck",
    28: "bus", 31: "train", 32: "motorcycle", 33: "bicycle",
}  # fmt: skip
"""labelIds of the 19 classes that are scored; all others are void. Their trainIds count from 0 in this order."""

VALUES = {
    "labelIds": dict.fromkeys(range(256), "ignore") | LABELS,
    "labelTrainIds": dict(enumerate(LABELS.values())) | dict.fromkeys(range(len(LABELS), 256), "ignore"),
}


def fits(root: Path) -> bool:
    return _folder(root, IMAGES) is not None and _folder(root, MASKS) is not None


def find(root: Path, classes: Sequence[str] | None) -> Found:
    """Pair images and masks of all cities; pixels of none of the 19 classes are ignored."""
    images, masks = _folder(root, IMAGES), _folder(root, MASKS)
    if images is None or masks is None:
        raise InputError(f"{root}: needs the folders {IMAGES}/ and {MASKS}/")
    parts = [folder.name for folder in list_folders(images)]
    files = {part: (_list_cities(images / part), _list_cities(masks / part)) for part in parts}
    counts = {kind: sum(_is(file, kind) for _, stored in files.values() for file in stored) for kind in KINDS}
    kind = max(KINDS, key=lambda kind: counts[kind])
    found = merge_parts(
        {
            part: pair(
                taken,
                [file for file in stored if _is(file, kind)],
                (images / part, masks / part),
                endings=(f"_{IMAGES}", f"_{MASKS}_{kind}"),
            )
            for part, (taken, stored) in files.items()
        },
        root,
    )
    name_values(found, VALUES[kind], classes, root)
    return found


def _folder(root: Path, name: str) -> Path | None:
    """Folder `name` in `root`, or in the folder that its archive unpacks to."""
    places = (root / name, root / f"{name}_trainvaltest" / name)
    return next((place for place in places if place.is_dir()), None)


def _list_cities(folder: Path) -> list[Path]:
    """Image files of all cities in a part."""
    return [file for city in list_folders(folder) for file in list_images(city)]


def _is(file: Path, kind: str) -> bool:
    return file.stem.endswith(f"_{kind}")
