"""Things that lie around in the generated scenes. Many share colour, pattern or shape with the animals."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
from numpy.typing import ArrayLike

from trainer.make.synthetic.canvas import Cloud, Paint, Part, column, detail, mix
from trainer.make.synthetic.coats import any_coat
from trainer.make.synthetic.curves import ellipse, rectangle, smooth, tube, turned

LEAVES = ((0.20, 0.42, 0.16), (0.32, 0.52, 0.20), (0.14, 0.32, 0.18), (0.45, 0.55, 0.22))
WEAVES: tuple[Callable[[np.ndarray, np.ndarray, np.ndarray], np.ndarray], ...] = (
    lambda along, across, clouds: 3 * along,
    lambda along, across, clouds: np.float32(0.5) * (along > 0) + np.float32(0.5) * (across > 0),
    lambda along, across, clouds: 4 * (along * across - 0.4),
    lambda along, across, clouds: 6 * (clouds - 0.3),
)
"""Shares of the second colour, from two waves across each other and noise: stripes, checks, dots, blotches."""


def any_colour(rng: np.random.Generator) -> np.ndarray:
    """A muted or a bright colour; some are the colours of fur."""
    if rng.random() < 0.15:
        return any_coat(rng).base
    return (rng.uniform(0.15, 0.9) * (1 - 0.6 * rng.random(3))).clip(0.06, 0.95)


def cloth(rng: np.random.Generator) -> Paint:
    """Fabric: plain, striped, checked, dotted, blotched, or in the colours and stripes of a cat."""
    first, second, angle, kind = any_colour(rng), any_colour(rng), rng.uniform(0, np.pi), rng.random()
    if kind < 0.4:
        return replace(any_coat(rng), strands=False).paint("body", angle) if kind < 0.1 else mottled(first, 0.06, 0.5)
    weave, wave = WEAVES[rng.integers(len(WEAVES))], 2 * np.pi * rng.uniform(0.8, 3.0)
    cos, sin = np.float32(wave * np.cos(angle)), np.float32(wave * np.sin(angle))

    def paint(u: np.ndarray, v: np.ndarray, cloud: Cloud) -> np.ndarray:
        share = weave(np.sin(u * cos + v * sin), np.sin(v * cos - u * sin), cloud(u, v))
        return mix(column(first), second, share)

    return paint


def mottled(colour: ArrayLike, strength: float, frequency: float) -> Paint:
    """A colour that gets lighter and darker by `strength`: plaster, carpet, leaves, clouds."""

    def paint(u: np.ndarray, v: np.ndarray, cloud: Cloud) -> np.ndarray:
        return column(colour) * (
            1 + strength * (cloud(u * frequency, v * frequency) + cloud(v * frequency / 4, u * frequency / 4))
        )

    return paint


def ball(rng: np.random.Generator) -> list[Part]:
    """A ball: plain, with a band, or of cloth."""
    parts = [Part(ellipse(0, 0, 1, 1), any_colour(rng) if rng.random() < 0.6 else cloth(rng), depth=0.9)]
    if rng.random() < 0.5:
        band = ellipse(0, 0, 0.97, rng.uniform(0.15, 0.4), rng.uniform(0, 3))
        parts.append(detail(band, any_colour(rng), depth=0.6))
    return [*parts, detail(ellipse(-0.3, -0.4, 0.18, 0.12, -0.6), (1, 1, 1), opacity=0.25)]


def plant(rng: np.random.Generator) -> list[Part]:
    """A pot with long or broad leaves."""
    parts, pot = [], any_colour(rng)
    widths = [0.07, 0.2, 0.16, 0.02] if rng.random() < 0.5 else [0.05, 0.12, 0.55, 0.5, 0.04]
    for angle in rng.permutation(np.linspace(-1.35, 1.35, int(rng.integers(8, 16)))):
        tip = np.array([np.sin(angle) * 0.9, -np.cos(angle)]) * rng.uniform(1.6, 3.2)
        tip[1] += rng.uniform(0.0, 0.8) * abs(angle)  # the outer ones droop
        leaf = tube(np.stack([tip * 0, tip * 0.55 - (0, 0.35), tip]), widths)
        colour = np.array(LEAVES[rng.integers(len(LEAVES))]) * rng.uniform(0.8, 1.2)
        parts.append(Part(leaf, colour, depth=0.7, shadow=0.15))
    body, rim = np.array([(-0.75, -0.1), (0.75, -0.1), (0.55, 1.3), (-0.55, 1.3)]), rectangle(-0.85, -0.25, 0.85, 0.1)
    return [*parts, Part(body, pot, depth=0.7, shadow=0.2), Part(rim, pot, depth=0.4, shadow=0.2)]


def cushion(rng: np.random.Generator) -> list[Part]:
    """A cushion, its corners sticking out like ears."""
    wide, high, sag = rng.uniform(1.2, 2.0), rng.uniform(0.9, 1.4), rng.uniform(0.08, 0.25)
    top = [(wide - sag, 0), (wide, -high), (0, -high + sag), (-wide, -high)]
    outline = smooth([*top, *((-x, -y) for x, y in top)], 5)
    return [Part(turned(outline, rng.uniform(-0.5, 0.5)), cloth(rng), depth=0.8)]
