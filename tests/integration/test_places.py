"""The program in odd places, and moved with its runs: everything is found again, and nothing is written elsewhere."""

import json
import sqlite3
from collections.abc import Callable
from contextlib import AbstractContextManager, closing
from pathlib import Path

import pytest

from tests.support.discs import make_discs
from tests.support.program import ONE_THREAD, Program

ODD = [
    pytest.param("a b%20c?d#e", id="url", marks=pytest.mark.long),
    pytest.param("100%", id="percent", marks=pytest.mark.long),
    pytest.param('it\'s "[x]"', id="quotes", marks=pytest.mark.long),
    pytest.param("Übung (1) &;=@", id="others", marks=pytest.mark.long),
]
TRAINING = ["--model.depth", "2", "--train.epochs", "2", "--train.threads", "1", "--tracking.watch", "1"]
TRAINING += ["--registry.name", "cat-unet"]


def entries(top: Path) -> set[str]:
    """Names of everything below a folder but the program itself, Python's caches and mlruns."""
    known = ("trainer", "launch", "configs", "mlruns", "hf", "discs", "out")
    paths = (path.relative_to(top) for path in top.rglob("*"))
    return {str(path) for path in paths if not any(part in known for part in path.parts)}


def locations(database: Path) -> list[str]:
    """Every location of artifacts in the default store."""
    columns = {"experiments": "artifact_location", "runs": "artifact_uri", "logged_models": "artifact_location"}
    columns["model_versions"] = "storage_location"
    with closing(sqlite3.connect(database)) as store:
        return [
            value for table, column in columns.items() for (value,) in store.execute(f"select {column} from {table}")
        ]


@pytest.mark.timeout(600)
@pytest.mark.parametrize("name", ODD)
def test_trained_below_an_odd_path_and_moved(
    name: str, tmp_path: Path, fault_trial: Callable[[int, str], AbstractContextManager[None]]
) -> None:
    top = tmp_path / "top"
    program = Program(top / name / "program", variables=ONE_THREAD)
    make_discs(program.folder / "discs")
    before = entries(top)
    with fault_trial(32, f"below {name!a}"):
        assert "models:/cat-unet/1" in program.train("--data.root", "discs", *TRAINING, code=0).stdout
        assert entries(top) == before
    moved = top / f"{name} moved"
    (top / name).rename(moved)
    program.folder = moved / "program"
    before = entries(top)
    predict = ["--model", "models:/cat-unet/1", "--input", "discs/JPEGImages", "--output", "out"]
    with fault_trial(32, f"moved to {name!a}"):
        program.python("predict", *predict, code=0)
        assert len(list((program.folder / "out" / "masks").iterdir())) == 10
        assert entries(top) == before
        found = locations(program.database)
        assert len(found) == 5  # experiments 0 and 1, a run, its model and the version
        assert all(place.startswith((program.folder / "mlruns" / "artifacts").as_uri()) for place in found)


@pytest.mark.long
@pytest.mark.timeout(600)
def test_a_copy_keeps_to_itself(tmp_path: Path) -> None:
    """The original is still there; what the copy trains goes to the copy's own folders."""
    program = Program(tmp_path / "original", variables=ONE_THREAD)
    make_discs(program.folder / "discs")
    program.train("--data.root", "discs", *TRAINING, code=0)
    original = sorted(program.folder.rglob("*"))
    copy = Program(tmp_path / "copy", variables=ONE_THREAD)
    copy.run("cp", "-r", f"{program.folder}/mlruns", f"{program.folder}/discs", ".", code=0)
    ended = copy.train("--data.root", "discs", *TRAINING, "--train.seed", "1", code=0)
    assert "models:/cat-unet/2" in ended.stdout
    assert sorted(program.folder.rglob("*")) == original
    run_id = json.loads((copy.run_folders()[-1] / "run.json").read_text())["run_id"]
    images = copy.folder / "mlruns" / "artifacts" / run_id / "artifacts" / "images"
    assert len(list(images.iterdir())) == len(list((copy.run_folders()[-1] / "pictures").iterdir()))
