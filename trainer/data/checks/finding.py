"""What there is to say about labelled pictures: an error or a warning, and the files that it is about."""

import os
from collections.abc import Sequence
from dataclasses import dataclass

from trainer import InputError

ERROR, WARNING = "error", "warning"
MOST_FILES = 100
"""Files that a finding lists; the text counts them all."""


@dataclass(frozen=True)
class Finding:
    """One thing to mend (an error: nothing trains before) or to look at (a warning)."""

    level: str
    kind: str
    """One word for programs that read the report; `trainer/data/checks/report.py` lists them."""

    text: str
    """For a person: the file or files, the fault, the remedy."""

    files: tuple[str, ...] = ()
    """The first MOST_FILES files that it is about."""


class WrongFiles(InputError):
    """A fault of some files, which are known by their paths."""

    def __init__(self, text: str, kind: str, files: Sequence[object]) -> None:
        super().__init__(text)
        self.kind = kind
        self.files = tuple(str(file) for file in files[:MOST_FILES])


def error_of(error: InputError, kind: str = "unreadable", file: object = "") -> list[Finding]:
    """A finding for each line of an error that was raised about `file`."""
    if isinstance(error, WrongFiles):
        return [Finding(ERROR, error.kind, str(error), error.files)]
    return [Finding(ERROR, kind, line, (str(file),) if str(file) else ()) for line in str(error).splitlines()]


def folder_error(text: str) -> Finding:
    """The finding of a line that begins with the file that it is about."""
    parts = text.split(": ")
    starts = [": ".join(parts[:count]) for count in range(1, len(parts))]
    return Finding(ERROR, "folder", text, tuple(start for start in starts if os.path.exists(start))[:1])
