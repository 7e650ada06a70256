"""Locks: one holder at a time, refusals in one line, and no lock left by a process that was killed."""

import errno
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.program import REPOSITORY
from trainer import InputError
from trainer.system import lock
from trainer.system.lock import alone, file_lock, is_locked, lock_open_file, take_lock


def test_one_holder_at_a_time(tmp_path: Path) -> None:
    path = tmp_path / "a lock"
    with alone(path, "somebody else is here"):
        assert take_lock(path) is None
        with pytest.raises(InputError, match="somebody else is here"), alone(path, "somebody else is here"):
            pass
    held = take_lock(path)
    assert held is not None
    held.release()


def test_the_block_may_fail(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The lock is released then, and not merely forgotten."""
    held = file_lock(tmp_path / "lock")
    monkeypatch.setattr(lock, "file_lock", lambda _path: held)
    with pytest.raises(ZeroDivisionError), alone(tmp_path / "lock", "busy"):
        raise ZeroDivisionError
    assert not held.is_locked


def test_a_folder_in_its_place_is_set_aside(tmp_path: Path) -> None:
    (tmp_path / "lock").mkdir()
    with file_lock(tmp_path / "lock"):
        assert (tmp_path / "lock").is_file()
    assert (tmp_path / "lock.damaged").is_dir()


def test_where_nothing_can_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with (
        pytest.raises(InputError, match=r"file: cannot be written .*; allow it"),
        alone(tmp_path / "file/lock", "busy"),
    ):
        pass


HOLDER = """
import sys
from pathlib import Path
from trainer.system.lock import lock_open_file, take_lock
folder = Path(sys.argv[1])
file = open(folder / "journal", "ab")
held = take_lock(folder / "lock")
print(bool(held) and lock_open_file(file), flush=True)
sys.stdin.read()
"""


def test_a_killed_process_holds_nothing(tmp_path: Path) -> None:
    command = [sys.executable, "-c", HOLDER, str(tmp_path)]
    with subprocess.Popen(command, cwd=REPOSITORY, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == b"True\n"
        assert take_lock(tmp_path / "lock") is None
        assert is_locked(tmp_path / "journal")
        other.kill()
    assert take_lock(tmp_path / "lock") is not None
    assert not is_locked(tmp_path / "journal")


def test_open_files(tmp_path: Path) -> None:
    path = tmp_path / "journal"
    assert not is_locked(path)
    with path.open("ab") as first, path.open("ab") as second:
        assert lock_open_file(first)
        assert not lock_open_file(second)
        assert is_locked(path)
    assert not is_locked(path)


def test_a_filesystem_without_locks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_given: object) -> None:
        raise OSError(errno.EOPNOTSUPP, "Operation not supported")

    monkeypatch.setattr(lock.fcntl, "flock", refuse)
    path = tmp_path / "journal"
    with path.open("ab") as file:
        assert lock_open_file(file)
        assert not is_locked(path)
