"""What a run has to tell, one JSON object a line, in a file that only grows.

The journal is written first and sent later: a tracking server that is slow or away costs training nothing. Each record
carries its own time, so sending it twice adds nothing.
"""

import json
import os
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

FSYNC_SECONDS = 5.0


class Journal:
    """Appends records. One writer; any number of readers, by `read_records`.

    A record survives the process as soon as it is appended, and the machine FSYNC_SECONDS later: a thread of the
    journal's own waits for the disk, so that training need not.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.last_step: dict[str, int] = {}
        self.known_params: set[str] = set()
        self.files: set[str] = set()
        length = 0
        for offset, record in read_records(path, 0) if path.exists() else ():
            length = offset
            self.last_step |= dict.fromkeys(record.get("metrics", {}), record.get("step", -1))
            self.known_params |= set(record.get("params", {}))
            self.files |= {record["artifact"]} if "artifact" in record else set()
        # A kill in the middle of a line leaves a torn one, which nobody has read.
        self.file = path.open("ab")
        self.file.truncate(length)
        self.lock, self.waiting_for_disk = threading.Lock(), threading.Lock()
        self.on_disk = False
        self.closing = threading.Event()
        self.thread = threading.Thread(target=self._fsync_regularly, name="journal", daemon=True)
        self.thread.start()

    def metrics(self, values: Mapping[str, float], step: int) -> None:
        """Points of curves. What an earlier start of this run recorded for this step or a later one stays as it is."""
        new = {key: value for key, value in values.items() if step > self.last_step.get(key, -1)}
        self.last_step |= dict.fromkeys(new, step)
        if new:
            self.append(metrics=new, step=step)

    def params(self, values: Mapping[str, str]) -> None:
        """Settings and facts of the run. The first value stays, as MLflow has it: it refuses another one."""
        new = {key: value for key, value in values.items() if key not in self.known_params}
        self.known_params |= set(new)
        if new:
            self.append(params=new)

    def append(self, **record: Any) -> None:
        line = json.dumps({"time": time.time_ns() // 1_000_000} | record) + "\n"
        with self.lock:
            self.file.write(line.encode())
            self.file.flush()
            self.on_disk = False

    def fsync(self) -> None:
        """Wait until the disk has what was appended so far. Appending goes on meanwhile."""
        with self.waiting_for_disk:
            if not self.on_disk:
                self.on_disk = True
                try:
                    os.fsync(self.file.fileno())
                except OSError:
                    self.on_disk = False
                    raise

    def close(self) -> None:
        self.closing.set()
        self.thread.join()
        self.fsync()
        self.file.close()

    def _fsync_regularly(self) -> None:
        while not self.closing.wait(FSYNC_SECONDS):
            with suppress(OSError):  # tried again, and raised by `close` where it stays
                self.fsync()


def read_records(path: Path, offset: int) -> Iterator[tuple[int, dict[str, Any]]]:
    """The complete records from byte `offset` on, each with the offset behind it."""
    with path.open("rb") as file:
        file.seek(offset)
        for line in file:
            if not line.endswith(b"\n"):
                return
            offset += len(line)
            yield offset, json.loads(line)
