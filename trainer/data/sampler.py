"""Which samples make which optimizer step, as pure functions: nothing to save, nothing to restore."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Sampler:
    """The order of `samples` training pictures, cut into batches of `batch_size` over all processes."""

    samples: int
    batch_size: int
    seed: int
    drop_last: bool = False

    @property
    def steps_per_epoch(self) -> int:
        if self.drop_last and self.samples >= self.batch_size:
            return self.samples // self.batch_size
        return math.ceil(self.samples / self.batch_size)

    def batch(self, epoch: int, step: int) -> np.ndarray:
        """Positions, int64, in [0, samples), of the samples of step `step` (from 0) of epoch `epoch` (from 0)."""
        order = np.random.default_rng([self.seed, epoch]).permutation(self.samples)
        return order[step * self.batch_size : (step + 1) * self.batch_size]


def share(batch: Sequence[int] | np.ndarray, process: int, processes: int) -> np.ndarray:
    """The part of a batch that one of several processes takes; sizes differ by at most one sample."""
    return np.array_split(np.asarray(batch), processes)[process]


def micro_batches(mine: np.ndarray, size: int) -> list[np.ndarray]:
    """A process's share in pieces of at most `size`; one empty piece where it has no samples."""
    return [mine[start : start + size] for start in range(0, max(1, len(mine)), size)]
