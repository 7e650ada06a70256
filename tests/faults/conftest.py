"""Fixtures of the fault tests: data, settings, and undisturbed trainings to compare with."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support import runs
from tests.support.discs import make_discs
from tests.support.program import FULL, ONE_THREAD, TINY, Program, saved, train_command
from trainer.cli import parse
from trainer.engine.checkpoint import resume
from trainer.system import run_folder


@pytest.fixture(scope="session")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """20 images, 16 of which train: 4 steps in each epoch."""
    return make_discs(tmp_path_factory.mktemp("data") / "discs", count=20)


@pytest.fixture(scope="session")
def settings(data: Path) -> list[str]:
    """Arguments of the training that faults happen to."""
    return ["--data.root", str(data), *TINY, *FULL]


RESOLVED = [
    *("--data.view", "whole", "--data.scale", "1.0", "--data.keep_aspect", "false", "--data.channels", "3"),
    "--model.encoder",
    "none",
    "--train.patience",
    "0",
    "--loss.class_weights",
    "null",
    "--data.sampling",
    "even",
]
"""What `auto` becomes with these settings and data."""


@pytest.fixture
def program(tmp_path: Path) -> Program:
    return Program(tmp_path / "program", variables=ONE_THREAD)


@pytest.fixture(scope="session")
def golden(tmp_path_factory: pytest.TempPathFactory, settings: list[str]) -> Callable[..., object]:
    """Result of the same training without a fault: `golden(processes, *arguments)`. Each is trained once."""
    known: dict[tuple[object, ...], object] = {}

    def result(processes: int, *arguments: str) -> object:
        if (processes, *arguments) not in known:
            program = Program(tmp_path_factory.mktemp("golden") / "program", variables=ONE_THREAD)
            program.run(*train_command(processes, *settings, *arguments), code=0)
            known[processes, *arguments] = runs.result(program.run_folders()[0])
        return known[processes, *arguments]

    return result


@pytest.fixture(scope="session")
def killed(tmp_path_factory: pytest.TempPathFactory, settings: list[str]) -> Program:
    """A run that was killed after step 10 or later, with two checkpoints. Tests work on copies of it."""
    program = Program(tmp_path_factory.mktemp("killed") / "program", variables=ONE_THREAD)
    with program.start(*train_command(1, *settings)) as training:
        folder = training.wait_for(saved(program, 10), "a checkpoint")
    assert len(runs.checkpoints(folder)) == 2
    return program


@pytest.fixture
def copy_killed(killed: Program) -> Callable[[Path], Program]:
    """Copy the killed run's program and folders to a path."""

    def copy(path: Path) -> Program:
        program = Program(path, variables=ONE_THREAD)
        shutil.copytree(killed.folder / "mlruns", program.folder / "mlruns", dirs_exist_ok=True)
        return program

    return copy


@pytest.fixture
def again(copy_killed: Callable[[Path], Program], tmp_path: Path) -> Program:
    """A copy of the killed run's program and folders."""
    return copy_killed(tmp_path / "again")


@pytest.fixture(scope="session")
def find_start(settings: list[str]) -> Callable[..., resume.Start]:
    """Find what `--resume wanted` means, in this process; the lock on the run folder is released again."""

    def find(program: Program, wanted: str, *arguments: str) -> resume.Start:
        config = parse([*settings, *RESOLVED, "--resume", wanted, *arguments])
        data = json.loads((program.run_folders()[0] / "split.json").read_text())
        try:
            return resume.find_run(config, program.folder / "mlruns" / "work", data, "")
        finally:
            release_locks()

    return find


def release_locks() -> None:
    """Release the locks on run folders that this process holds."""
    while run_folder._locks:
        run_folder._locks.popitem()[1].release()
