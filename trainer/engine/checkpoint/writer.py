"""Thread that writes checkpoints, at a fixed interval."""

import time
from collections.abc import Callable
from concurrent import futures
from concurrent.futures import Future, ThreadPoolExecutor

from trainer.engine.checkpoint.format import Checkpoint


class CheckpointWriter:
    """Writes checkpoints in a thread, one at a time."""

    def __init__(self, write: Callable[[Checkpoint], None], minutes: float) -> None:
        """`write` writes one checkpoint; `minutes`: interval between two checkpoints."""
        self.write, self.seconds = write, 60 * minutes
        self.pool = ThreadPoolExecutor(1, "checkpoint")
        self.writing: Future[None] | None = None
        self.due_s = time.monotonic() + self.seconds

    def due(self) -> bool:
        """Return whether the interval has passed and the previous checkpoint is written."""
        return time.monotonic() >= self.due_s and (self.writing is None or self.writing.done())

    def error(self) -> Exception | None:
        """Error of the last checkpoint; None while it is being written."""
        error = self.writing.exception() if self.writing is not None and self.writing.done() else None
        return error if isinstance(error, Exception) else None

    def save(self, snapshot: Callable[[], Checkpoint], wait: bool) -> None:
        """Take a checkpoint with `snapshot` and start writing it.

        Raises the error of the previous checkpoint. With `wait`, waits until this one is written, and raises its error.
        """
        if self.writing is not None:
            self.writing.result()
        self.writing = self.pool.submit(self.write, snapshot())
        self.due_s = time.monotonic() + self.seconds
        if wait:
            self.writing.result()

    def wait(self) -> None:
        """Wait until the last checkpoint is written, or has failed, without raising its error."""
        if self.writing is not None:
            futures.wait([self.writing])
