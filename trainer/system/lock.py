"""Locks between processes. The system releases them when their process ends, however it ends.

Most are files of their own, held by the package filelock, which also knows Windows. A file whose own lock says that
somebody is writing it (`lock_open_file`) needs no second one beside it, in a folder that belongs to a person; it is
locked where the system and the filesystem can do that, and goes without where they cannot.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from filelock import FileLock, Timeout

from trainer import InputError
from trainer.system.atomic import set_aside, why_not_written

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]


def file_lock(path: Path) -> FileLock:
    """Lock of that name, which waits as long as another process holds it; a folder in its place is set aside."""
    if path.is_dir():
        set_aside(path)
    return FileLock(path)


def take_lock(path: Path, wait_s: float = 0.0) -> FileLock | None:
    """Hold the lock of that name; None where another process holds it for `wait_s` seconds.

    It is released by `release`, and where nothing refers to it any more. Raises OSError where the file cannot be made
    or locked.
    """
    lock = file_lock(path)
    try:
        lock.acquire(timeout=wait_s)
    except Timeout:
        return None
    return lock


@contextmanager
def alone(path: Path, busy: str, wait_s: float = 0.0) -> Iterator[None]:
    """Keep others that want the lock `path` out for the block.

    Raises InputError: with the text `busy` where another process holds it for `wait_s` seconds, and where the file
    cannot be made or locked.
    """
    try:
        lock = take_lock(path, wait_s)
    except OSError as error:
        raise InputError(f"{why_not_written(path.parent, error)}; allow it") from error
    if lock is None:
        raise InputError(busy)
    try:
        yield
    finally:
        lock.release()


def lock_open_file(file: IO[bytes]) -> bool:
    """Lock an open file until it is closed; return False where another process holds its lock.

    True also where files cannot be locked: two writers are not told apart there.
    """
    return fcntl is None or _try_lock(file, fcntl.LOCK_EX)


def is_locked(path: Path) -> bool:
    """Return whether a process holds the lock of a file; False where files cannot be locked."""
    if fcntl is None or not path.is_file():
        return False
    with path.open("rb") as file:
        return not _try_lock(file, fcntl.LOCK_SH)


def _try_lock(file: IO[bytes], kind: int) -> bool:
    """Return whether no other process holds the lock of an open file against that kind of lock."""
    try:
        fcntl.flock(file, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:  # a filesystem without locks
        return True
    return True
