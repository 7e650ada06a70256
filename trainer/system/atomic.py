"""Files and folders that are there whole or not at all, also after a power cut."""

import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from trainer import InputError


def _to_disk(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def folder_in_making(out: Path) -> Iterator[Path]:
    """A hidden folder, which becomes `out` at the end; removed where something fails."""
    out = out.absolute()
    if out.exists() or out.is_symlink():
        raise InputError(f"{out}: exists already; remove it or give another folder")
    home = next(parent for parent in out.parents if parent.is_dir())
    # Not beside `out`: its parents may have to be made, and nothing is to stay where something fails.
    partial = home / f".{out.name}.partial-{os.getpid()}"
    try:
        partial.mkdir()
        yield partial
        out.parent.mkdir(parents=True, exist_ok=True)
        os.replace(partial, out)
    except OSError as error:
        raise InputError(
            f"{out}: cannot be written ({error.strerror or error}); free some space or name another folder"
        ) from error
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def write_json(path: Path, content: Any) -> None:
    """Write so that readers, also after a power cut, see the old file or the new one, never a part."""
    partial = path.with_name(f".{path.name}.partial")
    text = json.dumps(content, indent=1)
    with partial.open("w") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    partial.rename(path)
