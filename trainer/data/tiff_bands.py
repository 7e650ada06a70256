"""TIFF files of several bands: what their headers say, and their levels as they are stored.

Pillow knows 1, 3 and 4 channels, and hands others to nobody. But it reads the tags of every TIFF, and libtiff, which is
part of it, decompresses all that is said to be grey bytes. So each row of samples is taken as a row of bytes, and put
together here.
"""

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, BinaryIO

import numpy as np
from PIL import Image

from trainer.data.tiff_directory import BYTES, Field, read_directory, tiff_of
from trainer.data.tiff_tags import PIECES, Tag

GREY, RGB, YCBCR = (0, 1), 2, 6
"""Values of the tag COLOURS: of files whose channels may be bands, and of colours that JPEG has in other channels."""

ALPHA = 1, 2
"""Values of the tag EXTRA of an opacity."""

KINDS = {
    **{(8 * size, 1): np.dtype(f"u{size}") for size in (1, 2, 4)},
    **{(8 * size, 2): np.dtype(f"i{size}") for size in (1, 2, 4)},
    **{(8 * size, 3): np.dtype(f"f{size}") for size in (4, 8)},
}
"""Bits and kind of the numbers -> type of the levels."""

NAMES = {"u": "bit", "i": "int", "f": "float"}
"""Letter of a type of levels -> its name for people."""

COMPRESSIONS = (1, 5, 8, 32773, 32946, 34925, 50000)
"""None, LZW, deflate, PackBits, deflate by its old number, LZMA and ZSTD."""

JPEG = 7
JPEG_KINDS: dict[int, dict[int, Sequence[int]]] = {
    1: {Tag.COLOURS: (1,)},
    2: {Tag.COLOURS: (1,), Tag.EXTRA: (2,)},
    3: {Tag.COLOURS: (2,)},
    4: {Tag.COLOURS: (5,)},
}
"""Compression, and number of its channels -> tags with which Pillow gives them as they are: as grey, grey and opacity,
colours, inks."""

PREDICTORS = (1, 2, 3)
"""None, differences of neighbours, and those of the bytes of floats."""

PLAIN = (1, 32773)
"""Compressions that libtiff uses no predictor with, whatever the file says."""

MOST_BYTES = 2**32
"""Largest image, in bytes, with what its tiles have beyond it: a header may claim any."""

TRANSPOSED, UPSIDE_DOWN, MIRRORED = (5, 6, 7, 8), (3, 4, 7, 8), (2, 3, 6, 7)
"""Orientations whose stored rows are columns, and those in which rows, or columns, are turned round after that."""


@dataclass(frozen=True)
class TiffForm:
    """Form of the pixels of a TIFF file, by its tags."""

    tags: Mapping[int, Any]
    big_endian: bool

    @property
    def bands(self) -> int:
        """Number of channels; 0 where it is not a number."""
        bands = self.tags.get(Tag.CHANNELS, 1)
        return bands if isinstance(bands, int) else 0

    @property
    def size(self) -> tuple[int, int]:
        """Height and width in pixels, as they are stored."""
        return int(self.tags.get(Tag.HEIGHT, 0)), int(self.tags.get(Tag.WIDTH, 0))

    @property
    def orientation(self) -> int:
        """Orientation, 1 to 8; 1 if there is none or it is invalid."""
        value = self.tags.get(Tag.ORIENTATION, 1)
        return value if value in range(1, 9) else 1

    @property
    def levels(self) -> np.dtype[Any] | None:
        """Type of the levels in the machine's byte order; None where it is none of KINDS, or they differ."""
        bits, formats = set(_several(self.tags.get(Tag.BITS, 1))), set(_several(self.tags.get(Tag.FORMAT, 1)))
        return KINDS.get((bits.pop(), formats.pop())) if len(bits) == len(formats) == 1 else None

    @property
    def name(self) -> str:
        """Number and type of the bands for people, such as `8x16 bit`."""
        levels = self.levels
        bits = "?" if levels is None else f"{8 * levels.itemsize} {NAMES[levels.kind]}"
        return f"{self.bands}x{bits}"

    @property
    def nodata(self) -> float | None:
        """Level of pixels without data, as the file names it."""
        try:
            return float(str(self.tags.get(Tag.GDAL_NODATA, "")).strip(" \0"))
        except ValueError:
            return None

    @property
    def is_picture(self) -> bool:
        """True where the channels are those of a picture: grey, colours, or these with an opacity."""
        colours, bands = self.tags.get(Tag.COLOURS), self.bands
        if colours in GREY:
            alone = bands == 1
            return alone or (bands == 2 and _several(self.tags.get(Tag.EXTRA, ()))[:1] in [(one,) for one in ALPHA])
        return colours not in (RGB, None) or bands <= 4


def form_of(stream: BinaryIO) -> TiffForm | None:
    """Form of the first page of a TIFF file with several channels, of which the tags alone are read.

    None for every other file.
    """
    try:
        directory = read_directory(stream)
        if directory is None:
            return None
        form = TiffForm(directory.tags(), directory.numbers.order == ">")
        return form if form.bands > 1 and min(form.size) > 0 else None
    except Exception:  # of any type, for a broken file; whoever decodes it says what is wrong
        return None


def decode_bands(content: bytes, form: TiffForm) -> np.ndarray:
    """Levels of all bands, upright: [H, W, C] of the type `form.levels`, in the machine's byte order.

    Raises ValueError, or an error of Pillow, where they cannot be had.
    """
    tags, kind = form.tags, form.levels
    if kind is None:
        bits, kinds = (sorted(set(_several(tags.get(tag, 1)))) for tag in (Tag.BITS, Tag.FORMAT))
        raise ValueError(f"levels of {bits} bits, of TIFF's kind {kinds}, which are not read")
    compression, predictor = tags.get(Tag.COMPRESSION, 1), _predictor(tags)
    if compression == JPEG:
        _require_jpeg(form)
    elif compression not in COMPRESSIONS or predictor not in PREDICTORS or (predictor == 3 and kind.kind != "f"):
        raise ValueError(
            f"compression {compression} with predictor {predictor}, which is not read; save it with LZW or deflate"
        )
    if form.tags.get(Tag.PLANES, 1) != 2:
        levels = _decode(content, form, kind, form.bands, 0, 1)
    else:
        planes = (_decode(content, form, kind, 1, number, form.bands) for number in range(form.bands))
        levels = np.concatenate(list(planes), axis=2)
    return np.ascontiguousarray(_upright(levels, form.orientation))


def _require_jpeg(form: TiffForm) -> None:
    """Raise ValueError where bands that are compressed as JPEG cannot be had."""
    together = 1 if form.tags.get(Tag.PLANES, 1) == 2 else form.bands
    if form.levels != np.uint8 or together not in JPEG_KINDS or form.tags.get(Tag.COLOURS) == YCBCR:
        raise ValueError(
            f"JPEG compression of {form.name}, which is not read; save it with LZW or deflate, or band by band"
        )


def _decode(content: bytes, form: TiffForm, kind: np.dtype[Any], bands: int, part: int, parts: int) -> np.ndarray:
    """Levels [H, W, bands] of one of `parts` equal parts of the file's strips or tiles."""
    tags, (height, width) = form.tags, form.size
    places, lengths = next(pair for pair in PIECES if pair[0] in tags)
    pieces = list(zip(_several(tags[places]), _several(tags[lengths]), strict=True))
    count = len(pieces) // parts
    own = [content[place : place + length] for place, length in pieces[part * count : (part + 1) * count]]
    side = int(tags[Tag.TILE_WIDTH]) if places == PIECES[1][0] else width
    across = -(-width // side)
    row = bands * kind.itemsize * side  # bytes of a row of a strip or a tile
    if row * across * height > MOST_BYTES:
        raise ValueError(f"tiles of {side} pixels in {width}")
    kept: dict[int, Sequence[int] | Field] = {
        tag: (int(tags[tag]),) for tag in (Tag.COMPRESSION, Tag.FILL_ORDER, Tag.ROWS, Tag.TILE_HEIGHT) if tag in tags
    }
    if tags.get(Tag.COMPRESSION) == JPEG:
        row = side
        kept |= {Tag.BITS: (8,) * bands, Tag.CHANNELS: (bands,), **JPEG_KINDS[bands]}
        if isinstance(tags.get(Tag.TABLES), bytes):
            kept[Tag.TABLES] = Field(BYTES, len(tags[Tag.TABLES]), tags[Tag.TABLES])
    else:
        kept |= {Tag.BITS: (8,), Tag.COLOURS: (1,), Tag.CHANNELS: (1,)}
    kept |= {Tag.WIDTH: (row * across,), Tag.HEIGHT: (height,)}
    if places == PIECES[1][0]:
        kept[Tag.TILE_WIDTH] = (row,)
    as_grey = io.BytesIO(tiff_of(form.big_endian, kept, places, lengths, own))
    with Image.open(as_grey, formats=("TIFF",)) as pil_image:
        stored = np.array(pil_image).reshape(height, across, side, bands, kind.itemsize)
    return _undo_predictor(stored, _predictor(tags), kind, form.big_endian).reshape(height, -1, bands)[:, :width]


def _predictor(tags: Mapping[int, Any]) -> Any:
    return 1 if tags.get(Tag.COMPRESSION, 1) in PLAIN else tags.get(Tag.PREDICTOR, 1)


def _undo_predictor(stored: np.ndarray, predictor: int, kind: np.dtype[Any], big_endian: bool) -> np.ndarray:
    """Levels [H, across, side, bands] from their bytes, uint8 [H, across, side, bands, bytes of a level]."""
    order = kind.newbyteorder(">" if big_endian else "<")
    if predictor == 3:  # the highest bytes of a row first, then the next ones; all are differences
        height, across, side, bands, size = stored.shape
        flat = stored.reshape(height, across, -1)
        for band in range(bands):
            np.cumsum(flat[..., band::bands], axis=2, dtype=np.uint8, out=flat[..., band::bands])
        by_byte = flat.reshape(height, across, size, side, bands).transpose(0, 1, 3, 4, 2)
        return np.ascontiguousarray(by_byte).view(kind.newbyteorder(">"))[..., 0].astype(kind)
    levels = stored.view(order)[..., 0].astype(kind, copy=False)
    if predictor == 2:
        whole = levels.view(f"u{kind.itemsize}")  # differences overflow, and floats are taken as integers
        np.cumsum(whole, axis=2, dtype=whole.dtype, out=whole)
    return levels


def _upright(levels: np.ndarray, orientation: int) -> np.ndarray:
    """Turn levels [H, W, C] as the orientation says."""
    if orientation in TRANSPOSED:
        levels = levels.transpose(1, 0, 2)
    if orientation in UPSIDE_DOWN:
        levels = levels[::-1]
    return levels[:, ::-1] if orientation in MIRRORED else levels


def _several(value: Any) -> Sequence[Any]:
    return tuple(value) if isinstance(value, tuple | list) else (value,)
