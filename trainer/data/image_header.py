"""Opening of image files, and what their headers say, without decoding a pixel."""

import ctypes
import io
import logging
import warnings
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np
from PIL import ExifTags, Image, UnidentifiedImageError, _imaging

from trainer import InputError
from trainer.config import MOST_CHANNELS, install_command
from trainer.data import heic
from trainer.data.files import OTHER_FORMATS, read_bytes
from trainer.data.levels import is_deep
from trainer.data.tiff_bands import TiffForm, form_of
from trainer.data.tiff_parts import opened_by_pillow, parts_of
from trainer.system.regular_file import open_regular

FORMATS = ("PNG", "JPEG", "TIFF", "BMP", "WEBP", "GIF", "AVIF", "PPM")
"""Formats that are decoded, beside HEIC. Without a list Pillow tries some 40, Ghostscript among them, on files of
strangers."""

Image.MAX_IMAGE_PIXELS = None  # Pillow warns at 89 million pixels and raises at 179; MAX_PIXELS takes its place
MAX_PIXELS = 200_000_000
"""Largest image, in pixels: a header of a few bytes that claims 60000x60000 pixels would take 10 GB of memory."""

PIXEL_BYTES = 12
"""Bytes of a pixel of the largest image, all bands together."""

# What is wrong with a file is said in our words, or does not matter: Pillow and libtiff are silent.
warnings.filterwarnings("ignore", module=r"PIL\b")
logging.getLogger("PIL").setLevel(logging.CRITICAL)
with suppress(AttributeError, OSError):  # a Pillow without libtiff, or with one that shows no names
    ctypes.CDLL(_imaging.__file__).TIFFSetErrorHandler(None)

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


@dataclass(frozen=True)
class Header:
    """Facts about an image file that are known without decoding its pixels."""

    format: str
    """Name of the format as Pillow has it, one of FORMATS or HEIF."""

    mode: str
    """Pillow's mode: RGB, L, P, RGBA, CMYK, I;16 and so on; RGB;16 for colours of 16 bits, and `8x16 bit` for 8 bands
    of 16 bits."""

    size: tuple[int, int]
    """Height and width in pixels of the upright image."""

    orientation: int
    """EXIF orientation, 1 to 8; 1 is upright."""

    deep: bool
    """True for more than 8 bits, float or integer."""

    held: int
    """Pixels of a picture that take as much memory: more than its own with many bands."""


def count_pixels(path: str | Path, content: bytes | None = None) -> int:
    """Pixels of an image by its header, without reading the whole file; 0 where it is not an image that is decoded.

    `content`: the bytes of the file, if they were read already.
    """
    try:
        stream = open_regular(path) if content is None else io.BytesIO(content)
        with stream:
            if form := _bands_form(stream):
                return form.size[0] * form.size[1]
            if parts := parts_of(stream):
                return _counted(parts.size[0] * parts.size[1])
            stream.seek(0)
            formats = _formats(stream.read(12))
            stream.seek(0)
            with Image.open(stream, formats=formats) as pil_image:
                count = pil_image.width * pil_image.height
    except Exception:  # the reading of the image says what is wrong with it
        return 0
    return _counted(count)


def _counted(pixels: int) -> int:
    return pixels if pixels <= MAX_PIXELS else 0


def count_held(path: str | Path, content: bytes | None = None) -> int:
    """Pixels of a picture that take as much memory as an image, by its header: more than its own with many bands."""
    with suppress(Exception):  # the reading of the image says what is wrong with it
        stream = open_regular(path) if content is None else io.BytesIO(content)
        with stream:
            form = _bands_form(stream)
        if form:
            return _held(form)
    return count_pixels(path, content)


def bands_of_file(path: Path) -> int | None:
    """Number of bands of a TIFF of other bands than a picture's, by its header; None for every other file."""
    with open_regular(path) as stream:
        form = _bands_form(stream)
    return form.bands if form else None


def tiff_form(path: Path, content: bytes) -> TiffForm | None:
    """Form of a TIFF of several channels; None for every other file. Raises InputError naming the file."""
    form = form_of(io.BytesIO(content))
    if form is None:
        return None
    height, width = form.size
    if form.bands > MOST_CHANNELS:
        raise InputError(f"{path}: {form.bands} bands, more than {MOST_CHANNELS}; leave some out")
    require_size(path, width, height)
    if _bytes_of(form) > PIXEL_BYTES * MAX_PIXELS:
        text = f"{width}x{height} pixels of {form.name}"
        raise InputError(f"{path}: {text}, more than {PIXEL_BYTES * MAX_PIXELS:,} bytes; make it smaller or remove it")
    return form


def _bytes_of(form: TiffForm) -> int:
    levels = form.levels
    return form.size[0] * form.size[1] * form.bands * (8 if levels is None else levels.itemsize)


def _held(form: TiffForm) -> int:
    """Pixels of a picture that take as much memory: the levels are there twice, as bytes and as numbers."""
    return max(form.size[0] * form.size[1], 2 * _bytes_of(form) // PIXEL_BYTES)


def _bands_form(stream: BinaryIO) -> TiffForm | None:
    """Form of a TIFF of other bands than a picture's; None for every other file."""
    form = form_of(stream)
    stream.seek(0)
    return form if form and not form.is_picture else None


def read_size(path: Path, content: bytes) -> tuple[int, int]:
    """Height and width of an image as it is stored, by the first bytes of its file. Raises InputError naming it."""
    form = tiff_form(path, content)
    if form is not None:
        return form.size
    width, height = open_image(path, content).size
    return height, width


def read_header(path: Path, content: bytes | None = None) -> Header:
    """Read the header of an image file. Raises InputError naming the file."""
    content = read_bytes(path) if content is None else content
    form = tiff_form(path, content)
    if form is not None and not form.is_picture:
        height, width = form.size[::-1] if form.orientation >= 5 else form.size
        return Header("TIFF", form.name, (height, width), form.orientation, form.levels != np.uint8, _held(form))
    pil_image = open_image(path, content)
    deep = is_deep(pil_image)
    mode = "RGB;16" if deep and pil_image.mode[:3] == "RGB" else pil_image.mode
    try:
        orientation = orientation_of(pil_image, content)
    except Exception as error:  # Pillow raises errors of any type for a broken file
        raise InputError(f"{path}: damaged image ({error}); replace or remove it") from error
    width, height = pil_image.size
    size = (width, height) if orientation >= 5 else (height, width)
    return Header(pil_image.format or "", mode, size, orientation, deep, width * height)


def open_image(path: Path, content: bytes | None) -> Image.Image:
    """Open an image without decoding its pixels. Raises InputError naming the file."""
    # Bytes, never a path: given a path, Pillow 13 maps plain TIFF files into memory, and those with a quarter turn in
    # their EXIF come out as garbage.
    content = read_bytes(path) if content is None else content
    try:
        pil_image = Image.open(io.BytesIO(opened_by_pillow(content)), formats=_formats(content))
    except UnidentifiedImageError:
        form = tiff_form(path, content)
        if form is not None:
            raise InputError(
                f"{path}: {form.bands} bands instead of 3 (RGB); a model is trained with them by --data.channels "
                f"{form.bands}"
            ) from None
        raise InputError(f"{path}: {_why_unknown(path, content)}") from None
    except Exception as error:
        raise InputError(f"{path}: cannot be opened ({error}); replace or remove it") from error
    require_size(path, *pil_image.size)
    return pil_image


def _formats(head: bytes) -> tuple[str, ...]:
    """Formats that a file with these first bytes may have."""
    if not heic.INSTALLED or not heic.is_heic(head):
        return FORMATS
    heic.register()
    return (*FORMATS, heic.FORMAT)


def _why_unknown(path: Path, content: bytes) -> str:
    """Say why bytes are not an image that is decoded, and what helps."""
    if not content:
        return "an empty file; replace or remove it"
    if heic.is_heic(content) and not heic.INSTALLED:  # telephones name it .jpg, too
        return f"HEIC, which this installation does not read; {install_command('heic')}, or convert it to PNG or JPEG"
    if path.name.lower().endswith(OTHER_FORMATS):
        return f"{path.suffix} is not read here; convert it to PNG or JPEG"
    return f"not a readable image ({', '.join(FORMATS)}); replace or remove it"


def require_size(path: Path, width: int, height: int) -> None:
    """Raise InputError where an image has more than MAX_PIXELS."""
    if width * height > MAX_PIXELS:
        raise InputError(f"{path}: {width}x{height} pixels, more than {MAX_PIXELS:,}; make it smaller or remove it")


def upright(pil_image: Image.Image) -> Image.Image:
    """Decode an image and apply its EXIF orientation.

    `ImageOps.exif_transpose` also rewrites the EXIF, and fails where that is broken.
    """
    pil_image.load()
    method = UPRIGHT.get(orientation_of(pil_image))
    return pil_image if method is None else pil_image.transpose(method)


def orientation_of(pil_image: Image.Image, content: bytes | None = None) -> int:
    """EXIF orientation, 1 to 8; 1 if there is none or it is invalid. `content`: bytes of the file, if known."""
    if content is not None and pil_image.format == "PNG" and not any(mark in content for mark in PNG_EXIF):
        return 1  # Pillow decodes the whole image, in search of EXIF after the pixels
    value = pil_image.getexif().get(ExifTags.Base.Orientation, 1)
    return value if value in UPRIGHT else 1


PNG_EXIF = b"eXIf", b"Raw profile type exif", b"XML:com.adobe.xmp"
"""Parts of a PNG file, one of which is there where it has an EXIF orientation."""
