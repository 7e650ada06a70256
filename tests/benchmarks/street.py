"""Generated streets of eleven classes; persons, poles, signs, fences and lights have less than 1 % of the pixels."""

from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageDraw

NAMES = ("sky", "building", "road", "pavement", "tree", "car", "person", "pole", "sign", "fence", "light")
SIDE, NOISE = 128, 10


class Street:
    """One street that is being drawn: an image and its mask, SIDE pixels square."""

    def __init__(self, random: np.random.Generator) -> None:
        self.random = random
        self.image, self.mask = Image.new("RGB", (SIDE, SIDE)), Image.new("L", (SIDE, SIDE))
        self.kerb = int(random.integers(80, 95))
        """Row at which the road begins."""

    def between(self, low: int, high: int) -> int:
        """A random whole number from `low` to before `high`."""
        return int(self.random.integers(low, high))

    def put(self, name: str | None, shape: str, box: Sequence[int], colour: Sequence[int], spread: int = 30) -> None:
        """Draw a shape into image and mask; `name` None is background. Its colour is random, near `colour`."""
        near = np.clip(np.array(colour) + self.random.normal(0, spread, 3), 0, 255).astype(int).tolist()
        getattr(ImageDraw.Draw(self.image), shape)(list(box), fill=tuple(near))
        getattr(ImageDraw.Draw(self.mask), shape)(list(box), fill=NAMES.index(name) + 1 if name else 0)

    def ground(self) -> None:
        """Sky, houses, pavement and road."""
        horizon = self.between(45, 65)
        self.put("sky", "rectangle", [0, 0, SIDE, horizon], (150, 180, 220))
        self.put(None, "rectangle", [0, horizon, SIDE, self.kerb], (120, 130, 90))
        x = 0
        while x < SIDE:
            width = self.between(15, 45)
            if self.random.random() < 0.6:
                self.put("building", "rectangle", [x, self.between(15, 50), x + width, self.kerb - 6], (140, 110, 100))
            x += width
        self.put("pavement", "rectangle", [0, self.kerb - 6, SIDE, self.kerb], (150, 150, 150), 20)
        self.put("road", "rectangle", [0, self.kerb, SIDE, SIDE], (90, 90, 95), 20)

    def large_things(self) -> None:
        """Trees and cars."""
        for _ in range(self.between(0, 4)):
            x, y, radius = self.between(0, SIDE), self.between(40, 60), self.between(6, 16)
            self.put("tree", "rectangle", [x - 1, y, x + 1, self.kerb - 4], (90, 70, 50), 15)
            self.put("tree", "ellipse", [x - radius, y - radius, x + radius, y + radius], (60, 120, 50))
        for _ in range(self.between(0, 4)):
            x, y, width = self.between(-5, 110), self.between(self.kerb - 2, 110), self.between(12, 30)
            height = width // 3
            self.put("car", "rectangle", [x, y, x + width, y + height], (150, 60, 60), 60)
            self.put("car", "rectangle", [x + width // 4, y - height, x + 3 * width // 4, y], (60, 60, 80), 20)

    def small_things(self) -> None:
        """Fences, persons, and poles with signs and lights."""
        foot = self.kerb - 4
        if self.random.random() < 0.25:
            x = self.between(0, 90)
            for post in range(x, x + self.between(20, 40), 4):
                self.put("fence", "rectangle", [post, foot - 10, post + 1, foot], (130, 120, 110), 10)
        for _ in range(max(0, self.between(-3, 4))):
            x, y = self.between(0, SIDE), self.kerb - self.between(10, 14)
            self.put("person", "rectangle", [x, y, x + 3, self.kerb - 1], (120, 80, 120), 60)
            self.put("person", "ellipse", [x, y - 4, x + 3, y], (200, 160, 130), 20)
        for _ in range(self.between(0, 3)):
            x, y, kind = self.between(2, SIDE - 2), self.between(15, 50), self.random.random()
            self.put("pole", "rectangle", [x, y, x + 1, self.kerb], (110, 110, 115), 15)
            if kind < 0.35:
                colour = (200, 50, 40) if self.random.random() < 0.5 else (40, 70, 200)
                self.put("sign", "ellipse", [x - 3, y - 3, x + 4, y + 4], colour)
            elif kind < 0.5:
                self.put("light", "rectangle", [x - 2, y - 4, x + 3, y + 5], (40, 40, 40), 10)


def draw(random: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Draw a noisy street, uint8 RGB [S, S, 3], and its mask, uint8 [S, S]."""
    street = Street(random)
    street.ground()
    street.large_things()
    street.small_things()
    noisy = (np.array(street.image) + random.normal(0, NOISE, (SIDE, SIDE, 3))) * random.uniform(0.7, 1.2)
    return noisy.clip(0, 255).astype(np.uint8), np.array(street.mask)
