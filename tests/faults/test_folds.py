"""Folds that are killed, stopped, or lose their store: one group, and the score of the undisturbed one."""

import signal
import sys
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

import pytest
from mlflow import MlflowClient

from tests.support import folds, runs
from tests.support.discs import make_discs
from tests.support.folds import FOLDED
from tests.support.mlflow_server import Server
from tests.support.program import ONE_THREAD, TINY, Program, train_command

pytestmark = [pytest.mark.long, pytest.mark.timeout(1800)]

FaultTrial = Callable[[int, str], AbstractContextManager[None]]
GROUP = [*TINY, *FOLDED, "--train.folds", "3", "--train.epochs", "6"]


@pytest.fixture(scope="module")
def words(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """Arguments of three folds of 12 steps."""
    return ["--data.root", str(make_discs(tmp_path_factory.mktemp("folds") / "discs", count=12)), *GROUP]


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory, words: list[str]) -> object:
    program = Program(tmp_path_factory.mktemp("undisturbed") / "program", variables=ONE_THREAD)
    program.run(*train_command(1, *words, "--tracking.enabled", "false"), code=0, timeout_s=600)
    return folds.result(program)


@pytest.mark.parametrize("how", ["kill", "terminate"])
def test_in_the_second_fold_and_resumed(
    how: str, words: list[str], undisturbed: object, tmp_path: Path, fault_trial: FaultTrial
) -> None:
    program = Program(tmp_path / "program", variables=ONE_THREAD)
    untracked = [*words, "--tracking.enabled", "false"]
    with fault_trial(1, f"folds, {how} in the second, resume latest"):
        with program.start(*train_command(1, *untracked)) as training:
            training.wait_for(lambda: folds.running_child(program, 1, 4), "a checkpoint of the second fold", 600)
            if how == "terminate":
                training.signal(signal.SIGTERM)
                assert training.end(600).returncode == 143
                assert folds.parent(program).read_status()["state"] == "preempted"
        assert folds.finished_children(program) == 1
        first = folds.trainings(program)[0, 0, "auto"]
        before = first.journal.read_bytes()
        program.run(sys.executable, "trainer/train.py", "--resume", "latest", code=0, timeout_s=600)
        assert first.journal.read_bytes() == before
        assert len(folds.trainings(program)) == 3 + 1
        assert folds.result(program) == undisturbed


def test_of_two_processes_killed_and_resumed(words: list[str], tmp_path: Path, fault_trial: FaultTrial) -> None:
    whole = Program(tmp_path / "whole", variables=ONE_THREAD)
    program = Program(tmp_path / "program", variables=ONE_THREAD)
    untracked = [*words, "--tracking.enabled", "false"]
    with fault_trial(1, "folds on two processes, kill in the second, resume"):
        whole.run(*train_command(2, *untracked), code=0, timeout_s=900)
        with program.start(*train_command(2, *untracked)) as training:
            training.wait_for(lambda: folds.running_child(program, 1, 4), "a checkpoint of the second fold", 600)
        program.run(*train_command(2, *untracked, "--resume", "latest"), code=0, timeout_s=900)
        assert folds.result(program) == folds.result(whole)


def test_a_store_that_goes_away_stops_nothing(
    words: list[str], undisturbed: object, tmp_path: Path, empty_store: Path, fault_trial: FaultTrial
) -> None:
    """It leaves in the first fold; sync.py sends the rest, and registers the model."""
    program = Program(tmp_path / "program", variables=ONE_THREAD)
    server = Server(tmp_path / "server", empty_store).start()
    try:
        with fault_trial(4, "folds, the server gone in the first"):
            with program.start(*train_command(1, *words), MLFLOW_TRACKING_URI=server.uri) as training:
                training.wait_for(lambda: folds.running_child(program, 0, 2), "a checkpoint of the first fold", 600)
                server.kill()
                ended = training.end(900)
            assert ended.returncode == 1, ended.output  # trained, not registered
            found, expected = folds.result(program), dict(undisturbed)  # type: ignore[call-overload]
            assert found == expected
            server.start()
            program.python("sync", code=0, timeout_s=600, MLFLOW_TRACKING_URI=server.uri)
            sent = runs.store_runs(MlflowClient(server.uri))
            (parent,) = [one for one in sent if one.data.tags.get("kind") == "folds"]
            children = [one for one in sent if one.info.run_id != parent.info.run_id]
            assert len(children) == 3 + 1
            assert {one.data.tags["mlflow.parentRunId"] for one in children} == {parent.info.run_id}
            assert {one.info.status for one in sent} == {"FINISHED"}
    finally:
        server.kill()
