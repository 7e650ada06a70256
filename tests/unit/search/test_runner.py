"""What each training of a sweep may use, and when a sweep has no hope."""

import time
from pathlib import Path
from typing import Any

import pytest

from trainer.config import Config
from trainer.search.board import Board
from trainer.search.runner import Limits, Runner, visible_devices
from trainer.search.space import Choice, Space
from trainer.search.study import Study
from trainer.search.sweep_folder import SweepFolder, facts_of, write_record
from trainer.system.cpus import usable_cpus
from trainer.system.run_folder import SWEEP, new_run_folder
from trainer.system.terminal import Display
from trainer.tracking.run import Run

DEFAULTS = Config()
SPACE = Space({"model.norm": Choice(("batch", "group"))}, {})


@pytest.fixture
def make(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    folder = SweepFolder(new_run_folder(tmp_path, "discs", None, tracked=False, kind=SWEEP))
    write_record(folder, "s", facts_of(Config(), SPACE))
    study, run = Study(f"sqlite:///{folder.study}", "s", 0), Run(folder.run, None, tracked=False)

    def make(config: Config = DEFAULTS, **limits: Any) -> Runner:
        board = Board(Display(quiet=True), 4, 1)
        return Runner(study, SPACE, folder, run, config, Limits(4, **limits), board, lambda: False)

    return make


def test_cpus_are_shared_out(make: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    assert make(jobs=1).threads is None  # train.threads auto measures by itself
    assert make(jobs=usable_cpus()).threads == 1
    assert make(jobs=usable_cpus() + 5).threads == 1
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    assert make(jobs=2).threads is None


def test_gpus_are_dealt_out(make: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "2, GPU-abc")
    assert visible_devices() == ["2", "GPU-abc"]
    runner = make(jobs=3)
    assert [runner._environment(slot).get("CUDA_VISIBLE_DEVICES") for slot in range(3)] == ["2", "GPU-abc", "2"]
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    assert make(jobs=3)._environment(1) == {}


def test_hopeless_where_the_first_three_fail_alike(make: Any) -> None:
    runner = make()
    runner.failures = ["no memory: 12 MB", "no memory: 15 MB"]
    assert runner.hopeless == ""
    runner.failures.append("no memory: 12 MB")
    assert runner.hopeless == "no memory: 12 MB"
    runner.succeeded = True
    assert runner.hopeless == ""
    runner.succeeded, runner.failures[1] = False, "another reason"
    assert runner.hopeless == ""


def test_the_time_of_the_whole_sweep(make: Any) -> None:
    assert make()._seconds_left() is None
    runner = make(minutes=1.0)
    assert 0 < runner._seconds_left() <= 60
    assert not runner._too_late_to_begin()
    trial = runner.study.ask(SPACE, 9, runner.owner)
    time.sleep(0.05)
    runner.study.complete(trial.number, 0.5)
    assert not runner._too_late_to_begin()
    runner.began_s -= 59.99
    assert runner._too_late_to_begin()  # that trial took longer
    runner.began_s -= 1
    assert runner._seconds_left() == 0
