"""Backgrounds of the generated scenes: rooms and gardens, and the camera that takes the photograph.

The frame is 10 units wide and high; `horizon`, in units from the top, is where the floor begins. All clutter in a place
counts as background.
"""

import numpy as np
from PIL import Image, ImageFilter

from trainer.make.synthetic.canvas import SUPERSAMPLE, Canvas, Cloud, Paint, Part, column
from trainer.make.synthetic.curves import ellipse, rectangle, smooth
from trainer.make.synthetic.things import LEAVES, any_colour, cloth, mottled


def draw_place(canvas: Canvas, rng: np.random.Generator) -> float:
    """Fill the whole canvas with a background; returns where its floor begins, as a share of the height."""
    horizon = float(rng.uniform(3.5, 7.5))
    canvas.draw(
        (_room if rng.random() < 0.65 else _garden)(rng, horizon), np.eye(2, 3) * (canvas.side / SUPERSAMPLE / 10)
    )
    # Out of focus. At the finished size: nobody sees the difference.
    small = Image.fromarray((canvas.image() * 255).astype(np.uint8).transpose(1, 2, 0))
    soft = small.filter(ImageFilter.GaussianBlur(float(rng.uniform(0, 2.2)) * small.width / 256))
    large = soft.resize((canvas.side, canvas.side), Image.Resampling.BILINEAR)
    np.multiply(np.asarray(large).transpose(2, 0, 1), np.float32(1 / 255), out=canvas.pixels)
    return horizon / 10


def _room(rng: np.random.Generator, horizon: float) -> list[Part]:
    parts = [Part(rectangle(-1, -1, 11, horizon), cloth(rng), depth=0)]
    for _ in range(int(rng.integers(0, 4))):  # paintings
        x, y, wide, high = rng.uniform((0, 0, 1, 1), (8, horizon * 0.6, 3, 3))
        parts.append(Part(rectangle(x, y, x + wide, y + high), any_colour(rng), depth=0.3, shadow=0.3))
        parts.append(Part(rectangle(x + 0.15, y + 0.15, x + wide - 0.15, y + high - 0.15), cloth(rng), depth=0))
    parts += _shelf(rng, horizon) if rng.random() < 0.6 else []
    floor = _planks(rng) if rng.random() < 0.5 else cloth(rng)
    parts.append(Part(rectangle(-1, horizon, 11, 11), floor, depth=0))
    parts.append(Part(rectangle(-1, horizon - 0.3, 11, horizon), any_colour(rng), depth=0.2))
    if rng.random() < 0.4:
        rug = ellipse(rng.uniform(2, 8), 5 + horizon / 2, 4.5, rng.uniform(0.6, 1.5))
        parts.append(Part(rug, cloth(rng), depth=0.2, ruffle=0.05))
    return parts


def _planks(rng: np.random.Generator) -> Paint:
    colour, wide = column((0.60, 0.44, 0.28)) * rng.uniform(0.6, 1.4), rng.uniform(0.6, 1.2)

    def paint(u: np.ndarray, v: np.ndarray, cloud: Cloud) -> np.ndarray:
        plank = np.floor(v / wide)
        grain = 0.12 * cloud(u * 0.15 + plank * 1.7, v) + 0.1 * np.sin(plank * 12.9)
        return colour * (1 + grain) * (1 - 0.5 * (v / wide - plank < 0.07))

    return paint


def _shelf(rng: np.random.Generator, horizon: float) -> list[Part]:
    """A board with books on the wall."""
    x, y, wide = rng.uniform((-1, 0.3 * horizon, 3), (6, 0.85 * horizon, 6))
    parts = [Part(rectangle(x, y, x + wide, y + 0.25), (0.45, 0.32, 0.2), depth=0.3, shadow=0.3)]
    for left in np.arange(x, x + wide, 0.45):
        thick, tall = rng.uniform((0.2, 0.8), (0.43, 1.7))
        parts.append(Part(rectangle(left, y - tall, left + thick, y), any_colour(rng), depth=0.4))
    return parts


def _garden(rng: np.random.Generator, horizon: float) -> list[Part]:
    parts = [Part(rectangle(-1, -1, 11, horizon + 0.2), mottled((0.68, 0.80, 0.93), 0.11, 0.4), depth=0)]
    ridge = [(x, horizon - rng.uniform(0.5, 3)) for x in range(-1, 12, 2)]
    hedge = np.concatenate([smooth(ridge, 5, closed=False), [(11, horizon + 0.2), (-1, horizon + 0.2)]])
    parts.append(Part(hedge, mottled(LEAVES[rng.integers(4)], 0.14, 2.4), depth=0.4, ruffle=0.2))
    if rng.random() < 0.5:
        colour, (wide, tall, gap) = any_colour(rng), rng.uniform((0.4, 1.2, 1.1), (0.9, 3, 1.6))
        picket = np.array([(0, -tall), (wide / 2, -tall - wide / 2), (wide, -tall), (wide, 0.5), (0, 0.5)])
        parts += [Part(np.add(picket, (x, horizon)), colour, depth=0.4) for x in np.arange(-0.5, 10.5, gap * wide)]
    lawn = LEAVES[rng.integers(4)] if rng.random() < 0.7 else (0.55, 0.45, 0.33)
    parts.append(Part(rectangle(-1, horizon, 11, 11), mottled(lawn, 0.14, 2.4), depth=0))
    for x, y in rng.uniform((0, horizon), (10, 10.5), (50, 2)):
        blade = np.array([(x - 0.06, y), (x + 0.06, y), (x + rng.normal(0, 0.2), y - rng.uniform(0.2, 0.7))])
        parts.append(Part(blade, np.multiply(lawn, rng.uniform(0.6, 1.5)), depth=0))
    return parts


def photograph(pixels: np.ndarray, rng: np.random.Generator, light: np.ndarray) -> np.ndarray:
    """Light and camera: float32 [3, H, W] in [0, 1] to uint8 [H, W, 3] with cast, gamma, vignette and noise."""
    side = np.linspace(-1, 1, pixels.shape[1], dtype=np.float32)
    y, x = side[:, None], side[None]
    gain = rng.uniform(0.82, 1.12) * (1 + rng.uniform(0, 0.3) * (light[0] * x + light[1] * y))
    gain *= 1 - rng.uniform(0, 0.35) * (x * x + y * y) / 2
    lit = (pixels * gain * column(rng.normal(1.0, 0.05, 3).clip(0.85, 1.15))).clip(0, 1)
    lit = (lit ** np.float32(rng.uniform(0.8, 1.2)) - 0.5) * np.float32(rng.uniform(0.8, 1.1)) + 0.5
    lit += rng.standard_normal(lit.shape, dtype=np.float32) * np.float32(rng.uniform(0.003, 0.02))
    return np.ascontiguousarray((lit.clip(0, 1) * 255).round().astype(np.uint8).transpose(1, 2, 0))
