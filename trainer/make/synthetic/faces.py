"""What the faces of the generated animals have in common: where they look, muzzle and eyes."""

from dataclasses import dataclass

import numpy as np

from trainer.make.synthetic.canvas import Part, Points, ellipse, mark, smooth, tube, turned
from trainer.make.synthetic.coats import WHITE, Coat

DARK = (0.05, 0.04, 0.04)


@dataclass(frozen=True)
class Look:
    """Where a head is and what its face does. In head coordinates the face is 2 wide, its middle at (0, 0)."""

    x: float
    y: float
    scale: float = 1.0
    tilt: float = 0.0
    """Radians, clockwise."""
    turn: float = 0.0
    """-1..1: how far the face looks to the left or right."""
    away: bool = False
    """Seen from behind: no face."""
    asleep: bool = False

    def put(self, points: Points) -> Points:
        """Head coordinates to object coordinates."""
        return turned(np.asarray(points) * self.scale, self.tilt) + np.array([self.x, self.y])

    def face(self, points: Points) -> Points:
        """The same for features of the face, which slide sideways and get narrower as the head turns."""
        moved = np.array(points, dtype=np.float64)
        moved[:, 0] = moved[:, 0] * (1 - 0.22 * abs(self.turn)) + 0.34 * self.turn
        return self.put(moved)


def muzzle(coat: Coat, look: Look, rng: np.random.Generator, y: float, nose: float) -> list[Part]:
    """Whisker pads, a triangular nose and the mouth below it."""
    pale = WHITE if "muzzle" in coat.white or coat.pattern == "tabby" else tuple(0.75 * c + 0.2 for c in coat.base)
    if coat.pattern == "points":
        pale = coat.second
    parts = [
        mark(look.face(ellipse(side * 0.19, y + 0.14, 0.27, 0.20)), pale, depth=0.5, opacity=0.75) for side in (-1, 1)
    ]
    colour = (0.80, 0.48, 0.46) if rng.random() < 0.6 and coat.pattern != "points" else (0.16, 0.11, 0.11)
    tip = smooth(
        [
            (-nose, y - 0.06),
            (0, y - 0.09),
            (nose, y - 0.06),
            (nose * 0.45, y + 0.04),
            (0, y + 0.08),
            (-nose * 0.45, y + 0.04),
        ],
        3,
    )
    parts.append(mark(look.face(tip), colour, depth=0.4))
    for side in (-1, 1):
        lip = np.array([(0, y + 0.08), (0.03, y + 0.20), (0.14, y + 0.25), (0.26, y + 0.18)]) * (side, 1)
        parts.append(mark(look.face(tube(lip, [0.025, 0.025, 0.012], steps=3)), DARK, opacity=0.75))
    return parts


def round_eyes(look: Look, x: float, y: float, radius: float, colour: tuple[float, float, float]) -> list[Part]:
    parts = []
    for side in (-1, 1):
        parts.append(mark(look.face(ellipse(side * x, y, radius * 1.2, radius * 1.2)), DARK, opacity=0.6))
        parts.append(mark(look.face(ellipse(side * x, y, radius, radius)), colour, depth=0.3))
        parts.append(mark(look.face(ellipse(side * x + 0.04, y - 0.05, radius * 0.3, radius * 0.3)), (1, 1, 1)))
    return parts


def mirrored(half: list[tuple[float, float]]) -> Points:
    """The smooth outline whose right half runs from the crown (x = 0) to the chin (x = 0)."""
    return smooth(half + [(-x, y) for x, y in half[-2:0:-1]])
