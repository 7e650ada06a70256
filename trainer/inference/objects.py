"""Connected objects of a mask: their areas, boxes and centres, and the removal of small ones.

A mask is taken apart into runs, the pixels of one class beside each other in a row. Runs of neighbouring rows that
touch, also by a corner, belong to one object. Memory grows with the number of runs, which is small, not of pixels.
"""

from dataclasses import dataclass

import numpy as np

from trainer.system.strips import strips

MOST_RUNS = 4_000_000
"""Runs of a mask beyond which its objects are not looked for: pure noise, and it would take gigabytes."""


@dataclass(frozen=True)
class Objects:
    """N connected objects of a mask in R runs, numbered from 0 in the order in which reading the rows meets them."""

    size: tuple[int, int]
    """H, W of the mask."""

    runs: np.ndarray
    """Row, first column, and column behind the last one of each run, int32 [R, 3]; ordered by row, then column."""

    numbers: np.ndarray
    """Number of the object of each run, int32 [R]."""

    classes: np.ndarray
    """Class id of each object, uint8 [N]."""

    areas: np.ndarray
    """Pixels of each object, int64 [N]."""

    boxes: np.ndarray
    """Left, top, width and height of each object in pixels, int32 [N, 4]."""

    centroids: np.ndarray
    """x and y of each object's centre, the first pixel's being 0, float64 [N, 2]."""

    def __len__(self) -> int:
        return len(self.classes)

    def count(self, classes: int) -> list[int]:
        """Objects of each class id from 0 to `classes` - 1."""
        return np.bincount(self.classes, minlength=classes)[:classes].tolist()

    def runs_of_each(self) -> list[np.ndarray]:
        """Runs of each object, int32 [r, 3]."""
        order = np.argsort(self.numbers, kind="stable")
        ends = np.cumsum(np.bincount(self.numbers, minlength=len(self)))
        return np.split(self.runs[order], ends[:-1]) if len(self) else []

    def crop(self, number: int, runs: np.ndarray) -> np.ndarray:
        """Pixels of an object within its box, bool [h, w]; `runs`: those of `runs_of_each`."""
        left, top, width, height = self.boxes[number].tolist()
        return paint_runs(runs - np.array([top, left, left], np.int32), (height, width))

    def mean_levels(self, levels: np.ndarray) -> np.ndarray:
        """Mean of `levels`, uint8 [H, W], over the pixels of each object, float64 [N]."""
        sums = np.zeros(len(self))
        width = self.size[1]
        for rows in strips(*self.size):
            first, last = np.searchsorted(self.runs[:, 0], [rows.start, rows.stop])
            row, start, stop = self.runs[first:last].T.astype(np.int64)
            totals = np.concatenate([[0], np.cumsum(levels[rows], dtype=np.int64)])
            at = (row - rows.start) * width
            sums += np.bincount(self.numbers[first:last], totals[at + stop] - totals[at + start], len(self))
        return sums / np.maximum(1, self.areas)


def find_objects(mask: np.ndarray) -> Objects | None:
    """Find the connected objects of all classes in a mask, uint8 [H, W]; None for noise of more than MOST_RUNS runs."""
    found = _find_runs(mask)
    if found is None:
        return None
    runs, classes = found
    count, numbers = _join_runs(runs, classes, mask.shape[1])
    lengths = (runs[:, 2] - runs[:, 1]).astype(np.int64)
    areas = np.bincount(numbers, lengths, count).astype(np.int64)
    object_classes = np.zeros(count, np.uint8)
    object_classes[numbers] = classes
    least, most = np.full((count, 2), np.iinfo(np.int32).max, np.int32), np.zeros((count, 2), np.int32)
    for axis, (low, high) in enumerate(((runs[:, 1], runs[:, 2]), (runs[:, 0], runs[:, 0] + 1))):
        np.minimum.at(least[:, axis], numbers, low)
        np.maximum.at(most[:, axis], numbers, high)
    middles = (runs[:, 1] + runs[:, 2] - 1) / 2, runs[:, 0]
    sums = [np.bincount(numbers, lengths * middle, count) for middle in middles]
    centroids = np.stack(sums, axis=1) / np.maximum(1, areas)[:, None]
    size = (mask.shape[0], mask.shape[1])
    return Objects(size, runs, numbers, object_classes, areas, np.hstack([least, most - least]), centroids)


def keep_objects(mask: np.ndarray, objects: Objects, min_area: int | np.ndarray, largest_only: bool) -> bool:
    """Set the pixels of other objects to 0 in `mask`, uint8 [H, W]; return whether there were any.

    Kept are objects of at least `min_area` pixels, one number for all or [N]; of these, with `largest_only`, the
    largest of each class, of equal ones the first.
    """
    kept = objects.areas >= min_area
    if largest_only:
        for class_id in np.unique(objects.classes):
            own = np.flatnonzero((objects.classes == class_id) & kept)
            if len(own):
                kept[own] = False
                kept[own[np.argmax(objects.areas[own])]] = True
    if kept.all():
        return False
    removed = objects.runs[~kept[objects.numbers]]
    for rows in strips(*objects.size):
        first, last = np.searchsorted(removed[:, 0], [rows.start, rows.stop])
        if first < last:
            here = removed[first:last] - np.array([rows.start, 0, 0], np.int32)
            mask[rows][paint_runs(here, (rows.stop - rows.start, objects.size[1]))] = 0
    return True


def paint_runs(runs: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Pixels of `runs`, int32 [R, 3], in a picture of `size` (H, W): bool [H, W]."""
    steps = np.zeros((size[0], size[1] + 1), np.int8)
    steps[runs[:, 0], runs[:, 1]] += 1
    steps[runs[:, 0], runs[:, 2]] -= 1
    np.cumsum(steps, axis=1, dtype=np.int8, out=steps)
    return steps[:, :-1].view(bool)


def _find_runs(mask: np.ndarray) -> tuple[np.ndarray, np.ndarray] | None:
    """Runs of a mask, int32 [R, 3], and the class id of each, uint8 [R]; None where there are more than MOST_RUNS."""
    width, total = mask.shape[1], 0
    runs, classes = [np.zeros((0, 3), np.int32)], [np.zeros(0, np.uint8)]
    for rows in strips(*mask.shape):
        strip = mask[rows]
        begins = np.empty(strip.shape, bool)
        begins[:, 0] = True
        np.not_equal(strip[:, 1:], strip[:, :-1], out=begins[:, 1:])
        starts = np.flatnonzero(begins)
        lengths = np.diff(starts, append=strip.size)
        ids = strip.reshape(-1)[starts]
        starts, lengths, ids = starts[ids != 0], lengths[ids != 0], ids[ids != 0]
        row, column = np.divmod(starts, width)
        runs.append(np.stack([row + rows.start, column, column + lengths], axis=1).astype(np.int32))
        classes.append(ids)
        total += len(ids)
        if total > MOST_RUNS:
            return None
    return np.concatenate(runs), np.concatenate(classes)


def _join_runs(runs: np.ndarray, classes: np.ndarray, width: int) -> tuple[int, np.ndarray]:
    """Number of objects, and the object of each run, int32 [R]."""
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    row, start, stop = runs.T.astype(np.int64)
    line = width + 2  # the end of a row and the start of the next one do not touch
    # Runs of the next row that touch run i: from the first that ends at its start or later, to the last that starts at
    # its end or earlier; a run ends at the column behind it, so that corners touch.
    first = np.searchsorted(row * line + stop, (row + 1) * line + start, "left")
    last = np.searchsorted(row * line + start, (row + 1) * line + stop, "right")
    counts = np.maximum(0, last - first)
    above = np.repeat(np.arange(len(runs)), counts)
    below = np.arange(len(above)) + np.repeat(first - np.cumsum(counts) + counts, counts)
    same = classes[above] == classes[below]
    ones = np.ones(int(same.sum()), np.uint8)
    graph = coo_array((ones, (above[same], below[same])), shape=(len(runs), len(runs)))
    count, numbers = connected_components(graph, directed=False)
    return int(count), numbers
