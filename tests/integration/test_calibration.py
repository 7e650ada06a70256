"""Calibration at the end of a training: the same contract however it came about, and what prediction makes of it."""

import json
import shutil
import signal
from pathlib import Path
from typing import Any

import mlflow.pyfunc
import numpy as np
import pytest
from mlflow import MlflowClient
from PIL import Image

from tests.support import runs
from tests.support.discs import make_discs, mean_iou
from tests.support.program import ONE_THREAD, Ended, Program, saved, train_command
from trainer.model.model_folder import load_segmenter

TINY = ["--model.encoder", "none", "--model.width", "8", "--model.depth", "2", "--model.norm", "group"]
TINY += ["--data.image_size", "32", "--data.workers", "1", "--data.val_fraction", "0.5", "--train.batch_size", "4"]
TINY += ["--train.mixed_precision", "no", "--train.threads", "1", "--train.eval_every", "1", "--optim.lr", "0.01"]
TINY += ["--train.epochs", "6"]
UNTRACKED = ["--tracking.enabled", "false"]


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """24 images of discs, of which 12 validate."""
    return make_discs(tmp_path_factory.mktemp("data") / "discs", count=24)


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory, empty_store: Path) -> Program:
    folder = tmp_path_factory.mktemp("calibrated") / "program"
    return Program(folder, variables=ONE_THREAD, tables=empty_store)


@pytest.fixture(scope="module")
def trained(program: Program, data: Path) -> Ended:
    """End of a training that registered its model."""
    return program.run(*train_command(1, "--data.root", str(data), *TINY), code=0)


@pytest.fixture(scope="module")
def folder(program: Program, trained: Ended) -> Path:
    """Run folder of `trained`."""
    return program.run_folders()[0]


def contract_of(folder: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((folder / "model" / "segmenter.json").read_text())
    return content


@pytest.fixture(scope="module")
def predicted(program: Program, folder: Path, data: Path) -> Path:
    """Folder of what predict.py makes of all images with the registered model."""
    arguments = ["--model", "models:/discs/1", "--input", str(data / "JPEGImages"), "--output", "out"]
    ended = program.python("predict", *arguments, code=0)
    assert "warning" not in ended.output
    assert "the model is unsure of " in ended.stdout
    return program.folder / "out"


def test_the_registered_score_is_that_of_the_masks(program: Program, folder: Path, predicted: Path, data: Path) -> None:
    """By the contract as it is saved, with another threshold than training has chosen the step by."""
    contract = contract_of(folder)
    assert contract["threshold"] != 0.5
    assert contract["temperature"] != 1
    version = MlflowClient(program.store).get_model_version("discs", "1")
    held_out = json.loads((folder / "split.json").read_text())["val"]
    masks = [np.array(Image.open(data / "SegmentationClassPNG" / f"{name}.png")) for name in held_out]
    found = [np.array(Image.open(predicted / "masks" / f"{name}.png")) for name in held_out]
    assert mean_iou(masks, found) == pytest.approx(float(version.tags["val/miou"]), abs=1e-9)
    assert float(version.tags["val/miou"]) > runs.status(folder)["best_miou"]
    assert version.tags["promotion.candidate_miou"] == version.tags["val/miou"]


def test_the_run_records_what_was_found(program: Program, trained: Ended, folder: Path) -> None:
    contract, points = (
        contract_of(folder),
        runs.store_points(program.database, runs.store_run(program.database, folder)),
    )
    before, after = contract["calibration_error"]
    expected = {"best/threshold": contract["threshold"], "calibration/temperature": contract["temperature"]}
    expected |= {"calibration/ece_before": before, "calibration/ece_after": after}
    assert {key: [value for _, _, value in points[key]] for key in expected} == {
        key: [pytest.approx(value)] for key, value in expected.items()
    }
    assert f"confidence: calibrated, error {before:.3f} -> {after:.3f}; threshold" in trained.stdout


def test_a_fifth_is_marked(folder: Path, predicted: Path) -> None:
    rows = json.loads((predicted / "report.json").read_text())["files"]
    held_out = json.loads((folder / "split.json").read_text())["val"]
    marked = {Path(row["file"]).stem for row in rows if row.get("unsure")}
    assert 2 <= len(marked & set(held_out)) <= 3  # of 12


def test_the_exported_model_gives_calibrated_probabilities(folder: Path, predicted: Path, data: Path) -> None:
    contract, segmenter = contract_of(folder), load_segmenter(folder / "model")
    exported = mlflow.pyfunc.load_model(str(folder / "model"))
    for name in ("disc_03", "disc_17"):
        image = np.array(Image.open(data / "JPEGImages" / f"{name}.jpg"))
        probabilities = exported.predict(image[None])[0, 0]
        mask = np.array(Image.open(predicted / "masks" / f"{name}.png"))
        assert ((probabilities > contract["threshold"]) == mask).mean() >= 0.999
        _, confidence = segmenter.predict(image)
        assert np.where(mask == 1, probabilities, 1 - probabilities) == pytest.approx(confidence, abs=1e-3)


def test_strange_images_are_said_to_be(program: Program, folder: Path, data: Path) -> None:
    """With a command that works when it is pasted."""
    dark = program.folder / "dark"
    dark.mkdir()
    for path in sorted((data / "JPEGImages").iterdir())[:6]:
        Image.fromarray((np.array(Image.open(path)) * 0.1).astype(np.uint8)).save(dark / f"{path.stem}.png")
    arguments = ["--input", "dark", "--output", "dark_out"]
    by_name = program.python("predict", "--model", "models:/discs/1", *arguments, code=0).stdout
    assert "these pictures are nearly black, 2" in by_name
    assert "bash launch/ui.sh" in by_name
    by_folder = program.python("predict", "--model", str(folder / "model"), *arguments, code=0).stdout
    command = next(line.partition(":  ")[2] for line in by_folder.splitlines() if "json.tool" in line)
    shown = json.loads(program.run("bash", "-c", command, code=0).stdout)
    assert shown["training_look"] == contract_of(folder)["training_look"]


@pytest.mark.long
def test_a_resumed_training_has_the_same_contract(folder: Path, data: Path, tmp_path: Path) -> None:
    again = Program(tmp_path / "again", variables=ONE_THREAD)
    words = train_command(1, "--data.root", str(data), *TINY, *UNTRACKED, "--train.checkpoint_minutes", "0")
    with again.start(*words) as training:
        begun = training.wait_for(saved(again, 6), "a checkpoint of step 6")
        training.signal(signal.SIGTERM)
        training.end(60)
    again.run(*train_command(1, "--resume", str(begun)), code=0)
    assert contract_of(begun) == contract_of(folder)


@pytest.mark.long
def test_two_processes_find_the_same_contract(folder: Path, data: Path, tmp_path: Path) -> None:
    """From the same weights, which a learning rate of nearly nothing leaves as they are, but for zeros."""
    shutil.copytree(folder / "model", tmp_path / "model")
    contracts = []
    for processes in (1, 2):
        program = Program(tmp_path / f"{processes}", variables=ONE_THREAD)
        still = ["--model.init", str(tmp_path / "model"), "--optim.lr", "1e-30", "--train.epochs", "1"]
        program.run(*train_command(processes, "--data.root", str(data), *TINY, *UNTRACKED, *still), code=0)
        contracts.append(contract_of(program.run_folders()[0]))
        del contracts[-1]["weights_sha256"]
    assert contracts[0] == contracts[1]
    assert contracts[0]["temperature"] == contract_of(folder)["temperature"] != 1
