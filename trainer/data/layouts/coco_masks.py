"""Outlines of instances as COCO writes them, and the mask that they make together.

What comes out of a file is checked before pycocotools sees it: its C code takes all memory for a polygon with NaN, and
gives whatever lay in memory for run lengths that end too early.
"""

import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np

from trainer import InputError

Segmentation = list[list[float]] | dict[str, Any]
"""Polygons, each x, y, x, y, ...; or run lengths {"size": [H, W], "counts": text or numbers}."""


def check_segmentation(value: object, size: tuple[int, int], where: str) -> Segmentation | None:
    """The outline in `value`, which stands at `where`; None where it covers nothing. `size` is H, W of its picture.

    Polygons of two points and fewer cover nothing. Raises InputError beginning with `where`.
    """
    if isinstance(value, dict):
        return _check_runs(value, size, where)
    if not isinstance(value, list) or not value:
        raise InputError(f"{where} has no segmentation, only a box perhaps; export the data with outlines")
    polygons = []
    for polygon in value:
        if not isinstance(polygon, list) or len(polygon) % 2 or not all(type(one) in (int, float) for one in polygon):
            raise InputError(f"{where}: segmentation is no list of polygons x, y, x, y, ...; export the data again")
        # Not more than a picture's size away; NaN fails the comparison too.
        if not all(-side <= one <= 2 * side for axis, side in ((0, size[1]), (1, size[0])) for one in polygon[axis::2]):
            raise InputError(f"{where}: a point far outside its picture of {size[1]}x{size[0]} pixels; draw it again")
        if len(polygon) >= 6:
            polygons.append([float(one) for one in polygon])
    return polygons or None


def draw_instances(instances: Sequence[tuple[int, Segmentation]], size: tuple[int, int]) -> np.ndarray:
    """Class ids uint8 [H, W] of (class id, checked outline): by area, the smaller over the larger.

    Of two that are equal in area the later one lies above.
    """
    from pycocotools import mask as coco

    height, width = size
    mask = np.zeros(size, np.uint8)
    runs = []
    for number, outline in instances:
        made = coco.frPyObjects(outline, height, width)
        runs.append((number, coco.merge(made) if isinstance(made, list) else made))
    with warnings.catch_warnings():
        # pycocotools' own arrays do not know what NumPy 2 asks of them.
        warnings.filterwarnings("ignore", "__array__ implementation", DeprecationWarning)
        for number, one in sorted(runs, key=lambda pair: -int(coco.area(pair[1]))):
            mask[coco.decode(one) > 0] = number
    return mask


def _check_runs(value: dict[str, Any], size: tuple[int, int], where: str) -> Segmentation:
    counts = value.get("counts")
    if value.get("size") != list(size):
        raise InputError(f"{where}: run lengths for {value.get('size')!r}, its picture has {list(size)} (height, "
                         "width); export the data again")  # fmt: skip
    runs = _decompressed(counts) if isinstance(counts, str) else counts
    if (
        not isinstance(runs, list)
        or not all(type(run) is int and run >= 0 for run in runs)
        or sum(runs) != np.prod(size)
    ):
        raise InputError(f"{where}: run lengths that do not add up to its picture's pixels; export the data again")
    return {"size": list(size), "counts": runs}


def _decompressed(text: str) -> list[int] | None:
    """Run lengths out of COCO's text, as rleFrString in maskApi.c reads it; None where it is none.

    Six bits a character from "0" on: five of a number, the lowest first, and one that says that more follow. From the
    fourth number on, differences to the number before the last.
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
