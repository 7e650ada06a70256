"""Findings of the checks: errors and warnings about files."""

import os
from collections.abc import Sequence
from dataclasses import dataclass

from trainer import InputError
from trainer.system.text import messages

ERROR, WARNING = "error", "warning"
"""Levels of a finding."""

MOST_FILES = 100
"""Files that a finding lists; its text counts all of them."""


@dataclass(frozen=True)
class Finding:
    """A fault that must be mended before training (an error), or that should be looked at (a warning)."""

    level: str
    """ERROR or WARNING."""

    kind: str
    """One word for programs that read the report; `trainer/data/checks/report.py` lists them."""

    text: str
    """Message for a person: the file or files, the fault, the remedy."""

    files: tuple[str, ...] = ()
    """Paths of the first MOST_FILES files with the fault."""


class WrongFiles(InputError):
    """An error about files whose paths are known."""

    def __init__(self, text: str, kind: str, files: Sequence[object]) -> None:
        super().__init__(text)
        self.kind = kind
        self.files = tuple(str(file) for file in files[:MOST_FILES])


def error_of(error: InputError, kind: str = "unreadable", file: object = "") -> list[Finding]:
    """Findings for an error that was raised about `file`: one for each line, or one for WrongFiles."""
    if isinstance(error, WrongFiles):
        return [Finding(ERROR, error.kind, str(error), error.files)]
    return [Finding(ERROR, kind, line, (str(file),) if str(file) else ()) for line in messages(str(error))]


def folder_error(text: str) -> Finding:
    """Finding for a message that begins with a path and a colon."""
    parts = text.split(": ")
    prefixes = [": ".join(parts[:count]) for count in range(1, len(parts))]
    return Finding(ERROR, "folder", text, tuple(prefix for prefix in prefixes if os.path.exists(prefix))[:1])
