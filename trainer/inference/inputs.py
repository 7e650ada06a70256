"""Images found in files and folders, the names of their results, and what is left out."""

import os
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from trainer import InputError
from trainer.data.account import Account, take_stock
from trainer.data.files import Reason, list_images
from trainer.data.stack import HEAD_BYTES, count_frames, count_pages, may_be_animated

EARLIER = Reason("of earlier predictions", by="folder")
LATER = Reason("behind the first frame, or pages of another size", warn=True)
ANIMATED = (".gif", ".png", ".webp", ".avif")
"""Suffixes of files that may hold several frames, in lower case."""

MOST_CLASHES = 20
"""Groups of images of one name that an error lists."""


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


def find_images(inputs: Sequence[Path], output: Path) -> tuple[list[InputImage], Account]:
    """List the images of files and folders, the latter with their subfolders, and account for what is left out.

    Earlier results are no input. Raises InputError where there is no image, an input is missing, or some would have the
    same name.
    """
    results = [output.resolve() / part for part in ("masks", "overlays")]
    images = {
        (os.path.realpath(image.path), image.name): image for given in inputs for image in _images_of(given, results)
    }
    named: defaultdict[Path, list[InputImage]] = defaultdict(list)
    for image in images.values():
        named[image.name].append(image)
    clashes = [group for group in named.values() if len(group) > 1]
    if clashes:
        lines = [
            f"{' and '.join(str(image.path) for image in group)} would all become masks/{group[0].name}.png"
            for group in clashes[:MOST_CLASHES]
        ]
        more = f"\n... and {len(clashes) - MOST_CLASHES} more" if len(clashes) > MOST_CLASHES else ""
        advice = "rename them, or predict them one by one, each with its own --output"
        raise InputError("\n".join(lines) + f"{more}; {advice}")
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


def _images_of(given: Path, results: Sequence[Path]) -> Iterator[InputImage]:
    """Images of one input; the folders `results` and those below are left out."""
    if not given.is_dir():
        if not given.is_file():
            raise InputError(f"{given}: {'no regular file' if given.exists() else 'no such file or folder'}")
        yield from _pages_of(given, Path(given.stem))
        return
    earlier = _below(given, results)
    for path in list_images(given, deep=True):
        if not any(path.is_relative_to(folder) for folder in earlier):
            yield from _pages_of(path, path.relative_to(given).with_suffix(""))


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
