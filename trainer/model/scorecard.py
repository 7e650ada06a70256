"""Scores of one model on one set of images, in all the forms that people ask for: from integer counts alone."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import torch

from trainer.model.calibration import BINS, MIDDLE, THRESHOLDS
from trainer.model.comparison import Interval, score_interval
from trainer.model.image_counts import PARTS, ImageCounts, Tally
from trainer.model.metrics import Scores, scores
from trainer.model.score_table import ScoreTable
from trainer.system.text import one_line

SIZE_FACTOR = 4
"""Ratio of the areas at which a class of object sizes begins and ends."""

LEAST_AREA = 16
"""Pixels of an object from which it counts as one: smaller ones are mostly specks of a mask drawn by machine."""

FOUND_IOU = 0.5
"""IoU from which an object counts as found."""

MOST_COLUMNS = 40
"""Classes that have a column of their own in the table of images."""

Row = dict[str, Any]
"""A row of a table: column -> value."""


def ratio(part: float, whole: float) -> float | None:
    """Quotient of two counts; None where the second is 0."""
    return float(part / whole) if whole else None


def f1(precision: float | None, recall: float | None) -> float | None:
    """Harmonic mean. None where there is nothing to find; a precision of nothing counts as 0."""
    if recall is None:
        return None
    precision = precision or 0.0
    return 2 * precision * recall / (precision + recall) if precision + recall else 0.0


def boundary_f1(counts: Sequence[int]) -> float | None:
    """F1 of a class's border, by its row of `boundary_counts`; None where the mask shows no border of it."""
    matched_found, found, matched_true, true = counts
    return f1(ratio(matched_found, found), ratio(matched_true, true))


@dataclass(frozen=True)
class ClassScores:
    """Scores of one foreground class that has pixels in the masks."""

    name: str
    iou: float
    dice: float
    precision: float
    """Share of the predicted pixels that are right; 0 where none is predicted."""

    recall: float
    """Share of the true pixels that are found."""

    boundary_f1: float | None
    """F1 of the border, at a distance of 2 pixels; None where the masks show none."""

    true: int
    predicted: int
    images: int
    """Images whose mask has the class."""


@dataclass(frozen=True)
class Curve:
    """Scores of a class at each of THRESHOLDS of its probability, float64 [39] each; nan where undefined."""

    precision: np.ndarray
    recall: np.ndarray
    iou: np.ndarray

    @property
    def best(self) -> int:
        """Place of the best IoU, of equals the one nearest to 0.5."""
        near = np.flatnonzero(self.iou == np.nanmax(self.iou))
        return int(near[np.abs(near - MIDDLE).argmin()])


@dataclass(frozen=True)
class Scorecard:
    """Scores of a model on a set of images."""

    table: ScoreTable
    """Identity and counts of each image."""

    tally: Tally
    """Counts of the same images, in the same order."""

    threshold: float | None
    """Probability above which the model finds foreground; None with several classes, where the most probable wins."""

    trained_on: frozenset[str] | None = None
    """Hashes of the images that trained the model, as `ScoredImage.image` has them; None: unknown."""

    @property
    def class_names(self) -> tuple[str, ...]:
        """K names, the background's first."""
        return self.table.class_names

    @cached_property
    def scores(self) -> Scores:
        """Scores over all pixels, as training computes them."""
        return scores(torch.from_numpy(self.tally.totals.confusion), self.class_names)

    @cached_property
    def interval(self) -> Interval | None:
        """mIoU with its interval; None where no class is in the masks."""
        return score_interval(self.table.in_order().counts()) if self.scores.miou is not None else None

    @cached_property
    def classes(self) -> list[ClassScores]:
        """Scores of each foreground class that is in the masks."""
        counts, boundary = (
            np.stack([getattr(one, key) for one in self.tally.images]) for key in ("classes", "boundary")
        )
        found = []
        for index, name in enumerate(self.class_names[1:], start=1):
            correct, predicted, true = (int(number) for number in counts[:, index].sum(axis=0))
            if true:
                found.append(
                    ClassScores(
                        name,
                        self.scores.iou[name],
                        self.scores.dice[name],
                        ratio(correct, predicted) or 0.0,
                        correct / true,
                        boundary_f1(boundary[:, index].sum(axis=0).tolist()),
                        true,
                        predicted,
                        int((counts[:, index, 2] > 0).sum()),
                    )
                )
        return found

    def class_rows(self) -> list[Row]:
        """Row of each foreground class that is in the masks."""
        keys = ("iou", "dice", "precision", "recall", "boundary_f1", "true", "predicted", "images")
        return [{"class": one.name} | {key: getattr(one, key) for key in keys} for one in self.classes]

    @cached_property
    def curves(self) -> dict[str, Curve]:
        """Precision, recall and IoU of each class that is in the masks, at all thresholds of its probability."""
        present = {one.name for one in self.classes}
        named = zip(self.class_names[1:], self.tally.totals.above, strict=True)
        return {name: curve_of(above) for name, above in named if name in present and above[1].sum()}

    @property
    def calibration_error(self) -> float | None:
        """Expected calibration error, 0 to 1: the mean distance of confidence and accuracy, by bins of confidence."""
        pixels, right, total = self.tally.totals.reliability.T
        return float(np.abs(right - total / PARTS).sum() / pixels.sum()) if pixels.sum() else None

    def mean(self, key: str) -> float | None:
        """Mean of a field of ClassScores over the classes that have it; None where none has."""
        values = [value for one in self.classes if (value := getattr(one, key)) is not None]
        return sum(values) / len(values) if values else None

    @cached_property
    def trained(self) -> int | None:
        """Number of the images that have trained the model; None where that is not known."""
        if self.trained_on is None:
            return None
        return sum(image.image in self.trained_on for image in self.table.images)

    def sentence(self) -> str:
        """Score in words: mIoU 0.883 [0.851, 0.909] on 41 images."""
        count = len(self.table.images)
        images = f"{count} image{'s' if count != 1 else ''}"
        if self.interval is None:
            return f"no score: none of the classes is in the masks of {images}"
        return f"mIoU {self.interval} on {images}"

    def warning(self) -> str:
        """Why the score means little, where all pixels are taken for one class though the masks show more; or empty."""
        confusion = self.tally.totals.confusion
        found, true = (np.flatnonzero(confusion.sum(axis=axis)) for axis in (0, 1))
        if len(found) != 1 or len(true) < 2:
            return ""
        if found[0] == 0:
            return "nothing is found in any of these pictures"
        name = one_line(self.class_names[found[0]])
        return f"every pixel of these pictures is taken for {name}: the score only says how much of them is {name}"

    def reliability(self) -> list[Row]:
        """Rows of the reliability diagram: bins that hold pixels, with mean confidence and accuracy in each."""
        return [
            {
                "from": place / BINS,
                "to": (place + 1) / BINS,
                "pixels": int(pixels),
                "confidence": float(total / PARTS / pixels),
                "accuracy": float(right / pixels),
            }
            for place, (pixels, right, total) in enumerate(self.tally.totals.reliability)
            if pixels
        ]

    @cached_property
    def objects(self) -> np.ndarray:
        """Class id, area in pixels and IoU of each true object of LEAST_AREA pixels or more, float64 [M, 3]."""
        found = np.concatenate([one.objects for one in self.tally.images]).astype(np.float64)
        ids, true, predicted, both = found[found[:, 1] >= LEAST_AREA].T
        return np.stack([ids, true, both / (true + predicted - both)], axis=1)

    def sizes(self) -> list[Row]:
        """IoU of the objects by their size: a row for each class of areas that holds objects."""
        if not len(self.objects):
            return []
        steps = np.floor(np.log(self.objects[:, 1]) / np.log(SIZE_FACTOR) + 1e-9).astype(int)
        rows = []
        for step in range(steps.min(), steps.max() + 1):
            iou = self.objects[steps == step, 2]
            if len(iou):
                row = {"from": SIZE_FACTOR**step, "below": SIZE_FACTOR ** (step + 1), "objects": len(iou)}
                rows.append(row | {"iou": float(iou.mean()), "found": float((iou >= FOUND_IOU).mean())})
        return rows

    @cached_property
    def images(self) -> list[Row]:
        """Row of each image, in their order: name, scores over its classes, and what is known of it."""
        return list(self._image_rows())

    def _image_rows(self) -> Iterator[Row]:
        for image, counts in zip(self.table.images, self.tally.images, strict=True):
            row: Row = {"image": image.name} | image_scores(counts)
            correct, predicted, true = counts.classes.T
            known = int(true.sum())
            row |= {"foreground": ratio(int(true[1:].sum()), known), "height": image.height, "width": image.width}
            if self.trained_on is not None:
                row["trained"] = image.image in self.trained_on
            if 2 < len(self.class_names) <= MOST_COLUMNS:
                union = true + predicted - correct
                for index, name in enumerate(self.class_names[1:], start=1):
                    row[f"iou {name}"] = ratio(int(correct[index]), int(union[index]))
            yield row

    @cached_property
    def order(self) -> list[int]:
        """Places of the images, the worst first; of equals in the order of their names."""
        return sorted(
            range(len(self.images)), key=lambda place: (self.images[place]["iou"], self.images[place]["image"])
        )

    def metrics(self) -> dict[str, float]:
        """Numbers for a run's record, by key; those of single classes are in the table of classes."""
        interval = self.interval
        known: dict[str, float | None] = {
            "miou": self.scores.miou,
            "miou_low": interval.low if interval else None,
            "miou_high": interval.high if interval else None,
            "dice": self.scores.mean_dice,
            "precision": self.mean("precision"),
            "recall": self.mean("recall"),
            "boundary_f1": self.mean("boundary_f1"),
            "ece": self.calibration_error,
        }
        return {f"evaluation/{key}": value for key, value in known.items() if value is not None}

    def summary(self) -> Row:
        """Everything but the single images, as JSON."""
        interval = self.interval
        miou = {"value": interval.value, "low": interval.low, "high": interval.high} if interval else None
        means = {key: self.mean(key) for key in ("dice", "precision", "recall", "boundary_f1")}
        return {
            "sentence": self.sentence(),
            "images": len(self.table.images),
            "digest": self.table.digest,
            "model": dict(self.table.model),
            "class_names": list(self.class_names),
            "miou": miou,
            **means,
            "classes": {row["class"]: row for row in self.class_rows()},
            "absent": list(self.scores.absent),
            "confusion": self.tally.totals.confusion.tolist(),
            "calibration_error": self.calibration_error,
            "reliability": self.reliability(),
            "thresholds": list(THRESHOLDS),
            "curves": {
                name: {key: _numbers(getattr(curve, key)) for key in ("precision", "recall", "iou")}
                for name, curve in self.curves.items()
            },
            "best_threshold": {name: THRESHOLDS[curve.best] for name, curve in self.curves.items()},
            "sizes": self.sizes(),
            "trained_images": self.trained,
            "worst_first": [self.images[place]["image"] for place in self.order],
        }


def image_scores(counts: ImageCounts) -> Row:
    """Scores of one image: means over the foreground classes that its mask or its prediction has.

    Of an image without any in both, all is right: IoU 1.
    """
    correct, predicted, true = counts.classes[1:].T
    present = true + predicted > 0
    if not present.any():
        return {"iou": 1.0, "dice": 1.0, "precision": None, "recall": None, "boundary_f1": None}
    correct, predicted, true = correct[present], predicted[present], true[present]
    borders = [boundary_f1(row) for row in counts.boundary[1:][present].tolist()]
    known = [value for value in borders if value is not None]
    return {
        "iou": float((correct / (true + predicted - correct)).mean()),
        "dice": float((2 * correct / (true + predicted)).mean()),
        "precision": ratio(int(correct.sum()), int(predicted.sum())),
        "recall": ratio(int(correct.sum()), int(true.sum())),
        "boundary_f1": sum(known) / len(known) if known else None,
    }


def curve_of(above: np.ndarray) -> Curve:
    """Curve of a class, from its counts in `Totals.above`, int64 [2, 40]."""
    # The number of pixels whose probability is above each threshold: those above more thresholds than its place.
    others, own = above[:, ::-1].cumsum(axis=1)[:, ::-1][:, 1:].astype(np.float64)
    total = above[1].sum()
    with np.errstate(invalid="ignore", divide="ignore"):
        return Curve(own / (own + others), own / total, own / (total + others))


def _numbers(values: np.ndarray) -> list[float | None]:
    return [float(value) if np.isfinite(value) else None for value in values]
