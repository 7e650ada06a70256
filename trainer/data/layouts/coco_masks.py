"""COCO segmentations, polygons or run lengths: check them, and draw the mask of an image's instances.

Segmentations are checked before pycocotools sees them: its C code takes all memory for a polygon with NaN, and returns
uninitialised memory for run lengths that end too early.
"""

import importlib.util
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from trainer import InputError
from trainer.config import install_command

MOST_OUTLINE = 4_000_000
"""Length of one annotation's outlines, in pixels: pycocotools takes some 100 bytes a pixel."""

MOST_OUTLINES = 10 * MOST_OUTLINE
"""Length of the outlines of all annotations of one image, in pixels: some ten seconds."""

Segmentation = list[list[float]] | dict[str, Any]
"""Polygons, each x, y, x, y, ...; or run lengths {"size": [H, W], "counts": text or numbers}."""


def need_pycocotools(root: Path) -> None:
    """Raise InputError with the command that installs pycocotools, unless it is there."""
    if importlib.util.find_spec("pycocotools") is None:
        raise InputError(
            f"{root}: outlines as COCO and YOLO have them need pycocotools; install it with\n"
            f"  {install_command('coco')}"
        )


def check_segmentation(value: object, size: tuple[int, int], where: str) -> Segmentation | None:
    """Return the segmentation in `value`; None where it covers nothing, as polygons of fewer than three points do.

    `size`: H, W of the image. Raises InputError whose text begins with `where`.
    """
    if isinstance(value, dict):
        return _check_runs(value, size, where)
    if not isinstance(value, list) or not value:
        raise InputError(f"{where} has no segmentation, only a box perhaps; export the data with outlines")
    if type(value[0]) in (int, float):
        value = [value]  # VIA writes the numbers of its only polygon
    polygons = []
    for polygon in value:
        if not isinstance(polygon, list) or len(polygon) % 2 or not all(type(one) in (int, float) for one in polygon):
            raise InputError(f"{where}: segmentation is not a list of polygons x, y, x, y, ...; export the data again")
        # At most the image's size away from it; NaN fails the comparison too.
        if not all(-side <= one <= 2 * side for axis, side in ((0, size[1]), (1, size[0])) for one in polygon[axis::2]):
            raise InputError(f"{where}: a point far outside its picture of {size[1]}x{size[0]} pixels; draw it again")
        if len(polygon) >= 6:
            polygons.append([float(one) for one in polygon])
    length = outline_length(polygons)
    if length > MOST_OUTLINE:
        raise InputError(f"{where}: an outline of {length:,} pixels, more than {MOST_OUTLINE:,}; draw it again")
    return polygons or None


def outline_length(segmentation: Segmentation) -> int:
    """Length of the outlines of polygons, and the number of points, in pixels; 0 for run lengths."""
    if isinstance(segmentation, dict):
        return 0
    total = 0.0
    for polygon in segmentation:
        points = np.asarray(polygon, np.float64).reshape(-1, 2)
        total += float(np.abs(points - np.roll(points, 1, axis=0)).max(axis=1).sum()) + len(points)
    return int(total)


def covered_pixels(segmentation: Segmentation) -> int:
    """Number of pixels of checked run lengths; 0 for polygons, which would have to be drawn first."""
    return sum(segmentation["counts"][1::2]) if isinstance(segmentation, dict) else 0


def draw_instances(instances: Sequence[tuple[int, Segmentation]], size: tuple[int, int]) -> np.ndarray:
    """Draw (class id, checked segmentation) pairs into a mask of `size` (H, W): class ids, uint8 [H, W].

    Instances with a smaller area in pixels lie over those with a larger one; of equal ones the later lies on top.
    """
    from pycocotools import mask as coco

    height, width = size
    mask = np.zeros(size, np.uint8)
    encoded = []
    for class_id, segmentation in instances:
        runs = coco.frPyObjects(segmentation, height, width)
        encoded.append((class_id, coco.merge(runs) if isinstance(runs, list) else runs))
    with warnings.catch_warnings():
        # The arrays of pycocotools predate the `copy` argument that NumPy 2 passes to `__array__`.
        warnings.filterwarnings("ignore", "__array__ implementation", DeprecationWarning)
        for class_id, runs in sorted(encoded, key=lambda pair: -int(coco.area(pair[1]))):
            mask[coco.decode(runs) > 0] = class_id
    return mask


def _check_runs(value: dict[str, Any], size: tuple[int, int], where: str) -> Segmentation:
    counts = value.get("counts")
    if value.get("size") != list(size):
        raise InputError(
            f"{where}: run lengths for {value.get('size')!r}, its picture has {list(size)} (height, "
            "width); export the data again"
        )
    runs = _decompress(counts) if isinstance(counts, str) else counts
    if not isinstance(runs, list) or any(type(run) is not int or run < 0 for run in runs) or sum(runs) != np.prod(size):
        raise InputError(f"{where}: run lengths that do not add up to its picture's pixels; export the data again")
    return {"size": list(size), "counts": runs}


def _decompress(text: str) -> list[int] | None:
    """Decode COCO's compressed run lengths as rleFrString in maskApi.c does; None where the text is malformed.

    Each character holds six bits, counted from "0": five bits of a number, lowest first, and a bit that is set if more
    follow. From the fourth number on, each is the difference to the number two places before.
    """
    runs: list[int] = []
    number = place = 0
    for character in text:
        bits = ord(character) - 48
        if not 0 <= bits < 64 or place > 12:
            return None
        number |= (bits & 31) << 5 * place
        place += 1
        if not bits & 32:
            signed = number - (1 << 5 * place) if bits & 16 else number
            runs.append(signed + (runs[-2] if len(runs) > 2 else 0))
            number = place = 0
    return runs if place == 0 else None
