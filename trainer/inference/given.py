"""Images to predict, and inputs as a person gives them: paths, patterns, or a list of paths from another program."""

import codecs
import glob
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from trainer import InputError
from trainer.system.text import valid


@dataclass(frozen=True)
class InputImage:
    """File to predict, or a page of it, and the name of its results below masks/ and overlays/, without suffix."""

    path: Path
    name: Path
    page: int = 0
    """Number of the page of a stack, from 1; 0 for a file of one page."""

    @property
    def shown(self) -> str:
        """Path, and the page as `#3`."""
        return f"{self.path}#{self.page}" if self.page else str(self.path)

    @property
    def result_name(self) -> str:
        """Name of the results as the journal has it."""
        return valid(self.name.as_posix())


LIST = Path("-")
"""Input that stands for a list of paths on standard input."""

MOST_LIST_BYTES = 1_000_000_000
"""Longest list that is taken, in bytes."""

Given = tuple[Path, Path | None]
"""Path of a file or a folder, and the name of its results below the folders of the output; None where its own name does
for a file, and none is put before those in a folder."""


def expand(given: Path, read_list: Callable[[], bytes]) -> list[Given]:
    """Paths that an input stands for, each with the name of its results.

    Files of a pattern or a list keep their place below the folder that the pattern begins with, or that all files of
    the list have in common. Raises InputError where there are none.
    """
    if given == LIST:
        return _below_common(_parse_list(read_list()))
    text = str(given)
    if not glob.has_magic(text) or os.path.lexists(given):
        return [(given, None)]
    found = sorted(Path(path) for path in glob.iglob(text, recursive=True) if not os.path.isdir(path))
    if not found:
        raise InputError(f"{text}: no file is like that; ** stands for folders, * and ? for parts of a name")
    parts = given.parts
    fixed = Path(*parts[: next(at for at, part in enumerate(parts) if glob.has_magic(part))])
    return [(path, path.relative_to(fixed).with_suffix("")) for path in found]


def _parse_list(content: bytes) -> list[Path]:
    """Paths of a list: separated by NUL characters where there are any, otherwise one a line."""
    if len(content) > MOST_LIST_BYTES:
        raise InputError(f"standard input: a list of more than {MOST_LIST_BYTES:,} bytes; give folders")
    content = content.removeprefix(codecs.BOM_UTF8)  # editors of Windows begin a text with it
    parts = content.split(b"\0") if b"\0" in content else [line.removesuffix(b"\r") for line in content.split(b"\n")]
    paths = [Path(os.fsdecode(part)) for part in parts if part]
    if not paths:
        raise InputError("standard input: no paths there; write one a line, as in: ls *.jpg | predict.py --input - ...")
    return paths


def _below_common(paths: list[Path]) -> list[Given]:
    """Each path with its name below the folder that all have in common."""
    absolute = [Path(os.path.abspath(path)) for path in paths]
    top = os.path.commonpath([path.parent for path in absolute])
    return [
        (path, whole.relative_to(top) if path.is_dir() else whole.relative_to(top).with_suffix(""))
        for path, whole in zip(paths, absolute, strict=True)
    ]
