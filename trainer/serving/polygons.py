"""Objects as polygons for tools that know no masks: holes become part of the outline."""

import numpy as np
from scipy.spatial import cKDTree

from trainer.inference.objects import Objects
from trainer.inference.outline import simplify, trace_outlines


def object_polygons(objects: Objects, tolerance_share: float = 0.0) -> list[np.ndarray]:
    """Polygon of each object: x and y of pixels, float64 [n, 2], at least three.

    `tolerance_share`: the most that a line may leave the outline by, as a share of the outline's length; 0 keeps every
    pixel.
    """
    polygons = []
    for number, runs in enumerate(objects.runs_of_each()):
        left, top = objects.boxes[number, :2].tolist()
        paths = trace_outlines(objects.crop(number, runs))
        thin = [simplify(path, tolerance_share * _length(path)).astype(np.float64) for path in paths]
        outline = thin[0]
        for hole in sorted(thin[1:], key=len, reverse=True):
            outline = _join(outline, hole)
        points = outline + np.array([left, top])
        polygons.append(np.vstack([points, *[points[-1:]] * (3 - len(points))]))
    return polygons


def _length(path: np.ndarray) -> float:
    """Length of a closed path [n, 2] in pixels."""
    return float(np.hypot(*(path - np.roll(path, 1, axis=0)).T).sum())


def _join(outline: np.ndarray, hole: np.ndarray) -> np.ndarray:
    """Outline that goes to a hole where the two are nearest, around it, and back by the same line, [n, 2]."""
    distances, places = cKDTree(outline).query(hole)
    there = int(np.argmin(distances))
    here = int(places[there])
    around = np.vstack([hole[there:], hole[: there + 1]])
    return np.vstack([outline[: here + 1], around, outline[here:]])
