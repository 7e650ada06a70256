"""Fur of the generated animals: its colours and its patterns."""

from dataclasses import dataclass, field

import numpy as np

from trainer.make.synthetic.canvas import Noise, Paint, mix

WHITE = (0.93, 0.91, 0.88)
BLACK = (0.10, 0.09, 0.09)
GREY = (0.46, 0.48, 0.51)
GINGER = (0.82, 0.50, 0.22)
CREAM = (0.90, 0.78, 0.60)
BROWN = (0.50, 0.37, 0.25)
SAND = (0.72, 0.58, 0.42)
DARK_BROWN = (0.22, 0.15, 0.11)

PINK = (0.86, 0.58, 0.55)


@dataclass(frozen=True)
class Coat:
    """One animal's fur. `pattern`: solid, tabby, patches, tortoiseshell or points."""

    base: tuple[float, float, float]
    second: tuple[float, float, float]
    pattern: str = "solid"
    third: tuple[float, float, float] = BLACK
    white: frozenset[str] = field(default_factory=frozenset)
    """The places that are white whatever the pattern: bib, muzzle, paw, tip."""
    frequency: float = 2.0
    """Stripes or blotches per object unit."""
    contrast: float = 0.8
    phase: float = 0.0
    nap: str = "hair"
    """hair: strands, what cats have; curls: woolly; plush: short and even."""

    def paint(self, place: str, axis: float = 0.0, bib: tuple[float, float, float, float] | None = None) -> Paint:
        """The fur of one part. `place`: body, head, ear, leg, paw, tail; `axis`: the direction across
        the stripes, in radians.

        `bib` (x, y, rx, ry): the ellipse that is white where the coat has a white bib.
        """

        def fur(u: np.ndarray, v: np.ndarray, noise: Noise) -> np.ndarray:
            clouds = noise.cloud(u + self.phase, v, 1.0)
            base = WHITE if place == "paw" and "paw" in self.white else self.base
            colour = np.asarray(base, dtype=np.float32)[:, None, None] * (1 + 0.05 * clouds)
            if base is self.base:
                colour = self._pattern(colour, place, axis, u, v, noise, clouds)
            if bib is not None and "bib" in self.white:
                x, y, rx, ry = bib
                distance = ((u - x) / rx) ** 2 + ((v - y) / ry) ** 2 + 0.15 * clouds
                colour = mix(colour, WHITE, (1.0 - distance) * 4)
            if self.nap == "hair":
                return colour * (1 + 0.10 * noise.hair) + 0.025 * noise.hair
            return colour * (1 + (0.09 if self.nap == "curls" else 0.03) * noise.cloud(u, v, 5.0))

        return fur

    def _pattern(
        self,
        colour: np.ndarray,
        place: str,
        axis: float,
        u: np.ndarray,
        v: np.ndarray,
        noise: Noise,
        clouds: np.ndarray,
    ) -> np.ndarray:
        if self.pattern == "tabby":
            along = np.float32(np.cos(axis)) * u + np.float32(np.sin(axis)) * v
            wave = np.sin(2 * np.pi * (self.frequency * along + 0.22 * clouds + self.phase))
            strength = self.contrast * (0.3 if place in ("head", "ear") else 1.0)  # a face has marks of its own
            return mix(colour, self.second, (wave * 1.6 + 0.1) * strength)
        if self.pattern == "patches":
            blotches = noise.cloud(u * 0.9 + self.phase, v * 0.9 + 3, 0.55 * self.frequency / 2)
            colour = mix(colour, self.second, (blotches - 0.35) * 8)
            return mix(colour, self.third, (-blotches - 0.75) * 8)
        if self.pattern == "tortoiseshell":
            speckle = noise.cloud(u + self.phase, v, 1.6) + 0.5 * noise.hair
            return mix(colour, self.second, (speckle - 0.2) * 2.5)
        if self.pattern == "points" and place in ("ear", "tail", "paw", "leg", "mask"):
            return mix(colour, self.second, 0.85 + 0.1 * clouds)
        return colour


def cat_coat(rng: np.random.Generator) -> Coat:
    """A coat that cats have: half of them tabby, the rest solid, black and white, calico, tortoiseshell or pointed."""
    phase, frequency = float(rng.uniform(0, 6)), float(rng.uniform(1.2, 2.2))
    kind = rng.choice(
        ["tabby", "solid", "bicolour", "calico", "tortoiseshell", "points"], p=[0.4, 0.22, 0.16, 0.08, 0.06, 0.08]
    )
    places = np.array(["bib", "muzzle", "paw", "tip"])
    some = frozenset(str(p) for p in places[rng.random(4) < 0.45])
    if kind == "tabby":
        pairs = [
            ((0.62, 0.53, 0.43), (0.20, 0.16, 0.13)),
            (GINGER, (0.56, 0.28, 0.10)),
            ((0.60, 0.60, 0.60), (0.22, 0.22, 0.24)),
            (CREAM, (0.70, 0.50, 0.30)),
            (BROWN, (0.14, 0.10, 0.08)),
        ]
        base, second = pairs[rng.integers(len(pairs))]
        return Coat(
            _varied(base, rng),
            second,
            "tabby",
            white=some,
            frequency=frequency,
            contrast=float(rng.uniform(0.45, 0.9)),
            phase=phase,
        )
    if kind == "bicolour":
        base = [BLACK, BLACK, GREY, GINGER][rng.integers(4)]
        return Coat(_varied(base, rng), base, "solid", white=frozenset(["bib", "muzzle", "paw"]), phase=phase)
    if kind == "calico":
        return Coat(_varied(WHITE, rng), GINGER, "patches", third=BLACK, frequency=frequency, phase=phase)
    if kind == "tortoiseshell":
        return Coat(_varied(BLACK, rng), (0.60, 0.34, 0.14), "tortoiseshell", white=some, phase=phase)
    if kind == "points":
        return Coat(_varied((0.88, 0.81, 0.70), rng), DARK_BROWN, "points", phase=phase)
    base = [BLACK, WHITE, GREY, GINGER, CREAM, (0.30, 0.24, 0.20)][rng.integers(6)]
    return Coat(_varied(base, rng), base, "solid", white=some if base != WHITE else frozenset(), phase=phase)


def other_coat(rng: np.random.Generator, nap: str) -> Coat:
    """A coat for dogs, rabbits and bears: the cats' colours, plain or in patches, without their stripes."""
    base = [BLACK, WHITE, GREY, GINGER, CREAM, BROWN, SAND, DARK_BROWN][rng.integers(8)]
    some = frozenset(str(p) for p in np.array(["bib", "muzzle", "paw", "tip"])[rng.random(4) < 0.5])
    phase = float(rng.uniform(0, 6))
    if rng.random() < 0.35:
        return Coat(
            _varied(WHITE, rng),
            base if base != WHITE else BROWN,
            "patches",
            third=base if base != WHITE else BLACK,
            frequency=float(rng.uniform(1, 2)),
            phase=phase,
            nap=nap,
        )
    return Coat(_varied(base, rng), base, "solid", white=some, phase=phase, nap=nap)


def _varied(colour: tuple[float, float, float], rng: np.random.Generator) -> tuple[float, float, float]:
    red, green, blue = np.clip(np.array(colour) * rng.uniform(0.85, 1.15) + rng.uniform(-0.03, 0.03, 3), 0.05, 0.97)
    return float(red), float(green), float(blue)
