"""Sweeps with real trainings: killed and continued, several at once, trials that fail."""

import csv
import json
import os
import re
import shlex
import shutil
import signal
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import yaml
from mlflow import MlflowClient

from tests.support import runs
from tests.support.program import Command, Ended, Program
from trainer.cli import read
from trainer.model.score_table import read_table
from trainer.search.folds import join_scores
from trainer.system.run_folder import RunFolder, children_of

pytestmark = [pytest.mark.long, pytest.mark.timeout(5400)]

WAIT_S = 3600.0
"""Bound of a whole sweep, in seconds."""

TINY = [
    *("--data.generated_images", "12", "--data.image_size", "32", "--model.width", "8", "--model.encoder", "none"),
    *("--train.batch_size", "4", "--train.eval_every", "1", "--tracking.watch", "0", "--data.workers", "0"),
]


def command(program: Program, space: dict[str, Any], trials: int, *more: str) -> list[str]:
    (program.folder / "the space.yaml").write_text(yaml.safe_dump(space))
    return [sys.executable, "trainer/sweep.py", "--space", "the space.yaml", "--trials", f"{trials}", *TINY, *more]


def sweep_folder(program: Program) -> Path:
    (found,) = [one for one in program.run_folders() if RunFolder(one).kind == "sweep"]
    return found


def trials(program: Program) -> list[RunFolder]:
    return children_of(RunFolder(sweep_folder(program)))


def table(program: Program) -> list[dict[str, str]]:
    with (sweep_folder(program) / "trials.csv").open() as file:
        return list(csv.DictReader(file))


def resumed(program: Program, ended: Ended) -> list[str]:
    """The command that a sweep has printed to go on with it."""
    assert ended.returncode == 143, ended.output
    line = re.findall(r"^continue with:  (.*)$", ended.stdout, re.MULTILINE)[-1]
    words = shlex.split(line.partition(" && ")[2] or line)
    return [sys.executable, *words[1:]]


def sent_runs(program: Program, store: str = "") -> dict[str, Any]:
    """Runs in the program's store, or another, by name; no name twice, no run but these."""
    client = MlflowClient(store or program.store)
    found = [run for one in client.search_experiments() for run in client.search_runs([one.experiment_id])]
    names = [run.info.run_name for run in found]
    assert len(names) == len(set(names)), names
    return dict(zip(names, found, strict=True))


def trained(program: Program, number: int, step: int) -> bool:
    """Whether a trial has a run folder and has done some steps."""
    if not any(RunFolder(one).kind == "sweep" for one in program.run_folders()):
        return False
    found = [one for one in trials(program) if one.read_run()["run_name"].startswith(f"trial-{number}-")]
    return any(runs.last_step(one.path) >= step for one in found)


@pytest.fixture
def program(tmp_path: Path, empty_store: Path) -> Program:
    return Program(tmp_path / "a program", tables=empty_store, variables={"OMP_NUM_THREADS": "1"})


def kill_sweep_alone(running: Command) -> None:
    """SIGKILL reaches the sweep, and none of its trainings."""
    os.kill(running.pid, signal.SIGKILL)
    running.end(WAIT_S)  # the trainings end by themselves: nobody is left to watch them


def test_eight_trials_killed_and_resumed(program: Program) -> None:
    """However often a sweep dies, with a trial or without: eight trials, one parent, no stray run."""
    space = {"optim.lr": {"low": 1e-4, "high": 1e-1, "log": True}, "model.norm": ["batch", "group"]}
    words = command(program, space, 8, "--train.epochs", "8", "--train.checkpoint_minutes", "0")
    with program.start(*words) as running:
        running.wait_for(lambda: trained(program, 1, 4), "steps of trial 1", WAIT_S)
        kill_sweep_alone(running)
    before = {one.path for one in trials(program)}
    with program.start(*words, "--resume") as running:
        running.wait_for(lambda: trained(program, 2, 4), "steps of trial 2", WAIT_S)
        training = json.loads((sweep_folder(program) / "trials" / "2" / "process.json").read_text())["pid"]
        os.kill(training, signal.SIGKILL)  # of one trial alone
        running.wait_for(lambda: trained(program, 3, 2), "trial 3", WAIT_S)
        os.kill(running.pid, signal.SIGTERM)
        again = resumed(program, running.end(WAIT_S))
    assert runs.status(sweep_folder(program))["state"] == "preempted"
    ended = program.run(*again, code=0, timeout_s=WAIT_S)
    states = Counter(row["state"] for row in table(program))
    assert sum(states.values()) == 8
    assert set(states) <= {"complete", "pruned"}, table(program)
    found = trials(program)
    assert len(found) == 8
    assert before <= {one.path for one in found}
    assert len(program.run_folders()) == 9
    sent = sent_runs(program)
    assert len(sent) == 9
    parent = sent[RunFolder(sweep_folder(program)).read_run()["run_name"]]
    assert (parent.info.status, parent.data.tags["kind"]) == ("FINISHED", "sweep")
    children = [run for run in sent.values() if run is not parent]
    assert {run.data.tags["mlflow.parentRunId"] for run in children} == {parent.info.run_id}
    for run in children:
        pruned = "sweep.pruned" in run.data.tags
        assert run.info.status == ("KILLED" if pruned else "FINISHED")
    assert sum("sweep.pruned" in run.data.tags for run in children) == states["pruned"]
    check_best(program, ended)
    again_ended = program.run(*again, code=0)
    assert "is finished; nothing is left to do" in again_ended.stdout


def check_best(program: Program, ended: Ended) -> None:
    """The best settings are those of the best trial, and train.py takes them."""
    best = max((row for row in table(program) if row["state"] == "complete"), key=lambda row: float(row["miou"]))
    file = sweep_folder(program) / "best.yaml"
    first = file.read_text().splitlines()[0]
    assert first.startswith(f"# Best of sweep {sweep_folder(program).name}: trial {best['trial']}, best/miou ")
    config = read(["--config", str(file)])
    assert (config.optim.lr, config.model.norm) == (float(best["optim.lr"]), best["model.norm"])
    assert (config.model.width, config.tracking.parent, config.registry.name) == (8, None, "auto")
    line = re.findall(r"train with these settings:\n  (.*)", ended.stdout)[-1]
    assert shlex.split(line)[1:3] == ["trainer/train.py", "--config"]
    assert (program.folder / shlex.split(line)[3]).samefile(file)
    assert ("trial 0 (the settings it began with)" in ended.stdout) == (best["trial"] != "0")
    client, run = MlflowClient(program.store), sent_runs(program)[RunFolder(file.parent).read_run()["run_name"]]
    names = {one.path for one in client.list_artifacts(run.info.run_id)}
    assert {"best.yaml", "trials.csv", "trials.json", "history.png", "settings.png", "space.yaml"} <= names
    curve = client.get_metric_history(run.info.run_id, "sweep/best_miou")
    assert max(point.value for point in curve) == float(best["miou"])


def test_a_trial_that_fails_fails_alone_beside_others(program: Program) -> None:
    """Two at once; sizes and depths that exclude each other only together."""
    space = {"model.depth": [2, 4], "data.image_size": [32, 40]}
    words = command(program, space, 5, "--jobs", "2", "--model.depth", "2", "--train.epochs", "2", "--pruner", "none")
    ended = program.run(*words, code=0, timeout_s=WAIT_S)
    rows = table(program)
    impossible = [row for row in rows if (row["model.depth"], row["data.image_size"]) == ("4", "40")]
    assert impossible, rows
    assert [row for row in rows if row["state"] == "failed"] == impossible
    assert all("data.image_size: 40 is not possible" in row["remark"] for row in impossible)
    assert f"trial {impossible[0]['trial']} failed: data.image_size: 40 is not possible" in ended.stdout
    assert len(trials(program)) == 5 - len(impossible)  # those that failed never began
    assert len(sent_runs(program)) == 6 - len(impossible)
    begun = [one.read_run()["time"] for one in trials(program)]
    finished = [(one.path / "status.json").stat().st_mtime * 1000 for one in trials(program)]
    assert sorted(begun)[1] < min(finished)  # at the same time


def test_a_sweep_that_cannot_succeed_ends(program: Program) -> None:
    words = command(program, {"optim.lr": [0.001, 0.002, 0.003]}, 20, "--model.init", "no such model")
    ended = program.run(*words, code=1, timeout_s=WAIT_S)
    assert "failed: the first trials all failed: " in ended.stdout
    assert "no such model" in ended.stdout
    assert runs.status(sweep_folder(program))["state"] == "failed"
    assert len(sent_runs(program)) == 1


def test_a_trial_that_falls_behind_is_stopped(program: Program) -> None:
    """By a signal, in the middle of its training; nothing goes on with it later."""
    words = command(program, {"optim.lr": [0.01, 1e-6]}, 2, "--train.epochs", "200", "--train.eval_every", "10")
    # A name with which Hyperband puts both into one bracket, and a seed with which the second one learns nothing.
    words += ["--study", "study", "--storage", f"sqlite:///{program.folder}/study.db", "--seed", "0"]
    ended = program.run(*words, code=0, timeout_s=WAIT_S)
    assert [(row["state"], row["optim.lr"]) for row in table(program)] == [("complete", "0.01"), ("pruned", "1e-06")]
    assert re.search(
        r"^trial 1: pruned after (1[1-9]|[2-8]\d) % of the training, val/miou 0\.", ended.stdout, re.MULTILINE
    )
    first, second = trials(program)
    assert (runs.status(first.path)["state"], runs.status(second.path)["state"]) == ("finished", "preempted")
    assert not second.checkpoints.exists()
    run = sent_runs(program)[second.read_run()["run_name"]]
    assert run.info.status == "KILLED"
    assert run.data.tags["sweep.pruned"] in ended.stdout
    latest = program.python("train", "--resume", "latest", code=2)
    assert "there is no unfinished run" in latest.stderr


def test_two_machines_share_a_sweep_of_folds(tmp_path: Path, empty_store: Path) -> None:
    """Each trains one trial in two folds; one run is above all of them, and each picture counts once."""
    store = tmp_path / "shared store.db"
    shutil.copyfile(empty_store, store)
    variables = {"OMP_NUM_THREADS": "1", "MLFLOW_TRACKING_URI": f"sqlite:///{store}"}
    first, second = (Program(tmp_path / name, variables=variables) for name in ("one", "other"))
    options = ["--folds", "2", "--pruner", "none", "--train.epochs", "2", "--study", "a study"]
    options += ["--storage", f"sqlite:///{tmp_path}/a study.db"]
    words, _ = (command(program, {"model.norm": ["batch", "group"]}, 2, *options) for program in (first, second))
    with first.start(*words) as running:
        running.wait_for(lambda: trained(first, 0, 1), "steps of trial 0", WAIT_S)
        joined = second.run(*words, code=0, timeout_s=WAIT_S)
        begun = running.end(WAIT_S)
    assert begun.returncode == 0, begun.output
    assert "trial 0 begins" in begun.stdout
    assert "trial 1 begins" in joined.stdout
    assert sweep_folder(first).name == sweep_folder(second).name
    names = [[one.read_run()["run_name"][:14] for one in trials(program)] for program in (first, second)]
    assert names == [["trial-0-fold0-", "trial-0-fold1-"], ["trial-1-fold0-", "trial-1-fold1-"]]
    for program, number in ((first, 0), (second, 1)):
        tables = [read_table(one.scores) for one in trials(program)]
        images = [key for one in tables for key in one.keys()]  # noqa: SIM118 - no mapping
        assert len(images) == len(set(images)) == 12
        row = next(row for row in table(program) if row["trial"] == f"{number}")
        assert float(row["miou"]) == join_scores(tables).miou
    sent = sent_runs(first, f"sqlite:///{store}")
    assert len(sent) == 5
    (parent,) = [run for run in sent.values() if run.data.tags.get("kind") == "sweep"]
    children = [run for run in sent.values() if run is not parent]
    assert {run.data.tags["mlflow.parentRunId"] for run in children} == {parent.info.run_id}
    again = second.run(*words, code=2)
    assert "--study a study: begun here, in " in again.stderr
    other = second.run(*words, "--resume", "--optim.warmup", "0.2", code=2)
    assert "--study a study: a sweep of other settings (settings optim.warmup: 0.05 then, 0.2 now)" in other.stderr
