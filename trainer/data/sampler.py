"""Which samples make which optimizer step, as pure functions: nothing to save, nothing to restore."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np


@dataclass(frozen=True)
class Sampler:
    """The order of `samples` training pictures, cut into batches of `batch_size` over all processes."""

    samples: int
    batch_size: int
    seed: int
    drop_last: bool = False
    weights: np.ndarray | None = field(default=None, compare=False)
    """float [samples]: how often each picture is seen, in proportion; None: each once an epoch."""

    @property
    def steps_per_epoch(self) -> int:
        if self.drop_last and self.samples >= self.batch_size:
            return self.samples // self.batch_size
        return math.ceil(self.samples / self.batch_size)

    def batch(self, epoch: int, step: int) -> np.ndarray:
        """Positions, int64, in [0, samples), of the samples of step `step` (from 0) of epoch `epoch` (from 0)."""
        order = self.order(epoch)
        return order[step * self.batch_size : (step + 1) * self.batch_size]

    def order(self, epoch: int) -> np.ndarray:
        """The positions that epoch `epoch` goes through, int64 [samples]."""
        random = np.random.default_rng([self.seed, epoch])
        if self.weights is None:
            return random.permutation(self.samples)
        # Systematic sampling: a picture of weight w occurs floor or ceil of samples * w / sum(weights) times.
        ends = np.cumsum(self.weights) * (self.samples / self.weights.sum())
        places = np.searchsorted(ends, np.arange(self.samples) + random.random(), side="right")
        return random.permutation(np.minimum(places, self.samples - 1))


def foreground_weights(counts: np.ndarray) -> np.ndarray:
    """A weight of 1 or more for each picture, greater where it holds what few pictures hold.

    `counts` int [N, K]: pixels of each class. With f the share of pictures that hold a class, the weight is the largest
    1 / sqrt(f) of the foreground classes in the picture: repeat factors of Gupta 2019, LVIS, section 5.2, with t = 1.
    """
    holds = counts[:, 1:] > 0
    factors = 1 / np.sqrt(np.maximum(holds.mean(axis=0), 1 / max(1, len(counts))))
    return np.maximum(1.0, (holds * factors).max(axis=1, initial=0.0))


def share(batch: Sequence[int] | np.ndarray, process: int, processes: int) -> np.ndarray:
    """The part of a batch that one of several processes takes; sizes differ by at most one sample."""
    return np.array_split(np.asarray(batch), processes)[process]


def micro_batches(mine: np.ndarray, size: int) -> list[np.ndarray]:
    """A process's share in pieces of at most `size`; one empty piece where it has no samples."""
    return [mine[start : start + size] for start in range(0, max(1, len(mine)), size)]
