"""TIFF files of 16 bits that store one channel after the other (PlanarConfiguration 2).

Of these Pillow gives the high byte of each level, or garbage. Each channel by itself, as a grey TIFF, it decodes whole.
"""

import io
from collections.abc import Iterator, Mapping
from typing import Any

from PIL import Image

from trainer.data.tiff_directory import tiff_of
from trainer.data.tiff_tags import PIECES, Tag

KEPT = (
    Tag.WIDTH,
    Tag.HEIGHT,
    Tag.COMPRESSION,
    Tag.ORIENTATION,
    Tag.ROWS,
    Tag.PREDICTOR,
    Tag.TILE_WIDTH,
    Tag.TILE_HEIGHT,
)
"""Tags that hold for a channel as for the whole."""


def has_planes(pil_image: Image.Image) -> bool:
    """Return True for an opened TIFF of 16 bits with several channels, one stored after the other."""
    tags = _tags(pil_image)
    return tags.get(Tag.PLANES, 1) == 2 and tags.get(Tag.CHANNELS, 1) > 1 and set(tags.get(Tag.BITS, ())) == {16}


def open_planes(pil_image: Image.Image) -> Iterator[Image.Image]:
    """Open each channel of an image that `has_planes` and is not decoded yet, mode I;16, as it is stored."""
    tags, content = _tags(pil_image), pil_image.fp.getvalue()  # type: ignore[attr-defined]
    places, lengths = next(pair for pair in PIECES if pair[0] in tags)
    pieces = list(zip(tags[places], tags[lengths], strict=True))
    count = len(pieces) // tags[Tag.CHANNELS]
    kept: dict[int, tuple[int, ...]] = {Tag.BITS: (16,), Tag.COLOURS: (1,), Tag.CHANNELS: (1,)}
    kept |= {tag: (int(tags[tag]),) for tag in KEPT if tag in tags}
    for channel in range(tags[Tag.CHANNELS]):
        own = [content[place : place + length] for place, length in pieces[channel * count : (channel + 1) * count]]
        yield Image.open(io.BytesIO(tiff_of(content[:2] == b"MM", kept, places, lengths, own)), formats=("TIFF",))


def _tags(pil_image: Image.Image) -> Mapping[int, Any]:
    return getattr(pil_image, "tag_v2", None) or {}
