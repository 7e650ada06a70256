"""Images found in files and folders, the names of their results, and what is left out."""

import os
import sys
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from trainer import InputError
from trainer.data.account import Account, take_stock
from trainer.data.files import Reason, list_images
from trainer.data.stack import HEAD_BYTES, count_frames, count_pages, may_be_animated
from trainer.inference.given import InputImage, expand
from trainer.inference.options import FOLDERS

EARLIER = Reason("of earlier predictions", by="folder")
LATER = Reason("behind the first frame, or pages of another size", warn=True)
ANIMATED = (".gif", ".png", ".webp", ".avif")
"""Suffixes of files that may hold several frames, in lower case."""

MOST_LISTED = 20
"""Missing inputs, or groups of images of one name, that an error lists."""


def find_images(
    inputs: Sequence[Path], output: Path, read_list: Callable[[], bytes] = lambda: sys.stdin.buffer.read()
) -> tuple[list[InputImage], Account]:
    """List the images of files and folders, the latter with their subfolders, and account for what is left out.

    An input may also be a pattern such as `pics/**/*.jpg`, or `-` for the list of paths that `read_list` gives. Earlier
    results are not input. Raises InputError where there is no image, an input is missing, or some would have the same
    name.
    """
    results = [output.resolve() / part for part in FOLDERS]
    given_inputs = [given for one in inputs for given in expand(one, read_list)]
    inputs = [path for path, _ in given_inputs]
    _require_there(inputs)
    images = {
        (os.path.realpath(image.path), image.name): image
        for given, name in given_inputs
        for image in _images_of(given, results, name)
    }
    named: defaultdict[Path, list[InputImage]] = defaultdict(list)
    for image in images.values():
        named[image.name].append(image)
    clashes = [group for group in named.values() if len(group) > 1]
    if clashes:
        lines = [
            f"{' and '.join(str(image.path) for image in group)} would get results of the same name, {group[0].name}"
            for group in clashes[:MOST_LISTED]
        ]
        advice = "rename them, or give each to a call of its own with another --output"
        raise InputError(f"{_listed(lines, len(clashes))}; {advice}")
    folders = [given for given in inputs if given.is_dir()]
    earlier = {str(path): EARLIER for given in folders for path in _below(given, results)}
    account = take_stock(folders, (str(image.path) for image in images.values()), earlier)
    for path in dict.fromkeys(image.path for image in images.values()):
        for number in range(_count_left(path)):
            account.add(LATER, f"{path}#{number + 2}")
    if not images:
        left_out = f"; left out, {account.summary()}" if account.count else ""
        raise InputError(f"{', '.join(map(str, inputs))}: no pictures there{left_out}")
    return list(images.values()), account


def _require_there(inputs: Sequence[Path]) -> None:
    """Raise InputError naming all inputs that are no file and no folder: a list may hold many."""
    bad = [given for given in inputs if not given.is_dir() and not given.is_file()]
    if bad:
        lines = [
            f"{given}: {'not a regular file' if given.exists() else 'no such file or folder'}"
            for given in bad[:MOST_LISTED]
        ]
        raise InputError(_listed(lines, len(bad)))


def _listed(lines: Sequence[str], count: int) -> str:
    """Lines of an error, which are the first of `count`."""
    return "\n".join([*lines, *[f"... and {count - len(lines)} more"] * (count > len(lines))])


def _images_of(given: Path, results: Sequence[Path], name: Path | None) -> Iterator[InputImage]:
    """Images of one input; the folders `results` and those below are left out.

    `name`: that of the results of a file, or the folder for those of a folder; None: the input says it.
    """
    if not given.is_dir():
        yield from _pages_of(given, name or Path(given.stem))
        return
    earlier = _below(given, results)
    for path in list_images(given, deep=True):
        if not any(path.is_relative_to(folder) for folder in earlier):
            yield from _pages_of(path, (name or Path()) / path.relative_to(given).with_suffix(""))


def _pages_of(path: Path, name: Path) -> Iterator[InputImage]:
    """The image of a file, or one for each page of a stack."""
    pages, _ = count_pages(path)
    if pages == 1:
        yield InputImage(path, name)
    for page in range(1, pages + 1) if pages > 1 else ():
        yield InputImage(path, name.with_name(f"{name.name}#{page}"), page)


def _count_left(path: Path) -> int:
    """Number of frames or pages of a file that are not predicted."""
    if path.suffix.lower() not in ANIMATED:
        return count_pages(path)[1]
    try:
        with path.open("rb") as file:
            head = file.read(HEAD_BYTES)
        return count_frames(path.read_bytes()) - 1 if may_be_animated(head) else 0
    except OSError:  # reported where the file is decoded
        return 0


def _below(given: Path, results: Sequence[Path]) -> list[Path]:
    """Those of the folders `results` that are `given` or lie below it, as paths that begin with `given`."""
    top = given.resolve()
    inside = [given / part.relative_to(top) for part in results if part.is_relative_to(top)]
    return inside + [given for part in results if top.is_relative_to(part)]
