"""Log of the service: one JSON object a line. A thread of its own writes it, so that a slow reader holds nothing up."""

import json
import queue
import sys
import threading
from collections.abc import Mapping
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any, TextIO

from trainer import printable, redact_all

MOST_WAITING = 10_000
"""Lines that wait to be written; more are left out, and counted."""


class JsonLog:
    """Lines with `time`, `event` and facts. Images, tokens and queries are in none."""

    def __init__(self, target: TextIO | None = None) -> None:
        """`target`: where lines go; standard output by default."""
        self.target = target
        self.waiting: queue.Queue[str | None] = queue.Queue(MOST_WAITING)
        self.left_out = 0
        self.thread = threading.Thread(target=self._write, name="log", daemon=True)
        self.thread.start()

    def __call__(self, event: str, **facts: Any) -> None:
        """Add a line. Any thread may call."""
        time = datetime.now(UTC).isoformat(timespec="milliseconds")
        line = {"time": time, "event": event, **redact_all(facts)}
        try:
            self.waiting.put_nowait(_dump(line))
        except queue.Full:
            self.left_out += 1

    def _write(self) -> None:
        while (line := self.waiting.get()) is not None:
            if self.left_out:
                line += _dump({"event": "lines_left_out", "count": self.left_out})
                self.left_out = 0
            with suppress(OSError, ValueError):
                out = self.target or sys.stdout
                out.write(line)
                out.flush()

    def close(self, seconds: float = 2.0) -> None:
        """Write what waits, for a while: twice `seconds` at most."""
        with suppress(queue.Full):
            self.waiting.put(None, timeout=seconds)  # there may be no room yet
        self.thread.join(seconds)


def _dump(line: Mapping[str, Any]) -> str:
    return printable(json.dumps(line, default=str)) + "\n"
