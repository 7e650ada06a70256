"""Small arrays computed at an earlier start and stored in mlruns/cache, which may be deleted at any time.

Most hold the digests of files. A file is not read again while its path, inode, size, modification time (mtime) and
change time (ctime) are the stored ones. This trusts the filesystem: Linux sets ctime at every write, and no program can
choose it, so a mask that was painted over is noticed even where an editor, rsync or unzip has restored size and mtime.
A file changed in the last MIN_AGE_S seconds is always read, because filesystem clocks are coarse. Not noticed are
changes below the filesystem (a decaying disk, another machine that writes to the same device), changes through a memory
map opened earlier and, on FAT, which has no ctime, changes by a program that restores size and mtime. To have
everything read again, delete mlruns/cache/files-*.npy.
"""

import hashlib
import os
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import numpy as np
from filelock import FileLock

from trainer import InputError
from trainer.data.files import file_bytes
from trainer.data.image_io import PIXELS
from trainer.data.sample import Sample, digest
from trainer.system.atomic import atomic_file
from trainer.system.parallel import Progress, on_all_cores

FORMAT = 1
"""Version of the stored digests; to be raised when stamps or digests are computed in another way."""

MIN_AGE_S = 5.0
"""Age from which a file's times are trusted, in seconds: FAT's clock has steps of 2 s, a server's may be late."""

ENTRY = np.dtype([("stamp", "<u8"), ("digest", "S64")])
"""A stored digest and the stamp of the files that it was computed from."""


def load_array(file: Path, dtype: np.dtype) -> np.ndarray | None:
    """Load an array that `save_array` wrote; None if the file is missing, damaged or of another dtype."""
    try:
        values: np.ndarray = np.load(file)
    except (OSError, ValueError, EOFError):  # missing, or damaged
        return None
    return values if values.dtype == dtype else None


def save_array(file: Path, values: np.ndarray) -> None:
    """Write an array for `load_array`. On a full disk there is none, which costs time at the next start only."""
    with suppress(OSError), atomic_file(file) as target:
        np.save(target, values)


class FileIndex:
    """Digests of the files of some samples, as an earlier start has stored them in `folder`.

    Several processes may use one at once: the one that has `lock` reads the files, the others wait for its result.
    """

    def __init__(self, samples: Sequence[Sample], folder: Path) -> None:
        parents = sorted({os.path.dirname(file) for sample in samples for file in sample.files})
        name = hashlib.sha256(repr((FORMAT, parents)).encode(errors="surrogateescape")).hexdigest()[:16]
        self.file = folder / f"files-{name}.npy"
        self.lock = FileLock(self.file.with_suffix(".lock"))
        self.stamps = stamps_of(samples)

    def load(self) -> np.ndarray:
        """Stored digest of each sample, S64 [N]; b"" where there is none, or a file has changed."""
        return _find_digests(self.stamps, load_array(self.file, ENTRY))

    def store(self, digests: np.ndarray) -> None:
        """Store the digests, S64 [N], of contents that were read after this index was made."""
        usable = (self.stamps != 0) & (digests != b"")
        entries = np.empty(int(usable.sum()), ENTRY)
        entries["stamp"], entries["digest"] = self.stamps[usable], digests[usable]
        save_array(self.file, np.sort(entries, order="stamp"))


def digests_of(samples: Sequence[Sample], index: FileIndex, progress: Progress) -> np.ndarray:
    """Digest of each sample, S64 [N]; b"" where a file cannot be read, which `scan` reports."""
    digests = index.load()
    if (digests != b"").all():
        return digests
    with index.lock:
        digests = index.load()
        unknown = np.flatnonzero(digests == b"")
        advance = progress("comparing files", len(unknown))

        def read(row: int) -> bytes:
            try:
                with PIXELS.hold(file_bytes(samples[row].files) // 4):
                    return digest(samples[row].image_content(), samples[row].mask_content()).encode()
            except InputError:
                return b""
            finally:
                advance()

        digests[unknown] = on_all_cores(read, unknown.tolist())
        index.store(digests)
    return digests


def stamps_of(samples: Sequence[Sample]) -> np.ndarray:
    """Hash of each sample's file states, uint64 [N], which changes with the contents; 0 where it cannot be trusted."""
    newest_ns = time.time_ns() - int(MIN_AGE_S * 1e9)
    return np.array([_stamp(sample, newest_ns) for sample in samples], dtype=np.uint64)


def _stamp(sample: Sample, newest_ns: int) -> int:
    parts: list[object] = [type(sample).__name__, sample.own_content()]
    for file in sample.files:
        try:
            state = os.stat(file)
        except (OSError, ValueError):
            return 0
        if max(state.st_mtime_ns, state.st_ctime_ns) > newest_ns:
            return 0
        parts += [file, state.st_ino, state.st_size, state.st_mtime_ns, state.st_ctime_ns]
    return int.from_bytes(hashlib.blake2b(repr(parts).encode(errors="surrogateescape"), digest_size=8).digest())


def _find_digests(stamps: np.ndarray, entries: np.ndarray | None) -> np.ndarray:
    """Look up the digests of `stamps`, S64 [N], in `entries`, ENTRY [M] sorted by stamp; b"" for unknown stamps."""
    digests = np.zeros(len(stamps), ENTRY["digest"])
    if entries is not None and len(entries):
        positions = np.minimum(np.searchsorted(entries["stamp"], stamps), len(entries) - 1)
        same = (entries["stamp"][positions] == stamps) & (stamps != 0)
        digests[same] = entries["digest"][positions[same]]
    return digests
