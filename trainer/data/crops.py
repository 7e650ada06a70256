"""Pixels of the samples of a step: whole images, resized; or of each a random crop, a function of (seed, epoch, row).

A crop is read with a margin on all sides, since augmentation turns and shrinks it: `TrainingPixels.share` is the side
of the crop over that of what is read.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from trainer.data.augment import reach
from trainer.data.full_size import FullSize
from trainer.data.stored_samples import ResizedSamples, StoredSamples

JITTER = 0.25
"""Largest distance of a crop's centre from the labelled pixel that it is chosen by, as a share of its side."""


class TrainingPixels(Protocol):
    """Source of the pixels of training samples. Reading is safe from any thread."""

    def read(self, rows: Sequence[int] | np.ndarray, epoch: int, side: int, stream: int = 0) -> tuple[Tensor, Tensor]:
        """Images uint8 [B, C, R, R] and masks uint8 [B, R, R] of some rows, to be shown at `side` pixels.

        Each `stream` gives independent crops.
        """
        ...

    def share(self, side: int) -> float:
        """Part of the side of what is read that is to be shown, before random changes; 1 for all of it."""
        ...


@dataclass(frozen=True)
class WholeImages:
    """Whole images, the same in each epoch."""

    samples: ResizedSamples

    def read(self, rows: Sequence[int] | np.ndarray, epoch: int, side: int, stream: int = 0) -> tuple[Tensor, Tensor]:
        return self.samples.read(rows)

    def share(self, side: int) -> float:
        return 1.0


@dataclass(frozen=True)
class Crops:
    """Random crops of images in their own pixels."""

    samples: FullSize
    seed: int
    preset: str
    """Preset of the augmentation that follows."""

    foreground: float = 0.0
    """Share of the crops that are centred near a labelled pixel."""

    chances: np.ndarray | None = None
    """Relative probability of each class id to be chosen, float [256], in an image that has it; None for all alike."""

    def read(self, rows: Sequence[int] | np.ndarray, epoch: int, side: int, stream: int = 0) -> tuple[Tensor, Tensor]:
        width = self._width(side)
        images = np.empty((len(rows), width, width, self.samples.view.channels), np.uint8)
        masks = np.empty((len(rows), width, width), np.uint8)
        for place, row in enumerate(rows):
            top, left = self.corner(int(row), epoch, side, stream)
            margin = (width - side) // 2
            images[place], masks[place] = self.samples.window(int(row), top - margin, left - margin, width)
        return torch.from_numpy(images).permute(0, 3, 1, 2), torch.from_numpy(masks)

    def share(self, side: int) -> float:
        return side / self._width(side)

    def _width(self, side: int) -> int:
        """Side of what is read for crops of `side` pixels, by an even number larger."""
        return side + 2 * math.ceil(side * (reach(self.preset) - 1) / 2)

    def corner(self, row: int, epoch: int, side: int, stream: int = 0) -> tuple[int, int]:
        """First row and column of the crop of a sample; where its image is smaller, the image is in the middle."""
        random = np.random.default_rng([self.seed, epoch, row, 23, stream])
        at_label, places, jitter = random.random() < self.foreground, random.random(2), random.uniform(-1, 1, 2)
        size, points = self.samples.size(row), self.samples.points(row)
        start = [place * (length - side) for place, length in zip(places, size, strict=True)]
        if at_label and len(points):
            centre = points[self._choose(random, points[:, 0]), 1:]
            start = [at + JITTER * side * shift - side / 2 for at, shift in zip(centre, jitter, strict=True)]
        corner = [
            round(min(max(0.0, at), length - side)) if length > side else -((side - length) // 2)
            for at, length in zip(start, size, strict=True)
        ]
        return corner[0], corner[1]

    def _choose(self, random: np.random.Generator, classes: np.ndarray) -> int:
        """Choose one of the points of these class ids: first a class, rare ones more often, then any point of it."""
        present = np.unique(classes)
        weights = np.ones(len(present)) if self.chances is None else self.chances[present]
        weights = weights / weights.sum() if weights.sum() else np.full(len(present), 1 / len(present))
        chosen = random.choice(present, p=weights)
        return int(random.choice(np.flatnonzero(classes == chosen)))


def training_pixels(
    samples: StoredSamples, seed: int, preset: str, foreground: float = 0.0, pixels: np.ndarray | None = None
) -> TrainingPixels:
    """Source of the pixels of samples that train.

    `pixels`: number of each class that train, int64 [K], by which rare ones are chosen more often: each with
    1 / sqrt(pixels), so that neither they nor the frequent ones drown the others.
    """
    if not samples.view.tiles:
        assert not isinstance(samples, FullSize)
        return WholeImages(samples)
    chances = None
    if pixels is not None:
        chances = np.zeros(256)
        chances[: len(pixels)] = 1 / np.sqrt(np.maximum(pixels, 1))
    return Crops(samples, seed, preset, foreground, chances)  # type: ignore[arg-type]
