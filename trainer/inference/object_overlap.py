"""True objects of a mask, and the predicted objects that belong to each."""

import numpy as np

from trainer import IGNORE
from trainer.inference.objects import Objects, find_objects
from trainer.system.strips import strips


def object_counts(predicted: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """Count pixels of each true object, int64 [M, 4]: class id, its own, predicted, and both.

    A predicted object belongs to the true object of its class that it covers most of; of equals the first. `predicted`,
    `mask`: class ids, uint8 [H, W]; pixels of 255 count nowhere. Of noise, which has no objects, none are counted.
    """
    known = mask != IGNORE
    true, found = find_objects(np.where(known, mask, 0)), find_objects(np.where(known, predicted, 0))
    if true is None or found is None or not len(true):
        return np.zeros((0, 4), np.int64)
    result = np.zeros((len(true), 4), np.int64)
    result[:, 0], result[:, 1] = true.classes, true.areas
    pairs, pixels = _overlaps(true, found)
    of_true, of_found = np.divmod(pairs, max(1, len(found)))
    same = true.classes[of_true] == found.classes[of_found]
    of_true, of_found, pixels = of_true[same], of_found[same], pixels[same]
    order = np.lexsort((of_true, -pixels, of_found))  # of each predicted object the largest overlap first
    _, firsts = np.unique(of_found[order], return_index=True)
    chosen = order[firsts]
    np.add.at(result[:, 2], of_true[chosen], found.areas[of_found[chosen]])
    np.add.at(result[:, 3], of_true[chosen], pixels[chosen])
    return result


def _overlaps(one: Objects, other: Objects) -> tuple[np.ndarray, np.ndarray]:
    """Pairs of objects that share pixels, as number of one * len(other) + number of other, and how many, int64 [P]."""
    pairs, counts = [np.zeros(0, np.int64)], [np.zeros(0, np.int64)]
    for rows in strips(*one.size):
        labels = [_labels(objects, rows) for objects in (one, other)]
        both = (labels[0] > 0) & (labels[1] > 0)
        keys = (labels[0][both] - 1) * len(other) + labels[1][both] - 1
        found, number = np.unique(keys, return_counts=True)
        pairs.append(found)
        counts.append(number)
    every, places = np.unique(np.concatenate(pairs), return_inverse=True)
    total = np.zeros(len(every), np.int64)
    np.add.at(total, places, np.concatenate(counts))
    return every, total


def _labels(objects: Objects, rows: slice) -> np.ndarray:
    """Number of the object at each pixel of some rows, from 1, and 0 without one; int64 [rows * W]."""
    width = objects.size[1]
    first, last = np.searchsorted(objects.runs[:, 0], [rows.start, rows.stop])
    row, start, stop = objects.runs[first:last].T.astype(np.int64)
    lengths = stop - start
    begins = (row - rows.start) * width + start
    places = np.repeat(begins - np.cumsum(lengths) + lengths, lengths) + np.arange(lengths.sum())
    result = np.zeros((rows.stop - rows.start) * width, np.int64)
    result[places] = np.repeat(objects.numbers[first:last].astype(np.int64) + 1, lengths)
    return result
