"""What each step reads: which samples, at which size, and what is pasted into them."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from trainer.config import Config
from trainer.data.augment import augment, choose_paste_sources
from trainer.data.cache import ResizedSamples
from trainer.data.sampler import Sampler, foreground_weights, micro_batches, share
from trainer.system.parallel import read_ahead


@dataclass(frozen=True)
class ImageMaskBatch:
    """Some samples: images uint8 [B, 3, S, S] and masks uint8 [B, S, S]."""

    images: Tensor
    masks: Tensor

    def to(self, device: torch.device) -> "ImageMaskBatch":
        return ImageMaskBatch(self.images.to(device, non_blocking=True), self.masks.to(device, non_blocking=True))

    def pinned(self) -> "ImageMaskBatch":
        """Where a GPU fetches them from without making anybody wait."""
        return ImageMaskBatch(self.images.pin_memory(), self.masks.pin_memory())


@dataclass(frozen=True)
class MicroBatch:
    """Some of the samples of one step."""

    samples: np.ndarray  # int64 [B], rows of the cache
    weights: Tensor  # float32 [B]: 1, or 0 for a sample that only fills a place
    pictures: ImageMaskBatch
    pasted: ImageMaskBatch | None = None  # what is pasted into each; an empty mask where nothing is

    def to(self, device: torch.device) -> "MicroBatch":
        pasted = self.pasted.to(device) if self.pasted else None
        return MicroBatch(self.samples, self.weights.to(device, non_blocking=True), self.pictures.to(device), pasted)


@dataclass(frozen=True)
class StepBatch:
    """This process's part of one optimizer step."""

    micro: list[MicroBatch]
    own: int  # samples of this process
    samples: int  # of the whole step, over all processes
    epoch: int
    side: int  # of the squares that the network is shown, in pixels


def augmented(micro: MicroBatch, config: Config, epoch: int, side: int) -> tuple[Tensor, Tensor]:
    """Images float32 [B, 3, side, side] and masks uint8 [B, side, side] as the network is shown them."""
    pictures, pasted = micro.pictures, micro.pasted
    return augment(
        pictures.images,
        pictures.masks,
        config.data.augment,
        config.train.seed,
        epoch,
        micro.samples,
        side,
        (pasted.images, pasted.masks) if pasted else None,
    )


class TrainLoader:
    """The batches of all steps, as this process sees them. Reading is safe from any thread."""

    def __init__(
        self,
        config: Config,
        resized: ResizedSamples,
        train_rows: tuple[int, ...],
        classes: int,
        process: int,
        processes: int,
    ) -> None:
        """`train_rows` of `resized` train, with K = `classes` classes; this is `process` of `processes`."""
        self.config, self.resized, self.train_rows = config, resized, np.array(train_rows)
        self.process, self.processes = process, processes
        counts = resized.facts["counts"][self.train_rows, :classes]
        weights = foreground_weights(counts) if config.data.sampling == "foreground" else None
        train = config.train
        self.sampler = Sampler(len(train_rows), train.batch_size, train.seed, config.data.drop_last, weights)
        self.paste_candidates = self.train_rows[counts[:, 1:].any(axis=1)]
        """Those with something in them."""
        self.micro_batch_size = train.batch_size
        self.padded = self.pinned = False

    @property
    def steps_per_epoch(self) -> int:
        return self.sampler.steps_per_epoch

    def ahead(self, first: int, total_steps: int) -> Iterator[StepBatch]:
        """The batches of the steps after `first` finished ones, to the last of `total_steps`, read ahead."""

        def read(step: int) -> StepBatch:
            return self.read(step, self.side(step, total_steps))

        return read_ahead(iter(range(first, total_steps)), read, self.config.data.workers)

    def side(self, step: int, total_steps: int) -> int:
        """Pixels of the side that the step after `step` finished ones of `total_steps` is shown."""
        side, multiple = self.config.data.image_size, 2**self.config.model.depth
        return side_of_step(step, total_steps, side, multiple) if self.config.train.progressive else side

    def rows(self, step: int) -> np.ndarray:
        """The rows of `resized` that make the step after `step` finished ones, over all processes."""
        return self.train_rows[self.sampler.batch(*divmod(step, self.steps_per_epoch))]

    def rows_of(self, step: int, process: int) -> np.ndarray:
        """Of these, the ones that `process` takes."""
        return share(self.rows(step), process, self.processes)

    def read(self, step: int, side: int) -> StepBatch:
        batch, mine = self.rows(step), self.rows_of(step, self.process)
        epoch = step // self.steps_per_epoch
        micro = []
        for piece in micro_batches(mine, len(batch), self.processes, self.micro_batch_size):
            # Whoever has none joins in with a picture that weighs nothing.
            wanted = self.micro_batch_size if self.padded else max(1, len(piece))
            rows = np.resize(piece if len(piece) else batch[:1], wanted)
            micro.append(self.micro_batch(rows, epoch, real=len(piece)))
        return StepBatch(micro, len(mine), len(batch), epoch, side)

    def micro_batch(self, rows: np.ndarray, epoch: int, real: int | None = None) -> MicroBatch:
        """The samples `rows`, of which the first `real` count; by default all."""
        weights = (torch.arange(len(rows)) < (len(rows) if real is None else real)).float()
        return MicroBatch(rows, weights, self._pictures(rows), self._lent(rows, epoch))

    def _pictures(self, rows: np.ndarray) -> ImageMaskBatch:
        pictures = ImageMaskBatch(*self.resized.read(rows))
        return pictures.pinned() if self.pinned else pictures

    def _lent(self, rows: np.ndarray, epoch: int) -> ImageMaskBatch | None:
        data = self.config.data
        if data.copy_paste == 0 or data.augment == "off" or len(self.paste_candidates) == 0:
            return None
        chosen = choose_paste_sources(data.copy_paste, self.config.train.seed, epoch, rows, self.paste_candidates)
        pictures = ImageMaskBatch(*self.resized.read(np.where(chosen < 0, rows, chosen)))
        pictures.masks[torch.from_numpy(chosen < 0)] = 0
        return pictures.pinned() if self.pinned else pictures


SMALL_SHARE = 0.5
"""Of all steps, the first ones, which see smaller squares."""


SMALL_SIDE = 0.625
"""Of the full side."""


def small_side(side: int, multiple: int) -> int:
    """The side of the smaller squares in pixels, a multiple of `multiple` as the network wants it.

    Not so small that one pixel is left at the network's bottom: batch norm has nothing to normalise there.
    """
    return min(side, max(2 * multiple, round(SMALL_SIDE * side / multiple) * multiple))


def side_of_step(step: int, total_steps: int, side: int, multiple: int) -> int:
    """Side in pixels of the squares that the step after `step` finished ones is shown: small ones first.

    Half the pixels cost half the time, and what a thing looks like is learnt from them as well (Howard 2018, fast.ai's
    entry for DAWNBench).
    """
    return small_side(side, multiple) if step < SMALL_SHARE * total_steps else side
