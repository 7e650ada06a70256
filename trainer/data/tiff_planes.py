"""TIFF files of 16 bits that store one channel after the other (PlanarConfiguration 2).

Of these Pillow gives the high byte of each level, or garbage. Each channel by itself, as a grey TIFF, it decodes whole.
"""

import io
import struct
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from PIL import Image

WIDTH, HEIGHT, BITS, COMPRESSION, COLOURS, ORIENTATION, CHANNELS, PLANES = 256, 257, 258, 259, 262, 274, 277, 284
ROWS, PREDICTOR, TILE_WIDTH, TILE_HEIGHT = 278, 317, 322, 323
PIECES = (273, 279), (324, 325)
"""Tags of the places and the lengths of strips, and of tiles."""

KEPT = (WIDTH, HEIGHT, COMPRESSION, ORIENTATION, ROWS, PREDICTOR, TILE_WIDTH, TILE_HEIGHT)
"""Tags that hold for a channel as for the whole."""


def has_planes(pil_image: Image.Image) -> bool:
    """Return True for an opened TIFF of 16 bits with several channels, one stored after the other."""
    tags = _tags(pil_image)
    return tags.get(PLANES, 1) == 2 and tags.get(CHANNELS, 1) > 1 and set(tags.get(BITS, ())) == {16}


def open_planes(pil_image: Image.Image) -> Iterator[Image.Image]:
    """Open each channel of an image that `has_planes` and is not decoded yet, mode I;16, as it is stored."""
    tags, content = _tags(pil_image), pil_image.fp.getvalue()  # type: ignore[attr-defined]
    places, lengths = next(pair for pair in PIECES if pair[0] in tags)
    pieces = list(zip(tags[places], tags[lengths], strict=True))
    count = len(pieces) // tags[CHANNELS]
    kept = {tag: (int(tags[tag]),) for tag in KEPT if tag in tags} | {BITS: (16,), COLOURS: (1,), CHANNELS: (1,)}
    for channel in range(tags[CHANNELS]):
        own = [content[place : place + length] for place, length in pieces[channel * count : (channel + 1) * count]]
        yield Image.open(io.BytesIO(tiff_of(content[:2] == b"MM", kept, places, lengths, own)), formats=("TIFF",))


def tiff_of(big: bool, tags: Mapping[int, Sequence[int]], places: int, lengths: int, pieces: Sequence[bytes]) -> bytes:
    """TIFF file of these tags and strips or tiles, big-endian where `big`; every number in it has 32 bits."""
    order = ">" if big else "<"
    entries: dict[int, Sequence[int]] = {**tags, lengths: [len(piece) for piece in pieces], places: [0] * len(pieces)}
    behind = 8 + 2 + 12 * len(entries) + 4  # header, then the list of tags; longer values follow it
    start = behind + sum(4 * len(values) for values in entries.values() if len(values) > 1)
    entries[places] = [start + sum(entries[lengths][:number]) for number in range(len(pieces))]
    listed, longer = b"", b""
    for tag, values in sorted(entries.items()):
        packed = struct.pack(f"{order}{len(values)}L", *values)
        if len(values) > 1:
            longer, packed = longer + packed, struct.pack(f"{order}L", behind + len(longer))
        listed += struct.pack(f"{order}HHL", tag, 4, len(values)) + packed
    head = (b"MM\0*" if big else b"II*\0") + struct.pack(f"{order}LH", 8, len(entries))
    return head + listed + bytes(4) + longer + b"".join(pieces)


def _tags(pil_image: Image.Image) -> Mapping[int, Any]:
    return getattr(pil_image, "tag_v2", None) or {}
