"""Entry points as children: their exit code comes back, and none of them works on without its parent."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from tests.support.program import REPOSITORY, WAIT_SECONDS
from trainer.system.child import run_entry

PARENT = "import sys; from trainer.system.child import run_entry; sys.exit(run_entry(sys.argv[1], sys.argv[2:]))"


def test_the_exit_code_comes_back(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert run_entry("prepare", ["--version"]) == 0
    assert run_entry("prepare", ["check", str(tmp_path / "gone")]) == 2
    printed = capfd.readouterr()
    assert "prepare.py" in printed.out
    assert "gone" in printed.out


def test_a_child_ends_with_its_parent(tmp_path: Path) -> None:
    words = ["prepare", "synthetic", str(tmp_path / "never done"), "--count", "100000", "--size", "32"]
    parent = subprocess.Popen([sys.executable, "-c", PARENT, *words], cwd=REPOSITORY)
    try:
        children = _wait(lambda: psutil.Process(parent.pid).children(recursive=True))
        os.kill(parent.pid, signal.SIGKILL)
        parent.wait(WAIT_SECONDS)
        _wait(lambda: not any(_alive(one) for one in children))
    finally:
        parent.kill()


def _alive(process: psutil.Process) -> bool:
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def _wait(condition):  # type: ignore[no-untyped-def]
    deadline = time.monotonic() + WAIT_SECONDS
    while not (found := condition()):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    return found
