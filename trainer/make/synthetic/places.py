"""Backgrounds of the generated scenes: rooms, gardens, and plain textures. All clutter in them counts as background."""

import numpy as np
from numpy.typing import ArrayLike
from PIL import Image, ImageFilter

from trainer.make.synthetic.canvas import SUPERSAMPLE, Canvas, Noise, Paint, Part, ellipse, mix, smooth, tube
from trainer.make.synthetic.things import LEAVES, any_colour, cloth, like_a_cat

UNIT = np.array([[1.0, 0.0, 0.0], [0.0, 1.0, 0.0]])


def draw_place(canvas: Canvas, rng: np.random.Generator) -> float:
    """Fill the whole canvas with a background; returns where its floor begins, as a share of the height."""
    horizon = float(rng.uniform(0.35, 0.75))
    kind = rng.choice(["room", "garden", "texture"], p=[0.55, 0.28, 0.17])
    {"room": _room, "garden": _garden, "texture": _texture}[str(kind)](canvas, rng, horizon)
    blur = rng.choice([0, 1.2, 2.5, 4.5], p=[0.25, 0.25, 0.3, 0.2]) * canvas.side / 512
    if blur:
        _blur(canvas, float(blur))
    return horizon


def _paint(
    canvas: Canvas, points: ArrayLike, paint: Paint, depth: float = 0.0, cell: float = 0.1, ruffle: float = 0.0
) -> None:
    """Fill a polygon given in shares of the frame; its paint sees units of `cell` frames."""
    frame = canvas.side / 2
    part = Part(np.asarray(points) / cell, paint, depth=depth, ruffle=ruffle)
    canvas.draw([part], UNIT * (frame * cell))


def _rectangle(x0: float, y0: float, x1: float, y1: float) -> list[tuple[float, float]]:
    return [(x0, y0), (x1, y0), (x1, y1), (x0, y1)]


def _room(canvas: Canvas, rng: np.random.Generator, horizon: float) -> None:
    cell = float(rng.uniform(0.06, 0.16))
    _paint(
        canvas,
        _rectangle(-0.1, -0.1, 1.1, horizon),
        cloth(rng) if rng.random() < 0.6 else _plaster(any_colour(rng)),
        cell=cell,
    )
    furniture = [_window, _shelf, _pictures, _bunting, _curtain]
    for index in rng.permutation(len(furniture))[: rng.integers(1, 4)]:
        furniture[index](canvas, rng, horizon)
    _paint(canvas, _rectangle(-0.1, horizon, 1.1, 1.1), _floor(rng), cell=float(rng.uniform(0.08, 0.2)))
    if rng.random() < 0.6:
        _paint(canvas, _rectangle(-0.1, horizon - 0.03, 1.1, horizon), any_colour(rng), depth=0.2)
    if rng.random() < 0.4:
        paint = like_a_cat(rng).paint("body", rng.uniform(0, 3)) if rng.random() < 0.3 else cloth(rng)
        middle, deep = rng.uniform(0.2, 0.8), rng.uniform(0.06, 0.15)
        _paint(canvas, ellipse(middle, (1 + horizon) / 2, 0.45, deep), paint, depth=0.2, ruffle=0.05)
    if rng.random() < 0.45:
        _sofa(canvas, rng, horizon)


def _plaster(colour: tuple[float, float, float]) -> Paint:
    def paint(u: np.ndarray, v: np.ndarray, noise: Noise) -> np.ndarray:
        return np.asarray(colour, dtype=np.float32)[:, None, None] * (1 + 0.06 * noise.cloud(u, v, 0.3))

    return paint


def _floor(rng: np.random.Generator) -> Paint:
    """Planks, tiles, or carpet."""
    colour = np.array((0.60, 0.44, 0.28)) * rng.uniform(0.6, 1.4) if rng.random() < 0.5 else np.array(any_colour(rng))
    kind = rng.integers(3)

    def paint(u: np.ndarray, v: np.ndarray, noise: Noise) -> np.ndarray:
        plain = colour.astype(np.float32)[:, None, None]
        if kind == 0:
            plank = np.floor(v * 1.5)
            grain = noise.cloud(u * 0.15 + plank * 1.7, v, 1.0)
            seam = (v * 1.5 - plank) < 0.07
            return plain * (1 + 0.12 * grain + 0.1 * np.sin(plank * 12.9)) * (1 - 0.5 * seam)
        if kind == 1:
            chess = (np.floor(u) + np.floor(v)) % 2
            return plain * (1 - 0.35 * chess) * (1 + 0.04 * noise.cloud(u, v, 0.7))
        return plain * (1 + 0.08 * noise.cloud(u, v, 4.0) + 0.12 * noise.cloud(u, v, 0.6))

    return paint


def _window(canvas: Canvas, rng: np.random.Generator, horizon: float) -> None:
    x, wide = rng.uniform(0, 0.7), rng.uniform(0.2, 0.4)
    top, bottom = 0.05, horizon * rng.uniform(0.6, 0.9)
    _paint(canvas, _rectangle(x - 0.02, top - 0.02, x + wide + 0.02, bottom + 0.02), (0.92, 0.90, 0.86), depth=0.2)
    _paint(canvas, _rectangle(x, top, x + wide, bottom), _plaster((0.75, 0.86, 0.95)), cell=0.1)
    _paint(
        canvas, _rectangle(x, (top + bottom) / 2 + 0.1, x + wide, bottom), _foliage(LEAVES[rng.integers(4)]), cell=0.05
    )
    _paint(canvas, _rectangle(x + wide / 2 - 0.01, top, x + wide / 2 + 0.01, bottom), (0.92, 0.90, 0.86))


def _curtain(canvas: Canvas, rng: np.random.Generator, horizon: float) -> None:
    colour, x = np.array(any_colour(rng)), rng.choice([-0.05, 0.75])

    def folds(u: np.ndarray, v: np.ndarray, noise: Noise) -> np.ndarray:
        wave = np.sin(u * 9 + 0.4 * noise.cloud(u, v * 0.2, 0.5))
        return colour.astype(np.float32)[:, None, None] * (0.9 + 0.25 * wave)

    _paint(canvas, _rectangle(x, -0.05, x + rng.uniform(0.2, 0.3), horizon + 0.1), folds)


def _shelf(canvas: Canvas, rng: np.random.Generator, horizon: float) -> None:
    x, wide, y = rng.uniform(-0.1, 0.6), rng.uniform(0.3, 0.6), horizon * rng.uniform(0.3, 0.85)
    at = x
    while at < x + wide:
        thick, tall = rng.uniform(0.02, 0.06), rng.uniform(0.08, 0.17)
        if rng.random() < 0.85:
            _paint(canvas, _rectangle(at, y - tall, at + thick, y), any_colour(rng), depth=0.4)
        at += thick + 0.004
    _paint(canvas, _rectangle(x, y, x + wide, y + 0.025), (0.45, 0.32, 0.2), depth=0.3)


def _pictures(canvas: Canvas, rng: np.random.Generator, horizon: float) -> None:
    for _ in range(int(rng.integers(1, 4))):
        x, y = rng.uniform(0, 0.8), rng.uniform(0, horizon * 0.6)
        wide, high = rng.uniform(0.1, 0.25, 2)
        _paint(canvas, _rectangle(x, y, x + wide, y + high), any_colour(rng), depth=0.3)
        _paint(canvas, _rectangle(x + 0.015, y + 0.015, x + wide - 0.015, y + high - 0.015), cloth(rng), cell=0.06)


def _bunting(canvas: Canvas, rng: np.random.Generator, horizon: float) -> None:
    """Little pointed flags: triangles that are no ears."""
    y, up = rng.uniform(0.05, horizon * 0.5), rng.random() < 0.5
    for x in np.arange(-0.02, 1.0, rng.uniform(0.09, 0.16)):
        sag = 0.15 * (x - 0.5) ** 2
        tip = -0.08 if up else 0.09
        _paint(canvas, [(x, y - sag), (x + 0.08, y - sag), (x + 0.04, y - sag + tip)], any_colour(rng), depth=0.2)


def _sofa(canvas: Canvas, rng: np.random.Generator, horizon: float) -> None:
    paint, x, wide = cloth(rng), rng.uniform(-0.3, 0.5), rng.uniform(0.5, 0.9)
    top, low = horizon - rng.uniform(0.1, 0.3), horizon + rng.uniform(0.05, 0.2)
    back = smooth(
        [(x, low), (x, top + 0.05), (x + 0.06, top), (x + wide - 0.06, top), (x + wide, top + 0.05), (x + wide, low)], 5
    )
    _paint(canvas, back, paint, depth=0.7)
    seat = smooth([(x + 0.05, low), (x + 0.05, low - 0.08), (x + wide - 0.05, low - 0.08), (x + wide - 0.05, low)], 5)
    _paint(canvas, seat, paint, depth=0.9)
    for side in (x - 0.05, x + wide - 0.06):
        _paint(canvas, ellipse(side + 0.05, low - 0.05, 0.07, 0.12), paint, depth=0.9)


def _foliage(colour: tuple[float, float, float]) -> Paint:
    def paint(u: np.ndarray, v: np.ndarray, noise: Noise) -> np.ndarray:
        shade = 0.95 + 0.14 * noise.cloud(u, v, 1.2) + 0.14 * noise.cloud(v, u, 0.31)
        return np.asarray(colour, dtype=np.float32)[:, None, None] * shade

    return paint


def _garden(canvas: Canvas, rng: np.random.Generator, horizon: float) -> None:
    sky = np.array((0.55, 0.72, 0.92)) * rng.uniform(0.8, 1.1)

    def heaven(u: np.ndarray, v: np.ndarray, noise: Noise) -> np.ndarray:
        plain = np.broadcast_to(sky.astype(np.float32)[:, None, None], (3, *np.broadcast_shapes(u.shape, v.shape)))
        return mix(plain, (0.95, 0.96, 0.97), 0.3 + 0.4 * noise.cloud(u * 0.6, v * 1.5, 0.4) + 0.04 * v)

    _paint(canvas, _rectangle(-0.1, -0.1, 1.1, horizon + 0.02), heaven)
    if rng.random() < 0.75:
        ridge = [(x, horizon - rng.uniform(0.05, 0.35)) for x in np.linspace(-0.1, 1.1, 7)]
        hedge = [*map(tuple, smooth(ridge, 5, closed=False)), (1.1, horizon + 0.02), (-0.1, horizon + 0.02)]
        _paint(canvas, hedge, _foliage(LEAVES[rng.integers(4)]), depth=0.4, cell=0.05, ruffle=0.2)
    if rng.random() < 0.5:
        colour, wide, tall = any_colour(rng), rng.uniform(0.04, 0.09), rng.uniform(0.12, 0.3)
        for x in np.arange(-0.05, 1.05, wide * rng.uniform(1.1, 1.6)):
            slat = [
                (x, horizon - tall),
                (x + wide / 2, horizon - tall - wide / 2),
                (x + wide, horizon - tall),
                (x + wide, horizon + 0.05),
                (x, horizon + 0.05),
            ]
            _paint(canvas, slat, colour, depth=0.4)
    lawn = (
        LEAVES[rng.integers(4)] if rng.random() < 0.7 else tuple(np.array((0.55, 0.45, 0.33)) * rng.uniform(0.7, 1.2))
    )
    _paint(canvas, _rectangle(-0.1, horizon, 1.1, 1.1), _foliage(lawn), cell=0.05)
    for _ in range(int(rng.integers(30, 70))):
        x, y = rng.uniform(0, 1), rng.uniform(horizon, 1.05)
        tall, lean = rng.uniform(0.02, 0.07), rng.normal(0, 0.02)
        blade = np.array([(x - 0.006, y), (x + 0.006, y), (x + lean, y - tall)])
        _paint(canvas, blade, tuple(np.array(lawn) * rng.uniform(0.6, 1.5)))
        if rng.random() < 0.12:
            _paint(canvas, ellipse(x + lean, y - tall, 0.015, 0.013, steps=10), any_colour(rng))


def _texture(canvas: Canvas, rng: np.random.Generator, horizon: float) -> None:
    """Nothing but cloth, noise and blobs: bed covers, carpets, things out of focus."""
    _paint(canvas, _rectangle(-0.1, -0.1, 1.1, 1.1), cloth(rng), cell=float(rng.uniform(0.06, 0.25)))
    for _ in range(int(rng.integers(2, 7))):
        x, y = rng.uniform(0, 1, 2)
        wide, high = rng.uniform(0.08, 0.35, 2)
        blob = smooth(ellipse(x, y, wide, high, rng.uniform(0, 3), steps=7) + rng.normal(0, 0.03, (7, 2)))
        _paint(canvas, blob, cloth(rng), depth=float(rng.uniform(0, 0.8)), cell=float(rng.uniform(0.05, 0.2)))
    for _ in range(int(rng.integers(0, 5))):
        line = rng.uniform(-0.1, 1.1, (3, 2))
        _paint(canvas, [tuple(p) for p in tube(line, [0.01, 0.03, 0.01])], any_colour(rng), depth=0.3)


def _blur(canvas: Canvas, radius: float) -> None:
    # At the finished size: nobody sees the difference in something out of focus.
    small = Image.fromarray((canvas.picture() * 255).astype(np.uint8).transpose(1, 2, 0))
    soft = small.filter(ImageFilter.GaussianBlur(radius / SUPERSAMPLE))
    large = soft.resize((canvas.side, canvas.side), Image.Resampling.BILINEAR)
    np.multiply(np.asarray(large).transpose(2, 0, 1), np.float32(1 / 255), out=canvas.pixels)
