"""Heads of the generated animals, facing the viewer or turned a little to one side.

In head coordinates the face is 2 wide and its middle lies at (0, 0). Constants hold right halves, top to bottom.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from trainer.make.synthetic.canvas import Paint, Part, detail
from trainer.make.synthetic.coats import WHITE, Coat
from trainer.make.synthetic.curves import Points, ellipse, mirrored, smooth, tube, turned

PINK, DARK = (0.86, 0.58, 0.55), (0.05, 0.04, 0.04)
IRISES = ((0.55, 0.68, 0.25), (0.85, 0.72, 0.22), (0.80, 0.48, 0.12), (0.42, 0.66, 0.80), (0.38, 0.58, 0.35))

CAT_SKULL = [(0, -0.76), (0.46, -0.70), (0.82, -0.36), (0.98, 0.10), (0.82, 0.52), (0.42, 0.76), (0, 0.82)]
CAT_EAR = [(0.1, -0.55), (0.2, -0.78), (0.42, -1.08), (0.7, -1.42), (0.8, -1.34), (0.88, -0.95), (0.9, -0.1)]
CAT_BLAZE = [(0, -0.62), (0.12, -0.1), (0.42, 0.3), (0.5, 0.58), (0.2, 0.76)]
TABBY_STROKES = ([(0, -0.7), (0, -0.34)], [(0.3, -0.68), (0.23, -0.34)], [(0.64, 0.15), (0.95, 0.15)])

DOG_SKULL = [(0, -0.85), (0.5, -0.76), (0.78, -0.3), (0.72, 0.2), (0.5, 0.62), (0.42, 0.95), (0, 1.08)]
DOG_EAR = [(0.38, -0.76), (0.74, -0.74), (1.02, -0.3), (1.12, 0.6), (0.92, 0.85), (0.74, 0.4), (0.66, -0.25)]
DOG_SNOUT = [(0, 0.05), (0.26, 0.18), (0.42, 0.55), (0.34, 0.92), (0, 1.03)]
DOG_TONGUE = [(0.14, 0.85), (0.17, 1.2), (0, 1.36)]
RABBIT_SKULL = [(0, -0.85), (0.5, -0.68), (0.74, -0.1), (0.76, 0.4), (0.45, 0.78), (0, 0.86)]


@dataclass(frozen=True)
class Look:
    """The place of a head in its object, its tilt (radians, clockwise), and its turn, from -1, left, to 1, right."""

    x: float
    y: float
    scale: float
    tilt: float
    turn: float
    asleep: bool

    def put(self, points: ArrayLike) -> Points:
        """Head coordinates to object coordinates."""
        return np.add(turned(np.asarray(points) * self.scale, self.tilt), (self.x, self.y))

    def face(self, points: Points, paint: Paint, depth: float = 0.0, opacity: float = 1.0) -> Part:
        """A feature of the face: it slides sideways and gets narrower as the head turns."""
        moved = np.add(points * (1 - 0.22 * abs(self.turn), 1), (0.34 * self.turn, 0))
        return detail(self.put(moved), paint, depth=depth, opacity=opacity)

    def pair(self, points: ArrayLike, paint: Paint, depth: float = 0.0, opacity: float = 1.0) -> list[Part]:
        """A feature on both sides of the face; `points` are those of the right side."""
        return [self.face(np.asarray(points) * (side, 1), paint, depth, opacity) for side in (-1, 1)]


def cat_head(coat: Coat, look: Look, rng: np.random.Generator) -> list[Part]:
    """Pointed ears, almond eyes with slit pupils, small nose, whiskers."""
    parts, tall, cheek = [], rng.uniform(0.92, 1.1), rng.uniform(0.94, 1.06)
    for side in (-1, 1):
        flip = (side * (1 - 0.25 * max(0.0, side * look.turn)), tall)  # narrower on the side the head turns to
        ear = smooth(CAT_EAR, 4) * flip
        parts.append(Part(look.put(ear), coat.paint("head", look.tilt), depth=0.4, ruffle=0.02))
        parts.append(detail(look.put(0.7 * ear + 0.3 * ear.mean(axis=0)), PINK, depth=0.7, opacity=0.8))
    skull = mirrored(CAT_SKULL) * (cheek, 1)
    parts.append(Part(look.put(skull), coat.paint("head", look.tilt), shadow=0.5, ruffle=0.035))
    if coat.pattern == "tabby":
        for stroke in TABBY_STROKES:
            parts += look.pair(tube(np.array(stroke), [0.055, 0.03], 3), coat.second, opacity=0.6)
    if "muzzle" in coat.white:
        parts.append(look.face(mirrored(CAT_BLAZE), WHITE, depth=0.2, opacity=0.92))
    parts += _cat_eyes(look, rng) + _muzzle(coat, look, 0.36, 0.12, rng)
    for rise in (-0.16, 0.0, 0.15):
        hair = [(0.3, 0.44), (0.75, 0.42 + rise * 0.7), (rng.uniform(0.95, 1.3), 0.46 + rise * 2)]
        parts += look.pair(tube(hair, [0.018, 0.006], 4), (0.95, 0.95, 0.93), opacity=0.7)
    return parts


def _cat_eyes(look: Look, rng: np.random.Generator) -> list[Part]:
    iris, open_, pupil = IRISES[rng.integers(len(IRISES))], rng.uniform(0.75, 1.1), rng.uniform(0.25, 0.75)
    if look.asleep:
        return look.pair(tube([(0.20, -0.02), (0.40, 0.08), (0.62, -0.04)], [0.035, 0.045, 0.03], 4), DARK)
    middle = (0.42, -0.03)
    almond = ellipse(0, 0, 0.225, 0.18 * open_) @ np.array([[1, -0.25], [0, 1]])  # outer corners sit higher
    return [
        *look.pair(almond * 1.22 + middle, DARK, opacity=0.85),
        *look.pair(almond + middle, iris, depth=0.3),
        *look.pair(ellipse(*middle, 0.17 * pupil, 0.17 * open_), DARK),
        *look.pair(ellipse(0.48, -0.1, 0.045, 0.05), (1, 1, 1)),
    ]


def _muzzle(coat: Coat, look: Look, y: float, nose: float, rng: np.random.Generator) -> list[Part]:
    """Whisker pads, a nose reaching `nose` to each side, and the mouth."""
    pale = WHITE if "muzzle" in coat.white or coat.pattern == "tabby" else 0.75 * coat.base + 0.2
    tip = mirrored([(0, y - 0.09), (nose, y - 0.06), (nose * 0.45, y + 0.04), (0, y + 0.08)])
    lip = tube([(0, y + 0.08), (0.03, y + 0.20), (0.14, y + 0.25), (0.26, y + 0.18)], [0.025, 0.025, 0.012], 3)
    return [
        *look.pair(ellipse(0.19, y + 0.14, 0.27, 0.20), pale, depth=0.5, opacity=0.75),
        look.face(tip, (0.80, 0.48, 0.46) if rng.random() < 0.6 else (0.16, 0.11, 0.11), depth=0.4),
        *look.pair(lip, DARK, opacity=0.75),
    ]


def _round_eyes(look: Look, x: float, y: float, radius: float, colour: tuple[float, float, float]) -> list[Part]:
    return [
        *look.pair(ellipse(x, y, radius, radius), colour, depth=0.3),
        *look.pair(ellipse(x + 0.04, y - 0.05, radius * 0.3, radius * 0.3), (1, 1, 1)),
    ]


def dog_head(coat: Coat, look: Look, rng: np.random.Generator) -> list[Part]:
    """Hanging ears, round dark eyes, a long muzzle with a broad black nose, often the tongue out."""
    parts = [Part(look.put(mirrored(DOG_SKULL)), coat.paint("head"), shadow=0.5, ruffle=0.03)]
    ear, paint = smooth(DOG_EAR) * (1, rng.uniform(0.8, 1.2)), 0.6 * coat.second + 0.2 * coat.base
    parts += [Part(look.put(ear * (side, 1)), paint, shadow=0.4, ruffle=0.03) for side in (-1, 1)]
    if rng.random() < 0.5:
        parts.append(look.face(mirrored(DOG_TONGUE), (0.85, 0.42, 0.45), depth=0.4))
    parts.append(look.face(mirrored(DOG_SNOUT), WHITE if "muzzle" in coat.white else 0.8 * coat.base + 0.15, depth=0.7))
    parts.append(look.face(ellipse(0, 0.48, 0.22, 0.15), (0.07, 0.06, 0.06), depth=0.5))
    return parts + _round_eyes(look, 0.33, -0.12, 0.12, (0.20, 0.11, 0.06))


def rabbit_head(coat: Coat, look: Look, rng: np.random.Generator) -> list[Part]:
    """Two long ears, an egg-shaped face, dark eyes far apart."""
    parts = []
    for side in (-1, 1):
        lean, length = side * rng.uniform(0.05, 0.45), rng.uniform(1.1, 1.5)
        ear = np.add(turned(ellipse(0, -length, 0.3, length), lean), (side * 0.36, -0.45))
        parts.append(Part(look.put(ear), coat.paint("head"), ruffle=0.02))
        parts.append(detail(look.put(0.6 * ear + 0.4 * ear.mean(axis=0)), PINK, depth=0.5, opacity=0.75))
    parts.append(Part(look.put(mirrored(RABBIT_SKULL)), coat.paint("head"), shadow=0.4, ruffle=0.03))
    return parts + _muzzle(coat, look, 0.30, 0.09, rng) + _round_eyes(look, 0.48, -0.05, 0.14, DARK)
