"""Validation: every sample once on any number of processes, scored at its own size."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.metrics import jaccard_score
from torch import Tensor

from tests.support.data import SAME, VocMaker, count_nothing, sources_of
from trainer import IGNORE
from trainer.config import LossConfig
from trainer.data.cache import open_samples
from trainer.data.dataset import ValidationSet
from trainer.data.image_io import read_image, read_mask, write_mask
from trainer.data.sources import find_samples
from trainer.data.view import View
from trainer.engine.evaluate import CHUNK, Evaluation, EvaluationStopped, evaluate, sample_confusion, score_table
from trainer.inference.inputs import find_images
from trainer.inference.outputs import ResultWriter
from trainer.inference.predictor import predict_files
from trainer.model.loss import image_losses, loss_terms
from trainer.model.metrics import confusion_matrix
from trainer.model.segmenter import Segmenter

Maker = Callable[..., Segmenter]

LOSS = LossConfig(class_weights=None)


def make_set(root: Path, cache: Path, rows: list[int], size: int = 32) -> ValidationSet:
    samples = find_samples([root]).samples
    resized, _ = open_samples(sources_of(samples), View(size), cache, count_nothing)
    return ValidationSet([samples[row] for row in rows], rows, resized, SAME)


def on_processes(segmenter: Segmenter, data: ValidationSet, count: int) -> list[Evaluation]:
    """Evaluate as each of `count` processes, one after the other: first their own sums, then with the sums of all."""
    parts: list[list[Tensor]] = []

    def collect(own: Tensor) -> Tensor:
        parts[-1].append(own.clone())
        # Let the check that all samples were seen pass; no process is to stop.
        return own if own.ndim > 1 else torch.cat([torch.ones_like(own[:-1]), torch.zeros_like(own[-1:])])

    for process in range(count):
        parts.append([])
        evaluate(segmenter, data, LOSS, process, count, collect)
    totals = [torch.stack(same).sum(dim=0) for same in zip(*parts, strict=True)]

    def run(process: int) -> Evaluation:
        waiting = iter(totals)
        return evaluate(segmenter, data, LOSS, process, count, lambda _own: next(waiting))

    return [run(process) for process in range(count)]


def test_a_model_of_another_size_is_scored_as_predict_shows_it_the_images(
    make_voc: VocMaker, make_segmenter: Maker, tmp_path: Path
) -> None:
    """The same number from a set that is cached at any size: that of the mask files which predict writes."""
    root, numbers = make_voc(*"abcde"), {}
    inputs, _ = find_images([root / "JPEGImages"], tmp_path / "out")
    for size in (16, 32, 64):
        segmenter = make_segmenter(image_size=size, threshold=0.45, mean=(90.0, 100.0, 110.0))
        writer = ResultWriter(segmenter.contract, tmp_path / f"{size}")
        assert len(list(predict_files(segmenter, inputs, writer, 8))) == 5
        masks = [
            [read_mask(path / f"{name}.png") for name in "abcde"]
            for path in (root / "SegmentationClassPNG", tmp_path / f"{size}" / "masks")
        ]
        true, found = (np.concatenate([mask.ravel() for mask in part]) for part in masks)
        numbers[size] = jaccard_score(true, found)
        for cached in (32, 64):
            data = make_set(root, tmp_path / "cache", list(range(5)), cached)
            assert evaluate(segmenter, data, LOSS).scores.miou == pytest.approx(numbers[size], abs=1e-9)
    assert len(set(numbers.values())) == 3


@pytest.mark.parametrize("changes", [{"scale": 1.0}, {"scale": 0.5}])
@pytest.mark.parametrize("foreground", [1, 2])
def test_tiles_are_scored_as_predict_shows_them(
    foreground: int, changes: dict[str, float], make_voc: VocMaker, make_segmenter: Maker, tmp_path: Path
) -> None:
    """The same number as that of the mask files, whether the images are cached for tiles or not."""
    root = make_voc(*"abc", classes=foreground + 1)
    inputs, _ = find_images([root / "JPEGImages"], tmp_path / "out")
    segmenter = make_segmenter(foreground, image_size=16, threshold=0.45, view="tiles", **changes)
    writer = ResultWriter(segmenter.contract, tmp_path / "out")
    assert len(list(predict_files(segmenter, inputs, writer, 8))) == 3
    true, found = (
        np.concatenate([read_mask(path / f"{name}.png").ravel() for name in "abc"])
        for path in (root / "SegmentationClassPNG", tmp_path / "out" / "masks")
    )
    expected = jaccard_score(true, found, labels=range(1, foreground + 1), average=None)
    results = []
    for view in (segmenter.contract.shown, View(32)):
        samples = find_samples([root]).samples
        stored, _ = open_samples(sources_of(samples), view, tmp_path / "cache", count_nothing)
        results.append(evaluate(segmenter, ValidationSet(samples, range(3), stored, SAME), LOSS))
    assert list(results[0].scores.iou.values()) == pytest.approx(expected, abs=1e-9)
    assert results[0] == results[1]
    assert expected.min() > 0


def test_the_loss_of_tiles_is_that_of_the_whole_image(
    make_voc: VocMaker, make_segmenter: Maker, tmp_path: Path
) -> None:
    """Dice and cross-entropy of all pixels together, with ignored ones and weights of the classes."""
    root = make_voc(*"ab", classes=3)
    file = root / "SegmentationClassPNG" / "a.png"
    mask = read_mask(file)
    mask[:10] = IGNORE
    write_mask(file, mask)
    segmenter = make_segmenter(2, image_size=16, view="tiles")
    samples = find_samples([root]).samples
    stored, _ = open_samples(sources_of(samples), segmenter.contract.shown, tmp_path / "cache", count_nothing)
    for weights in (None, [0.5, 1.0, 3.0]):
        loss = LossConfig(class_weights=weights)
        found = evaluate(segmenter, ValidationSet(samples, range(2), stored, SAME), loss).loss
        expected = []
        for sample in samples:
            image, mask = read_image(sample.image), torch.from_numpy(read_mask(sample.mask))
            parts = segmenter.rows(segmenter.show(image), image.shape[:2])
            with torch.no_grad():
                logits = torch.cat([part for _, part in parts], dim=2).clamp(min=1e-30).log()
            terms = loss_terms(logits, mask[None], None if weights is None else torch.tensor(weights))
            expected.append(float(image_losses(terms, 1.0, 0.5)))
        assert found == pytest.approx(np.mean(expected), rel=1e-5)


@pytest.mark.parametrize("foreground", [1, 2])
def test_scores_at_the_masks_own_size(
    foreground: int, make_voc: VocMaker, make_segmenter: Maker, tmp_path: Path
) -> None:
    root = make_voc(*"abcde", classes=foreground + 1)
    file = root / "SegmentationClassPNG" / "a.png"
    mask = read_mask(file)
    mask[:10] = IGNORE
    write_mask(file, mask)
    data, segmenter = make_set(root, tmp_path / "cache", [0, 2, 3]), make_segmenter(foreground)
    found = evaluate(segmenter, data, LOSS)
    true, predicted, losses = [], [], []
    with torch.no_grad():
        for row, sample in zip(data.rows, data.samples, strict=True):
            image, mask = read_image(sample.image), read_mask(sample.mask)
            classes = segmenter.classes(segmenter(torch.from_numpy(image)[None]))[0].numpy()  # as predict does
            true.append(mask[mask != IGNORE])
            predicted.append(classes[mask != IGNORE])
            images, masks = data.stored.read([row])
            terms = loss_terms(segmenter.network(segmenter.normalise(images)), masks)
            losses.append(float(image_losses(terms, 1.0, 0.5)))
    expected = jaccard_score(
        np.concatenate(true), np.concatenate(predicted), labels=range(1, foreground + 1), average=None
    )
    assert list(found.scores.iou.values()) == pytest.approx(expected, rel=1e-3)
    assert found.loss == pytest.approx(np.mean(losses), rel=1e-4)


@pytest.mark.parametrize("count", [1, CHUNK, CHUNK + 1, 3 * CHUNK - 1])
def test_same_bits_on_any_number_of_processes(
    count: int, make_voc: VocMaker, make_segmenter: Maker, tmp_path: Path
) -> None:
    root = make_voc(*(f"p{number:02}" for number in range(count)))
    data, segmenter = make_set(root, tmp_path / "cache", list(range(count))), make_segmenter()
    alone = evaluate(segmenter, data, LOSS)
    for processes in (1, 2, 3):
        assert on_processes(segmenter, data, processes) == [alone] * processes


def test_a_sample_that_no_process_saw_is_an_error(make_voc: VocMaker, make_segmenter: Maker, tmp_path: Path) -> None:
    data = make_set(
        make_voc(*(f"p{number:02}" for number in range(CHUNK + 1))), tmp_path / "cache", list(range(CHUNK + 1))
    )
    with pytest.raises(AssertionError, match="validation saw"):
        evaluate(make_segmenter(), data, LOSS, process=0, processes=2)


def test_training_mode_and_gradients_do_not_matter(make_voc: VocMaker, make_segmenter: Maker, tmp_path: Path) -> None:
    data, segmenter = make_set(make_voc(*"abc"), tmp_path / "cache", [0, 1, 2]), make_segmenter()
    expected, before = (
        evaluate(segmenter, data, LOSS),
        {n: v.clone() for n, v in segmenter.state_dict().items()},
    )
    segmenter.train()
    assert evaluate(segmenter, data, LOSS) == expected
    assert all(torch.equal(value, before[name]) for name, value in segmenter.state_dict().items())
    assert all(weight.grad is None for weight in segmenter.parameters())


def test_a_stop_requested_on_one_process_stops_all(make_voc: VocMaker, make_segmenter: Maker, tmp_path: Path) -> None:
    """Requested before the second chunk, or on another process: every process raises."""
    stems = [f"p{number:02}" for number in range(2 * CHUNK + 1)]
    data = make_set(make_voc(*stems), tmp_path / "cache", list(range(len(stems))))
    requests = iter([False, True])
    with pytest.raises(EvaluationStopped):
        evaluate(make_segmenter(), data, LOSS, stop_requested=lambda: next(requests))
    with pytest.raises(EvaluationStopped):
        evaluate(make_segmenter(), data, LOSS, 1, 2, all_reduce=lambda own: own + 1)


@pytest.mark.parametrize("foreground", [1, 2, 4])
@pytest.mark.parametrize("pixels", [1, 100, 37 * 53 - 1, 37 * 53, 10**6])
def test_strips_count_as_the_whole(
    foreground: int, pixels: int, make_segmenter: Maker, monkeypatch: pytest.MonkeyPatch
) -> None:
    segmenter, random = make_segmenter(foreground), torch.Generator().manual_seed(1)
    channels = segmenter.contract.channels
    logits = torch.randn(1, channels, 32, 32, generator=random).contiguous(memory_format=torch.channels_last)
    mask = torch.randint(0, foreground + 1, (37, 53), generator=random, dtype=torch.uint8)
    mask[3:20, 4:9] = IGNORE
    whole = segmenter.classes(segmenter.probabilities(logits, (37, 53)))[0]
    monkeypatch.setattr("trainer.engine.evaluate.STRIP_PIXELS", pixels)
    assert torch.equal(sample_confusion(segmenter, logits, mask), confusion_matrix(whole, mask, foreground + 1))


def test_the_table_of_an_evaluation_has_the_same_scores(
    make_voc: VocMaker, make_segmenter: Maker, tmp_path: Path
) -> None:
    data = make_set(make_voc(*"abcde"), tmp_path / "cache", [3, 0, 4])
    segmenter = make_segmenter()
    names = segmenter.contract.class_names
    found = evaluate(segmenter, data, LOSS)
    table = score_table(found, data, names, {"run_id": "r"})
    assert table.scores() == found.scores
    assert [one.name for one in table.images] == [sample.name for sample in data.samples]
    masks = [sample.read_mask(SAME) for sample in data.samples]
    assert [(one.height, one.width) for one in table.images] == [mask.shape for mask in masks]
    true = [[int((mask == index).sum()) for index in range(len(names))] for mask in masks]
    assert table.counts()[:, :, 2].tolist() == true
    assert len({one.image for one in table.images}) == 3
