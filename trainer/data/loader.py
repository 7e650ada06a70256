"""Loading of training batches: which samples each step reads, at which size, and what is pasted into them."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from trainer.config import DataConfig
from trainer.data.augment import augment, choose_paste_sources
from trainer.data.crops import training_pixels
from trainer.data.sampler import Sampler, foreground_weights, micro_batches, share
from trainer.data.stored_samples import StoredSamples
from trainer.data.unlabelled import unlabelled_in_step
from trainer.system.parallel import read_ahead

SMALL_SHARE = 0.5
"""Share of all steps, the first ones, that see smaller images."""

SMALL_SIDE = 0.625
"""Side of the smaller images, as a share of the full one."""


@dataclass(frozen=True)
class ImageMaskBatch:
    """Images uint8 [B, C, S, S] and masks uint8 [B, S, S]."""

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
    """Rows of the dataset, int64 [B]; [B + 1] of unlabelled images, as `StepBatch.unlabelled` says."""

    weights: Tensor
    """1 for each sample, 0 for one that only fills a place; float32 [B]."""

    batch: ImageMaskBatch
    paste: ImageMaskBatch | None = None
    """Sources of copy-paste; an empty mask where nothing is pasted."""

    share: float = 1.0
    """Part of the side S that is shown, as `augment` has it."""

    def to(self, device: torch.device) -> "MicroBatch":
        """Copy to a device."""
        weights = self.weights.to(device, non_blocking=True)
        return replace(self, weights=weights, batch=self.batch.to(device), paste=self.paste and self.paste.to(device))


@dataclass(frozen=True)
class Part:
    """Samples of one optimizer step that this process takes, of the labelled or of the unlabelled ones."""

    micro: list[MicroBatch]
    own: int
    """Samples of this process."""

    samples: int
    """Samples of the whole step, over all processes."""

    epoch: int
    side: int
    """Side in pixels that images are shown at."""


@dataclass(frozen=True)
class StepBatch(Part):
    """Part of one optimizer step that this process takes."""

    unlabelled: Part | None = None
    """Images without labels; None where there are none. Their masks are empty and their epoch is their own. Each
    micro-batch has one more image than weights: its images are mixed each with the next one."""

    @property
    def images(self) -> int:
        """Images of the whole step that the network learns from, with and without labels."""
        return self.samples + (self.unlabelled.samples if self.unlabelled else 0)

    @property
    def share(self) -> float:
        """Share of these that this process takes, 0 to 1."""
        return (self.own + (self.unlabelled.own if self.unlabelled else 0)) / self.images


@dataclass(frozen=True)
class Augmentation:
    """Random changes of data.augment, as a function of the seed, the epoch and the sample."""

    preset: str
    seed: int

    def __call__(self, micro: MicroBatch, epoch: int, side: int) -> tuple[Tensor, Tensor]:
        """Images float32 [B, C, side, side] and masks uint8 [B, side, side] as the network is shown them."""
        paste = (micro.paste.images, micro.paste.masks) if micro.paste else None
        images, masks = micro.batch.images, micro.batch.masks
        return augment(images, masks, self.preset, self.seed, epoch, micro.rows, side, paste, micro.share)


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


def image_sides(image_size: int, multiple: int, progressive: bool, bottom: int) -> ImageSides:
    """Sides for images of `image_size` pixels and a network that takes multiples of `multiple`.

    The small side is one too, and leaves `bottom` x `bottom` pixels at the network's bottom at least.
    """
    small = min(image_size, max(bottom * multiple, round(SMALL_SIDE * image_size / multiple) * multiple))
    return ImageSides(small if progressive else image_size, image_size)


class TrainLoader:
    """Batches of all steps, as one of several processes sees them. Reading is safe from any thread."""

    def __init__(
        self,
        samples: StoredSamples,
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
        unlabelled: StoredSamples | None = None,
    ) -> None:
        """`rows` of `samples` train, with K = `classes` classes; and all of `unlabelled`.

        `pad`: fill the last micro-batch with samples of weight 0, so that all are of one size; `pin`: read into pinned
        memory, for a GPU.
        """
        self.train_rows, self.config, self.sides = np.array(rows), config, sides
        self.micro_batch_size, self.process, self.processes = micro_batch_size, process, processes
        self.pad, self.pin = pad, pin
        counts = samples.facts["counts"][self.train_rows, :classes]
        weights = foreground_weights(counts) if config.sampling == "foreground" else None
        self.sampler = Sampler(len(rows), batch_size, seed, config.drop_last, weights)
        self.paste_candidates = self.train_rows[counts[:, 1:].any(axis=1)]
        """Rows with a pixel of any class."""
        pixels = counts.sum(axis=0, dtype=np.int64)
        self.pixels = training_pixels(samples, seed, config.augment, config.crop_foreground, pixels)
        # Without a margin: the teacher would have to look at it too.
        self.unlabelled = None if unlabelled is None else training_pixels(unlabelled, seed, "off")
        self.unlabelled_sampler = _unlabelled_sampler(unlabelled, min(batch_size, len(rows)), seed)

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
            micro.append(self.micro_batch(rows, epoch, real=len(piece), side=side))
        return StepBatch(micro, len(own_rows), len(all_rows), epoch, side, self._read_unlabelled(step, side))

    def _read_unlabelled(self, step: int, side: int) -> Part | None:
        """Read this process's part of the step's unlabelled images."""
        sampler, pixels = self.unlabelled_sampler, self.unlabelled
        if sampler is None or pixels is None:
            return None
        epoch, number = divmod(step, sampler.steps_per_epoch)
        all_rows = sampler.batch(epoch, number)
        own_rows = share(all_rows, self.process, self.processes)
        micro = []
        for piece in micro_batches(own_rows, len(all_rows), self.processes, self.micro_batch_size):
            places = self.micro_batch_size if self.pad else max(1, len(piece))
            rows = np.resize(with_next(piece, all_rows), places + 1)
            batch = self._pinned(ImageMaskBatch(*pixels.read(rows, epoch, side)))
            micro.append(MicroBatch(rows, _weights(places, len(piece)), batch))
        return Part(micro, len(own_rows), len(all_rows), epoch, side)

    def micro_batch(self, rows: np.ndarray, epoch: int, real: int | None = None, side: int | None = None) -> MicroBatch:
        """Read samples, int64 [B], of which the first `real` count, by default all; at `side`, by default the full."""
        side = side or self.sides.full
        weights = _weights(len(rows), len(rows) if real is None else real)
        batch = self._pinned(ImageMaskBatch(*self.pixels.read(rows, epoch, side)))
        return MicroBatch(rows, weights, batch, self._paste_sources(rows, epoch, side), self.pixels.share(side))

    def _pinned(self, batch: ImageMaskBatch) -> ImageMaskBatch:
        return batch.pin() if self.pin else batch

    def _paste_sources(self, rows: np.ndarray, epoch: int, side: int) -> ImageMaskBatch | None:
        config = self.config
        if config.copy_paste == 0 or config.augment == "off" or len(self.paste_candidates) == 0:
            return None
        chosen = choose_paste_sources(config.copy_paste, self.sampler.seed, epoch, rows, self.paste_candidates)
        batch = ImageMaskBatch(*self.pixels.read(np.where(chosen < 0, rows, chosen), epoch, side, stream=1))
        batch.masks[torch.from_numpy(chosen < 0)] = 0
        return self._pinned(batch)


def _weights(places: int, real: int) -> Tensor:
    """1 for each of the first `real` of so many places, then 0; float32."""
    return (torch.arange(places) < real).float()


def with_next(piece: np.ndarray, all_rows: np.ndarray) -> np.ndarray:
    """Rows of a contiguous piece of `all_rows`, and the one that follows it there, the first after the last."""
    place = np.flatnonzero(all_rows == piece[-1])[0] + 1 if len(piece) else 0
    return np.append(piece, all_rows[place % len(all_rows)])


def _unlabelled_sampler(unlabelled: StoredSamples | None, labelled: int, seed: int) -> Sampler | None:
    """Order of the unlabelled images, as many in every step, beside `labelled` ones; None without any."""
    if unlabelled is None:
        return None
    count = len(unlabelled.facts)
    return Sampler(count, unlabelled_in_step(count, labelled), seed, drop_last=True)
