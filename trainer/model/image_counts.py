"""Everything that is counted of predicted images, in integers: they add up over images and processes exactly."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import cast

import numpy as np
import torch
from torch import Tensor

from trainer import IGNORE
from trainer.model.calibration import BINS, THRESHOLDS
from trainer.model.score_table import Counts

PARTS = 1 << 20
"""Parts of 1 in which confidences are summed up."""

MOST_SAMPLED = 1 << 22
"""Probabilities of an image that enter the curves; of larger images every n-th pixel."""


@dataclass(frozen=True)
class ImageCounts:
    """Counts of one image."""

    classes: np.ndarray
    """`metrics.class_counts`, int64 [K, 3]."""

    boundary: np.ndarray
    """`boundary.boundary_counts`, int64 [K, 4]."""

    objects: np.ndarray
    """`object_counts`: each true object's class id, its pixels, pixels of the predicted objects that belong to it, and
    pixels of both, int64 [M, 4]."""

    def as_tuples(self) -> Counts:
        """Integers of `classes`, as a table of scores has them."""
        return cast(Counts, tuple(tuple(row) for row in self.classes.tolist()))


@dataclass(frozen=True)
class Totals:
    """Sums over images."""

    confusion: np.ndarray
    """Pixels by true class (row) and predicted class (column), int64 [K, K]."""

    above: np.ndarray
    """Pixels of each foreground class by their truth (0 another class, 1 this one) and by the number of THRESHOLDS that
    their probability of this class is above, int64 [K - 1, 2, 40]."""

    reliability: np.ndarray
    """Of each bin of the highest probability: pixels, those whose most probable class is true, and the sum of the
    probabilities in PARTS, int64 [BINS, 3]."""

    def __add__(self, other: "Totals") -> "Totals":
        return Totals(self.confusion + other.confusion, self.above + other.above, self.reliability + other.reliability)

    def add_curves(self, probabilities: Tensor, mask: Tensor, first: int = 0, step: int = 1) -> None:
        """Count a strip of an image, in place: every `step`-th pixel from `first` on.

        `probabilities` [1, C, h, w]; `mask`: class ids, uint8 [h, w], of which 255 is left out.
        """
        truth = mask.flatten()[first::step]
        known = truth != IGNORE
        truth = truth[known].long()
        chosen = probabilities[0].flatten(1)[:, first::step][:, known]
        edges = torch.tensor(THRESHOLDS, dtype=torch.float32, device=mask.device)
        columns = len(THRESHOLDS) + 1
        for index, values in enumerate(chosen if len(chosen) == 1 else chosen[1:]):
            places = (truth == index + 1).long() * columns + torch.bucketize(values.contiguous(), edges)
            self.above[index] += _tally(places, 2 * columns).reshape(2, -1)
        if len(chosen) == 1:
            likely = chosen[0] > 0.5
            confidence, right = torch.where(likely, chosen[0], 1 - chosen[0]).double(), likely == (truth > 0)
        else:
            highest, most = chosen.max(dim=0)
            confidence, right = highest.double(), most == truth
        bins = (confidence * BINS).ceil().long().clamp(1, BINS) - 1
        sums = torch.zeros(BINS, dtype=torch.int64, device=mask.device)
        sums.index_add_(0, bins, (confidence * PARTS).round().long())
        counted = [_tally(bins, BINS), _tally(bins[right], BINS), sums.cpu().numpy()]
        self.reliability[:] += np.stack(counted, axis=1)


@dataclass(frozen=True)
class Tally:
    """Counts of several images."""

    totals: Totals
    images: tuple[ImageCounts, ...]

    @property
    def counts(self) -> tuple[Counts, ...]:
        """`class_counts` of each image."""
        return tuple(image.as_tuples() for image in self.images)


def no_totals(classes: int) -> Totals:
    """Sums over no image; `classes` = K."""
    above = np.zeros((classes - 1, 2, len(THRESHOLDS) + 1), np.int64)
    return Totals(np.zeros((classes, classes), np.int64), above, np.zeros((BINS, 3), np.int64))


def sum_totals(parts: Iterable[Totals], classes: int) -> Totals:
    """Sum of several sums; `classes` = K."""
    return sum(parts, no_totals(classes))


def every_nth(pixels: int, channels: int) -> int:
    """Number n of which every n-th pixel of an image enters the curves."""
    return max(1, -(-pixels * channels // MOST_SAMPLED))


def _tally(places: Tensor, length: int) -> np.ndarray:
    return torch.bincount(places, minlength=length).cpu().numpy()
