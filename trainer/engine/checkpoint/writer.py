"""Writing of checkpoints in a thread, by the clock."""

import time
from collections.abc import Callable
from concurrent import futures
from concurrent.futures import Future, ThreadPoolExecutor

from trainer.engine.checkpoint.format import Checkpoint


class CheckpointWriter:
    """Passes checkpoints to `write` in a thread of its own, one at a time."""

    def __init__(self, write: Callable[[Checkpoint], None], minutes: float) -> None:
        self.write, self.seconds = write, 60 * minutes
        self.pool = ThreadPoolExecutor(1, "checkpoint")
        self.writing: Future[None] | None = None
        self.due_s = time.monotonic() + self.seconds

    def due(self) -> bool:
        """Whether it is time for the next one, and the one before is written."""
        return time.monotonic() >= self.due_s and (self.writing is None or self.writing.done())

    def error(self) -> Exception | None:
        """Error of the last one."""
        error = self.writing.exception() if self.writing is not None and self.writing.done() else None
        return error if isinstance(error, Exception) else None

    def save(self, snapshot: Callable[[], Checkpoint], wait: bool) -> None:
        """Start writing what `snapshot` gives. With `wait`, return when it is written, or raise what prevented it."""
        if self.writing is not None:
            self.writing.result()
        self.writing = self.pool.submit(self.write, snapshot())
        self.due_s = time.monotonic() + self.seconds
        if wait:
            self.writing.result()

    def wait(self) -> None:
        """Return when nothing is being written any more, whether or not it went well."""
        if self.writing is not None:
            futures.wait([self.writing])
