"""Specks: objects far smaller than those that were labelled, and holes of that size.

Whoever corrects a prediction deletes them one by one, and an object with a hole can be no polygon.
"""

from collections.abc import Iterable

import numpy as np

from trainer import IGNORE
from trainer.data.view import View
from trainer.inference.objects import Objects, find_objects, keep_objects
from trainer.model.segmenter import Contract

MOST_SMALLER = 0.01
"""Share of a class's labelled pixels that may lie in smaller objects than the one that its objects are measured by:
labels have specks too."""

SPECK = 0.1
"""Share of that object's area below which an object is a speck: a third of its height and width."""


def usual_areas(masks: Iterable[np.ndarray], classes: int) -> tuple[int, ...]:
    """Area in pixels of the smallest usual object of each class from 1 to `classes` - 1; 0 where there is none.

    `masks`: class ids, uint8 [H, W]. All but MOST_SMALLER of a class's pixels lie in objects of that area or more.
    """
    areas: list[list[np.ndarray]] = [[] for _ in range(classes)]
    for mask in masks:
        objects = find_objects(np.where(mask >= min(classes, IGNORE), 0, mask).astype(np.uint8))
        if objects is not None:
            for number in np.unique(objects.classes).tolist():
                areas[number].append(objects.areas[objects.classes == number])
    return tuple(_usual_area(np.concatenate(one)) if one else 0 for one in areas[1:])


def _usual_area(areas: np.ndarray) -> int:
    areas = np.sort(areas)
    return int(areas[np.searchsorted(np.cumsum(areas), MOST_SMALLER * areas.sum(), "right")])


def least_areas(contract: Contract, size: tuple[int, int]) -> np.ndarray:
    """Area below which an object of each class is a speck, in pixels of an image of `size` (H, W), float64 [K].

    0 for the background, and for classes of which nothing is known.
    """
    known = contract.object_areas or (0,) * (len(contract.class_names) - 1)
    return SPECK * np.array([0, *known]) / seen_share(contract.shown, size)


def seen_share(view: View, size: tuple[int, int]) -> float:
    """Pixels that the network sees for each pixel of an image of `size` (H, W)."""
    height, width = size
    if view.tiles:
        return view.scale**2
    return view.size**2 / (max(height, width) ** 2 if view.keep_aspect else height * width)


def remove_specks(mask: np.ndarray, objects: Objects, contract: Contract) -> Objects:
    """Remove specks from a mask, uint8 [H, W], changed in place; return what is left. Holes of their size are filled.

    The largest object of an image stays, however small.
    """
    least = least_areas(contract, objects.size)
    if not len(objects) or not least.any():
        return objects
    limits = least[objects.classes]
    limits[np.argmax(objects.areas)] = 0
    changed = keep_objects(mask, objects, limits, largest_only=False)
    changed |= _fill_holes(mask, float(least[least > 0].min()))
    return (find_objects(mask) or objects) if changed else objects


def _fill_holes(mask: np.ndarray, least: float) -> bool:
    """Give the pixels of holes of less than `least` pixels the class on their left; return whether there were any."""
    holes = find_objects((mask == 0).astype(np.uint8))
    if holes is None or not len(holes):
        return False
    ends = holes.boxes[:, :2] + holes.boxes[:, 2:]
    inside = (holes.boxes[:, :2] > 0).all(axis=1) & (ends < np.array(mask.shape)[::-1]).all(axis=1)
    small = inside & (holes.areas < least)
    for row, start, stop in holes.runs[small[holes.numbers]].tolist():
        mask[row, start:stop] = mask[row, start - 1]
    return bool(small.any())
