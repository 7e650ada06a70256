"""The loop of labelling by its commands: label, round, correct, round; and killed in each of its steps."""

import functools
import json
import os
import shutil
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from mlflow import MlflowClient

from tests.support import runs
from tests.support.labelling import contents, correct, happened, predictions, trainings
from tests.support.program import Ended, Program
from trainer.make.synthetic import write_labelme

COUNT = 4
"""Images that a round adds."""

SETTINGS = [
    *("--model.encoder", "none", "--model.width", "8", "--model.depth", "2", "--data.image_size", "32"),
    *("--train.batch_size", "4", "--train.threads", "1", "--train.mixed_precision", "no", "--optim.lr", "0.01"),
    *("--tracking.watch", "1", "--data.val_fraction", "0.25", "--train.eval_every", "5"),
    *("--train.checkpoint_minutes", "0"),
]
PROJECT, MODEL = "Bär's cats", "gen cats"

LONG_S = 1800.0
"""Bound of a command, in seconds: it ends a hang."""

pytestmark = pytest.mark.timeout(4 * LONG_S)


@pytest.fixture(scope="module")
def truth(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Labelme files of all images."""
    folder = tmp_path_factory.mktemp("truth") / "all"
    write_labelme(folder, 20, size=64, seed=3)
    return folder


@pytest.fixture
def program(tmp_path: Path, empty_store: Path) -> Program:
    return Program(tmp_path / "program", tables=empty_store)


@pytest.fixture
def world(truth: Path, program: Program, tmp_path: Path) -> tuple[Program, Path]:
    """A program, and a folder with eight labelled images and a pool of twelve."""
    names = sorted(file.stem for file in truth.glob("*.json"))
    labelled, pool = tmp_path / "my labels", tmp_path / "pööl"
    labelled.mkdir()
    pool.mkdir()
    shutil.copyfile(truth / "labels.txt", labelled / "labels.txt")
    for name in names[:8]:
        for suffix in (".jpg", ".json"):
            shutil.copyfile(truth / f"{name}{suffix}", labelled / f"{name}{suffix}")
    for name in names[8:]:
        shutil.copyfile(truth / f"{name}.jpg", pool / f"{name}.jpg")
    return program, tmp_path


def start(program: Program, top: Path, epochs: int, *more: str) -> Path:
    """Make a project."""
    folder = top / PROJECT
    words = ["start", str(folder), "--labelled", str(top / "my labels"), "--pool", str(top / "pööl")]
    words += ["--model", MODEL, "--count", f"{COUNT}", "--train.epochs", f"{epochs}", *more, *SETTINGS]
    program.python("label", *words, code=0, timeout_s=LONG_S)
    return folder


def do_round(program: Program, project: Path, code: int = 0) -> Ended:
    return program.python("label", "round", str(project), code=code, timeout_s=LONG_S)


def state_of(project: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((project / "state.json").read_text())
    return content


@pytest.mark.long
def test_round_trip(world: tuple[Program, Path], truth: Path) -> None:
    program, top = world
    project = start(program, top, epochs=30)
    do_round(program, project)
    first = predictions(project)
    assert len(first) == COUNT
    assert all(json.loads(file.read_text())["flags"] == {"predicted": True} for file in first)

    # Predictions alone are no labels: a second round has nothing to learn from.
    ended = do_round(program, project, code=2)
    assert "nothing has been labelled since round 1" in ended.stderr
    assert len(ended.stderr.strip().splitlines()) == 1

    correct(first[:2], truth)
    program.python("label", "accept", str(first[2]), code=0)
    before = contents(project / "to_label") | contents(top / "my labels") | contents(top / "pööl")
    del before[first[3]]  # which the next champion predicts anew
    printed = program.python("label", "status", str(project), code=0, timeout_s=LONG_S).stdout
    for line in (
        "11 labelled",
        "2 corrected",
        "1 predictions accepted",
        "1 predictions not looked",
        "8 left",
        "round  1",
    ):
        assert line in printed
    assert "not known; the learning curve takes 4 rounds" in printed

    do_round(program, project)
    assert before.items() <= contents(top).items(), "a file that a person has touched was changed"
    best = 2 if state_of(project)["rounds"][1]["steps"]["gate"]["promoted"] else 1
    assert json.loads(first[3].read_text())["predictedBy"] == f"{MODEL} version {best}"
    assert json.loads(first[3].read_text())["flags"] == {"predicted": True}
    assert len(predictions(project)) == 2 * COUNT
    one, two = trainings(program)
    splits = [json.loads((folder / "split.json").read_text()) for folder in (one, two)]
    assert splits[0]["digest"] != splits[1]["digest"]
    assert [len(split["train"]) + len(split["val"]) for split in splits] == [8, 11]
    names = {Path(name).name for part in ("train", "val") for name in splits[1][part]}
    assert {file.stem for file in first[:3]} <= names
    assert first[3].stem not in names, "a prediction that nobody has looked at was a label"

    # Lineage: the second training started from the version that was champion, and the gate decided.
    rounds = state_of(project)["rounds"]
    assert [one["images"] for one in rounds] == [8, 11]
    assert "models:/gen cats/1" in (two / "config.yaml").read_text()
    client = MlflowClient(program.store)
    versions = {one.version: one.tags for one in client.search_model_versions(f"name = '{MODEL}'")}
    assert {"True", "False"} >= {tags["promotion.promoted"] for tags in versions.values()}
    assert [versions[key]["dataset_digest"] for key in sorted(versions)] == [split["digest"] for split in splits]
    assert [one["steps"]["gate"]["promoted"] for one in rounds] == [
        versions[key]["promotion.promoted"] == "True" for key in sorted(versions)
    ]
    # MLflow: one run for each round, tagged with it; the parent has the scores over the numbers of labelled images.
    parent = runs.store_run(program.database, Path(state_of(project)["parent"]))
    assert (parent.data.tags["kind"], parent.info.status) == ("labelling", "FINISHED")
    points = runs.store_points(program.database, parent)["labelling/miou"]
    assert [step for step, _, _ in points] == [8, 11]
    assert [value for _, _, value in points] == [one["steps"]["gate"]["miou"] for one in rounds]
    for number, folder in enumerate((one, two), start=1):
        tags = runs.store_run(program.database, folder).data.tags
        assert (tags["kind"], tags["round"], tags["project"]) == ("round", f"{number}", PROJECT)
        assert tags["mlflow.parentRunId"] == parent.info.run_id

    # Corrections change the digest, and nothing else does.
    check = ["check", str(top / "my labels"), str(project / "to_label"), "--model", f"models:/{MODEL}@champion"]
    listed = program.python("prepare", *check, "--json", "-", code=0, timeout_s=LONG_S)
    report = json.loads(listed.stdout)
    assert len(report["disagreements"]) == 11
    assert {one["trained"] for one in report["disagreements"]} == {True, False}


@pytest.mark.long
def test_killed_in_each_step(world: tuple[Program, Path], truth: Path) -> None:
    """kill -9 of the command alone, as the system does where memory is short; its step must not work on."""
    program, top = world
    project = start(program, top, epochs=60)

    def checkpoint() -> bool:
        return any(runs.checkpoint_steps(folder) for folder in trainings(program))

    moments: dict[str, Callable[[str], bool]] = {
        "check": lambda printed: "round 1: check" in printed,
        "train": lambda _printed: checkpoint(),
        "gate": lambda printed: "round 1: gate" in printed,
        "next": lambda _printed: len(predictions(project)) > 0,
    }
    for step, moment in moments.items():
        with program.start(sys.executable, "trainer/label.py", "round", str(project)) as command:
            command.wait_for(functools.partial(happened, moment, command), step, LONG_S)
            os.kill(command.pid, signal.SIGKILL)
            command.end(LONG_S)
        done = list(state_of(project)["rounds"][0]["steps"])
        assert step not in done or step == "next", done
    do_round(program, project)
    (one,) = state_of(project)["rounds"]
    assert list(one["steps"]) == ["check", "train", "gate", "next"]
    assert len(predictions(project)) == COUNT
    (training,) = trainings(program)
    assert runs.status(training)["state"] == "finished"
    assert "resumed.after_step" in runs.tags(training), "the training began anew"
    runs.untimed(runs.journal_points(training))  # no step has two values
    assert len(MlflowClient(program.store).search_model_versions(f"name = '{MODEL}'")) == 1
    parent = runs.store_run(program.database, Path(state_of(project)["parent"]))
    assert len(runs.store_points(program.database, parent)["labelling/miou"]) == 1
    correct(predictions(project)[:1], truth)
    do_round(program, project)
    assert len(state_of(project)["rounds"]) == 2


@pytest.mark.long
def test_a_round_of_two_processes_is_killed_and_continued(world: tuple[Program, Path]) -> None:
    program, top = world
    project = start(program, top, 60, "--launch", "accelerate launch --config_file launch/multi_cpu.yaml")

    def checkpoint() -> bool:
        return any(runs.checkpoint_steps(folder) for folder in trainings(program))

    with program.start(sys.executable, "trainer/label.py", "round", str(project)) as command:
        command.wait_for(checkpoint, "a checkpoint", LONG_S)
        processes = command.trainers()
        os.kill(command.pid, signal.SIGKILL)
        # The next round may begin at once: it waits for what is still ending, and nothing works on beside it.
        ended = do_round(program, project)
        assert not [one for one in processes if one.is_running() and one.status() != "zombie"]
    assert "accelerate.commands.launch" in ended.stdout
    assert "processes 2" in " ".join(ended.stdout.split())
    (training,) = trainings(program)
    assert runs.status(training)["state"] == "finished"
    assert "resumed.after_step" in runs.tags(training), "the training began anew"
    runs.untimed(runs.journal_points(training))  # no step has two values
    assert len(MlflowClient(program.store).search_model_versions(f"name = '{MODEL}'")) == 1
    assert len(predictions(project)) == COUNT
