"""A full disk: the checkpoints there are stay complete, all processes stop, and the same command resumes later."""

import shutil
import subprocess
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path

import pytest

from tests.support import runs
from tests.support.program import Program, train_command


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    folder = tmp_path / "small"
    folder.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=6m", "none", folder], capture_output=True).returncode:
        pytest.skip("needs the right to mount")
    yield folder
    subprocess.run(["umount", "-l", folder], check=True)


@pytest.mark.parametrize("processes", [1, pytest.param(2, marks=pytest.mark.long)])
def test_a_full_disk(
    processes: int,
    again: Program,
    small_disk: Path,
    settings: list[str],
    fault_trial: Callable[[int, str], AbstractContextManager[None]],
) -> None:
    """The run folder lies on a disk without room for another checkpoint."""
    (folder,) = again.run_folders()
    shutil.copytree(folder, small_disk / folder.name)
    shutil.rmtree(folder)
    folder.symlink_to(small_disk / folder.name)
    before = runs.checkpoints(folder)[-1]
    contents = {path.name: path.read_bytes() for path in before.iterdir()}
    ballast = small_disk / "ballast"
    with ballast.open("wb") as file:
        file.write(b"x" * (shutil.disk_usage(small_disk).free - 200_000))
    words = train_command(processes, *settings, "--resume", "latest")
    with fault_trial(3, "the disk is full"):
        ended = again.run(*words, code=1)
        status = runs.status(folder)
        assert (status["state"], status["exit_code"]) == ("failed", 1)
        assert "bytes are free" in status["reason"]
        assert str(folder) in status["reason"]
        assert status["reason"] in ended.output.replace("\n", " ")
        if processes == 1:
            assert "Traceback" not in ended.output
        assert {path.name: path.read_bytes() for path in before.iterdir()} == contents
        runs.check_checkpoints(folder)
        if processes == 2:  # the same command, now that there is room
            ballast.unlink()
            again.run(*words, code=0)
            assert runs.status(folder)["state"] == "finished"
