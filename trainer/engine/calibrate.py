"""Calibration of the best weights on the validation images, and what their contract says about the data.

On the main process alone, as the comparison with the champion is. Memory is bounded, whatever the number and the size
of the images.
"""

import dataclasses
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from trainer import IGNORE
from trainer.data.appearance import looks_of
from trainer.data.dataset import Dataset, ValidationSet, release_pages
from trainer.engine.evaluate import CHUNK, STRIP_PIXELS, sample_confusion
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
from trainer.model.metrics import Scores, scores
from trainer.model.segmenter import Contract, Segmenter

MOST_LOGITS = 2**17
"""Logits that the temperature is fitted to; sixteen times as many change it by less than 2 %."""

MOST_KEPT_BYTES = 2**28
"""Memory for the network's outputs, which are wanted several times; more are computed anew each time."""

MOST_TRAINING_IMAGES = 200
"""Training images whose look is measured, spread over all of them."""


@dataclass(frozen=True)
class Calibration:
    """Contract of a model that was calibrated, and how it scores."""

    contract: Contract
    scores: Scores
    """Scores on the validation images by the contract: those of the masks that prediction writes."""

    gain: float = 0.0
    """Gain of mIoU by a threshold other than 0.5."""

    def metrics(self) -> dict[str, float]:
        """Numbers for the run's record."""
        contract = self.contract
        found = {"best/threshold": contract.threshold} if contract.channels == 1 else {}
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
    outputs = _Outputs(segmenter, dataset.validation)
    enough = len(outputs) >= LEAST_IMAGES

    def change(**values: Any) -> None:
        segmenter.contract = dataclasses.replace(segmenter.contract, **values)

    change(**describe_training(dataset))
    if enough:
        change(**_temperature(outputs))
    curve: tuple[float, ...] = ()
    if contract.channels == 1:
        counts = _threshold_counts(segmenter, outputs)
        curve = threshold_curve(counts)
        change(threshold=choose_threshold(curve) if enough else 0.5, threshold_curve=curve)
        confusion = confusions(counts)[THRESHOLDS.index(segmenter.contract.threshold)]
    else:
        confusion = _confusion(segmenter, outputs)
    if enough:
        change(**_certainty(segmenter, outputs))
    gain = curve[THRESHOLDS.index(segmenter.contract.threshold)] - curve[MIDDLE] if curve else 0.0
    return Calibration(segmenter.contract, scores(confusion, contract.class_names), gain)


class _Outputs:
    """The network's outputs for the validation images, with their small masks."""

    def __init__(self, segmenter: Segmenter, validation: ValidationSet) -> None:
        self.segmenter = segmenter
        self.sizes = validation.resized.facts["size"][list(validation.rows)]
        """Height and width of each image, uint32 [N, 2]."""
        self.data = validation.at(segmenter.contract.image_size, segmenter.contract.range_of_levels)
        self.kept: dict[int, tuple[Tensor, Tensor]] = {}
        self.kept_bytes = 0

    def __len__(self) -> int:
        return len(self.data.samples)

    def __iter__(self) -> Iterator[tuple[int, Tensor, Tensor]]:
        """Yield each image's place, logits [1, C, S, S] and class ids, uint8 [S, S]."""
        for start in range(0, len(self), CHUNK):
            logits, masks = self.kept[start] if start in self.kept else self._compute(start)
            for row in range(len(masks)):
                yield start + row, logits[row : row + 1], masks[row]

    def _compute(self, start: int) -> tuple[Tensor, Tensor]:
        images, masks = self.data.resized.read(self.data.rows[start : start + CHUNK])
        logits = self.segmenter.logits(images.to(next(self.segmenter.parameters()).device))
        if self.kept_bytes + logits.nbytes <= MOST_KEPT_BYTES:
            self.kept[start] = logits, masks
            self.kept_bytes += logits.nbytes
        return logits, masks

    def masks(self) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield each image's logits [1, C, S, S] and its mask, uint8 [H, W]."""
        for place, logits, _ in self:
            mask = torch.from_numpy(self.data.samples[place].read_mask(self.data.values))
            yield logits, mask.to(logits.device)


def describe_training(dataset: Dataset) -> dict[str, Any]:
    """Fields of the contract about the labelled images: how large they are, how they look, how many are empty."""
    rows, facts = list(dataset.split.train), dataset.resized.facts
    sizes = facts["size"][rows]
    labelled = facts["counts"][:, :IGNORE]
    empty = float((labelled[:, 1:].sum(axis=1) == 0).mean())
    release_pages(facts)
    images, _ = dataset.resized.read(_spread(rows, MOST_TRAINING_IMAGES))
    numbers = (sizes.min(axis=0), np.median(sizes, axis=0), sizes.max(axis=0))
    return {
        "training_sides": tuple(tuple(int(number[side]) for number in numbers) for side in (0, 1)),
        "training_look": looks_of([image.permute(1, 2, 0).numpy() for image in images]),
        "empty_share": round(empty, 4),
    }


def _spread(rows: Sequence[int], most: int) -> list[int]:
    return [rows[int(place)] for place in np.unique(np.linspace(0, len(rows) - 1, most).round())]


def _temperature(outputs: _Outputs) -> dict[str, Any]:
    """Temperature and calibration errors by the pixels of the small masks: every n-th of each image."""
    pixels = len(outputs) * outputs.data.resized.size**2
    step = max(1, -(-pixels * outputs.segmenter.contract.channels // MOST_LOGITS))
    parts = []
    for place, logits, mask in outputs:
        chosen = slice(place % step, None, step)  # begins elsewhere in each image, so that all columns occur
        truth = mask.flatten()[chosen].numpy()
        values = logits[0].flatten(1)[:, chosen].T.float().cpu().numpy()
        counted = (truth != IGNORE) & np.isfinite(values).all(axis=1)
        parts.append((values[counted], truth[counted]))
    values, truth = (np.concatenate(part) for part in zip(*parts, strict=True))
    temperature = fit_temperature(values, truth)
    before, after = calibration_error(values, truth), calibration_error(values / temperature, truth)
    if after >= before:  # too few pixels to tell
        temperature, after = 1.0, before
    return {"temperature": temperature, "calibration_error": (round(before, 6), round(after, 6))}


def _threshold_counts(segmenter: Segmenter, outputs: _Outputs) -> Tensor:
    """`count_by_threshold` of all validation images, at their own size."""
    counts = torch.zeros(2, len(THRESHOLDS) + 1, dtype=torch.int64)
    for logits, mask in outputs.masks():
        rows = max(1, STRIP_PIXELS // mask.shape[1])
        for part, probabilities in segmenter.strips(logits, (mask.shape[0], mask.shape[1])):
            for strip, truth in zip(probabilities[0, 0].split(rows), mask[part].split(rows), strict=True):
                counts += count_by_threshold(strip, truth).cpu()
    return counts


def _confusion(segmenter: Segmenter, outputs: _Outputs) -> Tensor:
    classes = len(segmenter.contract.class_names)
    confusion = torch.zeros(classes, classes, dtype=torch.int64)
    for logits, mask in outputs.masks():
        confusion += sample_confusion(segmenter, logits, mask).cpu()
    return confusion


def _certainty(segmenter: Segmenter, outputs: _Outputs) -> dict[str, Any]:
    """Mean and deviation of the certainty of each image, and the bound below which one is unsure."""
    values = []
    for place, logits, _ in outputs:
        height, width = (int(side) for side in outputs.sizes[place])
        certainty = Certainty()
        for _rows, probabilities in segmenter.strips(logits, (height, width)):
            certainty.add(probabilities, segmenter.classes(probabilities), segmenter.confidence(probabilities))
        values.append(certainty.value(segmenter.contract))
    mean, deviation = float(np.mean(values)), float(np.std(values))
    return {
        "certainty": (round(mean, 6), round(deviation, 6)),
        "unsure_below": round(bound_of_unsure(values), 6),
    }
