"""A canvas that fills polygons with shaded paint.

Objects are lists of `Part` in units of their own, about half a cat's head; `Canvas.draw` places them with a matrix.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
from numpy.typing import ArrayLike
from PIL import Image, ImageDraw, ImageFilter

from trainer.make.synthetic.curves import Points, ruffled

SUPERSAMPLE = 2
"""Canvas pixels per image pixel, each way: what smooths the edges."""

RELIEF_CELLS, RELIEF_BLUR, RELIEF_MARGIN = 40, 3.5, 8
"""Cells across a `Relief`, and its blur and its margin in cells."""

Cloud = Callable[[np.ndarray, np.ndarray], np.ndarray]
"""Smooth noise [h, w] at coordinates u, v [h, w], blotches about 1 wide, standard deviation about 1."""

Paint = ArrayLike | Callable[[np.ndarray, np.ndarray, Cloud], np.ndarray]
"""An RGB colour in [0, 1], or a function of object coordinates u, v [h, w] and noise that gives colours [3, h, w]."""


@dataclass(frozen=True)
class Part:
    """A painted polygon of an object."""

    points: Points
    paint: Paint
    outline: bool = True
    """Membership in the silhouette; False for a detail that lies on it."""
    depth: float = 0.5
    """Strength of the shading that makes it look round, 0 for flat."""
    shadow: float = 0.0
    """Darkness, 0 to 1, of the soft shadow that it throws on the parts before it."""
    opacity: float = 1.0
    ruffle: float = 0.0
    """Length of the hairs that stand out of the edge, in object units."""


detail = partial(Part, outline=False, depth=0.0)
"""A part that adds nothing to the silhouette: an eye, a stripe, a label."""


def mix(first: np.ndarray, second: ArrayLike, share: np.ndarray) -> np.ndarray:
    """Colours [3, h, w]: `first` where `share` [h, w] is 0, the colour `second` where it is 1."""
    return first + np.clip(share, 0, 1) * (column(second) - first)


def column(colour: ArrayLike) -> np.ndarray:
    """A colour as float32 [3, 1, 1]."""
    return np.asarray(colour, dtype=np.float32).reshape(3, 1, 1)


class Canvas:
    """An image in the making: `pixels` float32 [3, side, side] in [0, 1], `SUPERSAMPLE` times the finished size."""

    def __init__(self, size: int, rng: np.random.Generator, light: tuple[float, float]) -> None:
        self.side = size * SUPERSAMPLE
        self.pixels = np.zeros((3, self.side, self.side), dtype=np.float32)
        self.rng = rng
        self.light = np.asarray(light, dtype=np.float64)
        """Unit vector in the image plane towards the light."""
        # Enlarged noise, without a seam where it is repeated: 4 values are more than the reach of the bicubic filter.
        values = np.pad(rng.standard_normal((28, 28), dtype=np.float32), 4, mode="wrap")
        large = Image.fromarray(values).resize((1024, 1024), Image.Resampling.BICUBIC, box=(4, 4, 32, 32))
        self.tile = np.asarray(large) / np.asarray(large)[::8, ::8].std()

    def cloud(self, u: np.ndarray, v: np.ndarray) -> np.ndarray:
        """The noise that paints are given, a `Cloud`."""
        return self.tile[(v * 80).astype(np.int32) & 1023, (u * 80).astype(np.int32) & 1023]

    def draw(self, parts: Sequence[Part], matrix: np.ndarray) -> list[Points]:
        """Paint an object, its parts in order; returns the polygons of its silhouette in image pixels.

        `matrix` [2, 3] takes object coordinates to image pixels, whose centres lie at whole numbers.
        """
        outlines = []
        inverse = np.linalg.inv(np.vstack([matrix, [0, 0, 1]]))
        unit = float(np.sqrt(abs(np.linalg.det(matrix[:, :2]))))
        for part in parts:
            points = part.points @ matrix[:, :2].T + matrix[:, 2]
            if part.ruffle:
                points = ruffled(points, min(max(part.ruffle * unit, 0.3), 1.3), max(0.05 * unit, 1.8), self.rng)
            points = np.round(points, 2)  # what a Labelme file holds, so that image and file agree
            if part.outline:
                outlines.append(points)
            self._fill(part, (points + 0.5) * SUPERSAMPLE - 0.5, inverse)
        return outlines

    def _fill(self, part: Part, points: Points, inverse: np.ndarray) -> None:
        low = np.maximum(np.floor(points.min(axis=0)).astype(int) - 1, 0)
        high = np.minimum(np.ceil(points.max(axis=0)).astype(int) + 2, self.side)
        if (high <= low).any():
            return
        window = (slice(low[1], high[1]), slice(low[0], high[0]))
        relief = Relief(points) if (part.depth or part.shadow) and max(high - low) > 6 else None
        if part.shadow and relief:
            self._darken(relief, part.shadow)
        stencil = Image.new("L", tuple(high - low))
        ImageDraw.Draw(stencil).polygon([tuple(p) for p in (points - low).tolist()], fill=255)
        inside = np.asarray(stencil)
        if callable(part.paint):
            x, y = ((np.arange(low[i], high[i]) + 0.5) / SUPERSAMPLE - 0.5 for i in (0, 1))
            # Sums of a row and a column: the large arrays come into being in single precision.
            columns, rows = np.outer(inverse[:2, 0], x), np.outer(inverse[:2, 1], y) + inverse[:2, 2:]
            u, v = columns[:, None].astype(np.float32) + rows[:, :, None].astype(np.float32)
            colour = part.paint(u, v, self.cloud)
        else:
            colour = column(part.paint)
        if part.depth and relief:
            colour = colour * (1 + np.float32(part.depth) * relief.read(relief.tones(self.light), low, high))
        region = self.pixels[:, *window]
        region += inside * np.float32(part.opacity / 255) * (colour - region)

    def _darken(self, relief: "Relief", strength: float) -> None:
        """Darken around a polygon, on the side away from the light."""
        offset, reach = -self.light * 0.06 * relief.extent, 0.1 * relief.extent
        low = np.maximum((relief.low + offset - reach).astype(int), 0)
        high = np.minimum((relief.high + offset + reach).astype(int), self.side)
        if (high <= low).any():
            return
        window = (slice(low[1], high[1]), slice(low[0], high[0]))
        self.pixels[:, *window] *= 1 - np.float32(strength) * relief.read(relief.height, low - offset, high - offset)

    def image(self) -> np.ndarray:
        """The finished image, float32 [3, size, size] in [0, 1]."""
        # Sums of strided views: several times as fast as a mean over axes of length SUPERSAMPLE.
        rows = self.pixels[:, ::2] + self.pixels[:, 1::2]
        return ((rows[:, :, ::2] + rows[:, :, 1::2]) / 4).clip(0, 1)


class Relief:
    """A polygon in canvas pixels as a bulge: `height` float32 [h, w] in [0, 1], in cells because it is smooth."""

    def __init__(self, points: Points) -> None:
        self.low, self.high = points.min(axis=0), points.max(axis=0)
        self.extent = float((self.high - self.low).max())
        self.cell = max(self.extent / RELIEF_CELLS, 0.5)
        width, height = np.ceil((self.high - self.low) / self.cell).astype(int) + 2 * RELIEF_MARGIN
        stencil = Image.new("L", (int(width), int(height)))
        cells = (points - self.low) / self.cell + RELIEF_MARGIN
        ImageDraw.Draw(stencil).polygon([tuple(p) for p in cells.tolist()], fill=255)
        self.height = np.asarray(stencil.filter(ImageFilter.GaussianBlur(RELIEF_BLUR)), dtype=np.float32) / 255

    def tones(self, light: np.ndarray) -> np.ndarray:
        """Brightness changes [h, w] around 0: bright where the edge faces the light, dark where it faces away."""
        dx, dy = np.rint(light * RELIEF_BLUR).astype(int)
        slope = np.roll(self.height, (dy, dx), (0, 1)) - np.roll(self.height, (-dy, -dx), (0, 1))
        return 0.6 * slope + 0.7 * (self.height - 0.9)

    def read(self, values: np.ndarray, low: np.ndarray, high: np.ndarray) -> np.ndarray:
        """`values` of the cells, enlarged to the canvas pixels from `low` to `high` (x, y): float32 [h, w]."""
        x, y = (low - self.low) / self.cell + RELIEF_MARGIN
        width, height = (high - low).round().astype(int)
        size, affine = (int(width), int(height)), (1 / self.cell, 0, x, 0, 1 / self.cell, y)
        soft = Image.fromarray(values).transform(size, Image.Transform.AFFINE, affine, Image.Resampling.BILINEAR)
        return np.asarray(soft)
