"""Image files of a folder, and the reasons why others are none; reading of text files as UTF-8."""

import os
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from trainer import InputError
from trainer.config import install_command
from trainer.data import heic
from trainer.data.encoding import Witness, decode, no_witness
from trainer.system.regular_file import read_regular
from trainer.system.text import label

IMAGE_SUFFIXES = (
    *(".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".tif", ".tiff", ".bmp", ".webp"),
    *(".gif", ".avif", ".ppm", ".pgm", ".pbm", ".pnm"),
    *(heic.SUFFIXES if heic.INSTALLED else ()),
)
"""Suffixes of image and mask files, in lower case."""

OTHER_FORMATS = (
    *(".jp2", ".j2k", ".jpx", ".jpf", ".jxl", ".jxr", ".psd", ".svg", ".eps", ".pdf", ".tga", ".dib"),
    *(".ico", ".exr", ".hdr", ".pfm", ".dds", ".qoi", ".mpo", ".apng", ".raw", ".dng", ".cr2", ".cr3", ".nef", ".arw"),
    *(".orf", ".rw2", ".raf", ".pef", ".srw", ".dcm", ".nii", ".nii.gz", ".mha", ".mhd", ".nrrd", ".npy", ".npz"),
    *(".svs", ".ndpi", ".mrxs", ".czi", ".lif", ".nd2", ".vsi", ".mp4", ".mov", ".avi", ".mkv", ".zip", ".tar", ".tgz"),
    *(".tar.gz", ".7z", ".rar"),
)
"""Suffixes of files that hold pictures, masks or whole data sets which are not read here, in lower case."""
MAX_BYTES = 2_000_000_000
"""Largest file that is read, in bytes: an uncompressed image of the largest size with 16 bits a channel is smaller."""


SYSTEM_NAMES = {
    *("__macosx", "@eadir", "#recycle", "$recycle.bin", "system volume information", "lost+found", "__pycache__"),
    *("thumbs.db", "ehthumbs.db", "desktop.ini", "icon\r"),
}
"""Names, in lower case, of files and folders that systems put everywhere; `SYNOPHOTO_THUMB_S.jpg` lies in `@eaDir`."""


@dataclass(frozen=True)
class Reason:
    """Why files are left out."""

    text: str
    """Follows a number of files: "3 files ..."."""

    advice: str = ""
    warn: bool = False
    """True where pictures or labels are lost that somebody may miss."""

    by: str = "file"
    """What the files are counted by in a sentence: "file", "folder" or "suffix"."""

    unlabelled: bool = False
    """True for images that nobody has labelled yet, which data.unlabelled auto takes."""


HIDDEN = Reason("hidden or of the system")
SPECIAL = Reason("of no content to read (a pipe, device or broken link)", warn=True)
FORMAT = Reason("in formats that are not read here", "convert them to PNG or JPEG", warn=True, by="suffix")
HEIC = Reason(
    "in the format HEIC, which this installation does not read",
    f"{install_command('heic')} changes that; or convert them to PNG or JPEG",
    warn=True,
    by="suffix",
)
OTHER = Reason("of other kinds", by="suffix")


def why_no_image(entry: os.DirEntry[str]) -> Reason | None:
    """Why a file is not taken for an image; None where it is. Decided by its name and kind, without opening it."""
    name = entry.name.lower()
    if is_image(name):
        return None if is_file(entry) else SPECIAL
    if is_hidden(name):
        return HIDDEN
    if not is_file(entry):
        return SPECIAL
    if name.endswith(heic.SUFFIXES):
        return HEIC
    return FORMAT if name.endswith(OTHER_FORMATS) else OTHER


def is_image(name: str) -> bool:
    """Return True if a regular file of this name is taken for an image."""
    return name.lower().endswith(IMAGE_SUFFIXES) and not is_hidden(name)


def is_file(entry: os.DirEntry[str]) -> bool:
    """Return True for a regular file, or a link to one; False for a link in a circle."""
    try:
        return entry.is_file()
    except OSError:
        return False


def is_folder(entry: os.DirEntry[str]) -> bool:
    """Return True for a folder, or a link to one; False for a link in a circle."""
    try:
        return entry.is_dir()
    except OSError:
        return False


def is_hidden(name: str) -> bool:
    """Return True for hidden files and folders, and for those that systems put everywhere."""
    return name.startswith(".") or name.lower() in SYSTEM_NAMES


def list_images(folder: Path, deep: bool = False) -> list[Path]:
    """List the image files in `folder`, sorted by name; suffixes in any case.

    Hidden files, and all but regular files, are left out. `deep`: also those in the folders below, but
    not in hidden ones and not in links.
    """
    return list_files(folder, IMAGE_SUFFIXES, deep)


def list_files(folder: Path, suffixes: tuple[str, ...], deep: bool = False) -> list[Path]:
    """List the files with these suffixes, in lower case, as `list_images` does.

    Raises InputError where `folder` cannot be read; folders below that cannot are left out.
    """
    files: list[Path] = []
    waiting = [folder]
    while waiting:  # a stack, because folders may lie deeper than Python recurses
        here = waiting.pop()
        try:
            entries = [entry for entry in scan_folder(here) if not is_hidden(entry.name)]
        except InputError:
            if here == folder:
                raise
            continue
        names = [entry.name for entry in entries if entry.name.lower().endswith(suffixes) and is_file(entry)]
        # Names are sorted, because paths take several times as long.
        files += [here / name for name in sorted(names)]
        if deep:
            below = sorted(entry.name for entry in entries if entry.is_dir(follow_symlinks=False))
            waiting += [here / name for name in reversed(below)]
    return files


def scan_folder(folder: str | Path) -> Iterator[os.DirEntry[str]]:
    """Entries of a folder, lazily: listing a million files takes seconds. Raises InputError naming the folder."""
    try:
        with os.scandir(folder) as entries:  # it knows the kind of each without a `stat`
            yield from entries
    except OSError as error:
        raise InputError(f"{folder}: cannot be read ({error.strerror}); allow it or take the folder out") from error


def list_folders(folder: Path) -> list[Path]:
    """List the folders directly in `folder`, sorted by name; empty if `folder` is not a folder."""
    if not folder.is_dir():
        return []
    return [folder / name for name in sorted(entry.name for entry in scan_folder(folder) if is_folder(entry))]


def file_bytes(files: Sequence[str]) -> int:
    """Size of all files together; those that cannot be looked up count nothing."""
    total = 0
    for file in files:
        with suppress(OSError, ValueError):
            total += os.stat(file).st_size
    return min(total, MAX_BYTES)


def read_bytes(path: str | Path) -> bytes:
    """Read a whole regular file. Raises InputError naming the file."""
    try:
        return read_regular(path, MAX_BYTES)
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
