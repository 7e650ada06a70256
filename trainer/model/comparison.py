"""Doubt about scores: intervals by the bootstrap over images, and two models compared on the same images.

An image is what is drawn at random, and it is drawn for both models at once: most of what makes scores differ between
sets of images is then the same on both sides, and cancels. The score is that of training, mIoU over the pooled pixels.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.special import ndtr
from scipy.stats import t as student

RESAMPLES = 2000
"""Random sets of images."""

CONFIDENCE = 0.95
"""Share of cases in which an interval contains the true value."""

BLOCK = 1 << 22
"""Numbers of drawn images that are worked on at once."""

LEAST_IMAGES = 2
"""Images without which there is no spread to be measured."""


@dataclass(frozen=True)
class Interval:
    """A value with its interval of confidence."""

    value: float
    low: float
    high: float

    @property
    def excludes_zero(self) -> bool:
        """True where the value differs from 0 by more than chance explains."""
        return self.low > 0 or self.high < 0

    def __str__(self) -> str:
        return f"{self.value:.3f} [{self.low:.3f}, {self.high:.3f}]"


@dataclass(frozen=True)
class Comparison:
    """Second model against the first, on the same images."""

    difference: Interval
    """Gain of mIoU, second minus first."""

    classes: dict[str, Interval]
    """Gain of IoU of each foreground class that has pixels in the masks."""

    images: int
    """Number of images."""

    def sentence(self, first: str, second: str) -> str:
        """Outcome in plain words, by the names of both models."""
        gain, count = self.difference, f"{self.images} image{'s' if self.images != 1 else ''}"
        if self.images < LEAST_IMAGES:
            return f"no comparison of {second} and {first}: {count} shows no spread"
        if not gain.excludes_zero:
            return f"no difference found between {second} and {first}: {gain} mIoU on {count}"
        winner, other, size = second, first, gain
        if gain.value < 0:
            winner, other, size = first, second, Interval(-gain.value, -gain.high, -gain.low)
        return f"{winner} is better than {other} by {size} mIoU on {count}"


def compare_scores(
    first: np.ndarray, second: np.ndarray, class_names: Sequence[str], resamples: int = RESAMPLES, seed: int = 0
) -> Comparison:
    """Compare two models by what each has counted on the same images.

    `first`, `second`: `class_counts` of each image, int64 [N, K, 3], in the same order; `class_names`: K, the
    background's first. Deterministic for a seed. With fewer than LEAST_IMAGES images the intervals are [-1, 1].
    """
    if first.shape != second.shape or not np.array_equal(first[:, :, 2], second[:, :, 2]):
        raise ValueError("both models must be scored on the same masks, in the same order")
    drawn = draw_images(len(first), resamples, seed)
    gain = pooled_iou(second) - pooled_iou(first)
    gains = _resampled_iou(second, drawn) - _resampled_iou(first, drawn)
    present = np.isfinite(gain)
    difference = _interval(_mean(gain), _mean(gains), len(first), (-1.0, 1.0))
    classes = {
        name: _interval(float(gain[index]), gains[:, index], len(first), (-1.0, 1.0))
        for index, name in enumerate(class_names[1:])
        if present[index]
    }
    return Comparison(difference, classes, len(first))


def score_interval(counts: np.ndarray, resamples: int = RESAMPLES, seed: int = 0) -> Interval:
    """Return the mIoU of one model with its interval; `counts`: `class_counts` of each image, int64 [N, K, 3].

    nan where no foreground class is in the masks; with fewer than LEAST_IMAGES images the interval is [0, 1].
    """
    drawn = draw_images(len(counts), resamples, seed)
    return _interval(_mean(pooled_iou(counts)), _mean(_resampled_iou(counts, drawn)), len(counts), (0.0, 1.0))


def class_intervals(
    counts: np.ndarray, class_names: Sequence[str], resamples: int = RESAMPLES, seed: int = 0
) -> dict[str, Interval]:
    """Return the IoU of each foreground class that has pixels in the masks, with its interval.

    `counts`: `class_counts` of each image, int64 [N, K, 3]; `class_names`: K, the background's first.
    """
    pooled, resampled = pooled_iou(counts), _resampled_iou(counts, draw_images(len(counts), resamples, seed))
    return {
        name: _interval(float(pooled[index]), resampled[:, index], len(counts), (0.0, 1.0))
        for index, name in enumerate(class_names[1:])
        if np.isfinite(pooled[index])
    }


def draw_images(images: int, resamples: int, seed: int) -> np.ndarray:
    """Draw `resamples` sets of as many images with replacement: how often each image is in each set, uint8 [R, N].

    An image that is in a set more than 255 times does not occur: the number follows a Poisson distribution of mean 1.
    """
    random, drawn = np.random.default_rng(seed), np.empty((resamples, images), np.uint8)
    for some in _blocks(drawn):
        some[:] = [np.bincount(row, minlength=images) for row in random.integers(0, images, some.shape)]
    return drawn


def _blocks(drawn: np.ndarray) -> list[np.ndarray]:
    """Rows of [R, N], a few at a time: as int64 or float64 all of them take gigabytes for many images."""
    return np.array_split(drawn, max(1, -(-drawn.size // BLOCK)))


def pooled_iou(counts: np.ndarray) -> np.ndarray:
    """IoU of each foreground class over all pixels of the images, float64 [K - 1]; nan for a class without pixels.

    `counts`: int64 [N, K, 3].
    """
    return _iou(counts.sum(axis=0)[None])[0]


def _resampled_iou(counts: np.ndarray, drawn: np.ndarray) -> np.ndarray:
    """IoU of each foreground class in each set of images, float64 [R, K - 1]."""
    flat = counts.reshape(len(counts), -1).astype(np.float64)
    pooled = np.concatenate([some.astype(np.float64) @ flat for some in _blocks(drawn)])
    return _iou(pooled.reshape(len(drawn), *counts.shape[1:]))


def _iou(pooled: np.ndarray) -> np.ndarray:
    """IoU of the foreground classes, float64 [R, K - 1], of pooled counts [R, K, 3]."""
    correct, predicted, true = np.moveaxis(pooled[:, 1:], 2, 0).astype(np.float64)
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(true > 0, correct / (predicted + true - correct), np.nan)


def _mean(iou: np.ndarray) -> np.ndarray:
    """Mean over the classes that are there, float64 [...]; nan where there is none."""
    there = np.isfinite(iou)
    count = there.sum(axis=-1)
    with np.errstate(invalid="ignore"):
        return np.where(there, iou, 0.0).sum(axis=-1) / np.where(count > 0, count, np.nan)


def _interval(value: float | np.ndarray, resampled: np.ndarray, images: int, widest: tuple[float, float]) -> Interval:
    """Expanded percentile interval (Hesterberg 2015, What Teachers Should Know About the Bootstrap, section 5.3).

    The plain percentiles are too narrow for few images: by Student's t and by a factor of sqrt(n / (n - 1)).
    """
    found = resampled[np.isfinite(resampled)]
    if images < LEAST_IMAGES or len(found) == 0:
        return Interval(float(value), *widest)
    low, high = np.quantile(found, [tail_share(images), 1 - tail_share(images)])
    return Interval(float(value), float(low), float(high))


def tail_share(images: int) -> float:
    """Share of the resamples that lies beyond each end of the interval for so many images."""
    quantile = student.ppf((1 - CONFIDENCE) / 2, images - 1)
    return float(ndtr(np.sqrt(images / (images - 1)) * quantile))
