"""Decoding and encoding of image and mask files, for training, validation and prediction alike."""

import io
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from trainer import InputError
from trainer.data.bands import BandLevels, read_bands
from trainer.data.files import read_bytes
from trainer.data.image_header import open_image, read_header, require_size, tiff_form, upright
from trainer.data.levels import DeepImage, Levels, as_shown, decode_deep, fit_levels, is_deep, share_outside, white_is_0
from trainer.data.stored_palette import GREYS, StoredPalette, decoding_factor, palette_of
from trainer.data.tiff_parts import PART_BYTES, TiffParts, large_parts
from trainer.data.tiff_planes import has_planes
from trainer.drawing.palette import palette
from trainer.system.parallel import Budget
from trainer.system.regular_file import open_regular
from trainer.system.strips import on_strips, strips

AnyLevels = Levels | BandLevels
"""Range of the stored levels that becomes 0..255: one for pictures, one for each band of others."""

PIXELS = Budget(128_000_000)
"""Pixels that prediction, check and cache have in memory at a time, all threads together; up to 12 bytes each."""


NONE_OUTSIDE = np.zeros((1, 2))
"""What `outside` has for levels that are all inside."""

LAST_ROW_FIRST = (3, 4, 6, 7)
"""Orientations whose stored rows, or the columns that they become, go the other way in the upright image."""


def read_image(path: Path, content: bytes | None = None, levels: AnyLevels | None = None) -> np.ndarray:
    """Decode an image file of any Pillow mode to uint8 RGB [H, W, 3], with its EXIF orientation applied.

    With BandLevels it is decoded to uint8 [H, W, C] of their bands.

    `levels` of images of more than 8 bits become 0..255, and black where there are no data. Without them each image is
    scaled by itself: by its number of bits, floats by the smallest of three ranges. Transparency is blended over white,
    and the first of several frames is taken. `content`: the bytes of the file, if they were read already. Raises
    InputError naming the file.
    """
    return read_scaled(path, content, levels)[0]


def read_scaled(path: Path, content: bytes | None = None, levels: AnyLevels | None = None) -> tuple[np.ndarray, float]:
    """Read as `read_image` does, and return also the share of the levels that is outside of `levels`, 0 to 1."""
    with _opened(path, content) as stream:
        parts = large_parts(stream)
        if parts is not None and (levels is not None or parts.exact):
            image, outside = _read_parts(path, parts, stream, levels)
        else:
            image, outside = _read_whole(path, content, levels)
    return image, share_outside(outside)


def _opened(path: Path, content: bytes | None) -> BinaryIO:
    """File, or its bytes, for reading. Raises InputError naming the file."""
    if content is not None:
        return io.BytesIO(content)
    try:
        return open_regular(path)
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror or error}); fix or remove it") from error


def _read_parts(
    path: Path, parts: TiffParts, stream: BinaryIO, levels: AnyLevels | None
) -> tuple[np.ndarray, np.ndarray]:
    """Read a TIFF as `_read_whole` does, but in parts: beside the result, one of them is in memory."""
    height, width = parts.size
    require_size(path, width, height)
    result, orientation, outside = np.empty((0, 0, 3), np.uint8), 1, NONE_OUTSIDE
    for rows, content in parts.read(stream, PART_BYTES):
        part, counts = _read_whole(path, content, levels)
        if rows.start == 0:
            orientation = read_header(path, content).orientation
            result = np.empty((*(parts.size if orientation < 5 else parts.size[::-1]), part.shape[2]), np.uint8)
        at = slice(height - rows.stop, height - rows.start) if orientation in LAST_ROW_FIRST else rows
        result[at if orientation < 5 else (slice(None), at)] = part
        outside = outside + counts
    return result, outside


def _read_whole(path: Path, content: bytes | None, levels: AnyLevels | None) -> tuple[np.ndarray, np.ndarray]:
    """Read as `read_scaled` does, but return what `outside` of the levels has instead of the share."""
    if isinstance(levels, BandLevels):
        deep = read_bands(path, content, levels.channels)
        return levels.to_uint8(deep), levels.outside(deep)
    content = read_bytes(path) if content is None else content
    colours = _read_colour_bands(path, content)
    if colours is not None:
        return _scale_colours(colours, levels)
    pil_image = open_image(path, content)
    try:
        if levels is None and (has_planes(pil_image) or (pil_image.mode == "I;16" and white_is_0(pil_image))):
            levels = Levels(0, 65535)
        if levels is not None and is_deep(pil_image):
            deep = as_shown(decode_deep(pil_image, lambda: open_image(path, content), upright), pil_image)
            return _deep_to_rgb(deep, levels), levels.outside(deep)
        # Orientation first: converting drops the EXIF block from some modes.
        return _pixels(upright(pil_image), _to_rgb), NONE_OUTSIDE
    except Exception as error:  # Pillow raises errors of any type for a broken file
        raise InputError(f"{path}: damaged image ({error}); replace or remove it") from error


def read_deep(path: Path, content: bytes | None = None) -> DeepImage:
    """Decode an image of more than 8 bits (`Header.deep`) as it is stored. Raises InputError naming the file."""
    content = read_bytes(path) if content is None else content
    colours = _read_colour_bands(path, content)
    if colours is not None:
        return colours
    pil_image = open_image(path, content)
    try:
        return as_shown(decode_deep(pil_image, lambda: open_image(path, content), upright), pil_image)
    except Exception as error:  # Pillow raises errors of any type for a broken file
        raise InputError(f"{path}: damaged image ({error}); replace or remove it") from error


def _scale_colours(deep: DeepImage, levels: Levels | None) -> tuple[np.ndarray, np.ndarray]:
    """Scale RGB levels [H, W, 3], but those of 8 bits; return also what `outside` of the levels has."""
    if deep.stored.dtype == np.uint8:
        return deep.stored, NONE_OUTSIDE
    if levels is None:
        levels = Levels(0, 65535) if deep.stored.dtype == np.uint16 else fit_levels(np.array([deep.range()]))
        assert levels is not None
    return levels.to_uint8(deep), levels.outside(deep)


def _read_colour_bands(path: Path, content: bytes) -> DeepImage | None:
    """Three bands of a TIFF that does not call them colours, as Pillow wants it to, [H, W, 3]; None for other files."""
    form = tiff_form(path, content)
    return read_bands(path, content, 3) if form and form.bands == 3 and not form.is_picture else None


@dataclass(frozen=True)
class StoredMask:
    """Content of a mask file."""

    values: np.ndarray
    """Values or palette indices [H, W], uint8 if all are whole and from 0 to 255, else of the file's type; or colours,
    uint8 RGB [H, W, 3], if the three channels differ somewhere."""

    palette: StoredPalette | None = None
    """Colours of the values; None where a value v is the grey (v, v, v)."""

    grey: bool = False
    """True for a file of greys of up to 8 bits."""

    @property
    def shown(self) -> StoredPalette | None:
        """Colours in which a viewer shows values of 8 bits, greys too; None for a file of colours or deeper values."""
        return GREYS if self.grey else self.palette


def read_mask(path: Path, content: bytes | None = None) -> np.ndarray:
    """Decode a mask file to the values stored in it, uint8 [H, W], or RGB [H, W, 3]; EXIF orientation applied.

    A palette image gives its indices, not its colours. RGB is returned only if the three channels differ somewhere.
    `content`: the bytes of the file, if they were read already. Raises InputError naming the file, also for values
    that are not whole numbers from 0 to 255.
    """
    values = read_stored(path, content).values
    if values.dtype != np.uint8:
        raise InputError(f"{path}: mask values from {values.min()} to {values.max()}; class ids are whole, 0 to 255")
    return values


def read_stored(path: Path, content: bytes | None = None) -> StoredMask:
    """Decode a mask file to what is stored in it; EXIF orientation applied.

    `content`: the bytes of the file, if they were read already. Raises InputError naming the file.
    """
    pil_image = open_image(path, content)
    factor = decoding_factor(pil_image)
    try:
        palette_stored = palette_of(pil_image)
        if is_deep(pil_image):
            values = decode_deep(pil_image, lambda: open_image(path, content), upright).stored
        else:
            values = _pixels(upright(pil_image))
    except Exception as error:
        raise InputError(f"{path}: damaged mask ({error}); replace or remove it") from error
    if values.ndim == 3:
        colour = values[..., :3] if values.shape[2] >= 3 else values[..., :1]
        if _has_colour(colour):
            return StoredMask(colour if colour.dtype == np.uint8 else (colour >> 8).astype(np.uint8))
        values = colour[..., 0]
        if values.dtype == np.uint16 and not (values % 257).any():  # 8 bits, spread over 16
            values = values // 257
    ids = np.ascontiguousarray(values)
    if values.dtype != np.uint8:
        with np.errstate(invalid="ignore"):  # NaN
            ids = values.astype(np.uint8)
        if (ids != values).any():
            return StoredMask(values)
    return StoredMask(ids if factor == 1 else ids // factor, palette_stored, pil_image.mode in ("L", "LA"))


def read_stencil(path: Path, content: bytes) -> np.ndarray:
    """Decode the pixels that a mask of one object covers, bool [H, W]: those that are opaque.

    Without transparency, those that are not black. Raises InputError naming the file.
    """
    pil_image = open_image(path, content)
    try:
        if pil_image.has_transparency_data:
            return np.array(pil_image.convert("RGBA"))[..., 3] > 0
        return np.array(pil_image.convert("L")) > 0
    except Exception as error:  # Pillow raises errors of any type for a broken file
        raise InputError(f"{path}: damaged mask ({error}); replace or remove it") from error


def write_mask(path: Path | BinaryIO, mask: np.ndarray, texts: Mapping[str, str] | None = None) -> None:
    """Write class ids, uint8 [H, W], as a palette PNG that every viewer shows in colour.

    `texts`: what the file says about itself, by keyword.
    """
    pil_image = Image.fromarray(mask, mode=None).convert("L")
    pil_image.putpalette(palette().tobytes())  # all 256 entries, or Pillow packs the indices into fewer bits
    # Masks consist of areas of one value; searching for more than runs takes zlib five times as long.
    pil_image.save(path, format="PNG", compress_type=zlib.Z_RLE, pnginfo=_png_texts(texts))


def write_grey(path: Path | BinaryIO, levels: np.ndarray, texts: Mapping[str, str] | None = None) -> None:
    """Write levels, uint8 or uint16 [H, W], as a grey PNG of 8 or 16 bits. `texts`: as in `write_mask`."""
    Image.fromarray(levels).save(path, format="PNG", compress_level=1, pnginfo=_png_texts(texts))


def _png_texts(texts: Mapping[str, str] | None) -> PngInfo | None:
    if not texts:
        return None
    chunks = PngInfo()
    for keyword, text in texts.items():
        chunks.add_text(keyword, text)  # as iTXt where it is no Latin-1
    return chunks


def write_jpeg(path: Path | BinaryIO, image: np.ndarray, quality: int = 90) -> None:
    """Write an image, uint8 RGB [H, W, 3], as JPEG."""
    Image.fromarray(image).save(path, format="JPEG", quality=quality)


def _pixels(pil_image: Image.Image, convert: Callable[[Image.Image], Image.Image] = lambda strip: strip) -> np.ndarray:
    """Pixels of an image after `convert`, as an array of its own: in strips, since each copy of Pillow takes memory.

    Greys of more than 8 bits are converted in one piece: their scale comes from all of them.
    """
    width, height = pil_image.size
    rows = list(strips(height, width))
    if len(rows) == 1 or pil_image.mode[0] in "IF":
        return np.array(convert(pil_image))

    def part(strip: slice) -> np.ndarray:
        return np.asarray(convert(pil_image.crop((0, strip.start, width, strip.stop))))

    first = part(rows[0])
    result = np.empty((height, *first.shape[1:]), np.uint8 if first.dtype == bool else first.dtype)
    on_strips(lambda strip: result.__setitem__(strip, part(strip)), height, width)
    return result


def _has_colour(pixels: np.ndarray) -> bool:
    """Return whether the channels of [H, W, 3] differ somewhere."""
    return any((pixels[rows] != pixels[rows, :, :1]).any() for rows in strips(*pixels.shape[:2]))


def _to_rgb(pil_image: Image.Image) -> Image.Image:
    """Convert any mode to RGB: greys of more than 8 bits scaled to 0..255, transparency blended over white."""
    if pil_image.mode in ("I", "F") or pil_image.mode.startswith("I;16"):
        # Pillow clips these modes at 255 when it converts to RGB, which turns most of a 16-bit image white.
        grey = np.array(pil_image, dtype=np.float64)
        grey[~np.isfinite(grey)] = 0
        brightest = grey.max(initial=0)
        # Floats are stored in one of three scales; integers of these modes are 16-bit.
        top = 65535.0 if pil_image.mode != "F" or brightest > 255 else 255.0 if brightest > 1 else 1.0
        pil_image = Image.fromarray(np.clip(grey * (255.0 / top), 0, 255).round().astype(np.uint8))
    if pil_image.has_transparency_data:
        return _over_white(pil_image.convert("RGBA"))
    return pil_image if pil_image.mode == "RGB" else pil_image.convert("RGB")


def _over_white(pil_image: Image.Image) -> Image.Image:
    """Blend an RGBA image over white."""
    return Image.alpha_composite(Image.new("RGBA", pil_image.size, "white"), pil_image).convert("RGB")


def _deep_to_rgb(deep: DeepImage, levels: Levels) -> np.ndarray:
    """Scale an image of more than 8 bits to uint8 RGB [H, W, 3], with its transparency blended over white."""
    scaled = levels.to_uint8(deep)
    rgb = scaled if scaled.ndim == 3 else np.repeat(scaled[..., None], 3, axis=2)
    return rgb if deep.alpha is None else np.array(_over_white(Image.fromarray(np.dstack([rgb, deep.alpha]))))
