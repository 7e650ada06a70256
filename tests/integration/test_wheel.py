"""The program as pip installs it, in an empty folder: prediction without the packages of training, and all of it."""

import json
import re
import shlex
import subprocess
import tomllib
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from tests.support.discs import make_discs
from tests.support.installed import Installed, build_wheel
from tests.support.program import REPOSITORY
from trainer.model.model_folder import load_segmenter, save_segmenter
from trainer.model.segmenter import Contract, Segmenter

PROJECT = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]
TRAIN = PROJECT["optional-dependencies"]["train"]
TRAINING = {"accelerate", "jsonargparse", "kornia", "mlflow", "psutil", "sqlalchemy", "pandas", "sklearn", "matplotlib"}
"""Packages that prediction does without."""

TINY = ["--model.encoder", "none", "--model.width", "8", "--data.image_size", "32", "--train.epochs", "1"]
TINY += ["--train.threads", "1", "--data.workers", "1"]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_wheel(tmp_path_factory.mktemp("wheel"))


@pytest.fixture(scope="module")
def predictor(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Installed:
    """What `pip install segtrainer` gives."""
    return Installed(tmp_path_factory.mktemp("predictor"), wheel, PROJECT["dependencies"])


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("model")
    torch.manual_seed(0)
    save_segmenter(Segmenter(Contract(("_background_", "disc"), ((0, 0, 0), (0, 128, 0)), 32, width=8)), folder)
    return folder


def test_prediction_needs_no_package_of_training(predictor: Installed, model: Path, tmp_path: Path) -> None:
    """In an empty folder; all files are where they were asked for, and the masks are those of the repository's code."""
    absent = [name for name in TRAINING if not (predictor.site / name).exists()]
    assert set(absent) == TRAINING, "the environment has more than it should"
    images, before = make_discs(tmp_path / "data", count=2) / "JPEGImages", predictor.code_files()
    predictor.run("segtrainer", "predict", "--model", model, "--input", images, "--output", "out")
    assert predictor.code_files() == before
    assert [path.name for path in predictor.work.iterdir()] == ["out"]
    for file in images.iterdir():
        wanted, _ = load_segmenter(model).predict(np.array(Image.open(file).convert("RGB")))
        assert np.array_equal(np.asarray(Image.open(predictor.work / "out" / "masks" / f"{file.stem}.png")), wanted)


def test_what_is_missing_is_one_line_with_the_command(predictor: Installed, tmp_path: Path) -> None:
    make_discs(tmp_path / "data", count=2)
    words = ["--input", tmp_path / "data" / "JPEGImages", "--output", tmp_path / "out"]
    ended = predictor.run("segtrainer", "predict", "--model", "models:/x@champion", *words, code=2)
    assert ended.stderr == (
        "predict.py: models:/x@champion: a model of MLflow needs the package mlflow: "
        "pip install 'segtrainer[registry]'\n"
    )
    for start in (["segtrainer", "train"], ["python", "-m", "trainer.train"]):
        ended = predictor.run(*start, "--data.root", tmp_path, code=2)
        assert ended.stderr == (
            "train.py: training needs the packages accelerate, jsonargparse, kornia, mlflow, psutil: "
            "pip install 'segtrainer[train]'\n"
        )
    ended = predictor.run("segtrainer", "sync", code=2)
    assert ended.stderr == "sync.py: sending runs needs the package mlflow: pip install 'segtrainer[registry]'\n"
    ended = predictor.run("segtrainer", "promote", "cats", "--history", code=2)
    assert ended.stderr == (
        "promote.py: the champion of a registered model needs the package mlflow: pip install 'segtrainer[registry]'\n"
    )


def test_data_folders_are_made_and_checked_without_training(predictor: Installed) -> None:
    predictor.run("segtrainer", "prepare", "synthetic", "cats", "--count", "4", "--size", "64")
    assert "0 errors" in predictor.run("segtrainer", "prepare", "check", "cats").stdout


def test_the_command_knows_its_parts(predictor: Installed) -> None:
    assert predictor.run("segtrainer", "--version").stdout == f"segtrainer {PROJECT['version']}\n"
    shown = predictor.run("segtrainer", "--help").stdout
    assert all(
        re.search(rf"^ +{entry} ", shown, re.MULTILINE) for entry in ("train", "predict", "prepare", "sync", "promote")
    )
    assert "usage: segtrainer predict" in predictor.run("python", "-m", "trainer", "predict", "--help").stdout
    assert "did you mean segtrainer predict?" in predictor.run("segtrainer", "predit", code=2).stderr
    assert "a command is missing" in predictor.run("segtrainer", code=2).stderr


@pytest.mark.long
@pytest.mark.timeout(600)
def test_training_where_the_program_lies_in_no_repository(wheel: Path, tmp_path: Path) -> None:
    """mlruns/ lies in the working directory; each printed command works there; several processes can be launched."""
    program = Installed(tmp_path / "program", wheel, [*PROJECT["dependencies"], *TRAIN])
    data, before = make_discs(tmp_path / "data"), program.code_files()
    git = ["git", "-c", "user.name=x", "-c", "user.email=x", "-C", str(tmp_path)]  # of another program
    for step in (["init", "-q"], ["commit", "-q", "--allow-empty", "-m", "x"]):
        subprocess.run([*git, *step], check=True)
    words = ["--data.root", data, "--registry.name", "discs", *TINY]
    printed = program.run("segtrainer", "train", *words).stdout
    assert program.code_files() == before
    assert {path.name for path in (program.work / "mlruns").iterdir()} >= {"mlflow.db", "artifacts", "work"}
    (folder,) = (program.work / "mlruns" / "work").iterdir()
    assert json.loads((folder / "model" / "segmenter.json").read_text())["commit"] == ""
    journal = (folder / "journal.jsonl").read_text()
    assert f'"versions.segtrainer": "{PROJECT["version"]}"' in journal
    assert "git.commit" not in journal
    (command,) = re.findall(r"^ *(segtrainer predict --model models:/discs\S+) ", printed, re.MULTILINE)
    program.run(*shlex.split(command), "--input", data / "JPEGImages", "--output", "out")
    assert len(list((program.work / "out" / "masks").iterdir())) == 10
    assert re.search(r"mlflow ui --backend-store-uri sqlite:////\S+/mlruns/mlflow.db", printed)
    program.run("segtrainer", "sync")

    launched = program.run(
        "python", "-m", "torch.distributed.run", "--nproc_per_node", "2", "-m", "trainer.train", *words
    )
    assert re.search(r"^device .* processes 2 ", launched.stdout, re.MULTILINE)
    assert program.code_files() == before
