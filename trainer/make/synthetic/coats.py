"""Fur of the generated animals: its colours and its patterns."""

from dataclasses import dataclass

import numpy as np

from trainer.make.synthetic.canvas import Cloud, Paint, column, mix

WHITE, BLACK, GREY = (0.93, 0.91, 0.88), (0.10, 0.09, 0.09), (0.48, 0.48, 0.50)
GINGER, CREAM, BROWN, SAND = (0.82, 0.50, 0.22), (0.90, 0.78, 0.60), (0.50, 0.37, 0.25), (0.66, 0.56, 0.45)
COLOURS = (BLACK, WHITE, GREY, GINGER, CREAM, BROWN, SAND)


@dataclass(frozen=True)
class Coat:
    """One animal's fur: solid, tabby (stripes of `second`) or patches (of `second` and `third` on `base`).

    `white`: the places that are white whatever the pattern (bib, muzzle, paw); `frequency`: stripes per object unit;
    `strands`: strands of hair, as cats have, else short and even.
    """

    pattern: str
    base: np.ndarray
    second: np.ndarray
    third: np.ndarray
    white: frozenset[str]
    frequency: float
    phase: float
    strands: bool

    def paint(self, place: str, axis: float = 0.0) -> Paint:
        """The fur of a place: bib, body, head, leg or paw; `axis`: the direction across the stripes, in radians."""

        def fur(u: np.ndarray, v: np.ndarray, cloud: Cloud) -> np.ndarray:
            clouds = cloud(u + self.phase, v)
            along = np.float32(self.frequency * np.cos(axis)) * u + np.float32(self.frequency * np.sin(axis)) * v
            colour = column(WHITE if place in self.white else self.base) * (1 + 0.05 * clouds)
            if self.pattern == "tabby" and place not in self.white:
                wave = np.sin(2 * np.pi * (along + 0.22 * clouds + self.phase))
                colour = mix(colour, self.second, (wave + 0.1) * (0.2 if place == "head" else 0.8))
            if self.pattern == "patches" and place not in self.white:
                blotches = cloud(0.4 * u + self.phase, 0.4 * v + 3)
                colour = mix(mix(colour, self.second, (blotches - 0.35) * 8), self.third, (-blotches - 0.75) * 8)
            if self.strands:
                return colour + (0.12 * colour + 0.03) * cloud(10 * u, 2 * v)
            return colour * (1 + 0.07 * cloud(5 * u, 5 * v))

        return fur


def any_coat(rng: np.random.Generator, cat: bool = True) -> Coat:
    """A coat that cats have, nearly half of them tabby, some calico; or one of other animals: never with stripes."""
    pattern = str(rng.choice(["tabby", "solid", "patches"], p=[0.45, 0.43, 0.12] if cat else [0.0, 0.65, 0.35]))
    colour = np.array(COLOURS[rng.integers(len(COLOURS))])
    colour = (colour * rng.uniform(0.85, 1.15) + rng.uniform(-0.03, 0.03, 3)).clip(0.05, 0.97)
    base, second = (np.array(WHITE), colour) if pattern == "patches" else (colour, colour * 0.4)
    white = frozenset(place for place in ("bib", "muzzle", "paw") if rng.random() < 0.5)
    frequency, phase = rng.uniform((1.2, 0), (2.2, 6))
    return Coat(pattern, base, second, np.array(BLACK) if cat else second, white, frequency, phase, strands=cat)
