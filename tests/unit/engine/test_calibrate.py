"""Calibration of a trained model: its contract against evaluation, the masks that are predicted, and plain numpy."""

import dataclasses
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.metrics import jaccard_score
from torch.nn import functional

from tests.support.data import VocMaker
from tests.support.discs import make_discs, mean_iou
from tests.support.training import Prepared, prepare
from trainer.config import LossConfig
from trainer.data.image_io import read_image, read_mask
from trainer.data.resize import shrink_image
from trainer.engine import evaluate as strips
from trainer.engine import outputs as module
from trainer.engine.calibrate import Calibration, calibrate
from trainer.engine.distributed.accelerator import join_processes
from trainer.engine.evaluate import evaluate
from trainer.inference.doubt import Doubts
from trainer.inference.inputs import find_images
from trainer.inference.outputs import ResultWriter
from trainer.inference.predictor import predict_files
from trainer.make.synthetic import write_voc
from trainer.model.calibration import THRESHOLDS
from trainer.model.model_folder import load_segmenter, save_segmenter
from trainer.model.segmenter import Contract, Segmenter

SMALL = ["--model.encoder", "none", "--model.width", "8", "--model.depth", "2", "--data.image_size", "32"]
SMALL += ["--data.workers", "0", "--train.mixed_precision", "no", "--train.batch_size", "4"]
LOSS = LossConfig(class_weights=None)


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> tuple[Prepared, Path]:
    """A model that finds discs, not well, and the folder of a copy; 12 of 24 images validate."""
    top = tmp_path_factory.mktemp("calibrate")
    root = make_discs(top / "discs", count=24)
    options = ["--data.val_fraction", "0.5", "--train.epochs", "6", "--optim.lr", "0.005"]
    prepared = prepare(["--data.root", str(root), *SMALL, *options], top / "cache")
    trainer = prepared.trainer(join_processes("no", threads=1, timeout_minutes=10))
    trainer.fit()
    prepared.segmenter.load_state_dict(trainer.best)
    save_segmenter(prepared.segmenter, top / "model")
    return prepared, top


@pytest.fixture
def segmenter(trained: tuple[Prepared, Path]) -> Segmenter:
    """The model as training leaves it."""
    return load_segmenter(trained[1] / "model")


@pytest.fixture(scope="module")
def calibrated(trained: tuple[Prepared, Path]) -> tuple[Segmenter, Calibration]:
    """The model and what was found."""
    segmenter = load_segmenter(trained[1] / "model")
    return segmenter, calibrate(segmenter, trained[0].dataset)


def test_the_scores_are_those_of_evaluation_and_of_the_masks(
    trained: tuple[Prepared, Path], calibrated: tuple[Segmenter, Calibration], tmp_path: Path
) -> None:
    """Exactly: by `evaluate` with the new contract, and counted in the mask files that prediction writes."""
    (prepared, _), (segmenter, found) = trained, calibrated
    validation = prepared.dataset.validation
    assert found.contract == segmenter.contract
    assert found.contract.threshold != 0.5
    assert found.contract.temperature != 1
    evaluated = evaluate(segmenter, validation, LOSS)
    assert (found.scores, found.counts) == (evaluated.scores, evaluated.counts)
    save_segmenter(segmenter, tmp_path / "model")
    inputs, _ = find_images([sample.image for sample in validation.samples], tmp_path / "out")
    doubts = Doubts(segmenter.contract)
    writer = ResultWriter(segmenter.contract, tmp_path / "out")
    entries = predict_files(load_segmenter(tmp_path / "model"), inputs, writer, 8, doubts=doubts)
    rows = [entry.row for entry in entries]
    masks = [read_mask(sample.mask) for sample in validation.samples]
    predicted = [read_mask(tmp_path / "out" / "masks" / f"{sample.image.stem}.png") for sample in validation.samples]
    assert mean_iou(masks, predicted) == pytest.approx(found.scores.miou, abs=1e-12)
    # What prediction says of the very images that it was fitted to.
    assert found.contract.certainty is not None
    assert np.mean(doubts.certainties) == pytest.approx(found.contract.certainty[0], abs=1e-5)
    assert np.std(doubts.certainties) == pytest.approx(found.contract.certainty[1], abs=1e-5)
    assert 1 <= sum(row.get("unsure", False) for row in rows) <= 3
    assert doubts.warnings() == []


def test_the_curve_is_that_of_all_thresholds(
    trained: tuple[Prepared, Path], calibrated: tuple[Segmenter, Calibration]
) -> None:
    """Each model of a threshold, evaluated; the chosen one gains what is said."""
    segmenter, found = calibrated
    contract = found.contract
    for place in (0, 7, 19, 25, 38):
        other = Segmenter(dataclasses.replace(contract, threshold=THRESHOLDS[place]))
        other.load_state_dict(segmenter.state_dict())
        miou = evaluate(other, trained[0].dataset.validation, LOSS).scores.miou
        assert contract.threshold_curve[place] == pytest.approx(miou, abs=1e-12)
    chosen, half = (contract.threshold_curve[THRESHOLDS.index(value)] for value in (contract.threshold, 0.5))
    assert found.gain == chosen - half > 0
    assert f"threshold {contract.threshold:g} instead of 0.5 gains {found.gain:.3f}" in found.describe()


def test_the_temperature_lowers_the_error_of_all_pixels(
    trained: tuple[Prepared, Path], segmenter: Segmenter, calibrated: tuple[Segmenter, Calibration]
) -> None:
    """Binary cross-entropy of torch over every validation pixel, of which the fit has seen a part."""
    losses = {}
    for name, model in (("before", segmenter), ("after", calibrated[0])):
        values = []
        for sample in trained[0].dataset.validation.samples:
            image, mask = read_image(sample.image), read_mask(sample.mask)
            with torch.no_grad():
                probabilities = model(torch.from_numpy(image)[None])[0, 0].double()
            values.append(functional.binary_cross_entropy(probabilities, torch.from_numpy(mask).double()))
        losses[name] = float(torch.stack(values).mean())
    assert losses["after"] < losses["before"]
    before, after = calibrated[1].contract.calibration_error or (0.0, 0.0)
    assert after < before
    numbers = calibrated[1].metrics()
    found = calibrated[1].scores
    assert numbers == {
        "best/miou": found.miou,
        **{f"best/iou/{name}": value for name, value in found.iou.items()},
        "best/threshold": calibrated[1].contract.threshold,
        "calibration/ece_before": before,
        "calibration/ece_after": after,
        "calibration/temperature": calibrated[1].contract.temperature,
    }


@pytest.mark.parametrize(("name", "value"), [("MOST_KEPT_BYTES", 0), ("MOST_KEPT_BYTES", 50_000), ("STRIP_PIXELS", 97)])
def test_the_contract_does_not_depend_on_memory(
    name: str,
    value: int,
    trained: tuple[Prepared, Path],
    segmenter: Segmenter,
    calibrated: tuple[Segmenter, Calibration],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(strips if name == "STRIP_PIXELS" else module, name, value)
    found = calibrate(segmenter, trained[0].dataset)
    assert found == calibrated[1]
    assert found.counts == calibrated[1].counts


def test_fewer_pixels_give_nearly_the_same_temperature(
    trained: tuple[Prepared, Path],
    segmenter: Segmenter,
    calibrated: tuple[Segmenter, Calibration],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "MOST_LOGITS", 2000)
    found = calibrate(segmenter, trained[0].dataset).contract
    assert found.temperature != calibrated[1].contract.temperature
    assert found.temperature == pytest.approx(calibrated[1].contract.temperature, rel=0.15)


def test_the_training_images_are_described(
    trained: tuple[Prepared, Path], calibrated: tuple[Segmenter, Calibration]
) -> None:
    dataset, contract = trained[0].dataset, calibrated[1].contract
    assert contract.training_sides == ((48, 48, 48), (56, 56, 56))
    images, _ = dataset.stored.read(list(dataset.split.train))
    means = images.double().mean(dim=(2, 3))
    for place in range(3):
        expected = float(means[:, place].mean()), float(means[:, place].std(correction=0))
        assert contract.training_look[place] == pytest.approx(expected, abs=0.01)
    assert contract.empty_share == 0.0
    _, masks = dataset.stored.read(list(dataset.split.train))
    areas = np.sort([int((mask == 1).sum()) for mask in masks])  # one object in each
    assert contract.object_areas == (areas[np.cumsum(areas) > 0.01 * areas.sum()][0],)


STRANGE: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "inverted": lambda image: 255 - image,
    "grey": lambda image: np.repeat(image.mean(axis=2, keepdims=True).astype(np.uint8), 3, axis=2),
    "night": lambda image: (0.12 * image).astype(np.uint8),
    "icon": lambda image: shrink_image(image, 16),
}
"""Changes after which an image is unlike those that trained."""


def test_generated_cats_are_ordinary_and_changed_ones_are_not(tmp_path: Path) -> None:
    """By looks and size alone, whatever the model finds: of other cats, each alone and all together."""
    write_voc(tmp_path / "cats", 100, size=96)
    write_voc(tmp_path / "others", 40, size=96, seed=5)
    prepared = prepare(["--data.root", str(tmp_path / "cats"), *SMALL], tmp_path / "cache")
    contract = calibrate(prepared.segmenter, prepared.dataset).contract
    others = [read_image(path) for path in sorted((tmp_path / "others" / "JPEGImages").iterdir())]
    mine = [read_image(sample.image) for sample in prepared.dataset.validation.samples]
    for images in (others, mine, others[:8], *([image] for image in others)):
        assert warnings(contract, images) == []
    for name, change in STRANGE.items():
        (text,) = warnings(contract, [change(image) for image in others])
        said = {"icon": "small, 16x16", "night": "nearly black"}.get(name, "unlike those that trained")
        assert said in text, name


def warnings(contract: Contract, images: list[np.ndarray]) -> list[str]:
    """Warnings about images whose masks are as certain as those of the validation images, and not all the same."""
    doubts = Doubts(contract)
    assert contract.certainty is not None
    for image in images:
        mask = np.zeros(image.shape[:2], np.uint8)
        mask[1] = 1
        doubts.note(contract.certainty[0], mask, shrink_image(image, contract.image_size))
    return doubts.warnings()


def test_too_few_images_fit_nothing(make_voc: VocMaker, tmp_path: Path) -> None:
    root = make_voc(*(f"p{number}" for number in range(10)))
    prepared = prepare(["--data.root", str(root), *SMALL], tmp_path / "cache")
    assert len(prepared.dataset.split.val) == 2
    found = calibrate(prepared.segmenter, prepared.dataset)
    assert (found.contract.temperature, found.contract.threshold, found.contract.unsure_below) == (1.0, 0.5, None)
    assert found.contract.training_sides is not None
    assert found.describe().startswith("confidence: not calibrated")
    assert {key: value for key, value in found.metrics().items() if "iou" not in key} == {"best/threshold": 0.5}
    evaluated = evaluate(prepared.segmenter, prepared.dataset.validation, LOSS)
    assert (found.scores, found.counts) == (evaluated.scores, evaluated.counts)


def test_several_classes_keep_theirs(make_voc: VocMaker, tmp_path: Path) -> None:
    root = make_voc(*(f"p{number:02}" for number in range(20)), classes=4)
    prepared = prepare(["--data.root", str(root), *SMALL, "--data.val_fraction", "0.4"], tmp_path / "cache")
    segmenter, validation = prepared.segmenter, prepared.dataset.validation
    with torch.no_grad():  # surer of itself than random weights are, and wrong
        segmenter.network.last.weight *= 30
    before = evaluate(segmenter, validation, LOSS)
    assert before.scores.miou > 0
    found = calibrate(segmenter, prepared.dataset)
    assert found.contract.temperature != 1
    assert found.scores == evaluate(segmenter, validation, LOSS).scores == before.scores
    assert found.counts == before.counts
    true, predicted = [], []
    for sample in validation.samples:
        with torch.no_grad():
            probabilities = segmenter(torch.from_numpy(read_image(sample.image))[None])
        true.append(read_mask(sample.mask).ravel())
        predicted.append(segmenter.classes(probabilities)[0].numpy().ravel())
    expected = jaccard_score(np.concatenate(true), np.concatenate(predicted), labels=[1, 2, 3], average=None)
    assert list(found.scores.iou.values()) == pytest.approx(expected, abs=1e-9)
    assert "best/threshold" not in found.metrics()
    assert found.contract.threshold_curve == ()
