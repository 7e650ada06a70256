"""Order of the training samples as pure functions of seed, epoch and step: no state to save or restore."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property, lru_cache

import numpy as np


@dataclass(frozen=True)
class Sampler:
    """Shuffled order of the training samples, cut into batches of `batch_size` over all processes."""

    samples: int
    """Number of training samples, and of positions in an epoch."""

    batch_size: int
    """Samples per optimizer step, over all processes."""

    seed: int
    drop_last: bool = False
    """Drop the last batch of an epoch if it is smaller than `batch_size`, unless it is the only one."""

    weights: np.ndarray | None = field(default=None, compare=False)
    """Relative frequency of each sample, float [samples]; None for each once an epoch."""

    @property
    def steps_per_epoch(self) -> int:
        """Number of batches in an epoch."""
        if self.drop_last and self.samples >= self.batch_size:
            return self.samples // self.batch_size
        return math.ceil(self.samples / self.batch_size)

    def batch(self, epoch: int, step: int) -> np.ndarray:
        """Indices in [0, samples), int64, of one batch; `epoch` and `step` count from 0."""
        order = self.order(epoch)
        return order[step * self.batch_size : (step + 1) * self.batch_size]

    def order(self, epoch: int) -> np.ndarray:
        """Sample indices in the order of one epoch, int64 [samples]; read-only, because all callers share it."""
        return self._orders(epoch)

    @cached_property
    def _orders(self) -> Callable[[int], np.ndarray]:
        # Threads that read ahead call this too, for the next epoch; lru_cache is safe. A million samples take 8 MB.
        return lru_cache(maxsize=4)(self._make_order)

    def _make_order(self, epoch: int) -> np.ndarray:
        random = np.random.default_rng([self.seed, epoch])
        indices = np.arange(self.samples) if self.weights is None else self._weighted(random, self.weights)
        order = random.permutation(indices)
        order.flags.writeable = False
        return order

    def _weighted(self, random: np.random.Generator, weights: np.ndarray) -> np.ndarray:
        """Systematic sampling: a sample of weight w occurs floor or ceil of samples * w / sum(weights) times."""
        ends = np.cumsum(weights) * (self.samples / weights.sum())
        indices = np.searchsorted(ends, np.arange(self.samples) + random.random(), side="right")
        return np.minimum(indices, self.samples - 1)


def foreground_weights(counts: np.ndarray) -> np.ndarray:
    """Sampling weight of each image, float [N], 1 or more; greater for images with rare classes.

    `counts` int [N, K]: pixels of each class. With f the share of images that hold a class, the weight is the largest
    1 / sqrt(f) of the foreground classes in the image: repeat factors of Gupta 2019, LVIS, section 5.2, with t = 1.
    """
    holds = counts[:, 1:] > 0
    factors = 1 / np.sqrt(np.maximum(holds.mean(axis=0), 1 / max(1, len(counts))))
    return np.maximum(1.0, (holds * factors).max(axis=1, initial=0.0))


def share(batch: Sequence[int] | np.ndarray, process: int, processes: int) -> np.ndarray:
    """Part of a batch that process `process` of `processes` takes; the sizes differ by at most one sample."""
    return np.array_split(np.asarray(batch), processes)[process]


def micro_batches(samples: np.ndarray, batch: int, processes: int, size: int) -> list[np.ndarray]:
    """Cut one process's share of a batch of `batch` samples into micro-batches of at most `size`; some may be empty.

    Their number is that of the largest share, so that all processes run the network equally often: synchronised batch
    norm and the sums of batch Dice are collective calls.
    """
    largest_share = math.ceil(batch / processes)
    return np.array_split(samples, math.ceil(largest_share / size))
