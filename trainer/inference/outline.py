"""Outlines of objects: the path around their pixels, and the same path with fewer points."""

import numpy as np

from trainer.system.strips import strips

ROUNDING = 1e-9
"""Distance in pixels that points on a line may seem to have from it."""


def trace_outlines(pixels: np.ndarray) -> list[np.ndarray]:
    """Closed paths along the border pixels of an object, bool [h, w]: x and y of pixels, int64 [n, 2], no gap between.

    The first path goes around the object, the others around its holes. Pixels that touch by a corner are connected.
    The path is followed along the cracks between the object's pixels and others, with the object on the right.
    """
    width = pixels.shape[1]
    padded = np.pad(pixels, 1)
    inside = padded[1:-1, 1:-1]
    line = width + 1  # corners in a row of corners
    begins, ends, owners = [], [], []
    # Side of a pixel, its neighbour there, and the corners (down, right) where that crack begins and ends.
    sides = {
        "top": (padded[:-2, 1:-1], (0, 0), (0, 1)),
        "right": (padded[1:-1, 2:], (0, 1), (1, 1)),
        "bottom": (padded[2:, 1:-1], (1, 1), (1, 0)),
        "left": (padded[1:-1, :-2], (1, 0), (0, 0)),
    }
    for neighbour, (down, right), (end_down, end_right) in sides.values():
        rows, columns = np.divmod(_places(inside, neighbour), width)
        begins.append((rows + down) * line + columns + right)
        ends.append((rows + end_down) * line + columns + end_right)
        owners.append(rows * width + columns)
    begin, end, owner = (np.concatenate(parts) for parts in (begins, ends, owners))
    order = np.argsort(begin, kind="stable")
    begin, end, owner = begin[order], end[order], owner[order]
    following = np.searchsorted(begin, end)
    # Where two pixels touch by a corner, two cracks begin there: the path crosses over to the other pixel.
    another = np.minimum(following + 1, len(begin) - 1)
    crosses = (begin[another] == end) & (another != following) & (owner[following] == owner)
    return _follow(np.where(crosses, another, following).tolist(), owner, width)


def _places(inside: np.ndarray, neighbour: np.ndarray) -> np.ndarray:
    """Places of pixels, bool [h, w], that are inside and whose neighbour is not."""
    height, width = inside.shape
    found = [rows.start * width + np.flatnonzero(inside[rows] & ~neighbour[rows]) for rows in strips(height, width)]
    return np.concatenate(found)


def _follow(following: list[int], owner: np.ndarray, width: int) -> list[np.ndarray]:
    """Paths of pixels, from the crack that follows each crack; the one with the first pixel is around all."""
    seen = bytearray(len(following))
    paths = []
    for start in range(len(following)):  # the first crack is the top of the first pixel
        if seen[start]:
            continue
        path, crack = [], start
        while not seen[crack]:
            seen[crack] = 1
            path.append(crack)
            crack = following[crack]
        owners = owner[path]
        owners = owners[owners != np.roll(owners, -1)] if (owners != owners[0]).any() else owners[:1]
        paths.append(np.stack([owners % width, owners // width], axis=1))
    return paths


def simplify(path: np.ndarray, tolerance: float) -> np.ndarray:
    """Points of a closed path [n, 2], of which no point left out is farther than `tolerance` from the lines that stay.

    Douglas and Peucker 1973. The path is cut at its first point and at the one farthest from it.
    """
    if len(path) < 4:
        return path
    points = np.vstack([path, path[:1]]).astype(np.float64)
    kept = np.zeros(len(points), bool)
    middle = int(np.argmax(((points - points[0]) ** 2).sum(axis=1)))
    kept[[0, middle, -1]] = True
    waiting = [(0, middle), (middle, len(points) - 1)]
    while waiting:
        first, last = waiting.pop()
        if last - first < 2:
            continue
        distances = _distances(points[first + 1 : last], points[first], points[last])
        farthest = int(np.argmax(distances))
        if distances[farthest] > tolerance + ROUNDING:
            at = first + 1 + farthest
            kept[at] = True
            waiting += [(first, at), (at, last)]
    return path[kept[:-1]]


def _distances(points: np.ndarray, start: np.ndarray, end: np.ndarray) -> np.ndarray:
    """Distances of points [n, 2] from the line between two points, [n]."""
    along = end - start
    length = float(along @ along)
    share = np.clip((points - start) @ along / length, 0, 1)[:, None] if length else 0.0
    return np.hypot(*(points - start - share * along).T)
