"""Journal of an output folder: a line for each image that is done, with everything the reports say about it.

A line is added when all files of its image are written. It says of which content, model and options they are, so that
a later call can tell what is still to be done.
"""

import contextlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from trainer import InputError
from trainer.system.atomic import atomic_file
from trainer.system.lock import is_locked, lock_open_file

JOURNAL = "journal.jsonl"
"""File of the main process; the others of a call have a number in theirs."""

ENTRY = b'{"name": '
"""Beginning of a line about an image."""

END = b'{"end": true}\n'
"""Last line of the journal of a process that is not the main one."""


@dataclass(frozen=True)
class Entry:
    """Line of a journal."""

    name: str
    """Name of the results, without suffix: unique in the folder."""

    content: str
    """Digest of the image's file and its page."""

    model: str
    """Digest of the model."""

    options: str
    """Digest of the options."""

    version: str
    """The model, for a person."""

    row: dict[str, Any]
    """Row of the report; a failed image has an `error` there, and is done anew."""

    objects: list[dict[str, Any]]
    """What is to be said of each object, where an output asks for it."""

    def line(self) -> bytes:
        """The entry as a line of JSON."""
        return json.dumps(self.__dict__, ensure_ascii=True).encode() + b"\n"


def parse_entry(line: bytes) -> Entry | None:
    """Read a line; None where it was cut off, or is none of ours."""
    try:
        entry = Entry(**json.loads(line))
    except (ValueError, TypeError, RecursionError):
        return None
    texts = (entry.name, entry.content, entry.model, entry.options, entry.version)
    whole = isinstance(entry.row, dict) and isinstance(entry.objects, list)
    return entry if whole and all(isinstance(text, str) for text in texts) else None


def journal_file(output: Path, process: int = 0) -> Path:
    """Journal of one process of a call."""
    return output / (JOURNAL if process == 0 else f"journal-{process}.jsonl")


def journal_files(output: Path) -> list[Path]:
    """Journals that are there, those of all processes."""
    return [path for path in [output / JOURNAL, *sorted(output.glob("journal-*.jsonl"))] if path.is_file()]


def keep_entries(output: Path, entries: Mapping[str, tuple[Path, int]]) -> None:
    """Write the main journal anew from `entries`, name -> journal and position of its line; remove the other ones."""
    others = [path for path in journal_files(output) if path.name != JOURNAL]
    with contextlib.ExitStack() as stack, atomic_file(output / JOURNAL) as target:
        opened: dict[Path, IO[bytes]] = {}
        for path, position in entries.values():
            if path not in opened:
                opened[path] = stack.enter_context(path.open("rb"))
            opened[path].seek(position)
            target.write(opened[path].readline())
    for path in others:
        path.unlink(missing_ok=True)


def index_entries(output: Path) -> dict[str, tuple[Path, int]]:
    """Place of the last entry of each name in the journals of a folder: file and position of the line."""
    places: dict[str, tuple[Path, int]] = {}
    for path in journal_files(output):
        with path.open("rb") as file:
            position = 0
            for line in file:
                entry = parse_entry(line)
                if entry is not None and line.endswith(b"\n"):
                    places[entry.name] = (path, position)
                position += len(line)
    return places


def read_at(place: tuple[Path, int]) -> Entry | None:
    """Entry at a place of `index_entries`."""
    path, position = place
    with path.open("rb") as file:
        file.seek(position)
        return parse_entry(file.readline())


class JournalWriter:
    """Writer of the journal of one process. While it is open no other process gets the same one."""

    def __init__(self, path: Path) -> None:
        """Open a journal to add to it. Raises InputError where another process has it open."""
        self.file = path.open("ab", buffering=0)
        if not lock_open_file(self.file):
            self.file.close()
            raise InputError(
                f"--output {path.parent}: another predict.py is writing there; wait for it, or give another folder"
            )

    def add(self, entry: Entry) -> None:
        """Add an entry: after a kill it is there whole, or not at all."""
        self.file.write(entry.line())

    def end(self) -> None:
        """Say that this process has done its part."""
        self.file.write(END)

    def close(self) -> None:
        """Close the file, and let others open it."""
        self.file.close()


def is_open(path: Path) -> bool:
    """Return whether a process has a journal open to write."""
    return is_locked(path)


class Follower:
    """Reader of a journal that another process is adding to."""

    def __init__(self, path: Path) -> None:
        self.path, self.position = path, 0
        self.ended = False
        """Whether the other process has said that it has done its part."""

    def new_entries(self) -> Sequence[Entry]:
        """Entries that were added since the last call."""
        try:
            with self.path.open("rb") as file:
                file.seek(self.position)
                whole, newline, _ = file.read().rpartition(b"\n")
        except FileNotFoundError:
            return []
        self.position += len(whole) + len(newline)
        self.ended = self.ended or END.strip() in whole.split(b"\n")
        return [entry for line in whole.split(b"\n") if (entry := parse_entry(line)) is not None]
