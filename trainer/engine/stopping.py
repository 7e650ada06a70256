"""Reasons for which training ends early, after the same step on all processes."""

import shutil
from pathlib import Path


class TrainingStopped(Exception):
    """Training ends early, after the same step on all processes."""


class NotWritten(TrainingStopped):
    """A file that had to be saved could not be written; the text names it and the bytes that are free."""

    def __init__(self, path: Path, error: Exception) -> None:
        free = shutil.disk_usage(path if path.exists() else path.parent).free
        super().__init__(f"{path}: could not be written ({error}); {free} bytes are free on its disk")


class Interrupted(TrainingStopped):
    """A signal asked for an end; the run was stopped at a step boundary, and saved."""


class NonFiniteLoss(TrainingStopped):
    """The loss or its gradient became NaN or infinite; the weights were not touched by it."""

    def __init__(self, text: str, processes: list[int], rows: list[int]) -> None:
        super().__init__(text)
        self.processes, self.rows = processes, rows
