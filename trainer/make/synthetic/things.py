"""Things that lie around in the generated scenes. Many share colour, pattern or shape with the animals."""

from dataclasses import replace

import numpy as np

from trainer.make.synthetic.canvas import Noise, Paint, Part, Points, ellipse, mark, mix, smooth, tube, turned
from trainer.make.synthetic.coats import BROWN, Coat, cat_coat

LEAVES = ((0.20, 0.42, 0.16), (0.32, 0.52, 0.20), (0.14, 0.32, 0.18), (0.45, 0.55, 0.22))
POTS = ((0.70, 0.38, 0.24), (0.85, 0.83, 0.78), (0.25, 0.28, 0.32), (0.35, 0.50, 0.60))


def any_colour(rng: np.random.Generator) -> tuple[float, float, float]:
    """A muted or a bright colour; some are the colours of fur."""
    if rng.random() < 0.15:
        return cat_coat(rng).base
    red, green, blue = (rng.uniform(0.15, 0.9) * (1 - 0.6 * rng.random(3))).clip(0.06, 0.95)
    return float(red), float(green), float(blue)


def like_a_cat(rng: np.random.Generator) -> Coat:
    """A cat's colours and stripes on something that has no strands of hair."""
    return replace(cat_coat(rng), nap="plush")


def cloth(rng: np.random.Generator) -> Paint:
    """Fabric: plain, striped, checked, dotted, tabby-striped or blotched."""
    first, second = any_colour(rng), any_colour(rng)
    kind = rng.choice(["plain", "stripes", "checks", "dots", "tabby", "blotches", "fur"])
    frequency, angle = rng.uniform(0.8, 3.0), rng.uniform(0, np.pi)
    if kind == "fur":
        return like_a_cat(rng).paint("body", angle)

    def paint(u: np.ndarray, v: np.ndarray, noise: Noise) -> np.ndarray:
        along = (u * np.float32(np.cos(angle)) + v * np.float32(np.sin(angle))) * np.float32(2 * np.pi * frequency)
        across = (v * np.float32(np.cos(angle)) - u * np.float32(np.sin(angle))) * np.float32(2 * np.pi * frequency)
        clouds = noise.cloud(u, v, 1.0)
        share = {
            "plain": lambda: 0.1 * clouds,
            "stripes": lambda: 3 * np.sin(along),
            "checks": lambda: 0.5 * (np.sin(along) > 0) + 0.5 * (np.sin(across) > 0),
            "dots": lambda: 4 * (np.sin(along) * np.sin(across) - 0.4),
            "tabby": lambda: 1.5 * np.sin(along + 1.4 * clouds),
            "blotches": lambda: 6 * (clouds - 0.3),
        }[str(kind)]()
        plain = np.broadcast_to(np.asarray(first, dtype=np.float32)[:, None, None], (3, *share.shape))
        return mix(plain, second, share)

    return paint


def ball(rng: np.random.Generator) -> list[Part]:
    """A ball: plain, with a band, or of yarn."""
    parts = [Part(ellipse(0, 0, 1, 1), any_colour(rng) if rng.random() < 0.6 else cloth(rng), depth=0.9)]
    kind, colour = rng.integers(3), any_colour(rng)
    if kind == 1:
        parts.append(mark(turned(ellipse(0, 0, 0.97, rng.uniform(0.15, 0.4)), rng.uniform(0, 3)), colour, depth=0.6))
    if kind == 2:
        for _ in range(9):
            bend, angle = rng.uniform(-0.8, 0.8), rng.uniform(0, np.pi)
            arc = turned(np.array([(-0.85, bend * 0.4), (0, bend), (0.85, bend * 0.4)]), angle) * 0.95
            parts.append(mark(tube(arc, [0.03, 0.04, 0.03], 5), colour, opacity=0.6))
    parts.append(mark(ellipse(-0.3, -0.4, 0.18, 0.12, -0.6), (1, 1, 1), opacity=0.25))
    return parts


def plant(rng: np.random.Generator) -> list[Part]:
    """A pot with long or broad leaves."""
    pot, parts = POTS[rng.integers(len(POTS))], []
    slim, count = rng.random() < 0.5, int(rng.integers(8, 16))
    for angle in rng.permutation(np.linspace(-1.35, 1.35, count)):
        length = rng.uniform(1.6, 3.2)
        droop = rng.uniform(0.0, 0.8) * abs(angle)
        tip = np.array([np.sin(angle) * length * 0.9, -np.cos(angle) * length + droop])
        middle = tip * 0.55 + (0, -0.35)
        colour = np.array(LEAVES[rng.integers(len(LEAVES))]) * rng.uniform(0.8, 1.2)
        widths = [0.07, 0.2, 0.16, 0.02] if slim else [0.05, 0.12, 0.55, 0.5, 0.04]
        parts.append(Part(tube([(0, 0), tuple(middle), tuple(tip)], widths), tuple(colour), depth=0.7, shadow=0.15))
    body = [(-0.75, -0.1), (0.75, -0.1), (0.55, 1.3), (-0.55, 1.3)]
    parts.append(Part(np.array(body), pot, depth=0.7, shadow=0.2))
    parts.append(Part(np.array([(-0.85, -0.25), (0.85, -0.25), (0.82, 0.1), (-0.82, 0.1)]), pot, depth=0.4, shadow=0.2))
    return parts


def vase(rng: np.random.Generator) -> list[Part]:
    """A vase on a turned profile, sometimes with flowers."""
    widths = [
        rng.uniform(0.3, 0.6),
        rng.uniform(0.25, 0.5),
        rng.uniform(0.6, 1.1),
        rng.uniform(0.6, 1.1),
        rng.uniform(0.35, 0.6),
    ]
    levels = [-1.6, -1.2, -0.3, 0.6, 1.4]
    half = smooth(list(zip(widths, levels, strict=True)), 6, closed=False)
    parts = []
    if rng.random() < 0.5:
        for _ in range(int(rng.integers(2, 6))):
            tip = (rng.uniform(-1, 1), rng.uniform(-3.2, -2.0))
            parts.append(Part(tube([(0, -1.2), (tip[0] * 0.4, -1.8), tip], [0.05, 0.05, 0.04]), LEAVES[0]))
            parts.append(Part(ellipse(*tip, 0.35, 0.3), any_colour(rng), depth=0.8))
    body = np.concatenate([half, half[::-1] * (-1, 1)])
    return [*parts, Part(body, any_colour(rng) if rng.random() < 0.5 else cloth(rng), depth=0.9)]


def cushion(rng: np.random.Generator) -> list[Part]:
    """A cushion, its corners sticking out like ears; often in a cat's colours and stripes."""
    wide, high, sag = rng.uniform(1.2, 2.0), rng.uniform(0.9, 1.4), rng.uniform(0.08, 0.25)
    corners = [
        (-wide, -high),
        (0, -high + sag),
        (wide, -high),
        (wide - sag, 0),
        (wide, high),
        (0, high - sag),
        (-wide, high),
        (-wide + sag, 0),
    ]
    paint = like_a_cat(rng).paint("body", rng.uniform(0, 3)) if rng.random() < 0.3 else cloth(rng)
    return [Part(turned(smooth(corners, 5), rng.uniform(-0.5, 0.5)), paint, depth=0.8)]


def box(rng: np.random.Generator) -> list[Part]:
    """A cardboard or wooden box with its lid flaps or a label."""
    wide, high, colour = (
        rng.uniform(1.0, 2.0),
        rng.uniform(0.8, 1.4),
        (np.array((0.72, 0.56, 0.38)) if rng.random() < 0.6 else np.array(any_colour(rng))),
    )
    skew = rng.uniform(0.3, 0.7)
    parts = [
        Part(np.array([(-wide, -high), (wide, -high), (wide, high), (-wide, high)]), tuple(colour), depth=0.25),
        Part(
            np.array([(-wide, -high), (-wide + skew, -high - 0.45), (wide + skew, -high - 0.45), (wide, -high)]),
            tuple(colour * 1.15),
            depth=0.1,
        ),
        Part(
            np.array([(wide, -high), (wide + skew, -high - 0.45), (wide + skew, high - 0.45), (wide, high)]),
            tuple(colour * 0.7),
            depth=0.2,
        ),
    ]
    x, y = rng.uniform(-0.5, 0.3), rng.uniform(-0.5, 0.3)
    parts.append(mark(np.array([(x, y), (x + 0.7, y), (x + 0.7, y + 0.4), (x, y + 0.4)]), any_colour(rng), depth=0.1))
    return parts


def basket(rng: np.random.Generator) -> list[Part]:
    """A wicker basket, its weave as striped as a tabby."""
    tone = np.array((0.62, 0.45, 0.27)) * rng.uniform(0.7, 1.2)

    def weave(u: np.ndarray, v: np.ndarray, noise: Noise) -> np.ndarray:
        rows = np.sin(12 * v + 3.14 * (np.sin(9 * u) > 0))
        plain = np.broadcast_to(tone.astype(np.float32)[:, None, None], (3, *rows.shape))
        return mix(plain, tuple(tone * 0.45), rows)

    side = smooth([(-1.7, -0.6), (0, -0.45), (1.7, -0.6), (1.45, 0.8), (0, 0.95), (-1.45, 0.8)])
    return [Part(ellipse(0, -0.6, 1.75, 0.4), tuple(tone * 0.4), depth=0.3), Part(side, weave, depth=0.7)]


def lamp(rng: np.random.Generator) -> list[Part]:
    """A table lamp with a conical shade."""
    shade = np.array([(-0.6, -2.2), (0.6, -2.2), (1.1, -0.9), (-1.1, -0.9)])
    return [
        Part(tube([(0, -1.0), (0, 1.3)], [0.12, 0.18], 3), any_colour(rng), depth=0.8),
        Part(ellipse(0, 1.35, 0.7, 0.2), any_colour(rng), depth=0.6),
        Part(shade, (0.95, 0.88, 0.70) if rng.random() < 0.5 else cloth(rng), depth=0.5),
    ]


def rug(rng: np.random.Generator) -> list[Part]:
    """A fur rug on the floor, of the same fur as the cats."""
    edge = ellipse(0, 0, 2.6, rng.uniform(0.5, 0.9), steps=60) * rng.uniform(0.9, 1.1, (60, 1))
    return [Part(smooth(edge, 2), like_a_cat(rng).paint("body", rng.uniform(0, 3)), depth=0.25, ruffle=0.06)]


def shrub(rng: np.random.Generator) -> list[Part]:
    """A heap of leaves."""
    parts = []
    for _ in range(int(rng.integers(25, 40))):
        x = rng.normal(0, 0.9)
        y = rng.uniform(-1.2, 1.0) * max(0.3, 1 - 0.25 * x * x)
        colour = np.array(LEAVES[rng.integers(len(LEAVES))]) * rng.uniform(0.6, 1.3)
        leaf = ellipse(x, y, rng.uniform(0.35, 0.6), rng.uniform(0.15, 0.28), rng.uniform(0, 3), steps=14)
        parts.append(Part(leaf, tuple(colour), depth=0.0 if rng.random() < 0.6 else 0.6))
    return parts


def bars(rng: np.random.Generator) -> list[Part]:
    """Three or four fence pickets or bars, to be placed in front of everything."""
    colour, pointed, parts = (any_colour(rng) if rng.random() < 0.6 else BROWN), rng.random() < 0.5, []
    wide = rng.uniform(0.08, 0.16)
    for x in np.arange(int(rng.integers(2, 5))) * rng.uniform(0.9, 1.5):
        top: Points = np.array(
            [(x - wide, -2.0), (x, -2.3 if pointed else -2.0), (x + wide, -2.0), (x + wide, 2.0), (x - wide, 2.0)]
        )
        parts.append(Part(top, colour, depth=0.5))
    return parts
