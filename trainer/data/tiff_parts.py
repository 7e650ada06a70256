"""TIFF files in parts: some rows of their strips or tiles as files of their own, so that no file is decoded whole.

Each part is a small TIFF with the same tags, which is decoded as any other. So whatever can be read at all is read in
parts to the same pixels. A file of one part is what Pillow does not open itself: a BigTIFF whose numbers begin with
their highest byte.
"""

import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, BinaryIO

from trainer.data.tiff_directory import Field, TiffDirectory, as_classic, read_directory, tiff_of
from trainer.data.tiff_tags import PIECES, Tag

LARGE_BYTES = 64_000_000
"""Decoded images from this size on are read in parts."""

PART_BYTES = 32_000_000
"""Decoded pixels of a part, in bytes; but one row of tiles, or one strip, is always a part."""

CUT_BYTES = 65_536
"""Bytes that a strip is cut into, about, where one that is not compressed holds all rows."""

KEPT = {
    *(Tag.WIDTH, Tag.BITS, Tag.CHANNELS, Tag.FORMAT, Tag.PLANES, Tag.ROWS, Tag.TILE_WIDTH, Tag.TILE_HEIGHT),
    *(Tag.COMPRESSION, Tag.FILL_ORDER, Tag.PREDICTOR, Tag.TABLES, Tag.FAX_3, Tag.FAX_4, Tag.ORIENTATION),
    *(Tag.COLOURS, Tag.PALETTE, Tag.INKS, Tag.EXTRA, Tag.GDAL_NODATA, Tag.XMP),
    *(Tag.YCBCR_COEFFICIENTS, Tag.YCBCR_SUBSAMPLING, Tag.YCBCR_POSITIONS, Tag.BLACK_AND_WHITE),
}
"""Tags that say how pixels are decoded and shown: the same for a part as for the whole."""

NONE, OLD_JPEG, YCBCR = 1, 6, 6
"""Values of COMPRESSION, the second of which has its tables elsewhere, and one of COLOURS."""


@dataclass(frozen=True)
class TiffParts:
    """Image of a TIFF file, divided into its rows of pieces: strips, or tiles side by side."""

    directory: TiffDirectory
    places: tuple[int, int]
    """Tags of the places and the lengths of the pieces."""

    pieces: tuple[tuple[int, int], ...]
    """Place and length of each piece in the file, in bytes."""

    rows: int
    """Rows of pixels in a piece."""

    across: int
    """Pieces side by side."""

    size: tuple[int, int]
    """Height and width in pixels, as they are stored."""

    row_bytes: int
    """Decoded bytes of a row of pixels."""

    exact: bool
    """True for whole numbers of up to 16 bits, which are scaled alike whatever is beside them."""

    @property
    def count(self) -> int:
        """Rows of pieces."""
        return -(-self.size[0] // self.rows)

    def read(self, stream: BinaryIO, most_bytes: int) -> Iterator[tuple[slice, bytes]]:
        """Yield rows of pixels, as they are stored, and a file of them, whose pixels have about `most_bytes`."""
        step = max(1, most_bytes // max(1, self.rows * self.row_bytes))
        for first in range(0, self.count, step):
            last = min(self.count, first + step)
            yield slice(first * self.rows, min(self.size[0], last * self.rows)), self.file(stream, first, last)

    def file(self, stream: BinaryIO, first: int, last: int) -> bytes:
        """Classic TIFF file of the rows of pieces from `first` up to `last`."""
        order = self.directory.numbers.order
        each = self.count * self.across  # pieces of a channel where channels are stored one after the other
        chosen = [
            piece
            for plane in range(0, len(self.pieces), each)
            for piece in self.pieces[plane + first * self.across : plane + last * self.across]
        ]
        tags: dict[int, Sequence[int] | Field] = {
            tag: as_classic(field, order) for tag, field in self.directory.fields.items() if tag in KEPT
        }
        tags[Tag.HEIGHT] = (min(self.size[0], last * self.rows) - first * self.rows,)
        if self.places == PIECES[0]:
            tags[Tag.ROWS] = (self.rows,)
        return tiff_of(order == ">", tags, *self.places, [_read(stream, *piece) for piece in chosen])


def parts_of(stream: BinaryIO) -> TiffParts | None:
    """Parts of the first image of a TIFF file; None for other files, and where it cannot be divided."""
    try:
        directory = read_directory(stream)
        return None if directory is None else _parts(directory, stream.seek(0, io.SEEK_END))
    except Exception:  # of any type, for a broken file; whoever decodes it whole says what is wrong
        return None


def large_parts(stream: BinaryIO) -> TiffParts | None:
    """`parts_of` a large image that has several of them; None for all others."""
    parts = parts_of(stream)
    if parts is None or parts.count < 2 or parts.size[0] * parts.row_bytes < LARGE_BYTES:
        return None
    return parts


def opened_by_pillow(content: bytes) -> bytes:
    """Bytes of a file for Pillow: its own, or those of a classic TIFF with the first image of a big-endian BigTIFF."""
    if not content.startswith(b"MM\0+"):
        return content
    stream = io.BytesIO(content)
    parts = parts_of(stream)
    return content if parts is None else parts.file(stream, 0, parts.count)


def _parts(directory: TiffDirectory, file_bytes: int) -> TiffParts | None:
    tags = directory.tags()
    height, width, channels = int(tags[Tag.HEIGHT]), int(tags[Tag.WIDTH]), int(tags.get(Tag.CHANNELS, 1))
    places = next(pair for pair in PIECES if pair[0] in tags)
    pieces = list(zip(*(_several(tags[tag]) for tag in places), strict=True))
    tiled, planes = places == PIECES[1], channels if tags.get(Tag.PLANES, 1) == 2 else 1
    rows = int(tags[Tag.TILE_HEIGHT]) if tiled else min(height, int(tags.get(Tag.ROWS, height)))
    across = -(-width // int(tags[Tag.TILE_WIDTH])) if tiled else 1
    bits = _several(tags.get(Tag.BITS, 1))
    row_bits = width * (sum(bits) if len(bits) == channels else bits[0] * channels)
    compression = tags.get(Tag.COMPRESSION, NONE)
    sound = min(height, width, channels, rows) > 0 and compression != OLD_JPEG
    # A file may name the same bytes many times.
    if not sound or len(pieces) != planes * across * -(-height // rows) or sum(own for _, own in pieces) > file_bytes:
        return None
    if compression == NONE and rows == height and not tiled and len(set(bits)) == 1 and tags.get(Tag.COLOURS) != YCBCR:
        own = -(-row_bits // planes // 8)
        if all(length >= own * height for _, length in pieces):
            rows = max(1, CUT_BYTES // own)
            pieces = _cut(pieces, own * height, own * rows)
    whole = max(bits) <= 16 and set(_several(tags.get(Tag.FORMAT, 1))) == {1}
    return TiffParts(directory, places, tuple(pieces), rows, across, (height, width), -(-row_bits // 8), whole)


def _cut(pieces: Sequence[tuple[int, int]], length: int, most: int) -> list[tuple[int, int]]:
    """Strips of `length` bytes that are not compressed, cut into shorter ones of `most` bytes."""
    return [(place + at, min(most, length - at)) for place, _ in pieces for at in range(0, length, most)]


def _read(stream: BinaryIO, place: int, length: int) -> bytes:
    stream.seek(place)
    return stream.read(length)


def _several(value: Any) -> tuple[int, ...]:
    return tuple(value) if isinstance(value, tuple) else (value,)
