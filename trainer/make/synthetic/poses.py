"""Bodies of the generated animals, in the poses in which cats are seen.

Coordinates are object units (the cat's head is 2 wide), x right, y down; bodies that have a side face left.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from trainer.make.synthetic.canvas import Part, ellipse, mark, smooth, tube
from trainer.make.synthetic.coats import WHITE, Coat
from trainer.make.synthetic.faces import Look

FUR = 0.035
"""How far hairs stand out of a body's edge."""


@dataclass(frozen=True)
class Beast:
    """What a pose needs to know of an animal."""

    coat: Coat
    head: Callable[[Coat, Look, np.random.Generator], list[Part]]
    head_size: float = 1.0
    leg: float = 1.0
    """Thickness of the legs."""
    reach: float = 1.0
    """Length of the legs."""
    tail: float = 1.0
    """Thickness of the tail; 0 for none."""

    def limb(
        self, line: list[tuple[float, float]], widths: list[float], shadow: float = 0.0, dim: float = 1.0
    ) -> list[Part]:
        """A leg along `line`, ending in a paw. `dim` below 1 for the legs behind."""
        x, y = line[-1]
        lean = float(np.arctan2(line[-1][1] - line[-2][1], line[-1][0] - line[-2][0]))
        flat = abs(np.cos(lean)) > 0.7
        sole = (x - 0.1, y, 0.40 * self.leg, 0.24) if not flat else (x, y, 0.38, 0.25 * self.leg)
        parts = [
            Part(
                tube(line, [w * self.leg for w in widths]), self.coat.paint("leg", np.pi / 2), shadow=shadow, ruffle=FUR
            ),
            Part(ellipse(*sole), self.coat.paint("paw"), ruffle=FUR),
        ]
        if dim == 1.0:
            for toe in (-0.14, 0.10):
                crease = tube([(sole[0] + toe, y + 0.0), (sole[0] + toe - 0.02, y + 0.2)], [0.025, 0.02], 3)
                parts.append(mark(crease, (0.1, 0.08, 0.07), opacity=0.5))
        return parts

    def swish(self, line: list[tuple[float, float]], shadow: float = 0.0) -> list[Part]:
        """A tail along `line`, with rings if the coat is striped."""
        if not self.tail:
            return []
        widths = [0.24 * self.tail, 0.26 * self.tail, 0.22 * self.tail, 0.15 * self.tail]
        plain = Coat(self.coat.base, self.coat.base) if self.coat.pattern == "tabby" else self.coat
        parts = [Part(tube(line, widths), plain.paint("tail"), shadow=shadow, ruffle=FUR)]
        curve = smooth(line, 8, closed=False)
        if self.coat.pattern == "tabby":
            for start in range(3, len(curve) - 3, 5):
                ring = tube(curve[start : start + 3], [0.22 * self.tail * (1 - 0.35 * start / len(curve))], 2)
                parts.append(mark(ring, self.coat.second, depth=0.4, opacity=0.85 * self.coat.contrast))
        if "tip" in self.coat.white:
            parts.append(mark(tube(curve[-6:], [0.19 * self.tail, 0.14 * self.tail], 2), WHITE, depth=0.4, opacity=0.9))
        return parts


def sit_front(beast: Beast, rng: np.random.Generator, away: bool = False) -> list[Part]:
    """Sitting, chest towards the viewer; `away`: the same seen from behind."""
    coat, lean, wide = beast.coat, rng.uniform(-0.15, 0.15), rng.uniform(0.92, 1.12)
    side = rng.choice([-1, 1])
    tails = (
        [(1.1, 2.1), (2.0, 2.25), (2.6, 1.9), (2.5, 1.1)],
        [(1.2, 1.9), (2.2, 1.6), (2.3, 0.6), (2.8, -0.2)],
        [(1.3, 2.1), (2.0, 2.3), (1.4, 2.5), (0.2, 2.5)],
    )
    tail = [(side * x, y) for x, y in tails[rng.integers(3)]]
    half = [(0.62, -1.75), (0.92, -0.95), (1.02, -0.1), (1.45, 0.9), (1.62, 1.6), (1.35, 2.2), (0.7, 2.35)]
    body = smooth([(x * wide, y) for x, y in half] + [(-x * wide, y) for x, y in half[::-1]])
    wraps = tail[-1][1] > 2.4
    parts = [] if wraps else beast.swish(tail)
    parts.append(Part(body, coat.paint("body", np.pi / 2, bib=(0, -0.4, 0.62, 1.2) if not away else None), ruffle=FUR))
    for x in (-1.08, 1.08):
        parts.append(Part(ellipse(x * wide, 1.45, 0.58, 0.82), coat.paint("body", np.pi / 2), shadow=0.25, ruffle=FUR))
        if not away:
            parts.append(Part(ellipse(x * 1.08, 2.22, 0.52, 0.26), coat.paint("paw"), shadow=0.3, ruffle=FUR))
    if not away:
        for x in (-0.44, 0.44):
            parts += beast.limb([(x, -0.3), (x * 1.1, 0.9), (x, 2.2)], [0.36, 0.33, 0.30], shadow=0.3)
    if wraps or away:
        parts += beast.swish(tail if wraps else [(0, 1.9), (0.3, 2.3), (1.2, 2.5), (2.2, 2.3)], shadow=0.3)
    look = Look(lean, -2.25, beast.head_size, rng.uniform(-0.25, 0.25), rng.uniform(-0.7, 0.7), away)
    return parts + beast.head(coat, look, rng)


def sit_away(beast: Beast, rng: np.random.Generator) -> list[Part]:
    """Sitting, seen from behind."""
    return sit_front(beast, rng, away=True)


def sit_side(beast: Beast, rng: np.random.Generator) -> list[Part]:
    """Sitting, seen from the side, the face turned to the viewer."""
    coat = beast.coat
    tails = (
        [(1.7, 1.9), (2.7, 2.2), (3.4, 1.9), (3.7, 1.2)],
        [(1.7, 2.1), (1.9, 2.4), (0.9, 2.5), (-0.2, 2.45)],
        [(1.8, 1.8), (2.7, 1.6), (2.9, 0.5), (2.5, -0.3)],
    )
    tail = tails[rng.integers(3)]
    body = smooth(
        [
            (-0.65, -1.7),
            (-0.98, -0.9),
            (-0.95, 0.0),
            (-0.55, 1.1),
            (0.0, 2.2),
            (1.5, 2.3),
            (2.05, 1.7),
            (1.85, 0.5),
            (1.15, -0.8),
            (0.45, -1.8),
        ]
    )
    parts = [] if tail[-1][1] > 2.4 else beast.swish(tail)
    parts += beast.limb([(-0.25, 0.2), (-0.2, 1.2), (-0.25, 2.15)], [0.36, 0.30, 0.26], dim=0.8)
    parts.append(Part(body, coat.paint("body", 0.9, bib=(-0.95, -0.3, 0.55, 1.1)), ruffle=FUR))
    parts += beast.limb([(-0.55, -0.1), (-0.6, 1.1), (-0.65, 2.2)], [0.42, 0.32, 0.28], shadow=0.3)
    parts.append(Part(ellipse(1.12, 1.4, 0.9, 0.86), coat.paint("body", 0.2), shadow=0.35, ruffle=FUR))
    parts.append(Part(ellipse(0.50, 2.2, 0.62, 0.24), coat.paint("paw"), shadow=0.3, ruffle=FUR))
    if tail[-1][1] > 2.4:
        parts += beast.swish(tail, shadow=0.3)
    look = Look(-0.4, -2.15, beast.head_size, rng.uniform(-0.3, 0.2), rng.uniform(-1.0, 0.2))
    return parts + beast.head(coat, look, rng)


def stand_side(beast: Beast, rng: np.random.Generator) -> list[Part]:
    """Standing or walking, seen from the side."""
    coat, foot, step = beast.coat, 1.9 * beast.reach, rng.uniform(-0.35, 0.35)
    tails = (
        [(1.8, -0.5), (2.5, -1.0), (2.6, -2.0), (2.3, -2.9)],
        [(1.8, -0.4), (2.8, -0.2), (3.5, 0.3), (4.1, 0.1)],
        [(1.8, -0.4), (2.5, -0.9), (3.3, -1.2), (3.7, -2.0)],
    )
    parts = beast.swish(tails[rng.integers(3)])
    parts += beast.limb([(-1.1, 0.2), (-0.9 + step, 1.1), (-0.9 + step, foot)], [0.42, 0.30, 0.25], dim=0.8)
    parts += beast.limb([(1.3, 0.2), (1.0 - step, 1.0), (1.2 - step, foot)], [0.55, 0.32, 0.25], dim=0.8)
    body = smooth(
        [
            (-2.35, -1.1),
            (-1.6, -1.0),
            (-0.6, -0.75),
            (0.6, -0.8),
            (1.7, -0.75),
            (2.1, -0.1),
            (1.7, 0.6),
            (0.6, 0.75),
            (-0.8, 0.85),
            (-1.7, 0.6),
            (-2.2, -0.2),
        ]
    )
    parts.append(Part(body, coat.paint("body", 0.0, bib=(-1.9, 0.1, 0.6, 0.7)), shadow=0.3, ruffle=FUR))
    parts += beast.limb([(-1.5, 0.2), (-1.6 - step, 1.1), (-1.6 - step, foot + 0.08)], [0.46, 0.31, 0.26], shadow=0.25)
    parts += beast.limb([(1.55, 0.1), (1.5 + step, 1.0), (1.75 + step, foot + 0.08)], [0.66, 0.33, 0.26], shadow=0.25)
    look = Look(-2.3, rng.uniform(-1.6, -0.9), beast.head_size * 0.95, rng.uniform(-0.3, 0.3), rng.uniform(-1.0, 0.1))
    return parts + beast.head(coat, look, rng)


def loaf(beast: Beast, rng: np.random.Generator) -> list[Part]:
    """Lying with the paws tucked in, or the front legs stretched out like a sphinx."""
    coat = beast.coat
    body = smooth(
        [
            (-1.9, 0.2),
            (-1.6, -0.6),
            (-0.6, -0.95),
            (0.8, -1.05),
            (1.9, -0.7),
            (2.4, 0.2),
            (2.2, 0.95),
            (0.5, 1.1),
            (-1.4, 1.05),
        ]
    )
    parts = [Part(body, coat.paint("body", 0.0, bib=(-1.7, 0.4, 0.6, 0.6)), ruffle=FUR)]
    parts.append(Part(ellipse(1.4, 0.35, 0.95, 0.75), coat.paint("body", 0.3), shadow=0.3, ruffle=FUR))
    if rng.random() < 0.5:
        parts += beast.limb([(-1.3, 0.7), (-2.0, 0.9), (-2.9, 0.95)], [0.34, 0.28, 0.25], shadow=0.3)
        parts += beast.limb([(-1.0, 0.85), (-1.7, 1.08), (-2.5, 1.12)], [0.34, 0.28, 0.25], shadow=0.3)
    else:
        parts += [Part(ellipse(x, 1.02, 0.42, 0.2), coat.paint("paw"), shadow=0.3, ruffle=FUR) for x in (-1.5, -0.9)]
    tails = ([(2.1, 0.8), (1.6, 1.25), (0.6, 1.3), (-0.4, 1.2)], [(2.2, 0.6), (3.0, 1.0), (3.6, 0.9), (4.1, 0.5)])
    parts += beast.swish(tails[rng.integers(2)], shadow=0.3)
    look = Look(
        -1.45,
        rng.uniform(-1.1, -0.6),
        beast.head_size,
        rng.uniform(-0.25, 0.25),
        rng.uniform(-0.8, 0.4),
        asleep=rng.random() < 0.3,
    )
    return parts + beast.head(coat, look, rng)


def curled(beast: Beast, rng: np.random.Generator) -> list[Part]:
    """Asleep in a ring, tail to nose."""
    coat = beast.coat
    body = smooth(
        [(-2.1, 0.3), (-1.7, -0.8), (-0.4, -1.4), (1.2, -1.2), (2.15, -0.2), (1.95, 0.9), (0.8, 1.4), (-0.9, 1.35)]
    )
    parts = [Part(body, coat.paint("body", rng.uniform(0, 0.6)), ruffle=FUR)]
    parts.append(Part(ellipse(1.05, 0.35, 0.95, 0.85, 0.3), coat.paint("body", 1.2), shadow=0.35, ruffle=FUR))
    look = Look(
        -1.1, 0.35, beast.head_size * 0.95, rng.uniform(-0.9, -0.2), rng.uniform(-0.4, 0.4), asleep=rng.random() < 0.75
    )
    parts += beast.head(coat, look, rng)
    return parts + beast.swish([(1.8, 0.9), (0.9, 1.5), (-0.3, 1.6), (-1.2, 1.25)], shadow=0.35)


def stretched(beast: Beast, rng: np.random.Generator) -> list[Part]:
    """Lying on its side, all legs towards the viewer."""
    coat = beast.coat
    parts = beast.swish([(2.3, 0.1), (3.2, 0.3), (3.8, -0.1), (4.2, -0.7)])
    body = smooth(
        [
            (-2.0, -0.5),
            (-0.8, -0.8),
            (0.6, -0.75),
            (1.8, -0.85),
            (2.6, -0.2),
            (2.3, 0.6),
            (0.9, 0.7),
            (-0.8, 0.75),
            (-1.9, 0.5),
        ]
    )
    parts.append(Part(body, coat.paint("body", 0.0, bib=(-0.5, 0.6, 1.6, 0.4)), ruffle=FUR))
    parts += beast.limb([(-1.4, 0.3), (-2.0, 0.9), (-2.9, 1.2)], [0.36, 0.28, 0.24], shadow=0.3)
    parts += beast.limb([(-0.9, 0.4), (-1.3, 1.0), (-2.0, 1.5)], [0.36, 0.28, 0.24], shadow=0.3)
    parts += beast.limb([(1.6, 0.2), (1.3, 1.0), (0.5, 1.4)], [0.55, 0.32, 0.24], shadow=0.3)
    parts += beast.limb([(2.0, 0.2), (2.2, 1.0), (1.6, 1.6)], [0.55, 0.32, 0.24], shadow=0.3)
    look = Look(
        -2.35, -0.45, beast.head_size, rng.uniform(-0.9, 0.2), rng.uniform(-0.5, 0.5), asleep=rng.random() < 0.4
    )
    return parts + beast.head(coat, look, rng)


def portrait(beast: Beast, rng: np.random.Generator) -> list[Part]:
    """Head and shoulders, close to the camera."""
    half = [(0.66, 0.3), (0.95, 0.9), (1.5, 1.6), (1.75, 2.6), (1.8, 4.2)]
    body = smooth(half + [(-x, y) for x, y in half[::-1]])
    parts = [Part(body, beast.coat.paint("body", np.pi / 2, bib=(0, 2.0, 0.7, 1.3)), ruffle=FUR)]
    return parts + beast.head(
        beast.coat, Look(0, 0, beast.head_size, rng.uniform(-0.3, 0.3), rng.uniform(-0.6, 0.6)), rng
    )


Pose = Callable[[Beast, np.random.Generator], list[Part]]
