"""Loading of training batches: which samples each step reads, at which size, and what is pasted into them."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from trainer.config import DataConfig
from trainer.data.augment import augment, choose_paste_sources
from trainer.data.cache import ResizedSamples
from trainer.data.sampler import Sampler, foreground_weights, micro_batches, share
from trainer.system.parallel import read_ahead

SMALL_SHARE = 0.5
"""Share of all steps, the first ones, that see smaller images."""

SMALL_SIDE = 0.625
"""Side of the smaller images, as a share of the full one."""


@dataclass(frozen=True)
class ImageMaskBatch:
    """Images uint8 [B, 3, S, S] and masks uint8 [B, S, S]."""

    images: Tensor
    masks: Tensor

    def to(self, device: torch.device) -> "ImageMaskBatch":
        """Copy to a device, without waiting for it where memory is pinned."""
        return ImageMaskBatch(self.images.to(device, non_blocking=True), self.masks.to(device, non_blocking=True))

    def pin(self) -> "ImageMaskBatch":
        """Copy to pinned memory, from which a GPU fetches without making the CPU wait."""
        return ImageMaskBatch(self.images.pin_memory(), self.masks.pin_memory())


@dataclass(frozen=True)
class MicroBatch:
    """Samples of one step that go through the network together."""

    rows: np.ndarray
    """Rows of the dataset, int64 [B]."""

    weights: Tensor
    """1 for each sample, 0 for one that only fills a place; float32 [B]."""

    batch: ImageMaskBatch
    paste: ImageMaskBatch | None = None
    """Sources of copy-paste; an empty mask where nothing is pasted."""

    def to(self, device: torch.device) -> "MicroBatch":
        """Copy to a device."""
        paste = self.paste.to(device) if self.paste else None
        return MicroBatch(self.rows, self.weights.to(device, non_blocking=True), self.batch.to(device), paste)


@dataclass(frozen=True)
class StepBatch:
    """Part of one optimizer step that this process takes."""

    micro: list[MicroBatch]
    own: int
    """Samples of this process."""

    samples: int
    """Samples of the whole step, over all processes."""

    epoch: int
    side: int
    """Side in pixels that images are shown at."""


@dataclass(frozen=True)
class Augmentation:
    """Random changes of data.augment, as a function of the seed, the epoch and the sample."""

    preset: str
    seed: int

    def __call__(self, micro: MicroBatch, epoch: int, side: int) -> tuple[Tensor, Tensor]:
        """Images float32 [B, 3, side, side] and masks uint8 [B, side, side] as the network is shown them."""
        paste = (micro.paste.images, micro.paste.masks) if micro.paste else None
        images, masks = micro.batch.images, micro.batch.masks
        return augment(images, masks, self.preset, self.seed, epoch, micro.rows, side, paste)


@dataclass(frozen=True)
class ImageSides:
    """Sides in pixels that images are shown at: small in the first share of the steps, then full.

    Half the pixels cost half the time, and objects are learnt from them as well (Howard 2018, fast.ai's entry for
    DAWNBench).
    """

    small: int
    full: int

    def of_step(self, step: float, total_steps: int) -> int:
        """Side for the step after `step` finished ones; or at a place in the course of a training."""
        return self.small if step < SMALL_SHARE * total_steps else self.full

    @property
    def different(self) -> int:
        """Number of different sides."""
        return len({self.small, self.full})


def image_sides(image_size: int, multiple: int, progressive: bool) -> ImageSides:
    """Sides for images of `image_size` pixels and a network that takes multiples of `multiple`.

    The small side is one too, and leaves more than one pixel at the network's bottom: batch norm has
    nothing to normalise there.
    """
    small = min(image_size, max(2 * multiple, round(SMALL_SIDE * image_size / multiple) * multiple))
    return ImageSides(small if progressive else image_size, image_size)


class TrainLoader:
    """Batches of all steps, as one of several processes sees them. Reading is safe from any thread."""

    def __init__(
        self,
        resized: ResizedSamples,
        rows: tuple[int, ...],
        classes: int,
        config: DataConfig,
        *,
        batch_size: int,
        micro_batch_size: int,
        seed: int,
        sides: ImageSides,
        process: int = 0,
        processes: int = 1,
        pad: bool = False,
        pin: bool = False,
    ) -> None:
        """`rows` of `resized` train, with K = `classes` classes.

        `pad`: fill the last micro-batch with samples of weight 0, so that all are of one size; `pin`: read into pinned
        memory, for a GPU.
        """
        self.resized, self.train_rows, self.config, self.sides = resized, np.array(rows), config, sides
        self.micro_batch_size, self.process, self.processes = micro_batch_size, process, processes
        self.pad, self.pin = pad, pin
        counts = resized.facts["counts"][self.train_rows, :classes]
        weights = foreground_weights(counts) if config.sampling == "foreground" else None
        self.sampler = Sampler(len(rows), batch_size, seed, config.drop_last, weights)
        self.paste_candidates = self.train_rows[counts[:, 1:].any(axis=1)]
        """Rows with a pixel of any class."""

    @property
    def steps_per_epoch(self) -> int:
        """Optimizer steps of one epoch."""
        return self.sampler.steps_per_epoch

    def batches(self, first: int, total_steps: int, side_of: Callable[[int], int] | None = None) -> Iterator[StepBatch]:
        """Batches of the steps after `first` finished ones, to the last of `total_steps`, read ahead in threads.

        `side_of` gives the side for the step after so many finished ones; by default that of `sides`.
        """

        def read(step: int) -> StepBatch:
            return self.read(step, side_of(step) if side_of else self.sides.of_step(step, total_steps))

        return read_ahead(iter(range(first, total_steps)), read, self.config.workers)

    def rows(self, step: int) -> np.ndarray:
        """Rows of the dataset, int64, of the step after `step` finished ones, over all processes."""
        rows: np.ndarray = self.train_rows[self.sampler.batch(*divmod(step, self.steps_per_epoch))]
        return rows

    def rows_of(self, step: int, process: int) -> np.ndarray:
        """Rows of that step that `process` takes."""
        return share(self.rows(step), process, self.processes)

    def read(self, step: int, side: int) -> StepBatch:
        """Read this process's part of the step after `step` finished ones, to be shown at `side` pixels."""
        all_rows, own_rows = self.rows(step), self.rows_of(step, self.process)
        epoch = step // self.steps_per_epoch
        micro = []
        for piece in micro_batches(own_rows, len(all_rows), self.processes, self.micro_batch_size):
            # A process without samples runs one dummy sample of weight 0: all must make the same collective calls.
            places = self.micro_batch_size if self.pad else max(1, len(piece))
            rows = np.resize(piece if len(piece) else all_rows[:1], places)
            micro.append(self.micro_batch(rows, epoch, real=len(piece)))
        return StepBatch(micro, len(own_rows), len(all_rows), epoch, side)

    def micro_batch(self, rows: np.ndarray, epoch: int, real: int | None = None) -> MicroBatch:
        """Read samples, int64 [B], of which the first `real` count; by default all."""
        weights = (torch.arange(len(rows)) < (len(rows) if real is None else real)).float()
        return MicroBatch(rows, weights, self._read(rows), self._paste_sources(rows, epoch))

    def _read(self, rows: np.ndarray) -> ImageMaskBatch:
        batch = ImageMaskBatch(*self.resized.read(rows))
        return batch.pin() if self.pin else batch

    def _paste_sources(self, rows: np.ndarray, epoch: int) -> ImageMaskBatch | None:
        config = self.config
        if config.copy_paste == 0 or config.augment == "off" or len(self.paste_candidates) == 0:
            return None
        chosen = choose_paste_sources(config.copy_paste, self.sampler.seed, epoch, rows, self.paste_candidates)
        batch = ImageMaskBatch(*self.resized.read(np.where(chosen < 0, rows, chosen)))
        batch.masks[torch.from_numpy(chosen < 0)] = 0
        return batch.pin() if self.pin else batch
