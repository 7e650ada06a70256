"""Shapes of a generated scene as Labelme keeps them, and the mask that they make."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageDraw

from trainer.make.synthetic.canvas import Points

BACKGROUND = "_background_"


@dataclass(frozen=True)
class Shape:
    """A closed polygon: `points` (x, y) in pixels, within the picture; `label` a class name or `_background_`."""

    label: str
    points: tuple[tuple[float, float], ...]


@dataclass(frozen=True)
class Scene:
    """A picture, uint8 RGB [H, W, 3], and its shapes back to front: later ones overwrite earlier ones."""

    image: np.ndarray
    shapes: tuple[Shape, ...]


def rasterise(shapes: Sequence[Shape], class_names: Sequence[str], size: tuple[int, int]) -> np.ndarray:
    """Class ids uint8 [H, W] of `shapes`, drawn in order as Labelme draws them; `size` is (H, W).

    `class_names[0]` is the background. Labelme's rule (labelme.utils.shape_to_mask): the polygon with its outline.
    """
    mask = Image.new("L", (size[1], size[0]))
    pen = ImageDraw.Draw(mask)
    for shape in shapes:
        value = class_names.index(shape.label)
        pen.polygon(list(shape.points), outline=value, fill=value)
    return np.array(mask)


def cut_to_frame(outlines: Sequence[Points], label: str, size: int) -> list[Shape]:
    """Polygons cut to a square frame, as Labelme keeps them; those outside are left out."""
    cut = [_clipped(points, size - 1.0) for points in outlines]
    return [Shape(label, tuple((float(x), float(y)) for x, y in points)) for points in cut if len(points) >= 3]


def _clipped(points: Points, top: float) -> Points:
    """The part of a polygon within [0, top] both ways (Sutherland and Hodgman 1974), rounded to 1/100 pixel."""
    for axis, sign, limit in ((0, 1, 0.0), (0, -1, -top), (1, 1, 0.0), (1, -1, -top)):
        distance = sign * points[:, axis] - limit
        inside = distance >= 0
        if inside.all():
            continue
        if not inside.any():
            return points[:0]
        following, ahead = np.roll(points, -1, axis=0), np.roll(distance, -1)
        crossing = inside != (ahead >= 0)
        share = np.divide(distance, distance - ahead, out=np.zeros_like(distance), where=crossing)[:, None]
        pairs = np.stack([points, points + (following - points) * share], axis=1).reshape(-1, 2)
        points = pairs[np.stack([inside, crossing], axis=1).reshape(-1)]
    return np.round(points, 2)


def without_hidden(shapes: Sequence[Shape], size: int) -> tuple[Shape, ...]:
    """`shapes` without those that change no pixel of the mask, such as an eyelid or a pot that hides nobody."""
    names = [BACKGROUND, *sorted({shape.label for shape in shapes} - {BACKGROUND})]
    mask, kept = Image.new("L", (size, size)), []
    pen = ImageDraw.Draw(mask)
    before = np.zeros((size, size), dtype=np.uint8)
    for shape in shapes:
        value = names.index(shape.label)
        pen.polygon(list(shape.points), outline=value, fill=value)
        after = np.array(mask)
        if (after != before).any():
            kept.append(shape)
        before = after
    return tuple(kept)
