"""Opening of regular files alone: a pipe may be waited for without end, and a device fill the memory."""

import os
import stat
from io import BufferedReader
from pathlib import Path

from trainer import InputError

KINDS = {
    stat.S_IFDIR: "a folder",
    stat.S_IFIFO: "a named pipe",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
}
"""Words for what is not a regular file."""


def open_regular(path: str | Path) -> BufferedReader:
    """Open a regular file, or a link to one, for reading.

    Raises InputError where something else lies there, and OSError where it cannot be opened.
    """
    return os.fdopen(_open(path)[0], "rb")


def read_regular(path: str | Path, most_bytes: int) -> bytes:
    """Read a regular file of at most `most_bytes`, or the file that a link leads to.

    Raises InputError where it is larger or something else lies there, and OSError where it cannot be read.
    """
    descriptor, size = _open(path)
    try:
        if size > most_bytes:
            raise InputError(f"{path}: {size:,} bytes, more than {most_bytes:,}; make it smaller or remove it")
        parts = []
        while size > 0 and (part := os.read(descriptor, size)):  # no more than that: files of /proc have no end
            parts.append(part)
            size -= len(part)
        return parts[0] if len(parts) == 1 else b"".join(parts)
    finally:
        os.close(descriptor)


def _open(path: str | Path) -> tuple[int, int]:
    """Descriptor of a regular file that was opened for reading, and its size in bytes."""
    _require_regular(path, os.stat(path).st_mode)  # first of all: opening alone makes some devices act
    # Not waiting, for what has become a pipe in the meantime.
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        state = os.fstat(descriptor)
        _require_regular(path, state.st_mode)
    except InputError:
        os.close(descriptor)
        raise
    return descriptor, state.st_size


def _require_regular(path: str | Path, mode: int) -> None:
    if not stat.S_ISREG(mode):
        kind = KINDS.get(stat.S_IFMT(mode), "something else")
        raise InputError(f"{path}: {kind}, not a file; remove it")
