"""Calibration of the best weights on the validation images, and what their contract says about the data.

On the main process alone, as the comparison with the champion is. Memory is bounded, whatever the number and the size
of the images.
"""

import dataclasses
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor

from trainer import IGNORE
from trainer.data.appearance import looks_of
from trainer.data.dataset import Dataset, release_pages
from trainer.data.full_size import FullSize
from trainer.data.stored_samples import StoredSamples
from trainer.engine.evaluate import strips_of
from trainer.engine.outputs import Outputs, count_image, outputs_of, spread
from trainer.inference.doubt import bound_of_unsure
from trainer.inference.specks import usual_areas
from trainer.model.calibration import (
    LEAST_IMAGES,
    MIDDLE,
    THRESHOLDS,
    calibration_error,
    choose_threshold,
    count_by_threshold,
    fit_temperature,
    threshold_curve,
)
from trainer.model.image_counts import Tally, no_totals
from trainer.model.metrics import Scores, scores
from trainer.model.score_table import Counts
from trainer.model.segmenter import Contract, Segmenter
from trainer.tracking.names import metric_key

MOST_TRAINING_IMAGES, MOST_LARGE_IMAGES = 200, 32
"""Training images whose look is measured, spread over all of them: resized ones, and such as are shown in tiles."""


@dataclass(frozen=True)
class Calibration:
    """Contract of a model that was calibrated, and how it scores."""

    contract: Contract
    scores: Scores
    """Scores on the validation images by the contract: those of the masks that prediction writes."""

    gain: float = 0.0
    """Gain of mIoU by a threshold other than 0.5."""

    tally: Tally = field(default_factory=lambda: Tally(no_totals(2), ()), compare=False)
    """Counts of the validation images, by the contract."""

    @property
    def counts(self) -> tuple[Counts, ...]:
        """`class_counts` of each validation image."""
        return self.tally.counts

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
    outputs = outputs_of(segmenter, dataset.validation)
    enough = len(outputs) >= LEAST_IMAGES

    def change(**values: Any) -> None:
        segmenter.contract = dataclasses.replace(segmenter.contract, **values)

    change(**describe_training(dataset))
    if enough:
        change(**_temperature(outputs))
    curve: tuple[float, ...] = ()
    if contract.channels == 1:
        curve = threshold_curve(_threshold_counts(outputs))
        change(threshold=choose_threshold(curve) if enough else 0.5, threshold_curve=curve)
    totals = no_totals(len(contract.class_names))
    counted = [count_image(outputs, place, totals) for place in range(len(outputs))]
    if enough:
        change(**_certainty([certainty.value(segmenter.contract) for _, certainty in counted]))
    gain = curve[THRESHOLDS.index(segmenter.contract.threshold)] - curve[MIDDLE] if curve else 0.0
    found = scores(torch.from_numpy(totals.confusion), contract.class_names)
    return Calibration(segmenter.contract, found, gain, Tally(totals, tuple(image for image, _ in counted)))


def describe_training(dataset: Dataset) -> dict[str, Any]:
    """Fields of the contract about the labelled images: their sizes and looks, their objects, how many are empty."""
    rows, facts = list(dataset.split.train), dataset.stored.facts
    sizes = facts["size"][rows]
    labelled = facts["counts"][:, :IGNORE]
    empty = float((labelled[:, 1:].sum(axis=1) == 0).mean())
    release_pages(facts)
    images, masks = _training_samples(dataset.stored, rows)
    numbers = (sizes.min(axis=0), np.median(sizes, axis=0), sizes.max(axis=0))
    return {
        "training_sides": tuple(tuple(int(number[side]) for number in numbers) for side in (0, 1)),
        "training_look": looks_of(images),
        "object_areas": usual_areas(masks, len(dataset.names)),
        "empty_share": round(empty, 4),
    }


def _training_samples(stored: StoredSamples, rows: Sequence[int]) -> tuple[Iterable[np.ndarray], Iterable[np.ndarray]]:
    """Some of the samples that train, as the network is shown them: images uint8 [H, W, C], and masks uint8 [H, W]."""
    if isinstance(stored, FullSize):  # one at a time
        chosen = spread(rows, MOST_LARGE_IMAGES)
        return map(stored.image, chosen), map(stored.mask, chosen)
    images, masks = stored.read(spread(rows, MOST_TRAINING_IMAGES))
    return images.permute(0, 2, 3, 1).numpy(), masks.numpy()


def _temperature(outputs: Outputs) -> dict[str, Any]:
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


def _threshold_counts(outputs: Outputs) -> Tensor:
    """`count_by_threshold` of all validation images, at their own size."""
    counts = torch.zeros(2, len(THRESHOLDS) + 1, dtype=torch.int64)
    for place in range(len(outputs)):
        mask = outputs.mask(place)
        for part, probabilities in outputs.rows(place, (mask.shape[0], mask.shape[1])):
            for strip, truth in strips_of(probabilities, mask[part]):
                counts += count_by_threshold(strip[0, 0], truth).cpu()
    return counts


def _certainty(values: Sequence[float]) -> dict[str, Any]:
    """Mean and deviation of the certainty of each image, and the bound below which one is unsure."""
    mean, deviation = float(np.mean(values)), float(np.std(values))
    return {
        "certainty": (round(mean, 6), round(deviation, 6)),
        "unsure_below": round(bound_of_unsure(values), 6),
    }
