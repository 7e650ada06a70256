"""Calibration of the best weights on the validation images, and what their contract says about the data.

On the main process alone, as the comparison with the champion is. Memory is bounded, whatever the number and the size
of the images.
"""

import dataclasses
import math
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from trainer import IGNORE
from trainer.data.appearance import looks_of
from trainer.data.dataset import Dataset, ValidationSet, release_pages
from trainer.data.full_size import FullSize
from trainer.data.stored_samples import StoredSamples
from trainer.engine.evaluate import CHUNK, as_tuples, strips_of
from trainer.inference.doubt import Certainty, bound_of_unsure
from trainer.model.calibration import (
    LEAST_IMAGES,
    MIDDLE,
    THRESHOLDS,
    calibration_error,
    choose_threshold,
    confusions,
    count_by_threshold,
    fit_temperature,
    threshold_curve,
)
from trainer.model.metrics import Scores, class_counts, confusion_matrix, scores
from trainer.model.score_table import Counts
from trainer.model.segmenter import Contract, Segmenter
from trainer.tracking.names import metric_key

MOST_LOGITS = 2**17
"""Logits that the temperature is fitted to; sixteen times as many change it by less than 2 %."""

MOST_KEPT_BYTES = 2**28
"""Memory for the network's outputs, which are wanted several times; more are computed anew each time."""

MOST_TRAINING_IMAGES, MOST_LARGE_IMAGES = 200, 32
"""Training images whose look is measured, spread over all of them: resized ones, and such as are shown in tiles."""

MOST_FITTED_IMAGES = 16
"""Validation images, of those that are gone over tile by tile, that the temperature is fitted to."""


@dataclass(frozen=True)
class Calibration:
    """Contract of a model that was calibrated, and how it scores."""

    contract: Contract
    scores: Scores
    """Scores on the validation images by the contract: those of the masks that prediction writes."""

    gain: float = 0.0
    """Gain of mIoU by a threshold other than 0.5."""

    counts: tuple[Counts, ...] = ()
    """`class_counts` of each validation image, by the contract."""

    def metrics(self) -> dict[str, float]:
        """Numbers for the run's record."""
        contract = self.contract
        found = {} if self.scores.miou is None else {"best/miou": self.scores.miou}
        found |= {f"best/iou/{metric_key(name)}": value for name, value in self.scores.iou.items()}
        found |= {"best/threshold": contract.threshold} if contract.channels == 1 else {}
        if contract.calibration_error is not None:
            before, after = contract.calibration_error
            found |= {"calibration/ece_before": before, "calibration/ece_after": after}
            found |= {"calibration/temperature": contract.temperature}
        return found

    def describe(self) -> str:
        """Sentence for people."""
        contract = self.contract
        if contract.calibration_error is None:
            return f"confidence: not calibrated, which takes {LEAST_IMAGES} or more validation pictures"
        before, after = contract.calibration_error
        text = f"confidence: calibrated, error {before:.3f} -> {after:.3f}"
        if contract.threshold != 0.5:
            text += f"; threshold {contract.threshold:g} instead of 0.5 gains {self.gain:.3f}"
        return text


@torch.no_grad()
def calibrate(segmenter: Segmenter, dataset: Dataset) -> Calibration:
    """Find temperature, threshold, certainty and the look of the training images; `segmenter` gets the new contract.

    Its weights stay. Nothing is fitted to fewer than LEAST_IMAGES validation images. Float32, on its own device.
    """
    segmenter.eval()
    contract = segmenter.contract
    outputs = _outputs(segmenter, dataset.validation)
    enough = len(outputs) >= LEAST_IMAGES

    def change(**values: Any) -> None:
        segmenter.contract = dataclasses.replace(segmenter.contract, **values)

    change(**describe_training(dataset))
    if enough:
        change(**_temperature(outputs))
    curve: tuple[float, ...] = ()
    if contract.channels == 1:
        counts = _threshold_counts(outputs)
        curve = threshold_curve(counts.sum(dim=0))
        change(threshold=choose_threshold(curve) if enough else 0.5, threshold_curve=curve)
        place = THRESHOLDS.index(segmenter.contract.threshold)
        found = torch.stack([confusions(one)[place] for one in counts])
    else:
        found = _confusions(segmenter, outputs)
    if enough:
        change(**_certainty(segmenter, outputs))
    gain = curve[THRESHOLDS.index(segmenter.contract.threshold)] - curve[MIDDLE] if curve else 0.0
    counted = as_tuples(torch.stack([class_counts(one) for one in found]))
    return Calibration(segmenter.contract, scores(found.sum(dim=0), contract.class_names), gain, counted)


class _Outputs(ABC):
    """Outputs of the network for the validation images."""

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
        mask = self.data.samples[place].read_mask(self.data.values)
        return torch.from_numpy(mask).to(self.segmenter.mean.device)

    @abstractmethod
    def rows(self, place: int, size: tuple[int, int]) -> Iterator[tuple[slice, Tensor]]:
        """Yield the rows of an image of `size`, and their probabilities [1, C, rows, W], as `Segmenter.rows` does."""

    @abstractmethod
    def logits(self) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Yield some pixels of each image: logits, float32 [N, C], and class ids, uint8 [N]."""

    def _step(self, pixels: int) -> int:
        """Number of which every such pixel is taken of `pixels` in all."""
        return max(1, -(-pixels * self.segmenter.contract.channels // MOST_LOGITS))


class _WholeOutputs(_Outputs):
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


class _TileOutputs(_Outputs):
    """Those of images that are gone over tile by tile, each time anew."""

    def rows(self, place: int, size: tuple[int, int]) -> Iterator[tuple[slice, Tensor]]:
        assert isinstance(self.data.stored, FullSize)
        return self.segmenter.rows(self.data.stored.image(self.data.rows[place]), size)

    def logits(self) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Yield those of the blended probabilities, of some of the images."""
        places, sizes = _spread(range(len(self)), MOST_FITTED_IMAGES), self.sizes()
        step = self._step(sum(math.prod(sizes[place]) for place in places))
        for place in places:
            mask = self.mask(place)
            for rows, probabilities in self.rows(place, (mask.shape[0], mask.shape[1])):
                first = (place - rows.start * mask.shape[1]) % step
                found = probabilities[0].flatten(1)[:, first::step].T.double()
                found = found.logit(1e-9) if found.shape[1] == 1 else found.clamp(min=1e-9).log()
                yield found.float().cpu().numpy(), mask[rows].flatten()[first::step].cpu().numpy()


def _outputs(segmenter: Segmenter, validation: ValidationSet) -> _Outputs:
    return (_TileOutputs if segmenter.contract.view == "tiles" else _WholeOutputs)(segmenter, validation)


def describe_training(dataset: Dataset) -> dict[str, Any]:
    """Fields of the contract about the labelled images: how large they are, how they look, how many are empty."""
    rows, facts = list(dataset.split.train), dataset.stored.facts
    sizes = facts["size"][rows]
    labelled = facts["counts"][:, :IGNORE]
    empty = float((labelled[:, 1:].sum(axis=1) == 0).mean())
    release_pages(facts)
    numbers = (sizes.min(axis=0), np.median(sizes, axis=0), sizes.max(axis=0))
    return {
        "training_sides": tuple(tuple(int(number[side]) for number in numbers) for side in (0, 1)),
        "training_look": looks_of(_training_images(dataset.stored, rows)),
        "empty_share": round(empty, 4),
    }


def _training_images(stored: StoredSamples, rows: Sequence[int]) -> Iterator[np.ndarray]:
    """Some of the images that train, as the network is shown them, uint8 [H, W, 3]."""
    if isinstance(stored, FullSize):
        yield from (stored.image(row) for row in _spread(rows, MOST_LARGE_IMAGES))
        return
    images, _ = stored.read(_spread(rows, MOST_TRAINING_IMAGES))
    yield from (image.permute(1, 2, 0).numpy() for image in images)


def _spread(rows: Sequence[int], most: int) -> list[int]:
    return [rows[int(place)] for place in np.unique(np.linspace(0, len(rows) - 1, most).round())]


def _temperature(outputs: _Outputs) -> dict[str, Any]:
    """Temperature and calibration errors by some of the pixels."""
    parts = []
    for values, truth in outputs.logits():
        counted = (truth != IGNORE) & np.isfinite(values).all(axis=1)
        parts.append((values[counted], truth[counted]))
    values, truth = (np.concatenate(part) for part in zip(*parts, strict=True))
    temperature = fit_temperature(values, truth)
    before, after = calibration_error(values, truth), calibration_error(values / temperature, truth)
    if after >= before:  # too few pixels to tell
        temperature, after = 1.0, before
    return {"temperature": temperature, "calibration_error": (round(before, 6), round(after, 6))}


def _threshold_counts(outputs: _Outputs) -> Tensor:
    """`count_by_threshold` of each validation image at its own size, int64 [N, 2, 40]."""
    counts = torch.zeros(len(outputs), 2, len(THRESHOLDS) + 1, dtype=torch.int64)
    for place in range(len(outputs)):
        mask = outputs.mask(place)
        for part, probabilities in outputs.rows(place, (mask.shape[0], mask.shape[1])):
            for strip, truth in strips_of(probabilities, mask[part]):
                counts[place] += count_by_threshold(strip[0, 0], truth).cpu()
    return counts


def _confusions(segmenter: Segmenter, outputs: _Outputs) -> Tensor:
    """Pixel counts, int64 [N, K, K], of the masks that prediction writes."""
    classes = len(segmenter.contract.class_names)
    counts = torch.zeros(len(outputs), classes, classes, dtype=torch.int64)
    for place in range(len(outputs)):
        mask = outputs.mask(place)
        for part, probabilities in outputs.rows(place, (mask.shape[0], mask.shape[1])):
            for strip, truth in strips_of(probabilities, mask[part]):
                counts[place] += confusion_matrix(segmenter.classes(strip)[0], truth, classes).cpu()
    return counts


def _certainty(segmenter: Segmenter, outputs: _Outputs) -> dict[str, Any]:
    """Mean and deviation of the certainty of each image, and the bound below which one is unsure."""
    values = []
    for place, size in enumerate(outputs.sizes()):
        certainty = Certainty()
        for _rows, probabilities in outputs.rows(place, size):
            certainty.add(probabilities, segmenter.classes(probabilities), segmenter.confidence(probabilities))
        values.append(certainty.value(segmenter.contract))
    mean, deviation = float(np.mean(values)), float(np.std(values))
    return {
        "certainty": (round(mean, 6), round(deviation, 6)),
        "unsure_below": round(bound_of_unsure(values), 6),
    }
