"""The generated animals: sitting, standing or lying, with a coat and a head.

Coordinates are object units: the cat's head is 2 wide; bodies that have a side face left.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from trainer.make.synthetic.canvas import Part, detail
from trainer.make.synthetic.coats import Coat, any_coat
from trainer.make.synthetic.curves import Points, ellipse, mirrored, rectangle, smooth, tube
from trainer.make.synthetic.heads import DARK, Look, cat_head, dog_head, rabbit_head

SITTING = [(0.62, -1.75), (0.92, -0.95), (1.02, -0.1), (1.45, 0.9), (1.62, 1.6), (1.35, 2.2), (0.7, 2.35)]
STANDING = [(-2.35, -1.1), (-1.6, -1.0), (0.0, -0.78), (1.7, -0.75), (2.1, -0.1), (1.6, 0.6), (-0.8, 0.85), (-2.1, 0.2)]
LYING = [(-1.9, 0.2), (-1.6, -0.6), (-0.6, -0.95), (0.8, -1.05), (1.9, -0.7), (2.4, 0.2), (2.1, 0.95), (-1.4, 1.05)]


@dataclass(frozen=True)
class Animal:
    """The looks of an animal in any pose; `leg` and `tail` are their thickness, 0 for no tail."""

    coat: Coat
    head: Callable[[Coat, Look, np.random.Generator], list[Part]]
    head_size: float
    leg: float
    tail: float

    def draw(self, points: Points, axis: float = 0.0, place: str = "body", shadow: float = 0.3) -> Part:
        """A furry part; `place` and `axis` are those of `Coat.paint`."""
        return Part(points, self.coat.paint(place, axis), shadow=shadow, ruffle=0.035)

    def draw_bib(self, x: float, y: float, rx: float, ry: float) -> list[Part]:
        """A white chest, where the coat has one."""
        bib = Part(ellipse(x, y, rx, ry), self.coat.paint("bib"), outline=False, depth=0.3, ruffle=0.1)
        return [bib] if "bib" in self.coat.white else []

    def draw_leg(self, line: list[tuple[float, float]], widths: Sequence[float]) -> list[Part]:
        """A leg along `line`, ending in a paw with toes."""
        x, y = line[-1]
        paw = self.draw(ellipse(x - 0.1, y, 0.40 * self.leg, 0.24), place="paw", shadow=0)
        toes = [detail(rectangle(x + toe, y, x + toe + 0.04, y + 0.2), DARK, opacity=0.4) for toe in (-0.26, -0.02)]
        return [self.draw(tube(line, np.multiply(widths, self.leg)), np.pi / 2, "leg"), paw, *toes]

    def draw_tail(self, line: list[tuple[float, float]], rng: np.random.Generator) -> list[Part]:
        """A tail along `line`, its end swung anywhere."""
        swung = line + np.outer((0, 0.1, 0.5, 1.0), rng.uniform((-0.7, -1.2), (0.7, 0.5)))
        widths = np.array([0.24, 0.26, 0.22, 0.15]) * self.tail
        return [self.draw(tube(swung, widths), np.pi / 4, "leg")] if self.tail else []

    def draw_head(self, x: float, y: float, turn: tuple[float, float], rng: np.random.Generator) -> list[Part]:
        """The head around (x, y), the face turned anywhere between two bounds; some asleep."""
        y += rng.uniform(-0.3, 0.3) if x < -1 else 0.0  # a neck that reaches forward is free
        look = Look(x, y, self.head_size, rng.uniform(-0.25, 0.25), rng.uniform(*turn), rng.random() < 0.08)
        return self.head(self.coat, look, rng)


def sitting(animal: Animal, rng: np.random.Generator) -> list[Part]:
    """Sitting, chest towards the viewer."""
    wide = rng.uniform(0.92, 1.12)
    parts = animal.draw_tail([(1.1, 2.1), (2.0, 2.2), (2.6, 1.6), (2.5, 0.8)], rng)
    parts += [animal.draw(mirrored(SITTING) * (wide, 1), np.pi / 2), *animal.draw_bib(0, -0.5, 0.6, 1.0)]
    for x in (-1.08, 1.08):
        parts.append(animal.draw(ellipse(x * wide, 1.45, 0.58, 0.82), np.pi / 2))
        parts.append(animal.draw(ellipse(x * 1.08, 2.22, 0.52, 0.26), place="paw"))
    for x in (-0.44, 0.44):
        parts += animal.draw_leg([(x, -0.3), (x * 1.1, 0.9), (x, 2.2)], [0.36, 0.33, 0.30])
    return parts + animal.draw_head(rng.uniform(-0.15, 0.15), -2.25, (-0.7, 0.7), rng)


def standing(animal: Animal, rng: np.random.Generator) -> list[Part]:
    """Standing or walking, seen from the side."""
    step = rng.uniform(-0.35, 0.35)
    parts = animal.draw_tail([(1.8, -0.5), (2.6, -0.6), (3.1, -1.0), (3.2, -1.7)], rng)
    parts += animal.draw_leg([(-1.1, 0.2), (-0.9 + step, 1.1), (-0.9 + step, 1.9)], [0.42, 0.30, 0.25])
    parts += animal.draw_leg([(1.3, 0.2), (1.0 - step, 1.0), (1.2 - step, 1.9)], [0.55, 0.32, 0.25])
    parts += [animal.draw(smooth(STANDING)), *animal.draw_bib(-1.7, 0, 0.4, 0.5)]
    parts += animal.draw_leg([(-1.5, 0.2), (-1.6 - step, 1.1), (-1.6 - step, 2.0)], [0.46, 0.31, 0.26])
    parts += animal.draw_leg([(1.55, 0.1), (1.5 + step, 1.0), (1.75 + step, 2.0)], [0.66, 0.33, 0.26])
    return parts + animal.draw_head(-2.3, -1.25, (-1.0, 0.1), rng)


def lying(animal: Animal, rng: np.random.Generator) -> list[Part]:
    """Lying, seen from the side, the front paws tucked in or stretched out like those of a sphinx."""
    parts = [animal.draw(smooth(LYING)), animal.draw(ellipse(1.4, 0.35, 0.95, 0.75), 0.3)]
    parts += animal.draw_bib(-1.3, 0.35, 0.4, 0.6)
    out = rng.uniform(0.0, 0.9)
    parts += animal.draw_leg([(-1.3, 0.7), (-1.6 - out / 2, 0.9), (-2.0 - out, 0.9)], [0.34, 0.28, 0.25])
    parts += animal.draw_leg([(-1.0, 0.85), (-1.2 - out / 2, 1.08), (-1.6 - out, 1.08)], [0.34, 0.28, 0.25])
    parts += animal.draw_tail([(2.1, 0.7), (2.6, 1.0), (3.2, 1.0), (3.8, 0.9)], rng)
    return parts + animal.draw_head(-1.45, -0.85, (-0.8, 0.4), rng)


POSES = (sitting, standing, lying)


def cat(rng: np.random.Generator, poses: Sequence[Callable[..., list[Part]]] = POSES) -> list[Part]:
    """A cat in one of `poses`."""
    animal = Animal(any_coat(rng), cat_head, *rng.uniform((0.95, 0.85, 0.8), (1.12, 1.1, 1.3)))
    return poses[int(rng.integers(len(poses)))](animal, rng)


def dog(rng: np.random.Generator) -> list[Part]:
    """A dog: stouter legs than a cat, a thinner tail."""
    animal = Animal(any_coat(rng, cat=False), dog_head, *rng.uniform((1.0, 1.1, 0.7), (1.15, 1.3, 1.0)))
    return POSES[rng.integers(len(POSES))](animal, rng)


def rabbit(rng: np.random.Generator) -> list[Part]:
    """A rabbit, sitting up or crouching."""
    return (sitting if rng.random() < 0.5 else lying)(
        Animal(any_coat(rng, cat=False), rabbit_head, 1.05, 0.9, tail=0), rng
    )
