"""Decoding and encoding of image and mask files, for training, validation and prediction alike."""

import ctypes
import io
import logging
import warnings
import zlib
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import ExifTags, Image, UnidentifiedImageError, _imaging

from trainer import InputError
from trainer.data.files import read_bytes
from trainer.data.levels import DeepImage, Levels, as_shown, decode_deep, is_deep, white_is_0
from trainer.data.tiff_planes import has_planes
from trainer.drawing.palette import palette
from trainer.system.parallel import Budget
from trainer.system.regular_file import open_regular
from trainer.system.strips import on_strips, strips

FORMATS = ("PNG", "JPEG", "TIFF", "BMP", "WEBP", "GIF", "AVIF", "PPM")
"""Formats that are decoded. Without a list Pillow tries some 40, Ghostscript among them, on files from strangers."""

Image.MAX_IMAGE_PIXELS = None  # Pillow warns at 89 million pixels and raises at 179; MAX_PIXELS takes its place
MAX_PIXELS = 200_000_000
"""Largest image, in pixels: a header of a few bytes that claims 60000x60000 pixels would take 10 GB of memory."""

# What is wrong with a file is said in our words, or does not matter: Pillow and libtiff are silent.
warnings.filterwarnings("ignore", module=r"PIL\b")
logging.getLogger("PIL").setLevel(logging.CRITICAL)
with suppress(AttributeError, OSError):  # a Pillow without libtiff, or with one that shows no names
    ctypes.CDLL(_imaging.__file__).TIFFSetErrorHandler(None)
PIXELS = Budget(128_000_000)
"""Pixels that prediction, check and cache have in memory at a time, all threads together; up to 12 bytes each."""

UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
"""EXIF orientation -> the transposition that makes the stored image upright."""


def read_image(path: Path, content: bytes | None = None, levels: Levels | None = None) -> np.ndarray:
    """Decode an image file of any Pillow mode to uint8 RGB [H, W, 3], with its EXIF orientation applied.

    `levels` of images of more than 8 bits become 0..255, and black where there are no data. Without them each image is
    scaled by itself: by its number of bits, floats by the smallest of three ranges. Transparency is blended over white,
    and the first of several frames is taken. `content`: the bytes of the file, if they were read already. Raises
    InputError naming the file.
    """
    return read_scaled(path, content, levels)[0]


def read_scaled(path: Path, content: bytes | None = None, levels: Levels | None = None) -> tuple[np.ndarray, float]:
    """Read as `read_image` does, and return also the share of the levels that is outside of `levels`, 0 to 1."""
    pil_image = _open(path, content)
    try:
        if levels is None and (has_planes(pil_image) or (pil_image.mode == "I;16" and white_is_0(pil_image))):
            levels = Levels(0, 65535)
        if levels is not None and is_deep(pil_image):
            deep = as_shown(decode_deep(pil_image, lambda: _open(path, content), _upright), pil_image)
            return _deep_to_rgb(deep, levels), levels.clipped(deep)
        # Orientation first: converting drops the EXIF block from some modes.
        return _pixels(_upright(pil_image), _to_rgb), 0.0
    except Exception as error:  # Pillow raises errors of any type for a broken file
        raise InputError(f"{path}: damaged image ({error}); replace or remove it") from error


def read_deep(path: Path, content: bytes | None = None) -> DeepImage:
    """Decode an image of more than 8 bits (`Header.deep`) as it is stored. Raises InputError naming the file."""
    pil_image = _open(path, content)
    try:
        return as_shown(decode_deep(pil_image, lambda: _open(path, content), _upright), pil_image)
    except Exception as error:  # Pillow raises errors of any type for a broken file
        raise InputError(f"{path}: damaged image ({error}); replace or remove it") from error


@dataclass(frozen=True)
class StoredPalette:
    """Colours that a file gives to the values stored in it."""

    colours: np.ndarray
    """Uint8 RGB [n, 3], of the values 0 to n - 1."""

    grey: bool
    """True for greys, which are spread over 0..255."""


GREYS = StoredPalette(np.repeat(np.arange(256, dtype=np.uint8)[:, None], 3, axis=1), grey=True)
"""Palette of greys of 8 bits."""


@dataclass(frozen=True)
class StoredMask:
    """Content of a mask file."""

    values: np.ndarray
    """Values or palette indices [H, W], uint8 if all are whole and from 0 to 255, else of the file's type; or colours,
    uint8 RGB [H, W, 3], if the three channels differ somewhere."""

    palette: StoredPalette | None = None
    """Colours of the values; None where a value v is the grey (v, v, v)."""


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
    pil_image = _open(path, content)
    factor = _decoding_factor(pil_image)
    try:
        palette_stored = _palette(pil_image)
        if is_deep(pil_image):
            values = decode_deep(pil_image, lambda: _open(path, content), _upright).stored
        else:
            values = _pixels(_upright(pil_image))
    except Exception as error:
        raise InputError(f"{path}: damaged mask ({error}); replace or remove it") from error
    if values.ndim == 3:
        colour = values[..., :3] if values.shape[2] >= 3 else values[..., :1]
        if _has_colour(colour):
            return StoredMask(colour if colour.dtype == np.uint8 else (colour >> 8).astype(np.uint8))
        values = colour[..., 0]
        if values.dtype == np.uint16 and not (values % 257).any():  # 8 bits, spread over 16
            values = values // 257
    with np.errstate(invalid="ignore"):  # NaN
        ids = values.astype(np.uint8)
    if (ids != values).any():
        return StoredMask(values)
    return StoredMask(ids if factor == 1 else ids // factor, palette_stored)


def read_palette(path: Path, content: bytes) -> StoredPalette | None:
    """Palette of a mask, that of greys too, from the bytes of its file; None for one without, or if it is no image."""
    try:
        pil_image = _open(path, content)
    except InputError:
        return None
    return GREYS if pil_image.mode in ("L", "LA") else _palette(pil_image)


def read_stencil(path: Path, content: bytes) -> np.ndarray:
    """Decode the pixels that a mask of one object covers, bool [H, W]: those that are opaque.

    Without transparency, those that are not black. Raises InputError naming the file.
    """
    pil_image = _open(path, content)
    try:
        if pil_image.has_transparency_data:
            return np.array(pil_image.convert("RGBA"))[..., 3] > 0
        return np.array(pil_image.convert("L")) > 0
    except Exception as error:  # Pillow raises errors of any type for a broken file
        raise InputError(f"{path}: damaged mask ({error}); replace or remove it") from error


@dataclass(frozen=True)
class Header:
    """Facts about an image file that are known without decoding its pixels."""

    format: str
    """Name of the format as Pillow has it, one of FORMATS."""

    mode: str
    """Pillow's mode: RGB, L, P, RGBA, CMYK, I;16 and so on; RGB;16 for colours of 16 bits."""

    size: tuple[int, int]
    """Height and width in pixels of the upright image."""

    orientation: int
    """EXIF orientation, 1 to 8; 1 is upright."""

    deep: bool
    """True for more than 8 bits, float or integer."""


def count_pixels(path: Path) -> int:
    """Pixels of an image by its header, without reading the whole file; 0 where it is no image that is decoded."""
    try:
        with open_regular(path) as file, Image.open(file, formats=FORMATS) as pil_image:
            count = pil_image.width * pil_image.height
    except Exception:  # the reading of the image says what is wrong with it
        return 0
    return count if count <= MAX_PIXELS else 0


def read_size(path: Path, content: bytes) -> tuple[int, int]:
    """Height and width of an image as it is stored, by the first bytes of its file. Raises InputError naming it."""
    width, height = _open(path, content).size
    return height, width


def read_header(path: Path, content: bytes | None = None) -> Header:
    """Read the header of an image file. Raises InputError naming the file."""
    pil_image = _open(path, content)
    deep = is_deep(pil_image)
    mode = "RGB;16" if deep and pil_image.mode[:3] == "RGB" else pil_image.mode
    try:
        orientation = _orientation(pil_image, content)
    except Exception as error:  # Pillow raises errors of any type for a broken file
        raise InputError(f"{path}: damaged image ({error}); replace or remove it") from error
    width, height = pil_image.size
    size = (width, height) if orientation >= 5 else (height, width)
    return Header(pil_image.format or "", mode, size, orientation, deep)


def write_mask(path: Path, mask: np.ndarray) -> None:
    """Write class ids, uint8 [H, W], as a palette PNG that every viewer shows in colour."""
    pil_image = Image.fromarray(mask, mode=None).convert("L")
    pil_image.putpalette(palette().tobytes())  # all 256 entries, or Pillow packs the indices into fewer bits
    # Masks consist of areas of one value; searching for more than runs takes zlib five times as long.
    pil_image.save(path, format="PNG", compress_type=zlib.Z_RLE)


def write_jpeg(path: Path, image: np.ndarray, quality: int = 90) -> None:
    """Write an image, uint8 RGB [H, W, 3], as JPEG."""
    Image.fromarray(image).save(path, format="JPEG", quality=quality)


def _open(path: Path, content: bytes | None) -> Image.Image:
    """Open an image without decoding its pixels. Raises InputError naming the file."""
    # Bytes, never a path: given a path, Pillow 13 maps plain TIFF files into memory, and those with a quarter turn in
    # their EXIF come out as garbage.
    content = read_bytes(path) if content is None else content
    try:
        pil_image = Image.open(io.BytesIO(content), formats=FORMATS)
    except UnidentifiedImageError:
        fault = f"no readable image ({', '.join(FORMATS)})" if content else "an empty file"
        raise InputError(f"{path}: {fault}; replace or remove it") from None
    except Exception as error:
        raise InputError(f"{path}: cannot be opened ({error}); replace or remove it") from error
    width, height = pil_image.size
    if width * height > MAX_PIXELS:
        raise InputError(f"{path}: {width}x{height} pixels, more than {MAX_PIXELS:,}; make it smaller or remove it")
    return pil_image


def _upright(pil_image: Image.Image) -> Image.Image:
    """Apply the EXIF orientation. `ImageOps.exif_transpose` also rewrites the EXIF, and fails where that is broken."""
    pil_image.load()
    method = UPRIGHT.get(_orientation(pil_image))
    return pil_image if method is None else pil_image.transpose(method)


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


def _orientation(pil_image: Image.Image, content: bytes | None = None) -> int:
    """EXIF orientation, 1 to 8; 1 if there is none or it is invalid. `content`: bytes of the file, if known."""
    if content is not None and pil_image.format == "PNG" and not any(mark in content for mark in PNG_EXIF):
        return 1  # Pillow decodes the whole image, in search of EXIF after the pixels
    value = pil_image.getexif().get(ExifTags.Base.Orientation, 1)
    return value if value in UPRIGHT else 1


PNG_EXIF = b"eXIf", b"Raw profile type exif", b"XML:com.adobe.xmp"
"""Parts of a PNG file, one of which is there where it has an EXIF orientation."""


def _decoding_factor(pil_image: Image.Image) -> int:
    """Factor that Pillow's decoder multiplies the stored values by: greys of 2 and 4 bits are spread over 0..255."""
    tiles = getattr(pil_image, "tile", None)
    arguments = tiles[0][3] if tiles else ""
    raw = arguments[0] if isinstance(arguments, tuple) else arguments
    return {"L;2": 85, "L;4": 17}.get(str(raw)[:3], 1)


def _palette(pil_image: Image.Image) -> StoredPalette | None:
    """Colours of the values of an opened image; None where a value v is the grey (v, v, v), or a colour itself."""
    if pil_image.mode in ("P", "PA") and pil_image.palette is not None:
        small = Image.new("P", (1, 1))  # `getpalette` of the image itself decodes it
        small.putpalette(pil_image.palette)
        colours = np.array(small.getpalette("RGB"), dtype=np.uint8).reshape(-1, 3)
        return StoredPalette(colours[:256], grey=False)
    factor = 255 if pil_image.mode == "1" else _decoding_factor(pil_image)
    if factor == 1:
        return None
    return StoredPalette(np.repeat(np.arange(0, 256, factor, dtype=np.uint8)[:, None], 3, axis=1), grey=True)


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
    return pil_image.convert("RGB")


def _over_white(pil_image: Image.Image) -> Image.Image:
    """Blend an RGBA image over white."""
    return Image.alpha_composite(Image.new("RGBA", pil_image.size, "white"), pil_image).convert("RGB")


def _deep_to_rgb(deep: DeepImage, levels: Levels) -> np.ndarray:
    """Scale an image of more than 8 bits to uint8 RGB [H, W, 3], with its transparency blended over white."""
    scaled = levels.to_uint8(deep)
    rgb = scaled if scaled.ndim == 3 else np.repeat(scaled[..., None], 3, axis=2)
    return rgb if deep.alpha is None else np.array(_over_white(Image.fromarray(np.dstack([rgb, deep.alpha]))))
