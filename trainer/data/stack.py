"""Pages of TIFF stacks: how many there are, and one page as a file of its own; frames of animations.

A TIFF file is a chain of directories, one for each page. The same bytes, with the first directory's offset changed to a
later one's, are a file that begins with that page: nothing is decoded or lost.
"""

import io
import os
import struct
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import BinaryIO

from PIL import Image

from trainer.data.files import read_bytes
from trainer.data.tiff_directory import TiffNumbers, numbers_of, read_number
from trainer.data.tiff_tags import Tag

SUFFIXES = (".tif", ".tiff")
"""Suffixes of files that may hold several pages, in lower case."""

HEAD_BYTES = 65_536
"""Bytes of a file that tell whether it is an animation."""

MOST_PAGES = 100_000
FEW_PAGES = 50
"""Directories that tell a stack from an image with smaller copies of itself."""


def count_pages(path: Path | str) -> tuple[int, int]:
    """Number of pages of a file that have the first one's size, and of those of another size; 1, 0 for no TIFF.

    Smaller copies of a page and transparency masks are no pages.
    """
    if not str(path).lower().endswith(SUFFIXES) or not os.path.isfile(path):
        return 1, 0
    try:
        with open(path, "rb") as file:
            pages, others = _page_offsets(file)
    except (OSError, struct.error):  # reported where the file is decoded
        return 1, 0
    return max(1, len(pages)), len(others)


def is_stack(content: bytes) -> bool:
    """Return whether a file's bytes have a second page of the first one's size, among their first directories."""
    file = io.BytesIO(content)
    form = numbers_of(file)
    if form is None:
        return False
    try:
        pages = list(islice(_directories(file, form), FEW_PAGES))
    except struct.error:  # reported where the file is decoded
        return False
    return any(not tags.get(Tag.SUBFILE, 0) & 5 and _size(tags) == _size(pages[0][1]) for _, tags in pages[1:])


def count_frames(content: bytes) -> int:
    """Number of frames of an animated GIF, PNG, WebP or AVIF file; 1 for all other files."""
    if not may_be_animated(content):
        return 1
    try:
        with Image.open(io.BytesIO(content), formats=("GIF", "PNG", "WEBP", "AVIF")) as pil_image:
            return int(getattr(pil_image, "n_frames", 1))
    except Exception:  # of any type, for a broken file; reported where it is decoded
        return 1


def may_be_animated(head: bytes) -> bool:
    """Tell by the first bytes of a file, HEAD_BYTES or more, whether it may have several frames."""
    if head.startswith(b"\x89PNG"):
        return b"acTL" in head[: max(0, head.find(b"IDAT"))]
    if head.startswith(b"RIFF"):
        return head[12:16] == b"VP8X" and len(head) > 20 and bool(head[20] & 2)
    return head.startswith(b"GIF8") or head[4:12] == b"ftypavis"


def page_content(path: Path, page: int) -> bytes:
    """Bytes of a TIFF file that begins with `page`, the first is 1. Raises InputError naming the file."""
    content = read_bytes(path)
    file = io.BytesIO(content)
    (offsets, _), form = _page_offsets(file), numbers_of(file)
    if form is None or page > len(offsets):
        return content
    changed = bytearray(content)
    struct.pack_into(form.offset, changed, form.start, offsets[page - 1])
    return bytes(changed)


def _page_offsets(file: BinaryIO) -> tuple[list[int], list[int]]:
    """Offset, in bytes, of the directory of each page of the first one's size, and of each one of another size."""
    form = numbers_of(file)
    pages = [] if form is None else list(_directories(file, form))
    same: list[int] = []
    others: list[int] = []
    for offset, tags in pages:
        if offset == pages[0][0] or not tags.get(Tag.SUBFILE, 0) & 5:
            (same if _size(tags) == _size(pages[0][1]) else others).append(offset)
    return same, others


def _size(tags: dict[int, int]) -> tuple[int | None, int | None]:
    return tags.get(Tag.HEIGHT), tags.get(Tag.WIDTH)


def _directories(file: BinaryIO, form: TiffNumbers) -> Iterator[tuple[int, dict[int, int]]]:
    """Offset of each directory, and its tags SUBFILE, WIDTH and HEIGHT. Ends at a loop or a fault."""
    seen = set[int]()
    file.seek(form.start)
    offset = read_number(file, form.offset)
    while offset and offset not in seen and len(seen) < MOST_PAGES:
        seen.add(offset)
        file.seek(offset)
        count = read_number(file, form.count)
        entries = file.read(count * form.entry_bytes) if count < 4096 else b""
        tags = {}
        for start in range(0, len(entries) - form.entry_bytes + 1, form.entry_bytes):
            tag, kind = struct.unpack_from(f"{form.order}HH", entries, start)
            if tag in (Tag.SUBFILE, Tag.WIDTH, Tag.HEIGHT):
                value = start + (12 if form.big else 8)
                tags[tag] = struct.unpack_from(f"{form.order}{'H' if kind == 3 else 'I'}", entries, value)[0]
        yield offset, tags
        try:
            offset = read_number(file, form.offset)
        except struct.error:
            return
