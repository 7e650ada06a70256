"""Journal of a run: one JSON object a line, in a file that only grows.

A record is written first and sent later, so a tracking server that is slow or unreachable costs training nothing. Each
record carries its own time, so sending it twice adds nothing.
"""

import json
import os
import re
import threading
import time
from collections import deque
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

FSYNC_SECONDS = 5.0
"""Interval between two forced writes to the disk, in seconds."""


RECORD_START = re.compile(rb'(?=\{"time": )')
"""Beginning of a record."""

KINDS = {"metrics": dict, "params": dict, "tags": dict, "artifact": str, "dataset": dict, "model": str, "status": str}
KINDS |= {"of_model": dict, "uses_model": str}
"""What a record may hold."""


class Journal:
    """Append-only file of records, with one writer and any number of readers (`read_records`).

    An appended record survives the end of the process at once, and a power cut after FSYNC_SECONDS: a thread of the
    journal waits for the disk, so that training need not. A record that could not be written is kept, and written
    before the next one, or by that thread.
    """

    def __init__(self, path: Path) -> None:
        """Open the journal of a new run, or of one that continues; an incomplete last line is cut off."""
        self.path = path
        self.last_step: dict[str, int] = {}
        self.known_params: set[str] = set()
        self.artifacts: set[str] = set()
        length = 0
        for offset, record in read_records(path, 0) if path.exists() else ():
            length = offset
            self.last_step |= dict.fromkeys(record.get("metrics", {}), record.get("step", -1))
            self.known_params |= set(record.get("params", {}))
            self.artifacts |= {record["artifact"]} if "artifact" in record else set()
        # A process killed in the middle of a line leaves an incomplete one, which no reader has used.
        self.file = path.open("ab", buffering=0)
        self.file.truncate(length)
        self.length = length
        """Bytes of whole records in the file."""
        self.unwritten: deque[bytes] = deque()
        """Records that are not in the file yet, since the disk was full."""
        self.write_lock, self.fsync_lock = threading.Lock(), threading.Lock()
        self.on_disk = False
        self.closing = threading.Event()
        self.thread = threading.Thread(target=self._fsync_regularly, name="journal", daemon=True)
        self.thread.start()

    def metrics(self, values: Mapping[str, float], step: int, **more: Any) -> None:
        """Append points of curves, except those of steps that an earlier start of this run has recorded already.

        `more`: what else the record holds.
        """
        new = {key: value for key, value in values.items() if step > self.last_step.get(key, -1)}
        self.last_step |= dict.fromkeys(new, step)
        if new:
            self.append(metrics=new, step=step, **more)

    def params(self, values: Mapping[str, str]) -> None:
        """Append settings and facts of the run. The first value of a key stays: MLflow refuses another one."""
        new = {key: value for key, value in values.items() if key not in self.known_params}
        self.known_params |= set(new)
        if new:
            self.append(params=new)

    def append(self, **record: Any) -> None:
        """Append one record, with the present time in milliseconds. Any thread may call this.

        Raises OSError where it cannot be written; it is kept then, and tried again.
        """
        line = json.dumps({"time": time.time_ns() // 1_000_000} | record) + "\n"
        with self.write_lock:
            self.unwritten.append(line.encode())
            self._write()

    def _write(self) -> None:
        """Write what is not in the file yet; a part of a record is cut off where the disk is full."""
        while self.unwritten:
            rest = self.unwritten[0]
            try:
                while rest:
                    rest = rest[self.file.write(rest) :]
            except OSError:
                with suppress(OSError):
                    self.file.truncate(self.length)
                raise
            self.length += len(self.unwritten.popleft())
            self.on_disk = False

    def fsync(self) -> None:
        """Wait until all records appended so far are on the disk. Other threads may append meanwhile.

        Raises OSError where one of them cannot be written.
        """
        with self.write_lock:
            self._write()
        with self.fsync_lock:
            if not self.on_disk:
                self.on_disk = True
                try:
                    os.fsync(self.file.fileno())
                except OSError:
                    self.on_disk = False
                    raise

    def close(self) -> None:
        """Force the records to the disk and close the file."""
        self.closing.set()
        self.thread.join()
        self.fsync()
        self.file.close()

    def _fsync_regularly(self) -> None:
        while not self.closing.wait(FSYNC_SECONDS):
            with suppress(OSError):  # the next call tries again, and `close` raises an error that stays
                self.fsync()


def read_records(path: Path, offset: int) -> Iterator[tuple[int, dict[str, Any]]]:
    """Yield the complete records from byte `offset` on, each with the offset of its end; an empty one if damaged."""
    with path.open("rb") as file:
        file.seek(offset)
        for line in file:
            if not line.endswith(b"\n"):
                return
            offset += len(line)
            # Several on one line: the byte between them, the end of a line, was damaged.
            *before, last = [part for part in RECORD_START.split(line) if part] or [line]
            for part in before:
                yield offset - len(line), _record(part[:-1])
            yield offset, _record(last)


def _record(line: bytes) -> dict[str, Any]:
    """Record of a line; an empty one where the line is damaged."""
    try:
        record = json.loads(line)
    except (ValueError, RecursionError):
        return {}
    if not isinstance(record, dict) or type(record.get("time")) is not int:
        return {}
    whole = all(isinstance(record.get(key, kind()), kind) for key, kind in KINDS.items())
    numbers = [*record.get("metrics", {}).values()] if whole else []
    texts = [*record.get("params", {}).values()] if whole else []
    whole = whole and all(isinstance(value, int | float) for value in numbers)
    whole = whole and all(isinstance(value, str) for value in texts)
    whole = whole and ("metrics" not in record or type(record.get("step")) is int)
    whole = whole and ("artifact" not in record or isinstance(record.get("to"), str))
    whole = whole and ("dataset" not in record or isinstance(record.get("context"), str))
    return record if whole and ("model" not in record or isinstance(record.get("model_tags"), dict)) else {}


def damaged_records(path: Path) -> int:
    """Number of the damaged records of a journal."""
    return sum(not record for _, record in read_records(path, 0))
