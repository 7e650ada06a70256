"""Result of folds and seeds: each image scored once by a model that did not see it, the spread, the calibration."""

import csv
import io
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from trainer import InputError
from trainer.model.calibration import choose_threshold
from trainer.model.comparison import Interval, pooled_iou, score_interval
from trainer.model.ranking import image_iou
from trainer.model.score_table import ScoredImage, ScoreTable
from trainer.model.scorecard import Row
from trainer.model.segmenter import Contract
from trainer.tracking.names import metric_key


@dataclass(frozen=True)
class Member:
    """One finished training of a group."""

    seed: int
    fold: int
    uid: str
    steps: int
    best_step: int
    table: ScoreTable
    """What its model counted on the images of its fold."""

    @property
    def iou(self) -> dict[str, float]:
        """IoU of each foreground class that has pixels in the fold."""
        return _by_class(self.table.class_names, pooled_iou(self.table.counts()))

    @property
    def miou(self) -> float:
        """Mean of those; nan where there is none."""
        return float(np.mean(list(self.iou.values()))) if self.iou else math.nan


@dataclass(frozen=True)
class Summary:
    """Scores of all members together."""

    members: tuple[Member, ...]
    table: ScoreTable
    """What was counted on each image: by the one model that did not see it, or the mean over the seeds."""

    score: Interval
    """mIoU over all pixels of all images, each predicted by a model that did not see it: that of `table`, so that a
    comparison and a promotion, which read the table, find the same number."""

    iou: Mapping[str, float]
    """The same of each class."""

    of_seeds: tuple[float, ...]
    """mIoU over all images, of each seed."""

    def metrics(self) -> dict[str, float]:
        """Numbers for the record of the run."""
        spread = {"folds/miou": [one.miou for one in self.members]}
        for name in self.table.class_names[1:]:
            values = [one.iou[name] for one in self.members if name in one.iou]
            spread[f"folds/iou/{metric_key(name)}"] = values
        found = {"folds/miou": self.score.value, "folds/miou_low": self.score.low, "folds/miou_high": self.score.high}
        found |= {f"folds/iou/{metric_key(name)}": value for name, value in self.iou.items()}
        for key, values in spread.items():
            found |= {f"{key}_mean": _mean(values), f"{key}_std": deviation(values)}
        found["folds/seeds_std"] = deviation(self.of_seeds)
        # The registered model's score, for the list of runs: what it is worth on images that it has not seen.
        found |= {"best/miou": self.score.value}
        found |= {f"best/iou/{metric_key(name)}": value for name, value in self.iou.items()}
        return {key: value for key, value in found.items() if math.isfinite(value)}

    def sentence(self) -> str:
        """Result for people."""
        images, scores = len(self.table.images), [one.miou for one in self.members]
        text = f"mIoU {self.score} on {images} pictures, each predicted by a model that did not see it"
        if len({one.fold for one in self.members}) == 1:
            text = f"mIoU {self.score} on {images} validation pictures"
        if len(scores) > 1:
            mean, spread = _mean(scores), deviation(scores)
            text += f"; {len(scores)} trainings by themselves: mean {mean:.3f}, standard deviation {spread:.3f}"
        if len(self.of_seeds) > 1:
            text += f"; {len(self.of_seeds)} seeds: standard deviation {deviation(self.of_seeds):.3f}"
        return text

    def rows(self) -> tuple[list[str], list[list[Any]]]:
        """Columns and rows of the table of trainings; the last rows are mean, standard deviation and all images."""
        names = self.table.class_names[1:]
        columns = ["fold", "seed", "run", "images", "steps", "best_step", "miou", *(f"iou/{name}" for name in names)]
        rows = [
            [one.fold, one.seed, one.uid, len(one.table.images), one.steps, one.best_step, *_scores(one, names)]
            for one in self.members
        ]
        scores = list(zip(*(row[6:] for row in rows), strict=True))
        images = len(self.table.images)
        pooled = [self.score.value, *(self.iou.get(name) for name in names)]
        ends: list[list[Any]] = [
            ["mean", "", "", "", "", "", *(_or_none(_mean(_there(values))) for values in scores)],
            ["std", "", "", "", "", "", *(_or_none(deviation(_there(values))) for values in scores)],
            ["all", "", "", images, "", "", *pooled],
        ]
        return columns, [*rows, *ends]

    def image_rows(self) -> list[Row]:
        """Rows of the table of images, the worst first: IoU by the counts of `table`, and the fold that held it out."""
        folds = {image.name: one.fold for one in self.members for image in one.table.images}
        found: list[Row] = [
            {"image": one.name, "iou": float(iou), "fold": folds[one.name], "height": one.height, "width": one.width}
            for one, iou in zip(self.table.images, image_iou(self.table.counts()), strict=True)
        ]
        return sorted(found, key=lambda row: (row["iou"], row["image"]))

    def csv(self) -> str:
        """Table of trainings as CSV."""
        columns, rows = self.rows()
        text = io.StringIO()
        csv.writer(text, lineterminator="\n").writerows([columns, *rows])
        return text.getvalue()


def summarise(members: Sequence[Member], names: Iterable[str]) -> Summary:
    """Join the scores of all trainings of a group.

    `names`: those of all labelled images, each of which every seed must have scored once; empty where the trainings
    share their validation images. Raises InputError where one is missing, or scored twice, or by another mask.
    """
    seeds = sorted({one.seed for one in members})
    tables = [join([one.table for one in members if one.seed == seed]) for seed in seeds]
    _require_each_once(tables, sorted(names))
    classes = tables[0].class_names
    each = [one.counts() for one in tables]
    of_seeds = tuple(float(np.nanmean(pooled_iou(one))) if len(one) else math.nan for one in each)
    table = ScoreTable(classes, _mean_images(tables), tables[0].model)
    counts = table.in_order().counts()
    iou = _by_class(classes, pooled_iou(counts))
    return Summary(tuple(sorted(members, key=_order)), table, score_interval(counts), iou, of_seeds)


def join(tables: Sequence[ScoreTable]) -> ScoreTable:
    """One table of the images of several, by name."""
    images = sorted((image for table in tables for image in table.images), key=lambda image: image.name)
    digest = {key: value for key, value in tables[0].model.items() if key == "dataset_digest"}
    return ScoreTable(tables[0].class_names, tuple(images), digest)


def _require_each_once(tables: Sequence[ScoreTable], names: list[str]) -> None:
    first = [(one.name, one.image, one.mask) for one in tables[0].images]
    for table in tables:
        found = [one.name for one in table.images]
        if names and found != names:
            wrong = sorted(set(found) ^ set(names)) or [one for one in names if found.count(one) != 1]
            raise InputError(f"folds: not every picture is scored once: {wrong[0]} ({len(wrong)} in all)")
        if [(one.name, one.image, one.mask) for one in table.images] != first:
            raise InputError("folds: the seeds were not scored on the same pictures")


def _mean_images(tables: Sequence[ScoreTable]) -> tuple[ScoredImage, ...]:
    """Images with the mean counts over `tables`, in whole pixels; the true ones are the same in all."""
    if len(tables) == 1:
        return tables[0].images
    counts = np.mean([table.counts() for table in tables], axis=0).round().astype(np.int64).tolist()
    return tuple(
        ScoredImage(one.name, one.image, one.mask, one.height, one.width, tuple((a, b, c) for a, b, c in rows))
        for one, rows in zip(tables[0].images, counts, strict=True)
    )


def mean_calibration(contracts: Sequence[Contract]) -> dict[str, Any]:
    """Fields of the contract that validation images give: their means over the models that were calibrated.

    The model on all images has none left to be calibrated by. Empty where none of the models was.
    """
    calibrated = [one for one in contracts if one.calibration_error is not None]
    if not calibrated:
        return {}
    curves = [one.threshold_curve for one in calibrated if one.threshold_curve]
    curve = tuple(float(value) for value in np.mean(curves, axis=0)) if curves else ()
    found: dict[str, Any] = {
        "threshold_curve": curve,
        "threshold": choose_threshold(curve),
        "temperature": float(f"{np.mean([one.temperature for one in calibrated]):.4g}"),
        "calibration_error": _mean_pair([one.calibration_error for one in calibrated]),
        "certainty": _mean_pair([one.certainty for one in calibrated]),
    }
    bounds = [one.unsure_below for one in calibrated if one.unsure_below is not None]
    return found | {"unsure_below": round(float(np.mean(bounds)), 6) if bounds else None}


def deviation(values: Sequence[float]) -> float:
    """Standard deviation of a sample, nan of fewer than two values."""
    return float(np.std(values, ddof=1)) if len(values) > 1 else math.nan


def _mean(values: Sequence[float]) -> float:
    return float(np.mean(values)) if len(values) else math.nan


def _mean_pair(pairs: Sequence[tuple[float, float] | None]) -> tuple[float, float] | None:
    there = [one for one in pairs if one is not None]
    if not there:
        return None
    one, two = np.mean(there, axis=0)
    return round(float(one), 6), round(float(two), 6)


def _by_class(names: Sequence[str], iou: np.ndarray) -> dict[str, float]:
    return {name: float(value) for name, value in zip(names[1:], iou, strict=True) if np.isfinite(value)}


def _scores(member: Member, names: Sequence[str]) -> list[float | None]:
    return [_or_none(member.miou), *(member.iou.get(name) for name in names)]


def _there(values: Sequence[float | None]) -> list[float]:
    return [value for value in values if value is not None]


def _or_none(value: float) -> float | None:
    return value if math.isfinite(value) else None


def _order(member: Member) -> tuple[int, int]:
    return member.seed, member.fold
