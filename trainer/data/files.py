"""Listing of image files and folders; reading of text files as UTF-8."""

import io
import os
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from trainer import InputError
from trainer.system.regular_file import read_regular

IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".tif", ".tiff", ".bmp", ".webp")
"""Suffixes of image and mask files, in lower case."""

MAX_BYTES = 2_000_000_000
"""Largest file that is read, in bytes: an uncompressed image of the largest size with 16 bits a channel is smaller."""


def list_images(folder: Path) -> list[Path]:
    """List the image files directly in `folder`, sorted by name; suffixes in any case, hidden files left out."""
    # Names are sorted, because paths take several times as long.
    return [folder / name for name in sorted(filter(is_image, os.listdir(folder)))]


def list_folders(folder: Path) -> list[Path]:
    """List the folders directly in `folder`, sorted by name; empty if `folder` is no folder."""
    if not folder.is_dir():
        return []
    with os.scandir(folder) as entries:  # it knows the folders without a stat of each file
        return [folder / name for name in sorted(entry.name for entry in entries if _is_folder(entry))]


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # links in a circle
        return False


def is_image(name: str) -> bool:
    """Return True if a file of this name is taken for an image."""
    return name.lower().endswith(IMAGE_SUFFIXES) and not name.startswith(".")


def file_bytes(files: Sequence[str]) -> int:
    """Size of all files together; those that cannot be looked up count nothing."""
    total = 0
    for file in files:
        with suppress(OSError, ValueError):
            total += os.stat(file).st_size
    return min(total, MAX_BYTES)


def read_bytes(path: Path) -> bytes:
    """Read a whole regular file. Raises InputError naming the file."""
    try:
        return read_regular(path, MAX_BYTES)
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror or error}); fix or remove it") from error


def read_text(file: Path) -> str:
    """Read a UTF-8 text file, without a byte order mark. Raises InputError naming the file."""
    try:
        return io.TextIOWrapper(io.BytesIO(read_regular(file, MAX_BYTES)), "utf-8-sig").read()
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{file}: cannot be read as UTF-8 text ({error}); save it as such") from error


def read_lines(file: Path) -> list[str]:
    """Read the lines of a UTF-8 text file, stripped, without empty ones. Raises InputError naming the file."""
    return [line.strip() for line in read_text(file).splitlines() if line.strip()]
