"""The result of folds and seeds against plain numpy and the standard library."""

import csv
import io
import statistics
from dataclasses import replace

import numpy as np
import pytest

from trainer import InputError
from trainer.engine.folds.summary import Member, mean_calibration, summarise
from trainer.model.calibration import THRESHOLDS
from trainer.model.ranking import rank
from trainer.model.score_table import ScoredImage, ScoreTable
from trainer.model.segmenter import Contract

NAMES = ("_background_", "cat", "dog")
IMAGES = [f"image {number:02}" for number in range(10)]


def table(names: list[str], seed: int) -> ScoreTable:
    """Counts of a model; the true pixels depend on the image alone."""
    images = []
    for name in names:
        true = np.random.default_rng(int(name[-2:])).integers(50, 900, 3)
        random = np.random.default_rng((seed, int(name[-2:])))
        correct = (true * random.uniform(0.3, 1, 3)).astype(int)
        rows = zip(correct, correct + random.integers(0, 300, 3), true, strict=True)
        counts = tuple((int(a), int(b), int(c)) for a, b, c in rows)
        images.append(ScoredImage(name, f"{99 - int(name[-2:]):0>16}", f"{name[-2:]:a>16}", 40, 40, counts))
    return ScoreTable(NAMES, tuple(images), {"dataset_digest": "d"})


def members(seeds: int = 1) -> list[Member]:
    """Three folds of the images, of each seed."""
    parts = [IMAGES[0::3], IMAGES[1::3], IMAGES[2::3]]
    return [
        Member(seed, fold, f"{seed} {fold}", 100, 90, table(parts[fold], 10 * seed + fold))
        for seed in range(seeds)
        for fold in (2, 0, 1)
    ]


def miou(counts: np.ndarray) -> float:
    correct, predicted, true = counts.sum(axis=0)[1:].T
    return float((correct / (predicted + true - correct)).mean())


def pooled(found: list[Member]) -> np.ndarray:
    rows = sorted((image.name, image.counts) for one in found for image in one.table.images)
    return np.array([counts for _, counts in rows])


def test_pooled_pixels_of_all_folds() -> None:
    found = members()
    summary = summarise(found, IMAGES)
    assert summary.score.value == pytest.approx(miou(pooled(found)), abs=1e-12)
    assert summary.score.low < summary.score.value < summary.score.high
    assert summary.score == rank({"it": summary.table}).scores["it"]
    assert [image.name for image in summary.table.images] == IMAGES
    assert np.array_equal(summary.table.counts(), pooled(found))
    each = [miou(one.table.counts()) for one in found]
    metrics = summary.metrics()
    assert metrics["folds/miou"] == metrics["best/miou"] == summary.score.value
    assert metrics["folds/miou_mean"] == pytest.approx(statistics.mean(each))
    assert metrics["folds/miou_std"] == pytest.approx(statistics.stdev(each))
    assert metrics["folds/iou/dog_std"] == pytest.approx(statistics.stdev(one.iou["dog"] for one in found))
    assert "folds/seeds_std" not in metrics
    assert summary.sentence() == (
        f"mIoU {summary.score} on 10 pictures, each predicted by a model that did not see it; "
        f"3 trainings by themselves: mean {statistics.mean(each):.3f}, standard deviation {statistics.stdev(each):.3f}"
    )


def test_the_order_of_the_trainings_is_nothing() -> None:
    assert summarise(members(2)[::-1], IMAGES) == summarise(members(2), IMAGES)


def test_seeds_are_averaged() -> None:
    found = members(seeds=3)
    summary = summarise(found, IMAGES)
    of_seeds = [miou(pooled([one for one in found if one.seed == seed])) for seed in range(3)]
    assert summary.of_seeds == pytest.approx(of_seeds)
    metrics = summary.metrics()
    assert metrics["folds/seeds_std"] == pytest.approx(statistics.stdev(of_seeds))
    counts = np.mean([pooled([one for one in found if one.seed == seed]) for seed in range(3)], axis=0)
    assert np.abs(summary.table.counts() - counts).max() <= 0.5
    assert np.array_equal(summary.table.counts()[:, :, 2], counts[:, :, 2])
    # One number: what is quoted, what the tables of images and of trainings say, and what a comparison finds.
    assert summary.score == rank({"it": summary.table}).scores["it"]
    assert metrics["folds/miou"] == metrics["best/miou"] == miou(summary.table.counts())
    assert metrics["folds/miou"] == pytest.approx(miou(counts), abs=5e-4)  # whole pixels
    assert statistics.mean(metrics[f"folds/iou/{name}"] for name in NAMES[1:]) == pytest.approx(metrics["folds/miou"])
    assert float(list(csv.DictReader(io.StringIO(summary.csv())))[-1]["miou"]) == metrics["folds/miou"]


def test_the_table_of_images_has_the_worst_first() -> None:
    found = members(seeds=2)
    summary = summarise(found, IMAGES)
    rows = summary.image_rows()
    assert sorted(row["image"] for row in rows) == IMAGES
    assert [row["iou"] for row in rows] == sorted(row["iou"] for row in rows)
    counts = {one.name: np.array(one.counts)[None] for one in summary.table.images}
    for row in rows:
        assert row["iou"] == pytest.approx(miou(counts[row["image"]]))
        assert row["image"] in IMAGES[row["fold"] :: 3]


def test_every_image_once_by_every_seed() -> None:
    found = members(2)
    with pytest.raises(InputError, match=r"not every picture is scored once: image 02"):
        summarise([one for one in found if one.fold != 2], IMAGES)
    with pytest.raises(InputError, match="not every picture is scored once"):
        summarise([*found, replace(found[0])], IMAGES)
    missing = replace(found[0], table=replace(found[0].table, images=found[0].table.images[1:]))
    with pytest.raises(InputError, match="not every picture is scored once"):
        summarise([missing, *found[1:]], IMAGES)
    other = replace(found[0].table.images[0], mask="f" * 16)
    relabelled = replace(found[0].table, images=(other, *found[0].table.images[1:]))
    with pytest.raises(InputError, match="not scored on the same pictures"):
        summarise([replace(found[0], table=relabelled), *found[1:]], IMAGES)


def test_the_table_of_trainings() -> None:
    found = members(2)
    summary = summarise(found, IMAGES)
    rows = list(csv.DictReader(io.StringIO(summary.csv())))
    assert [(row["seed"], row["fold"]) for row in rows[:-3]] == [(s, f) for s in "01" for f in "012"]
    assert [row["fold"] for row in rows[-3:]] == ["mean", "std", "all"]
    assert float(rows[-1]["miou"]) == summary.score.value
    assert float(rows[-3]["iou/cat"]) == pytest.approx(statistics.mean(one.iou["cat"] for one in found))
    assert rows[0]["run"] == "0 0"


def test_a_class_that_a_fold_lacks_is_left_out_of_its_mean() -> None:
    found = members()
    first = found[0].table
    empty = [replace(one, counts=(*one.counts[:2], (0, 5, 0))) for one in first.images]
    found[0] = replace(found[0], table=replace(first, images=tuple(empty)))
    assert set(found[0].iou) == {"cat"}
    metrics = summarise(found, IMAGES).metrics()
    assert metrics["folds/iou/dog_mean"] == pytest.approx(statistics.mean(one.iou["dog"] for one in found[1:]))


def test_calibration_is_the_mean_of_the_folds() -> None:
    colours = ((0, 0, 0), (1, 1, 1))
    curves = [tuple(0.5 - abs(one - best) for one in THRESHOLDS) for best in (0.2, 0.4)]
    contracts = [
        Contract(
            NAMES[:2],
            colours,
            32,
            threshold_curve=curve,
            temperature=temperature,
            calibration_error=(0.2, 0.1),
            certainty=(certainty, 0.1),
            unsure_below=0.5,
        )
        for curve, temperature, certainty in zip(curves, (1.0, 2.0), (0.8, 0.9), strict=True)
    ]
    found = mean_calibration([*contracts, Contract(NAMES[:2], colours, 32)])
    assert found["temperature"] == 1.5
    assert found["certainty"] == (0.85, 0.1)
    mean = np.mean(curves, axis=0)
    assert found["threshold_curve"] == pytest.approx(mean)
    assert mean[THRESHOLDS.index(found["threshold"])] >= mean.max() - 0.002
    assert 0.2 <= found["threshold"] <= 0.4
    assert mean_calibration([Contract(NAMES[:2], colours, 32)]) == {}
