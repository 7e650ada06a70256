"""Parents and children: who finds whom, in whatever order the store gets them."""

import os
import shutil
import socket
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from mlflow import MlflowClient

from tests.support.layouts import refusal
from tests.support.runs import store_run
from trainer.config import Config, TrackingConfig
from trainer.engine.checkpoint.choice import unfinished
from trainer.system.run_folder import FOLDS, LABELLING, SWEEP, RunFolder, children_of, new_run_folder, own_runs
from trainer.tracking.group import groups_elsewhere, new_group, open_group, without_group
from trainer.tracking.server import connect_run, send_records

TRACKING = TrackingConfig(experiment="discs")


@pytest.fixture
def store(tmp_path: Path, empty_store: Path) -> Iterator[Path]:
    """A store in use, made of nothing."""
    file, before = tmp_path / "a store.db", dict(os.environ)
    shutil.copyfile(empty_store, file)
    os.environ["MLFLOW_TRACKING_URI"] = f"sqlite:///{file}"
    MlflowClient(f"sqlite:///{file}").create_experiment("discs", (tmp_path / "artifacts").as_uri())
    yield file
    os.environ.clear()
    os.environ.update(before)


def family(work: Path) -> tuple[RunFolder, list[RunFolder]]:
    """A parent, its two children, and a stranger beside them."""
    parent = new_group(work, SWEEP, TRACKING, "discs-sweep", "train: {}\n")
    children = [new_run_folder(work, "discs", None, True, parent=parent.path.name) for _ in range(2)]
    new_run_folder(work, "discs", None, True)
    return parent, children


@pytest.mark.parametrize("first", ["parent", "children"])
def test_mlflow_is_told_whichever_comes_first(first: str, store: Path, tmp_path: Path) -> None:
    parent, children = family(tmp_path / "wörk ' dir")
    for folder in [parent, *children] if first == "parent" else [*children, parent]:
        send_records(connect_run(folder), folder)
    run = store_run(store, parent.path)
    assert run.data.tags["kind"] == "sweep"
    for child in children:
        tags = store_run(store, child.path).data.tags
        assert tags["mlflow.parentRunId"] == run.info.run_id
        assert tags["trainer.parent"] == parent.path.name
        assert "kind" not in tags
    (stranger,) = [one for one in own_runs(parent.path.parent) if one != parent]
    connect_run(stranger)
    assert "mlflow.parentRunId" not in store_run(store, stranger.path).data.tags


def test_children_and_parents_on_the_disk(tmp_path: Path) -> None:
    work = tmp_path / "work"
    parent, children = family(work)
    assert (parent.kind, parent.parent) == (SWEEP, "")
    assert children_of(parent) == sorted(children)
    # Trainings are resumed by themselves unless something else has started them.
    assert not {parent, *children} & set(unfinished(work))
    assert len(unfinished(work)) == 1


def test_a_group_without_a_store_is_sent_later(store: Path, tmp_path: Path) -> None:
    """Its state, numbers and files are those of a run that the store saw all the time."""
    folder = new_group(tmp_path / "work", FOLDS, replace(TRACKING, run_name="mine"), "discs", "train: {}\n")
    run = open_group(folder, TRACKING, new=True, reachable=False, log=lambda *_: None, resume_command="again")
    run.sender.stop()  # type: ignore[union-attr]
    run.metrics({"folds/miou": 0.5}, 1)
    run.artifact(folder.config)
    run.end("FINISHED")
    run.status("finished")
    run.journal.close()
    assert folder.read_status()["resume"] == "again"
    assert folder.finished
    send_records(connect_run(folder), folder)
    sent = store_run(store, folder.path)
    assert (sent.info.run_name, sent.info.status, sent.data.metrics) == ("mine", "FINISHED", {"folds/miou": 0.5})


def test_a_group_of_another_machine_is_found_by_the_store(store: Path, tmp_path: Path) -> None:
    """Of the same data and settings, unfinished, and of a folder that is not here."""
    work, params = tmp_path / "theirs", {"optim.lr": 0.01, "train.folds": 3}

    def look(digest: str = "d1", **more: object) -> list[str]:
        return groups_elsewhere(FOLDS, "discs", digest, params | more, tmp_path / "mine")

    assert look() == []
    folder = new_group(work, FOLDS, TRACKING, "discs-3folds", "train: {}\n")
    run = open_group(folder, TRACKING, True, True, lambda *_: None, "again")
    run.params(params)
    run.tags({"data.digest": "d1"})
    assert run.flush(60)
    (name,) = look()
    assert name.startswith("discs-3folds-")
    assert name.endswith(f" on {socket.gethostname()}")
    assert look("d2") == look(**{"optim.lr": 0.02}) == []
    assert groups_elsewhere(FOLDS, "discs", "d1", params, work) == []
    assert groups_elsewhere(SWEEP, "discs", "d1", params, tmp_path / "mine") == []
    assert groups_elsewhere(FOLDS, "no such", "d1", params, tmp_path / "mine") == []
    run.status("finished")
    run.end("FINISHED")
    assert run.flush(60)
    run.close()
    assert look() == []
    store.unlink()
    store.mkdir()
    assert look() == []  # a store that fails refuses nothing


# ------------------------------------------------------------------- stored settings of a training, used again


@pytest.mark.parametrize(
    ("kind", "by_sweep", "stays"),
    [(FOLDS, False, False), (FOLDS, True, False), (SWEEP, False, False), (SWEEP, True, True), (LABELLING, False, True)],
)
def test_a_group_begins_its_trainings_itself(kind: str, by_sweep: bool, stays: bool, tmp_path: Path) -> None:
    parent = new_run_folder(tmp_path, "cats", "p", tracked=False, kind=kind)
    stored = Config(tracking=TrackingConfig(parent=parent.path.name))
    config, text = without_group(stored, tmp_path, by_sweep)
    assert config == (stored if stays else replace(stored, tracking=replace(stored.tracking, parent=None)))
    assert (parent.path.name in text) is not stays


def test_other_parents_and_none(tmp_path: Path) -> None:
    for parent in (None, "not-there"):
        config = Config(tracking=TrackingConfig(parent=parent))
        assert without_group(config, tmp_path, False) == (config, "")


def test_the_final_training_of_a_group_is_not_repeated_alone(tmp_path: Path) -> None:
    parent = new_run_folder(tmp_path, "cats", "p", tracked=False, kind=FOLDS)
    stored = Config(tracking=TrackingConfig(parent=parent.path.name))
    stored = replace(stored, train=replace(stored.train, final="all"))
    with refusal("train.final", parent.path.name, f"--config {parent.config}"):
        without_group(stored, tmp_path, False)
