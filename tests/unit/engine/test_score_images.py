"""Evaluation of its own: every number against an independent one, on any number of processes and threads."""

import dataclasses
from collections.abc import Callable
from pathlib import Path
from threading import Barrier, Thread
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from sklearn.metrics import confusion_matrix, jaccard_score, precision_recall_fscore_support

from tests.support.data import VocMaker
from tests.support.images import box_mask, smooth_image
from tests.support.training import Prepared, prepare
from trainer import IGNORE
from trainer.config import LossConfig
from trainer.data.image_io import read_image, read_mask, write_mask
from trainer.engine import evaluate as strips
from trainer.engine import score_images as module
from trainer.engine.evaluate import Evaluation, EvaluationStopped, evaluate, score_table
from trainer.engine.score_images import Part, score_images
from trainer.model.boundary import boundary_counts
from trainer.model.calibration import THRESHOLDS
from trainer.model.image_counts import Tally
from trainer.model.ranking import rank
from trainer.model.scorecard import Scorecard, image_scores

SMALL = ["--model.encoder", "none", "--model.width", "8", "--model.depth", "2", "--data.image_size", "32"]
SMALL += ["--data.workers", "0", "--train.mixed_precision", "no", "--data.val_fraction", "0.5"]
LOSS = LossConfig(class_weights=None)
NAMES = {2: ("_background_", "class_1"), 4: ("_background_", "class_1", "class_2", "class_3")}


@dataclasses.dataclass
class Known:
    """A model with its images, and what plain numpy knows of them."""

    prepared: Prepared
    tally: Tally
    card: Scorecard
    truth: list[np.ndarray]
    """Class ids of each image, uint8 [H, W]."""

    probabilities: list[np.ndarray]
    """float32 [C, H, W] of each image."""

    predicted: list[np.ndarray]
    """Class ids of each image, uint8 [H, W]."""

    @property
    def pixels(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Truth [N], prediction [N] and probabilities [C, N] of all labelled pixels."""
        truth, predicted = (np.concatenate([one.ravel() for one in parts]) for parts in (self.truth, self.predicted))
        values = np.concatenate([one.reshape(len(one), -1) for one in self.probabilities], axis=1)
        known = truth != IGNORE
        return truth[known], predicted[known], values[:, known]


@pytest.fixture(scope="module", params=[2, 4])
def known(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Known:
    """A wild model of one class or of three, on 11 images with ignored pixels."""
    classes = request.param
    root = tmp_path_factory.mktemp(f"classes{classes}")
    for folder in ("JPEGImages", "SegmentationClassPNG"):
        (root / "voc" / folder).mkdir(parents=True)
    for number in range(22):
        height, width = 31 + 2 * (number % 5), 43 + 3 * (number % 4)
        mask = box_mask(height, width, number, classes)
        mask[-1 - number % 3 :] = IGNORE
        Image.fromarray(smooth_image(height, width, number)).save(root / "voc" / "JPEGImages" / f"p {number:02} ä.png")
        write_mask(root / "voc" / "SegmentationClassPNG" / f"p {number:02} ä.png", mask)
    prepared = prepare(["--data.root", str(root / "voc"), *SMALL], root / "cache")
    segmenter, validation = prepared.segmenter, prepared.dataset.validation
    with torch.no_grad():
        segmenter.network.last.weight *= 30
        if classes == 2:
            segmenter.network.last.bias += 2
    segmenter.contract = dataclasses.replace(segmenter.contract, threshold=0.7, temperature=1.5)
    tally = score_images(segmenter, validation)
    truth, probabilities, predicted = [], [], []
    for sample in validation.samples:
        with torch.no_grad():
            found = segmenter(torch.from_numpy(read_image(sample.image))[None])
        truth.append(read_mask(sample.mask))
        probabilities.append(found[0].numpy())
        predicted.append(segmenter.classes(found)[0].numpy())
    return Known(prepared, tally, card(prepared, tally), truth, probabilities, predicted)


def card(prepared: Prepared, tally: Tally) -> Scorecard:
    contract, validation = prepared.segmenter.contract, prepared.dataset.validation
    counts = Evaluation(None, 0.0, tuple(image.as_tuples() for image in tally.images))  # type: ignore[arg-type]
    table = score_table(counts, validation, contract.class_names, {"uid": "u"})
    return Scorecard(table, tally, contract.threshold if contract.channels == 1 else None)


def test_scores_are_those_of_scikit_learn_and_of_training(known: Known) -> None:
    truth, predicted, _ = known.pixels
    labels = list(range(1, len(known.card.class_names)))
    assert np.array_equal(known.tally.totals.confusion, confusion_matrix(truth, predicted, labels=[0, *labels]))
    iou = jaccard_score(truth, predicted, labels=labels, average=None)
    precision, recall, dice, _ = precision_recall_fscore_support(truth, predicted, labels=labels, zero_division=0)
    rows = known.card.classes
    assert [row.iou for row in rows] == pytest.approx(iou, abs=1e-12)
    assert [row.dice for row in rows] == pytest.approx(dice, abs=1e-12)
    assert [row.precision for row in rows] == pytest.approx(precision, abs=1e-12)
    assert [row.recall for row in rows] == pytest.approx(recall, abs=1e-12)
    assert 0 < min(row.iou for row in rows) < max(row.recall for row in rows) < 1
    trained = evaluate(known.prepared.segmenter, known.prepared.dataset.validation, LOSS)
    assert known.card.scores == trained.scores
    assert known.card.table.counts().tolist() == [[list(row) for row in image] for image in trained.counts]
    interval = rank({"it": known.card.table}).scores["it"]  # compare.py says the same, whatever the files are called
    assert known.card.sentence() == f"mIoU {interval} on 11 images"
    metrics = known.card.metrics()
    assert metrics["evaluation/miou"] == pytest.approx(np.mean(iou), abs=1e-12)
    assert metrics["evaluation/precision"] == pytest.approx(np.mean(precision), abs=1e-12)


def test_rows_of_images_are_those_of_each_alone(known: Known) -> None:
    for row, truth, predicted in zip(known.card.images, known.truth, known.predicted, strict=True):
        inside = truth != IGNORE
        own, found = truth[inside], predicted[inside]
        labels = sorted((set(own.tolist()) | set(found.tolist())) - {0})
        assert row["iou"] == pytest.approx(np.mean(jaccard_score(own, found, labels=labels, average=None)), abs=1e-12)
        assert row["foreground"] == pytest.approx((own > 0).mean())
        assert (row["height"], row["width"]) == truth.shape
        counts = boundary_counts(predicted, truth, len(known.card.class_names))
        place = known.card.images.index(row)
        assert np.array_equal(known.tally.images[place].boundary, counts)
    worst_first = [known.card.images[place]["iou"] for place in known.card.order]
    assert worst_first == sorted(worst_first)
    assert worst_first[0] < worst_first[-1]


def test_curves_are_those_of_all_thresholds(known: Known) -> None:
    truth, _, values = known.pixels
    for index, (name, curve) in enumerate(known.card.curves.items(), start=1):
        own = values[0 if len(values) == 1 else index]
        assert name == known.card.class_names[index]
        for place in (0, 7, 19, 25, 38):
            found = own > np.float32(THRESHOLDS[place])
            if found.any():
                expected = precision_recall_fscore_support(truth == index, found, average="binary")[:2]
                assert (curve.precision[place], curve.recall[place]) == pytest.approx(expected, abs=1e-12)
            assert curve.iou[place] == pytest.approx(jaccard_score(truth == index, found), abs=1e-12)
        assert curve.iou[curve.best] == max(curve.iou)
    assert len(known.card.curves) == len(known.card.class_names) - 1


def test_the_calibration_error_is_that_of_its_definition(known: Known) -> None:
    truth, _, values = known.pixels
    likely = np.concatenate([1 - values, values]) if len(values) == 1 else values
    confidence, right = likely.max(axis=0).astype(np.float64), likely.argmax(axis=0) == truth
    error = 0.0
    rows = iter(known.card.reliability())
    for low in np.arange(15) / 15:
        inside = (confidence > low + 1e-12) & (confidence <= low + 1 / 15 + 1e-12)
        if inside.any():
            error += inside.mean() * abs(right[inside].mean() - confidence[inside].mean())
            row = next(rows)
            assert row["pixels"] == inside.sum()
            assert row["accuracy"] == pytest.approx(right[inside].mean())
            assert row["confidence"] == pytest.approx(confidence[inside].mean(), abs=1e-5)
    assert known.card.calibration_error == pytest.approx(error, abs=1e-5)
    assert error > 0.01


def test_sizes_hold_every_object_once(known: Known) -> None:
    rows = known.card.sizes()
    assert sum(row["objects"] for row in rows) == len(known.card.objects) > 0
    for row in rows:
        iou = [iou for _, area, iou in known.card.objects if row["from"] <= area < row["below"]]
        assert row["iou"] == pytest.approx(np.mean(iou))
        assert row["found"] == pytest.approx(np.mean(np.array(iou) >= 0.5))


def same(one: Tally, other: Tally) -> bool:
    """Whether all counts are equal."""
    pairs = [(one.totals, other.totals), *zip(one.images, other.images, strict=True)]
    return all(
        np.array_equal(getattr(first, key), getattr(second, key)) for first, second in pairs for key in vars(first)
    )


def on_processes(known: Known, processes: int, stopping: int | None = None) -> tuple[list[Tally | None], list[int]]:
    """Tally of each of several processes, which are threads that meet where processes would; and who stopped."""
    stopped: list[int] = []
    parts: list[Part | None] = [None] * processes
    tallies: list[Tally | None] = [None] * processes
    barrier = Barrier(processes, timeout=120)

    def run(process: int) -> None:
        def gather(own: Part) -> list[Part]:
            parts[process] = own
            barrier.wait()
            return [part for part in parts if part is not None]

        try:
            args = known.prepared.segmenter, known.prepared.dataset.validation, 2, process, processes, gather
            tallies[process] = score_images(*args, stop_requested=lambda: process == stopping)
        except EvaluationStopped:
            stopped.append(process)

    threads = [Thread(target=run, args=(process,)) for process in range(processes)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return tallies, sorted(stopped)


@pytest.mark.parametrize("processes", [2, 3, 5])
def test_any_number_of_processes_counts_the_same(known: Known, processes: int) -> None:
    for tally in on_processes(known, processes)[0]:
        assert tally is not None
        assert same(tally, known.tally)


@pytest.mark.parametrize("process", [0, 1])
def test_one_that_is_stopped_stops_all(known: Known, process: int) -> None:
    assert on_processes(known, 2, stopping=process) == ([None, None], [0, 1])


@pytest.mark.parametrize("pixels", [97, 1 << 30])
def test_strips_change_nothing(known: Known, pixels: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(strips, "STRIP_PIXELS", pixels)
    tally = score_images(known.prepared.segmenter, known.prepared.dataset.validation)
    assert same(tally, known.tally)


def test_memory_bounds_the_threads_and_changes_nothing(known: Known, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "NETWORK_BYTES", 1)
    assert same(score_images(known.prepared.segmenter, known.prepared.dataset.validation, 3), known.tally)


def test_sampled_curves_are_those_of_every_nth_pixel(known: Known, monkeypatch: pytest.MonkeyPatch) -> None:
    from trainer.model import image_counts

    monkeypatch.setattr(image_counts, "MOST_SAMPLED", 700)
    tallies = []
    for pixels in (97, 1 << 20):
        monkeypatch.setattr(strips, "STRIP_PIXELS", pixels)
        tallies.append(score_images(known.prepared.segmenter, known.prepared.dataset.validation))
    assert same(*tallies)
    counted, expected = 0, 0
    for truth in known.truth:
        step = -(-truth.size * len(known.probabilities[0]) // 700)
        expected += int((truth.ravel()[::step] != IGNORE).sum())
    counted = int(tallies[0].totals.reliability[:, 0].sum())
    assert counted == expected < known.tally.totals.reliability[:, 0].sum()


def test_masks_of_other_ids_are_translated(known: Known) -> None:
    """Swapped ids in the masks, and a translation back."""
    validation = known.prepared.dataset.validation
    classes = len(known.card.class_names)
    swap = {1: classes - 1, classes - 1: 1} if classes > 2 else {1: 0, 0: 1}

    ids = tuple(swap.get(number, number) for number in range(256))
    other = dataclasses.replace(validation, class_ids=ids)
    tally = score_images(known.prepared.segmenter, other)
    truth = [np.array(ids, np.uint8)[mask] for mask in known.truth]
    inside = [mask != IGNORE for mask in truth]
    pairs = [
        np.concatenate([one[place] for one, place in zip(some, inside, strict=True)])
        for some in (truth, known.predicted)
    ]
    assert np.array_equal(tally.totals.confusion, confusion_matrix(*pairs, labels=list(range(classes))))


def test_an_image_without_anything_is_right(make_segmenter: Callable[..., Any]) -> None:
    from trainer.model.image_counts import ImageCounts

    nothing = np.zeros((2, 4), np.int64), np.zeros((0, 4), np.int64)
    right = ImageCounts(np.array([[50, 50, 50], [0, 0, 0]]), *nothing)
    false = ImageCounts(np.array([[45, 45, 50], [0, 5, 0]]), *nothing)
    missed = ImageCounts(np.array([[45, 50, 45], [0, 0, 5]]), *nothing)
    assert [image_scores(one)["iou"] for one in (right, false, missed)] == [1.0, 0.0, 0.0]
    assert [image_scores(one)["recall"] for one in (right, false, missed)] == [None, None, 0.0]


def test_one_image_has_no_interval(make_voc: VocMaker, tmp_path: Path) -> None:
    root = make_voc("a", "b")
    prepared = prepare(["--data.root", str(root), *SMALL], tmp_path / "cache")
    made = card(prepared, score_images(prepared.segmenter, prepared.dataset.validation))
    assert made.interval is not None
    assert (made.interval.low, made.interval.high) == (0.0, 1.0)
    assert made.sentence().endswith("on 1 image")


@pytest.mark.parametrize("classes", [2, 3])
def test_tiles_are_counted_as_in_training(classes: int, make_voc: VocMaker, tmp_path: Path) -> None:
    root = make_voc(*(f"p{number:02}" for number in range(8)), classes=classes)
    tiles = ["--data.view", "tiles", "--data.scale", "1"]
    prepared = prepare(["--data.root", str(root), *SMALL, *tiles], tmp_path / "cache")
    with torch.no_grad():
        prepared.segmenter.network.last.weight *= 30
    assert prepared.segmenter.contract.view == "tiles"
    tally = score_images(prepared.segmenter, prepared.dataset.validation, 2)
    trained = evaluate(prepared.segmenter, prepared.dataset.validation, LOSS)
    assert tally.counts == trained.counts
    assert card(prepared, tally).scores == trained.scores
    assert tally.totals.reliability[:, 0].sum() == tally.totals.confusion.sum()
