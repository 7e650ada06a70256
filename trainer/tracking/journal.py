"""What a run has to tell, one JSON object a line, in a file that only grows.

The journal is written first and sent later: a tracking server that is slow or away costs training nothing. Each record
carries its own time, so sending it twice adds nothing.
"""

import json
import os
import threading
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

FSYNC_SECONDS = 5.0


class Journal:
    """Appends records. One writer; any number of readers, by `read_records`."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.last_step: dict[str, int] = {}
        self.known_params: set[str] = set()
        self.files: set[str] = set()
        length = 0
        for offset, record in read_records(path, 0) if path.exists() else ():
            length = offset
            for key in record.get("metrics", {}):
                self.last_step[key] = record["step"]
            self.known_params |= set(record.get("params", {}))
            self.files |= {record["artifact"]} if "artifact" in record else set()
        # A kill in the middle of a line leaves a torn one, which nobody has read.
        self.file = path.open("ab")
        self.file.truncate(length)
        self.lock = threading.Lock()
        self.synced_s = time.monotonic()

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
        """Write one record; it survives the process at once, and the machine within seconds."""
        line = json.dumps({"time": time.time_ns() // 1_000_000} | record) + "\n"
        with self.lock:
            self.file.write(line.encode())
            self.file.flush()
            if time.monotonic() - self.synced_s > FSYNC_SECONDS:
                os.fsync(self.file.fileno())
                self.synced_s = time.monotonic()

    def fsync(self) -> None:
        """Wait until the disk has what was appended so far."""
        os.fsync(self.file.fileno())

    def close(self) -> None:
        with self.lock:
            self.fsync()
            self.file.close()


def read_records(path: Path, offset: int) -> Iterator[tuple[int, dict[str, Any]]]:
    """The complete records from byte `offset` on, each with the offset behind it."""
    with path.open("rb") as file:
        file.seek(offset)
        for line in file:
            if not line.endswith(b"\n"):
                return
            offset += len(line)
            yield offset, json.loads(line)


def unsent(folder: Path) -> int:
    """How many records of a run folder the server does not have yet."""
    cursor = folder / "sent.json"
    offset = json.loads(cursor.read_text())["bytes"] if cursor.exists() else 0
    return sum(1 for _ in read_records(folder / "journal.jsonl", offset))


def write_json(path: Path, content: Any) -> None:
    """Write so that readers see the old file or the new one, never a part."""
    partial = path.with_name(f".{path.name}.partial")
    partial.write_text(json.dumps(content, indent=1))
    partial.rename(path)
