"""Listing of image files and folders; reading of text files as UTF-8."""

import os
from pathlib import Path

from trainer import InputError
from trainer.data.encoding import Witness, decode, no_witness
from trainer.system.text import label

IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".tif", ".tiff", ".bmp", ".webp")
"""Suffixes of image and mask files, in lower case."""


def list_images(folder: Path) -> list[Path]:
    """List the image files directly in `folder`, sorted by name; suffixes in any case, hidden files left out."""
    # Names are sorted, because paths take several times as long.
    return [folder / name for name in sorted(filter(is_image, os.listdir(folder)))]


def list_folders(folder: Path) -> list[Path]:
    """List the folders directly in `folder`, sorted by name; empty if `folder` is no folder."""
    if not folder.is_dir():
        return []
    with os.scandir(folder) as entries:  # it knows the folders without a stat of each file
        return [folder / name for name in sorted(entry.name for entry in entries if entry.is_dir())]


def is_image(name: str) -> bool:
    """Return True if a file of this name is taken for an image."""
    return name.lower().endswith(IMAGE_SUFFIXES) and not name.startswith(".")


def read_bytes(path: Path) -> bytes:
    """Read a whole file. Raises InputError naming the file."""
    try:
        return path.read_bytes()
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror or error}); fix or remove it") from error


def read_text(file: Path, witness: Witness = no_witness) -> str:
    """Read a text file as UTF-8, or as `decode` recognises it. Raises InputError naming the file."""
    return decode(read_bytes(file), file, witness)


def read_lines(file: Path, witness: Witness = no_witness) -> list[str]:
    """Read the lines of a text file, stripped, without empty ones. Raises InputError naming the file."""
    return [line.strip() for line in read_text(file, witness).splitlines() if line.strip()]


def read_names(file: Path, witness: Witness = no_witness) -> list[str]:
    """Read the names of classes, one a line. Raises InputError naming the file."""
    return [label(line) for line in read_lines(file, witness)]
