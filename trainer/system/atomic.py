"""Files and folders that are there whole or not at all, also after a kill or a power cut.

Each is written under a hidden name, forced to the disk, and renamed. A killed process may leave a hidden name behind;
`leftovers` finds those.
"""

import errno
import hashlib
import json
import os
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, BinaryIO

from trainer import InputError, redact_all
from trainer.system.text import shorten

MOST_SYNCED = 64
"""Number of files that are forced to the disk one by one; one `sync` of the system is faster for more."""


LONGEST_NAME = 200
"""Bytes of a file's name that its hidden name begins with; filesystems take 255."""


PARTIAL = ".partial"
"""Suffix of the hidden name under which a file is written."""

FULL_TEXTS = (
    *("No space left on device", "os error 28", "disk is full", "Disk quota exceeded", "os error 122"),
    *("File too large", "os error 27", "PytorchStreamWriter failed writing"),
)
"""Parts of the messages with which Python, safetensors, sqlite and torch report a full disk or a file's limit."""


def disk_is_full(error: BaseException) -> bool:
    """Return whether an error, or one that led to it, means that the disk or a limit on files is reached."""
    full = getattr(error, "errno", None) in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
    if full or any(text in str(error) for text in FULL_TEXTS):
        return True
    before = error.__cause__ or error.__context__
    return before is not None and disk_is_full(before)


def why_not_written(path: Path, error: BaseException) -> str:
    """Sentence about a file or folder that could not be written; with the room there is where that is the reason."""
    text = f"{path}: cannot be written ({getattr(error, 'strerror', None) or error})"
    if not disk_is_full(error):
        return text
    existing = next(parent for parent in (path.absolute(), *path.absolute().parents) if parent.exists())
    free, limit = shutil.disk_usage(existing).free, _largest_file()
    if limit is not None and limit < free:
        return f"{text}; files of more than {limit} bytes are not allowed here, see ulimit -f"
    return f"{text}; {free} bytes are free on its disk"


def _largest_file() -> int | None:
    """Limit on the size of a file that a shell or a cluster has set for this process, in bytes; None without one."""
    try:
        import resource
    except ImportError:  # Windows
        return None
    limit = resource.getrlimit(resource.RLIMIT_FSIZE)[0]
    return None if limit == resource.RLIM_INFINITY else limit


def fsync(path: Path) -> None:
    """Wait until the contents of a file, or the entries of a folder, are on the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def fsync_tree(folder: Path) -> None:
    """Wait until a folder is on the disk with everything in it."""
    paths = [*folder.rglob("*"), folder]
    if len(paths) > MOST_SYNCED:
        os.sync()
        return
    for path in paths:
        fsync(path)


def leftovers(target: Path) -> list[Path]:
    """Hidden names that killed processes left beside `target`, whose name may be a pattern such as step-*."""
    states = ("partial", "old")  # never finished; replaced, and not yet removed
    return [path for state in states for path in target.parent.glob(f".{target.name}.*{state}")]


@contextmanager
def atomic_file(target: Path, durable: bool = True) -> Iterator[BinaryIO]:
    """Yield a file to write that replaces `target` at the end; `target` stays as it was where the block fails.

    `durable`: wait until it is on the disk, so that a power cut leaves it whole as well, not a kill alone.
    """
    partial = _partial(target)
    try:
        with partial.open("wb") as file:
            yield file
            file.flush()
            if durable:
                os.fsync(file.fileno())
        partial.replace(target)
    finally:
        partial.unlink(missing_ok=True)


def write_json(target: Path, content: Any) -> None:
    """Write `content` as JSON, without secrets: readers see the old file or the new one, never a part."""
    text = json.dumps(redact_all(content), indent=1)
    with atomic_file(target) as file:
        file.write(text.encode())


def write_text(target: Path, text: str) -> None:
    """Write a UTF-8 text file: readers see the old one or the new one, never a part.

    Bytes of file names that are no UTF-8 become escapes, which JSON turns back into the same names.
    """
    with atomic_file(target) as file:
        file.write(text.encode(errors="backslashreplace"))


def create_file(target: Path, content: bytes) -> bool:
    """Write a new file; return False, and change nothing, where there is one of that name already."""
    partial = _partial(target)
    try:
        with partial.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        try:
            os.link(partial, target)  # unlike renaming, it fails where the name is taken
        except FileExistsError:
            return False
        except OSError:  # a disk without links
            if os.path.lexists(target):
                return False
            partial.replace(target)
        return True
    finally:
        partial.unlink(missing_ok=True)


def replace_file(target: Path, content: bytes, sha256: str) -> bool:
    """Replace a file whose content has this digest; return False, and leave it, where its content is another.

    Also where another program writes into it at this moment.
    """
    partial, before = _partial(target), _partial(target)
    try:
        if not target.exists() or _digest(target) != sha256:
            return False
        with partial.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        with suppress(OSError):  # a disk without links
            os.link(target, before)  # what a program writes that has the old file open is seen here
        if _digest(target) != sha256:
            return False
        partial.replace(target)
        if before.exists() and _digest(before) != sha256:
            before.replace(target)
            return False
        return True
    finally:
        partial.unlink(missing_ok=True)
        before.unlink(missing_ok=True)


def _digest(file: Path) -> str:
    return hashlib.sha256(file.read_bytes()).hexdigest()


@contextmanager
def atomic_folder(target: Path, replace: bool = False) -> Iterator[Path]:
    """Yield a hidden folder that takes the name `target` at the end; removed where the block fails.

    `replace`: a folder of that name is moved out of sight, for `leftovers` to find; otherwise it is an OSError.
    """
    target = target.absolute()
    # Not always beside `target`: its parents may have to be made, and nothing is to stay where something fails.
    home = next(parent for parent in target.parents if parent.is_dir())
    partial = _partial(home / target.name)
    try:
        partial.mkdir()
        yield partial
        fsync_tree(partial)
        target.parent.mkdir(parents=True, exist_ok=True)
        if replace and target.exists():
            target.rename(hidden_name(target))
        partial.rename(target)
        fsync(target.parent)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


@contextmanager
def new_folder(target: Path) -> Iterator[Path]:
    """Yield a hidden folder that becomes `target`, which a person asked for, at the end.

    Raises InputError where `target` exists already or cannot be written; nothing is left behind then.
    """
    if target.exists() or target.is_symlink():
        raise InputError(f"{target.absolute()}: exists already; remove it or give another folder")
    try:
        with atomic_folder(target) as partial:
            yield partial
    except OSError as error:
        if error.errno in (errno.ENOTEMPTY, errno.EEXIST):
            raise InputError(f"{target.absolute()}: another program has just made it; give another folder") from error
        fix = "free some space, or name another folder" if disk_is_full(error) else "name another folder"
        raise InputError(f"{why_not_written(target.absolute(), error)}; {fix}") from error


def hidden_name(path: Path) -> Path:
    """Name under which a folder waits to be removed: a kill in mid-removal leaves no half a folder in sight."""
    return path.with_name(f".{path.name}.old")


def remove_partial(folder: Path) -> None:
    """Remove the hidden files below a folder that killed processes have left; nobody may be writing there."""
    for path in folder.rglob(f".*{PARTIAL}"):
        path.unlink(missing_ok=True)


def set_aside(path: Path) -> Path:
    """Rename a damaged file, or a folder in a file's place, so that a new one can be made; return its new name."""
    names = (path.with_name(f"{path.name}.damaged{number}") for number in ("", *range(2, 1000)))
    name = next(name for name in names if not os.path.lexists(name))
    path.rename(name)
    return name


def _partial(target: Path) -> Path:
    # A name of its own for each writer: threads and processes may write the same target.
    return target.with_name(f".{shorten(target.name, LONGEST_NAME)}.{secrets.token_hex(4)}{PARTIAL}")
