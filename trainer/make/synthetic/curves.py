"""Curves of the generated scenes: closed polygons, float64 [N, 2], x right and y down."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike

Points = np.ndarray


def smooth(points: ArrayLike, steps: int = 6, closed: bool = True) -> Points:
    """A Catmull-Rom curve through `points`, with `steps` vertices for each of them."""
    knots = np.asarray(points, dtype=np.float64)
    if not closed:
        knots = np.concatenate([2 * knots[:1] - knots[1:2], knots, 2 * knots[-1:] - knots[-2:-1]])
    before, start, end, after = (np.roll(knots, shift, axis=0)[:, None] for shift in (1, 0, -1, -2))
    t = np.linspace(0, 1, steps, endpoint=False)[None, :, None]
    cubic = 2 * before - 5 * start + 4 * end - after + t * (3 * (start - end) + after - before)
    curve = start + 0.5 * t * (end - before + t * cubic)
    return curve.reshape(-1, 2) if closed else np.concatenate([curve[1:-2].reshape(-1, 2), knots[-2:-1]])


def mirrored(half: Sequence[tuple[float, float]]) -> Points:
    """The smooth symmetric outline whose right half runs from its top to its bottom."""
    return smooth([*half, *((-x, y) for x, y in reversed(half) if x)])


def ellipse(x: float, y: float, rx: float, ry: float, angle: float = 0.0, steps: int = 36) -> Points:
    """An ellipse around (x, y) with radii rx and ry, turned by `angle` radians."""
    t = np.linspace(0, 2 * np.pi, steps, endpoint=False)
    return np.add(turned(np.stack([rx * np.cos(t), ry * np.sin(t)], axis=1), angle), (x, y))


def rectangle(x0: float, y0: float, x1: float, y1: float) -> Points:
    """A rectangle between two corners."""
    return np.array([(x0, y0), (x1, y0), (x1, y1), (x0, y1)])


def tube(centre: ArrayLike, widths: Sequence[float] | np.ndarray, steps: int = 6) -> Points:
    """A limb: the smooth curve through `centre` [N, 2], thickened to the radii `widths`, with round ends."""
    line = smooth(centre, steps, closed=False)
    radius = np.interp(np.linspace(0, 1, len(line)), np.linspace(0, 1, np.size(widths)), widths)[:, None]
    along = np.gradient(line, axis=0)
    along /= np.maximum(np.linalg.norm(along, axis=1, keepdims=True), 1e-9)
    across = along[:, ::-1] * (-1, 1)
    t = np.linspace(0, np.pi, 7)[1:-1, None]
    tip = line[-1] + radius[-1] * (np.cos(t) * across[-1] + np.sin(t) * along[-1])
    root = line[0] - radius[0] * (np.cos(t) * across[0] + np.sin(t) * along[0])
    return np.concatenate([line + radius * across, tip, (line - radius * across)[::-1], root])


def turned(points: ArrayLike, angle: float) -> Points:
    """`points` turned around the origin by `angle` radians, clockwise."""
    cos, sin = np.cos(angle), np.sin(angle)
    return np.asarray(points, dtype=np.float64) @ np.array([[cos, sin], [-sin, cos]])


def ruffled(points: Points, amplitude: float, spacing: float, rng: np.random.Generator) -> Points:
    """A closed polygon resampled every `spacing`, each vertex moved by up to `amplitude`: fur."""
    ring = np.concatenate([points, points[:1]])
    length = np.concatenate([[0.0], np.cumsum(np.linalg.norm(np.diff(ring, axis=0), axis=1))])
    where = np.arange(0, length[-1], spacing)
    even = np.stack([np.interp(where, length, ring[:, axis]) for axis in (0, 1)], axis=1)
    return even + rng.uniform(-amplitude, amplitude, even.shape)


def clipped(points: Points, top: float) -> Points:
    """The part of a polygon within [0, top] both ways (Sutherland and Hodgman 1974); empty where there is none."""
    for axis, sign, limit in ((0, 1, 0.0), (0, -1, -top), (1, 1, 0.0), (1, -1, -top)):
        distance = sign * points[:, axis] - limit
        inside = distance >= 0
        if not inside.any():
            return points[:0]
        following, ahead = np.roll(points, -1, axis=0), np.roll(distance, -1)
        crossing = inside != (ahead >= 0)
        share = np.divide(distance, distance - ahead, out=np.zeros_like(distance), where=crossing)[:, None]
        pairs = np.stack([points, points + (following - points) * share], axis=1).reshape(-1, 2)
        points = pairs[np.stack([inside, crossing], axis=1).reshape(-1)]
    return np.round(points, 2)
