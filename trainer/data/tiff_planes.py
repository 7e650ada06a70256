"""TIFF files of 16 bits that store one channel after the other (PlanarConfiguration 2).

Of these Pillow gives the high byte of each level, or garbage. Each channel by itself, as a grey TIFF, it decodes whole.
"""

import io
from collections.abc import Iterator, Mapping
from typing import Any

from PIL import Image

from trainer.data.tiff_directory import (
    BITS,
    CHANNELS,
    COLOURS,
    COMPRESSION,
    HEIGHT,
    ORIENTATION,
    PIECES,
    PLANES,
    PREDICTOR,
    ROWS,
    TILE_HEIGHT,
    TILE_WIDTH,
    WIDTH,
    tiff_of,
)

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


def _tags(pil_image: Image.Image) -> Mapping[int, Any]:
    return getattr(pil_image, "tag_v2", None) or {}
