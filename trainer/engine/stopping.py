"""Reasons for which training ends early, after the same step on all processes."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from safetensors import SafetensorError

from trainer.system.atomic import disk_is_full, why_not_written


class TrainingStopped(Exception):
    """Training ends early, after the same step on all processes."""


class NotWritten(TrainingStopped):
    """A file that had to be saved could not be written; the text names it, and the bytes free on a full disk."""

    def __init__(self, path: Path, error: Exception) -> None:
        super().__init__(why_not_written(path, error))


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Raise NotWritten, which names `path`, where a block that writes below it fails because of the disk."""
    try:
        yield
    except Exception as error:
        if isinstance(error, OSError | SafetensorError) or disk_is_full(error):
            raise NotWritten(path, error) from error
        raise


class Interrupted(TrainingStopped):
    """A signal asked for an end; the run was stopped at a step boundary, and saved."""


class NonFiniteLoss(TrainingStopped):
    """The loss or its gradient became NaN or infinite; the weights were not touched by it."""

    def __init__(self, text: str, processes: list[int], rows: list[int]) -> None:
        super().__init__(text)
        self.processes, self.rows = processes, rows
