"""Score of a trial of several folds: every picture is predicted once, by a model that did not see it."""

from dataclasses import dataclass

import numpy as np

from trainer import InputError
from trainer.model.comparison import pooled_iou
from trainer.model.score_table import ScoreTable, read_table
from trainer.search.sweep_folder import Part, SweepFolder


@dataclass(frozen=True)
class FoldScores:
    """What the folds so far have scored."""

    miou: float
    """mIoU over the pixels of all their pictures."""

    images: dict[int, float]
    """Mean IoU of each picture, by a number that it has in every trial."""


def fold_scores(folder: SweepFolder, trial: int, folds: int) -> FoldScores:
    """Read the scores of the first `folds` folds of a trial. Raises InputError where one cannot be read."""
    tables = []
    for fold in range(folds):
        run = folder.run_of(Part(trial, fold))
        if run is None:
            raise InputError(f"fold {fold} has no run folder")
        tables.append(read_table(run.scores))
    return join_scores(tables)


def join_scores(tables: list[ScoreTable]) -> FoldScores:
    """Join the tables of folds. Raises InputError where no class is in any mask."""
    pooled = _found(np.concatenate([one.counts() for one in tables]))
    if not pooled.size:
        raise InputError("no validation mask has a pixel of a class")
    images = {}
    for table in tables:
        for (image, mask), counts in zip(table.keys(), table.counts(), strict=True):
            if (found := _found(counts[None])).size:
                images[_number(image, mask)] = float(found.mean())
    return FoldScores(float(pooled.mean()), images)


def _found(counts: np.ndarray) -> np.ndarray:
    """IoU of the foreground classes that are there, float64; `counts`: int64 [N, K, 3]."""
    iou = pooled_iou(counts)
    return iou[np.isfinite(iou)]


def _number(image: str, mask: str) -> int:
    """Number of a picture for Optuna, which databases keep in 32 bits, by the hashes of its pixels and its mask."""
    return (int(image, 16) * 31 + int(mask, 16)) % (2**31 - 1)
