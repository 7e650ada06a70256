"""sync.py on real stores: a run that another one has, and what is said of a folder that cannot be sent."""

import os
import shlex
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from mlflow import MlflowClient

from tests.support.runs import create_store
from trainer.sync import main
from trainer.system.atomic import write_json
from trainer.system.run_folder import RunFolder, new_run_folder
from trainer.tracking import store
from trainer.tracking.run import Run

EXPERIMENT = "cats"


@pytest.fixture(autouse=True)
def _restore_environment() -> Iterator[None]:
    """The program sets MLflow's address for the process."""
    before = dict(os.environ)
    yield
    os.environ.clear()
    os.environ.update(before)


@pytest.fixture
def new_store(tmp_path: Path, empty_store: Path) -> Callable[[str], Path]:
    """Return a function that creates a store."""

    return lambda name: create_store(empty_store, tmp_path / f"{name}.db", EXPERIMENT)


@pytest.fixture
def folder(tmp_path: Path) -> RunFolder:
    """Folder of a finished run, of which nothing is sent."""
    result = new_run_folder(tmp_path / "my work", EXPERIMENT, "a run", tracked=False)
    run = Run(result, None, tracked=False)
    run.metrics({"train/loss": 0.5}, 1)
    run.end("FINISHED")
    run.close()
    return result


def test_a_run_of_another_store_is_named_with_a_command_that_sends_it(
    new_store: Callable[[str], Path],
    folder: RunFolder,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Nothing of it is unsent, and it has no model: neither is said."""
    other, default = new_store("other"), new_store("default")
    monkeypatch.setattr(store, "DEFAULT_DATABASE", default)
    os.environ["MLFLOW_TRACKING_URI"] = f"sqlite:///{other}"
    assert main([str(folder.path)]) == 0
    assert folder.unsent_records() == 0
    del os.environ["MLFLOW_TRACKING_URI"]
    capsys.readouterr()
    assert main([str(folder.path)]) == 1
    said = capsys.readouterr().err
    assert said.startswith(f"sync.py: {folder}: this run is recorded in sqlite:///{other}, not in the store in use")
    assert "undecided" not in said
    variable, *_program, path = shlex.split(said.rpartition(": ")[2])
    name, _, uri = variable.partition("=")
    os.environ[name] = uri
    assert main([path]) == 0
    client = MlflowClient(f"sqlite:///{default}")
    assert client.get_run(folder.read_run()["run_id"]).info.status == "FINISHED"


def test_what_is_left_is_said_where_something_is(
    new_store: Callable[[str], Path], folder: RunFolder, capsys: pytest.CaptureFixture[str]
) -> None:
    os.environ["MLFLOW_TRACKING_URI"] = uri = f"sqlite:///{new_store('store')}"
    assert main([str(folder.path)]) == 0
    run_id = folder.read_run()["run_id"]
    MlflowClient(uri).delete_run(run_id)
    why = f"run {run_id} was deleted in MLflow; restore it there to continue sending"
    capsys.readouterr()
    assert main([str(folder.path)]) == 1
    assert capsys.readouterr().err == f"sync.py: {folder}: {why}\n"
    write_json(folder.version, {"name": "cats", "version": "1", "promoted": None})
    assert main([str(folder.path)]) == 1
    assert capsys.readouterr().err == f"sync.py: {folder}: the champion is still undecided ({why})\n"
    folder.sent.unlink()
    assert main([str(folder.path)]) == 1
    assert f"records still unsent ({why})" in capsys.readouterr().err
