"""What was worked out at an earlier start and need not be again: small arrays in mlruns/cache, which anyone may delete.

Digests of files. A file is not read again where its path, inode, size, time of last writing (mtime) and time of last
change of any kind (ctime) are those of the time when it was. This trusts the filesystem: Linux sets ctime at every
write, and no program can choose it, so a mask that was painted over is noticed even where an editor, rsync or unzip has
put size and mtime back. A file changed in the last SETTLED_S is always read, since clocks go in steps. Not noticed are
changes below the filesystem (a decaying disk, another machine that writes to the same device), through a memory map
that a program opened before and, on FAT, which has no ctime, by a program that puts size and mtime back. Delete
mlruns/cache/files-*.npy to have everything read.
"""

import hashlib
import os
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from filelock import FileLock

from trainer import InputError
from trainer.data.sample import Sample, digest
from trainer.system.parallel import Progress, on_all_cores

FORMAT = 1  # raise it when stamps or digests are made in another way
SETTLED_S = 5.0
"""FAT's clock goes in steps of 2 s, and that of a server may be behind ours."""

KNOWN = np.dtype([("stamp", "<u8"), ("digest", "S64")])


def load_array(file: Path, dtype: np.dtype) -> np.ndarray | None:
    """The array that `save_array` wrote; None where there is none that can be read."""
    try:
        found: np.ndarray = np.load(file)
    except (OSError, ValueError, EOFError):  # none yet, or damaged
        return None
    return found if found.dtype == dtype else None


def save_array(file: Path, values: np.ndarray) -> None:
    """Write an array for `load_array`. On a full disk there is none, which costs time at the next start only."""
    partial = file.with_name(f"{file.name}.{os.getpid()}.partial")
    try:
        with partial.open("wb") as target:
            np.save(target, values)
            target.flush()
            os.fsync(target.fileno())
        partial.replace(file)
    except OSError:
        partial.unlink(missing_ok=True)


def digests_of(samples: Sequence[Sample], folder: Path, progress: Progress) -> np.ndarray:
    """The digest of each sample, S64 [N]; b"" where a file cannot be read, which `scan` will tell of.

    Several processes may ask at once: one reads, the others wait and take what it has kept in `folder`.
    """
    homes = sorted({os.path.dirname(file) for sample in samples for file in sample.files})
    name = hashlib.sha256(repr((FORMAT, homes)).encode()).hexdigest()[:16]
    file = folder / f"files-{name}.npy"
    stamps = stamps_of(samples)
    digests = _known(stamps, load_array(file, KNOWN))
    if (digests != b"").all():
        return digests
    with FileLock(file.with_suffix(".lock")):
        digests = _known(stamps, load_array(file, KNOWN))
        unknown = np.flatnonzero(digests == b"")
        advance = progress("comparing files", len(unknown))

        def read(row: int) -> bytes:
            try:
                return digest(samples[row].image_content(), samples[row].mask_content()).encode()
            except InputError:
                return b""
            finally:
                advance()

        digests[unknown] = on_all_cores(read, unknown.tolist())
        found = (stamps != 0) & (digests != b"")
        entries = np.empty(int(found.sum()), KNOWN)
        entries["stamp"], entries["digest"] = stamps[found], digests[found]
        save_array(file, np.sort(entries, order="stamp"))
    return digests


def stamps_of(samples: Sequence[Sample]) -> np.ndarray:
    """A number that changes with a sample's contents, uint64 [N], without reading them; 0 where none can be trusted."""
    newest_ns = time.time_ns() - int(SETTLED_S * 1e9)
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


def _known(stamps: np.ndarray, entries: np.ndarray | None) -> np.ndarray:
    """The digests of `stamps`, S64 [N], among `entries`, KNOWN [M] sorted by stamp; b"" where there is none."""
    digests = np.zeros(len(stamps), KNOWN["digest"])
    if entries is not None and len(entries):
        places = np.minimum(np.searchsorted(entries["stamp"], stamps), len(entries) - 1)
        same = (entries["stamp"][places] == stamps) & (stamps != 0)
        digests[same] = entries["digest"][places[same]]
    return digests
