"""Paint for the generated scenes: curves, noise, and a canvas that fills polygons with shaded paint.

Objects are lists of `Part` in their own coordinates (x right, y down, one unit about half a cat's head). `Canvas.draw`
places them with an affine matrix and gives back the polygons it filled, in pixels of the finished picture.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from PIL import Image, ImageDraw, ImageFilter

SUPERSAMPLE = 2
"""Canvas pixels per picture pixel, each way: what smooths the edges."""

Points = np.ndarray
"""float [N, 2], x and y."""

Paint = Callable[[np.ndarray, np.ndarray, "Noise"], np.ndarray] | Sequence[float]
"""One RGB colour in [0, 1], or a function of object coordinates u, v [h, w] and noise that gives colours [3, h, w]."""


@dataclass(frozen=True)
class Part:
    """A painted polygon of an object. Parts with `outline` make up its silhouette, the others lie on top of it."""

    points: Points
    paint: Paint
    outline: bool = True
    depth: float = 0.5
    """How round it looks: the strength of the shading, 0 for flat."""
    shadow: float = 0.0
    """How dark a soft shadow it throws on the parts before it, 0..1."""
    opacity: float = 1.0
    ruffle: float = 0.0
    """How far hairs stand out of the edge, in object units."""


def mark(points: Points, paint: Paint, depth: float = 0.0, shadow: float = 0.0, opacity: float = 1.0) -> Part:
    """A part that lies on the silhouette and adds nothing to it: an eye, a stripe, a label."""
    return Part(points, paint, outline=False, depth=depth, shadow=shadow, opacity=opacity)


# Curves


def smooth(points: ArrayLike, steps: int = 6, closed: bool = True) -> Points:
    """A Catmull-Rom curve through `points`, with `steps` vertices for each of them."""
    knots = np.asarray(points, dtype=np.float64)
    if not closed:
        knots = np.concatenate([2 * knots[:1] - knots[1:2], knots, 2 * knots[-1:] - knots[-2:-1]])
    before, start, end, after = (np.roll(knots, shift, axis=0)[:, None] for shift in (1, 0, -1, -2))
    t = np.linspace(0, 1, steps, endpoint=False)[None, :, None]
    curve = start + 0.5 * t * (
        end - before + t * (2 * before - 5 * start + 4 * end - after + t * (3 * (start - end) + after - before))
    )
    if closed:
        return curve.reshape(-1, 2)
    return np.concatenate([curve[1:-2].reshape(-1, 2), knots[-2:-1]])


def ellipse(x: float, y: float, rx: float, ry: float, angle: float = 0.0, steps: int = 36) -> Points:
    """An ellipse around (x, y) with radii rx and ry, turned by `angle` radians."""
    t = np.linspace(0, 2 * np.pi, steps, endpoint=False)
    return turned(np.stack([rx * np.cos(t), ry * np.sin(t)], axis=1), angle) + np.array([x, y])


def tube(centre: ArrayLike, widths: Sequence[float], steps: int = 6) -> Points:
    """A limb: the smooth curve through `centre` [N, 2], thickened to the radii `widths` [N], with round ends."""
    line = smooth(centre, steps, closed=False)
    radius = np.interp(np.linspace(0, 1, len(line)), np.linspace(0, 1, len(widths)), widths)[:, None]
    along = np.gradient(line, axis=0)
    along /= np.maximum(np.linalg.norm(along, axis=1, keepdims=True), 1e-9)
    across = along[:, ::-1] * (-1, 1)
    t = np.linspace(0, np.pi, 7)[1:-1, None]
    tip = line[-1] + radius[-1] * (np.cos(t) * across[-1] + np.sin(t) * along[-1])
    root = line[0] - radius[0] * (np.cos(t) * across[0] + np.sin(t) * along[0])
    return np.concatenate([line + radius * across, tip, (line - radius * across)[::-1], root])


def turned(points: Points, angle: float) -> Points:
    """`points` turned around the origin by `angle` radians."""
    cos, sin = np.cos(angle), np.sin(angle)
    return np.asarray(points, dtype=np.float64) @ np.array([[cos, sin], [-sin, cos]])


def ruffled(points: Points, amplitude: float, spacing: float, rng: np.random.Generator) -> Points:
    """A closed polygon resampled every `spacing`, each vertex pushed out or in by up to `amplitude`: fur."""
    ring = np.concatenate([points, points[:1]])
    length = np.concatenate([[0.0], np.cumsum(np.linalg.norm(np.diff(ring, axis=0), axis=1))])
    count = max(len(points) // 2, int(length[-1] / spacing), 8)
    where = np.linspace(0, length[-1], count, endpoint=False)
    even = np.stack([np.interp(where, length, ring[:, axis]) for axis in (0, 1)], axis=1)
    along = np.roll(even, -1, axis=0) - np.roll(even, 1, axis=0)
    normal = along[:, ::-1] * (1, -1) / np.maximum(np.linalg.norm(along, axis=1, keepdims=True), 1e-9)
    return even + normal * rng.uniform(-amplitude, amplitude, (count, 1))


# Noise


class Noise:
    """The random textures of one scene: hairs, clouds and grain, drawn once and used by every paint."""

    def __init__(self, rng: np.random.Generator, side: int):
        self.hair = _stretched(rng, (side // 12, side // 3), side)
        """float32 [side, side], streaks about as wide as a hair, standard deviation about 1."""
        self.tile = _stretched(rng, (28, 28), 512)
        """float32 [512, 512], smooth blotches; seamless, so that it may be repeated."""

    def cloud(self, u: np.ndarray, v: np.ndarray, frequency: float = 1.0) -> np.ndarray:
        """Smooth noise at object coordinates, mean 0, standard deviation about 1, blotches about 1/frequency wide."""
        scale = 40 * frequency
        return self.tile[(v * scale).astype(np.int32) & 511, (u * scale).astype(np.int32) & 511]


def _stretched(rng: np.random.Generator, shape: tuple[int, int], side: int) -> np.ndarray:
    """Noise of `shape` enlarged to [side, side], without a seam where it is repeated; standard deviation 1."""
    edge = 4  # more than the reach of the bicubic filter
    values = np.pad(rng.standard_normal(shape, dtype=np.float32), edge, mode="wrap")
    box = (edge, edge, edge + shape[1], edge + shape[0])
    large = np.asarray(Image.fromarray(values).resize((side, side), Image.Resampling.BICUBIC, box=box))
    return large / large.std()


def mix(first: np.ndarray, second: Sequence[float] | np.ndarray, share: np.ndarray) -> np.ndarray:
    """Colours [3, h, w]: `first` where `share` [h, w] is 0, `second` where it is 1."""
    other = np.asarray(second, dtype=np.float32)
    return first + np.clip(share, 0, 1) * ((other[:, None, None] if other.ndim == 1 else other) - first)


# Canvas


class Canvas:
    """A picture in the making: `pixels` float32 [3, side, side] in [0, 1], `SUPERSAMPLE` times the finished size."""

    def __init__(self, size: int, rng: np.random.Generator, light: tuple[float, float]):
        self.side = size * SUPERSAMPLE
        self.pixels = np.zeros((3, self.side, self.side), dtype=np.float32)
        self.rng = rng
        self.light = np.asarray(light, dtype=np.float64)
        """Unit vector in the picture plane towards the light."""
        self.noise = Noise(rng, self.side)

    def draw(self, parts: Sequence[Part], matrix: np.ndarray) -> list[Points]:
        """Paint an object, its parts in order; returns the polygons of its outline in picture pixels.

        `matrix` [2, 3] takes object coordinates to picture pixels, whose centres lie at whole numbers.
        """
        outlines = []
        inverse = np.linalg.inv(np.vstack([matrix, [0, 0, 1]]))
        cover = np.zeros((self.side, self.side), dtype=np.uint8)
        unit = float(np.sqrt(abs(np.linalg.det(matrix[:, :2]))))
        for part in parts:
            points = part.points @ matrix[:, :2].T + matrix[:, 2]
            if part.ruffle:
                points = ruffled(points, min(max(part.ruffle * unit, 0.3), 1.3), max(0.05 * unit, 1.8), self.rng)
            points = np.round(points, 2)  # what the Labelme file holds, so that picture and file agree
            if part.outline:
                outlines.append(points)
            self._fill(part, (points + 0.5) * SUPERSAMPLE - 0.5, inverse, cover)
        return outlines

    def _fill(self, part: Part, points: Points, inverse: np.ndarray, cover: np.ndarray) -> None:
        low = np.maximum(np.floor(points.min(axis=0)).astype(int) - 1, 0)
        high = np.minimum(np.ceil(points.max(axis=0)).astype(int) + 2, self.side)
        width, height = high - low
        if width <= 0 or height <= 0:
            return
        window = (slice(low[1], high[1]), slice(low[0], high[0]))
        bulge = relief(points, self.light) if (part.depth or part.shadow) and max(width, height) > 6 else None
        if part.shadow and bulge:
            self._shade(bulge, part.shadow, cover)
        stencil = Image.new("L", (width, height))
        ImageDraw.Draw(stencil).polygon([tuple(p) for p in (points - low).tolist()], fill=255)
        inside = np.asarray(stencil)
        if callable(part.paint):
            x, y = ((np.arange(low[i], high[i]) + 0.5) / SUPERSAMPLE - 0.5 for i in (0, 1))
            # Sums of a row and a column: the large arrays come into being in single precision.
            columns, rows = np.outer(inverse[:2, 0], x), np.outer(inverse[:2, 1], y) + inverse[:2, 2:]
            u, v = columns[:, None, :].astype(np.float32) + rows[:, :, None].astype(np.float32)
            hairs = _Window(self.noise, window)
            colour = part.paint(u, v, hairs)
        else:
            colour = np.asarray(part.paint, dtype=np.float32)[:, None, None]
        if part.depth and bulge:
            colour = colour * (1 + np.float32(part.depth) * bulge.tone(low, high))
        alpha = inside * np.float32(part.opacity / 255)
        region = self.pixels[:, *window]
        region += alpha * (colour - region)
        if part.outline:
            np.maximum(cover[window], inside, out=cover[window])

    def _shade(self, bulge: "Relief", strength: float, cover: np.ndarray) -> None:
        """Darken what the object has painted so far around a new part, on the side away from the light."""
        offset = -self.light * 0.06 * bulge.extent
        low = np.maximum((bulge.low + offset - 0.1 * bulge.extent).astype(int), 0)
        high = np.minimum((bulge.high + offset + 0.1 * bulge.extent).astype(int), self.side)
        if (high <= low).any():
            return
        window = (slice(low[1], high[1]), slice(low[0], high[0]))
        veil = bulge.softened(low - offset, high - offset) * cover[window] * np.float32(strength / 255)
        self.pixels[:, *window] *= 1 - veil

    def picture(self) -> np.ndarray:
        """The finished picture, float32 [3, size, size] in [0, 1]."""
        # Sums of strided views: several times as fast as a mean over axes of length 2.
        total = np.zeros((3, self.side // SUPERSAMPLE, self.side // SUPERSAMPLE), dtype=np.float32)
        for y in range(SUPERSAMPLE):
            for x in range(SUPERSAMPLE):
                total += self.pixels[:, y::SUPERSAMPLE, x::SUPERSAMPLE]
        return (total / np.float32(SUPERSAMPLE**2)).clip(0, 1)


class _Window(Noise):
    """`Noise` as one polygon sees it: the hairs of its part of the canvas."""

    def __init__(self, noise: Noise, window: tuple[slice, slice]):
        self.hair = noise.hair[window]
        self.tile = noise.tile


@dataclass(frozen=True)
class Relief:
    """A polygon as a bulge, kept at about 40 cells across because it is smooth: its tone and its blurred stencil."""

    low: np.ndarray
    high: np.ndarray
    cell: float
    tones: Image.Image
    stencil: Image.Image
    margin = 8

    @property
    def extent(self) -> float:
        return float((self.high - self.low).max())

    def tone(self, low: np.ndarray, high: np.ndarray) -> np.ndarray:
        """Brightness change, float32 [h, w] around 0, of the canvas pixels from `low` to `high` (x, y)."""
        return self._read(self.tones, low, high)

    def softened(self, low: np.ndarray, high: np.ndarray) -> np.ndarray:
        """The blurred stencil, float32 [h, w] in [0, 1], of the canvas pixels from `low` to `high` (x, y)."""
        return self._read(self.stencil, low, high)

    def _read(self, values: Image.Image, low: np.ndarray, high: np.ndarray) -> np.ndarray:
        start = np.clip((low - self.low) / self.cell + self.margin, 0, np.array(values.size) - 1)
        stop = np.clip((high - self.low) / self.cell + self.margin, start + 0.1, values.size)
        width, height = np.rint(high - low).astype(int)
        return np.asarray(values.resize((width, height), Image.Resampling.BILINEAR, box=(*start, *stop)))


def relief(points: Points, light: np.ndarray) -> Relief:
    """Bulge of a polygon (canvas pixels): bright where its edge faces the light, dark where it faces away."""
    low, high = points.min(axis=0), points.max(axis=0)
    cell = max(float((high - low).max()) / 40, 0.5)
    size = np.ceil((high - low) / cell).astype(int) + 2 * Relief.margin
    stencil = Image.new("L", (int(size[0]), int(size[1])))
    ImageDraw.Draw(stencil).polygon([tuple(p) for p in ((points - low) / cell + Relief.margin).tolist()], fill=255)
    blurred = stencil.filter(ImageFilter.GaussianBlur(3.5))
    height = np.asarray(blurred, dtype=np.float32) / 255
    dx, dy = np.rint(light * 3.5).astype(int)
    slope = np.roll(height, (dy, dx), (0, 1)) - np.roll(height, (-dy, -dx), (0, 1))
    tones = 0.6 * slope + 0.7 * (height - 0.9)
    return Relief(low, high, cell, Image.fromarray(tones), Image.fromarray(height))
