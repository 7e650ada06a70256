"""Files and folders of a dataset, found by name; text files read as UTF-8."""

import os
from pathlib import Path

from trainer import InputError

IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".tif", ".tiff", ".bmp", ".webp")


def list_images(folder: Path) -> list[Path]:
    """The image files directly in `folder`, sorted by name; suffixes in any case, hidden files left out."""
    # Names, not paths, which take several times as long to sort.
    return [folder / name for name in sorted(filter(is_image, os.listdir(folder)))]


def list_folders(folder: Path) -> list[Path]:
    """The folders directly in `folder`, sorted by name; none where it is no folder."""
    if not folder.is_dir():
        return []
    with os.scandir(folder) as entries:  # which knows what is a folder without a question for each file
        return [folder / name for name in sorted(entry.name for entry in entries if entry.is_dir())]


def is_image(name: str) -> bool:
    """Whether a file of this name is taken for an image."""
    return name.lower().endswith(IMAGE_SUFFIXES) and not name.startswith(".")


def read_bytes(path: Path) -> bytes:
    """All of a file. Raises InputError naming it."""
    try:
        return path.read_bytes()
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror or error}); mend or remove it") from error


def read_text(file: Path) -> str:
    """A UTF-8 text file, without the mark that Windows puts in front. Raises InputError naming the file."""
    try:
        return file.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{file}: cannot be read as UTF-8 text ({error}); save it as such") from error


def read_lines(file: Path) -> list[str]:
    """The lines of a text file that hold something, without the space around it."""
    return [line.strip() for line in read_text(file).splitlines() if line.strip()]
