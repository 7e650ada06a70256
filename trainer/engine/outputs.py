"""Outputs of a network for the images of a validation set, wanted several times, and what is counted of them."""

import math
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence

import numpy as np
import torch
from torch import Tensor

from trainer.data.dataset import ValidationSet
from trainer.data.full_size import FullSize
from trainer.engine.evaluate import CHUNK, strips_of
from trainer.inference.doubt import Certainty
from trainer.inference.object_overlap import object_counts
from trainer.model.boundary import boundary_counts
from trainer.model.image_counts import ImageCounts, Totals, every_nth
from trainer.model.metrics import class_counts, confusion_matrix
from trainer.model.segmenter import Segmenter

MOST_LOGITS = 2**17
"""Logits that the temperature is fitted to; sixteen times as many change it by less than 2 %."""

MOST_KEPT_BYTES = 2**28
"""Memory for the network's outputs, which are wanted several times; more are computed anew each time."""

MOST_FITTED_IMAGES = 16
"""Validation images, of those that are gone over tile by tile, that the temperature is fitted to."""


class Outputs(ABC):
    """Outputs of the network for the images of a validation set."""

    def __init__(self, segmenter: Segmenter, validation: ValidationSet) -> None:
        self.segmenter = segmenter
        self.data = validation.at(segmenter.contract.shown, segmenter.contract.range_of_levels)
        self.facts, self.fact_rows = validation.stored.facts, list(validation.rows)

    def __len__(self) -> int:
        return len(self.data.samples)

    def sizes(self) -> list[tuple[int, int]]:
        """Height and width of each image, in pixels."""
        return [(int(height), int(width)) for height, width in self.facts["size"][self.fact_rows]]

    def mask(self, place: int) -> Tensor:
        """Mask of an image, uint8 [H, W]."""
        return torch.from_numpy(self.data.read_mask(place)).to(self.segmenter.mean.device)

    @abstractmethod
    def rows(self, place: int, size: tuple[int, int]) -> Iterator[tuple[slice, Tensor]]:
        """Yield the rows of an image of `size`, and their probabilities [1, C, rows, W], as `Segmenter.rows` does."""

    @abstractmethod
    def logits(self) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Yield some pixels of each image: logits, float32 [N, C], and class ids, uint8 [N]."""

    def _step(self, pixels: int) -> int:
        """Number of which every such pixel is taken of `pixels` in all."""
        return max(1, -(-pixels * self.segmenter.contract.channels // MOST_LOGITS))


class _WholeOutputs(Outputs):
    """Those of images that are resized: logits [1, C, S, S]."""

    def __init__(self, segmenter: Segmenter, validation: ValidationSet) -> None:
        super().__init__(segmenter, validation)
        self.kept: dict[int, tuple[Tensor, Tensor]] = {}
        self.last: tuple[int, tuple[Tensor, Tensor]] | None = None
        self.kept_bytes = 0

    def rows(self, place: int, size: tuple[int, int]) -> Iterator[tuple[slice, Tensor]]:
        logits, _ = self._chunk(place // CHUNK)
        row = place % CHUNK
        return self.segmenter.strips(logits[row : row + 1], size)

    def logits(self) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        step = self._step(len(self) * self.data.stored.view.size**2)
        for place in range(len(self)):
            logits, masks = (part[place % CHUNK] for part in self._chunk(place // CHUNK))
            chosen = slice(place % step, None, step)  # begins elsewhere in each image, so that all columns occur
            values = logits.flatten(1)[:, chosen].T.float().cpu().numpy()
            yield values, masks.flatten()[chosen].numpy()

    def _chunk(self, number: int) -> tuple[Tensor, Tensor]:
        """Logits [B, C, S, S] and class ids, uint8 [B, S, S], of some images; computed anew beyond MOST_KEPT_BYTES."""
        if self.last is None or self.last[0] != number:
            self.last = number, self.kept.get(number) or self._compute(number)
        return self.last[1]

    def _compute(self, number: int) -> tuple[Tensor, Tensor]:
        assert not isinstance(self.data.stored, FullSize)
        images, masks = self.data.stored.read(self.data.rows[number * CHUNK : (number + 1) * CHUNK])
        logits = self.segmenter.logits(images.to(self.segmenter.mean.device))
        if self.kept_bytes + logits.nbytes <= MOST_KEPT_BYTES:
            self.kept[number] = logits, masks
            self.kept_bytes += logits.nbytes
        return logits, masks


class _TileOutputs(Outputs):
    """Those of images that are gone over tile by tile, each time anew."""

    def rows(self, place: int, size: tuple[int, int]) -> Iterator[tuple[slice, Tensor]]:
        assert isinstance(self.data.stored, FullSize)
        return self.segmenter.rows(self.data.stored.image(self.data.rows[place]), size)

    def logits(self) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Yield those of the blended probabilities, of some of the images."""
        places, sizes = spread(range(len(self)), MOST_FITTED_IMAGES), self.sizes()
        step = self._step(sum(math.prod(sizes[place]) for place in places))
        for place in places:
            mask = self.mask(place)
            for rows, probabilities in self.rows(place, (mask.shape[0], mask.shape[1])):
                first = (place - rows.start * mask.shape[1]) % step
                found = probabilities[0].flatten(1)[:, first::step].T.double()
                found = found.logit(1e-9) if found.shape[1] == 1 else found.clamp(min=1e-9).log()
                yield found.float().cpu().numpy(), mask[rows].flatten()[first::step].cpu().numpy()


def outputs_of(segmenter: Segmenter, validation: ValidationSet) -> Outputs:
    """Outputs of `segmenter` for the images of a validation set, in the way of its contract."""
    return (_TileOutputs if segmenter.contract.view == "tiles" else _WholeOutputs)(segmenter, validation)


def spread(rows: Sequence[int], most: int) -> list[int]:
    """At most `most` of the rows, spread over all of them."""
    return [rows[int(place)] for place in np.unique(np.linspace(0, len(rows) - 1, most).round())]


def count_image(outputs: Outputs, place: int, totals: Totals) -> tuple[ImageCounts, Certainty]:
    """Count the mask that prediction writes of an image against its truth; `totals` is added to."""
    segmenter, mask = outputs.segmenter, outputs.mask(place)
    height, width = mask.shape
    classes = len(segmenter.contract.class_names)
    predicted, certainty = np.empty((height, width), np.uint8), Certainty()
    confusion = torch.zeros(classes, classes, dtype=torch.int64, device=mask.device)
    step = every_nth(height * width, segmenter.contract.channels)
    row = 0
    for part, probabilities in outputs.rows(place, (height, width)):
        found = segmenter.classes(probabilities)
        certainty.add(probabilities, found, segmenter.confidence(probabilities))
        predicted[part] = found[0].cpu().numpy()
        for strip, truth in strips_of(probabilities, mask[part]):
            rows = slice(row - part.start, row - part.start + len(truth))
            confusion += confusion_matrix(found[0, rows], truth, classes)
            totals.add_curves(strip, truth, -row * width % step, step)
            row += len(truth)
    totals.confusion[:] += confusion.cpu().numpy()
    true = mask.cpu().numpy()
    counts = class_counts(confusion).cpu().numpy()
    boundary = boundary_counts(predicted, true, classes)
    return ImageCounts(counts, boundary, object_counts(predicted, true)), certainty
