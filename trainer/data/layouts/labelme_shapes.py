"""What people draw on pictures with Labelme, and the mask that it makes."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageDraw

LINE_WIDTH, POINT_RADIUS = 10, 5  # Labelme's own
FARTHEST = 100_000
"""Coordinates beyond are refused: Pillow takes minutes for circles of that size, and overflows."""

POINTS: dict[str, tuple[int, float]] = {
    "polygon": (2, math.inf),  # two points occur in real files; Pillow draws a line
    "rectangle": (2, 2),
    "oriented_rectangle": (4, 4),
    "circle": (2, 2),
    "line": (2, 2),
    "linestrip": (2, math.inf),
    "point": (1, 1),
    "mask": (2, 2),
}
"""Shape types, and how many points each has at least and at most."""

Points = tuple[tuple[float, float], ...]


@dataclass(frozen=True)
class Shape:
    """One outlined thing: `points` (x, y) in pixels; for the type mask also the `crop`, bool [h, w], that it holds."""

    label: str
    kind: str
    points: Points
    crop: np.ndarray | None = None


def rasterise(shapes: Sequence[Shape], ids: Mapping[str, int], size: tuple[int, int]) -> np.ndarray:
    """Class ids uint8 [H, W] of `shapes`, later ones over earlier ones; `size` is (H, W).

    The rules of Labelme 7, labelme.utils.shape_to_mask: outlines belong to the shape, parts outside are cut off.
    """
    picture = Image.new("L", (size[1], size[0]))
    pen = ImageDraw.Draw(picture)
    for shape in shapes:
        value = ids[shape.label]
        if shape.crop is not None:
            x, y = (round(number) for number in shape.points[0])
            picture.paste(value, (x, y), Image.fromarray(shape.crop.astype(np.uint8) * 255))
        else:
            _draw(pen, shape, value)
    return np.array(picture)


def _draw(pen: ImageDraw.ImageDraw, shape: Shape, value: int) -> None:
    points = list(shape.points)
    (x, y), (to_x, to_y) = points[0], points[-1]
    if shape.kind == "rectangle":
        corners = [min(x, to_x), min(y, to_y), max(x, to_x), max(y, to_y)]
        pen.rectangle(corners, outline=value, fill=value)
    elif shape.kind in ("circle", "point"):
        radius = math.hypot(to_x - x, to_y - y) if shape.kind == "circle" else POINT_RADIUS
        pen.ellipse([x - radius, y - radius, x + radius, y + radius], outline=value, fill=value)
    elif shape.kind in ("line", "linestrip"):
        pen.line(points, fill=value, width=LINE_WIDTH, joint="curve" if shape.kind == "linestrip" else None)
    else:
        pen.polygon(points, outline=value, fill=value)
