"""The only decoder of image and mask files, for training, validation and prediction alike."""

import io
import zlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import ExifTags, Image, UnidentifiedImageError

from trainer import InputError
from trainer.drawing.palette import palette

# Without a list Pillow tries some 40 decoders, Ghostscript among them, on files from strangers.
FORMATS = ("PNG", "JPEG", "TIFF", "BMP", "WEBP")


Image.MAX_IMAGE_PIXELS = None  # Pillow warns at 89 million pixels and raises at 179; ours is below
MAX_PIXELS = 200_000_000
"""Larger images are refused: a 60000x60000 header of a few bytes would ask for 10 GB."""


UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
"""EXIF orientation -> the change that undoes it."""


def read_image(path: Path, content: bytes | None = None) -> np.ndarray:
    """Decode an image file of any Pillow mode as the camera meant it: uint8 RGB [H, W, 3], EXIF orientation applied.

    16-bit and float greys are scaled to 0..255, transparency is laid over white, of several frames the first counts.
    `content`: the bytes of the file, where they were read already. Raises InputError naming the file.
    """
    picture = _open(path, content)
    try:
        # Orientation first: converting drops the EXIF block from some modes.
        return np.array(_to_rgb(_upright(picture)))
    except Exception as error:  # Pillow raises whatever it stumbles over in a broken file
        raise InputError(f"{path}: damaged image ({error}); replace or remove it") from error


def read_mask(path: Path, content: bytes | None = None) -> np.ndarray:
    """Decode a mask file to the values stored in it, uint8 [H, W], or RGB [H, W, 3]; EXIF orientation applied.

    The stored indices count, whatever the mode: a palette is never turned into grey. RGB is given only where the three
    channels differ somewhere. Raises InputError naming the file.
    """
    picture = _open(path, content)
    spread = _spread(picture)
    try:
        values = np.array(_upright(picture))
    except Exception as error:
        raise InputError(f"{path}: damaged mask ({error}); replace or remove it") from error
    if values.ndim == 3:
        colour = values[..., :3] if values.shape[2] >= 3 else values[..., :1]
        if colour.dtype == np.uint8 and (colour != colour[..., :1]).any():
            return colour
        values = colour[..., 0]
    with np.errstate(invalid="ignore"):  # NaN
        ids = values.astype(np.uint8)
    if (ids != values).any():
        raise InputError(f"{path}: mask values from {values.min()} to {values.max()}; class ids are whole, 0 to 255")
    return ids if spread == 1 else ids // spread


@dataclass(frozen=True)
class Header:
    """What is known of a picture without decoding it."""

    format: str
    mode: str
    """Pillow's: RGB, L, P, RGBA, CMYK, I;16 and so on."""

    size: tuple[int, int]
    """H, W in pixels, upright."""

    orientation: int
    """EXIF, 1 to 8; 1 is upright."""


def read_header(path: Path, content: bytes | None = None) -> Header:
    """What the head of an image file tells. Raises InputError naming the file."""
    picture = _open(path, content)
    try:
        orientation = _orientation(picture)
    except Exception as error:  # Pillow raises whatever it stumbles over in a broken file
        raise InputError(f"{path}: damaged image ({error}); replace or remove it") from error
    width, height = picture.size
    size = (width, height) if orientation >= 5 else (height, width)
    return Header(picture.format or "", picture.mode, size, orientation)


def write_mask(path: Path, mask: np.ndarray) -> None:
    """Write class ids, uint8 [H, W], as a palette PNG that every viewer shows in colour."""
    picture = Image.fromarray(mask, mode=None).convert("L")
    picture.putpalette(palette().tobytes())  # all 256 entries, or Pillow packs the indices into fewer bits
    # Areas of one value are what masks consist of; looking for anything but runs takes zlib five times as long.
    picture.save(path, format="PNG", compress_type=zlib.Z_RLE)


def write_jpeg(path: Path, image: np.ndarray, quality: int = 90) -> None:
    """Write an image, uint8 RGB [H, W, 3], as JPEG."""
    Image.fromarray(image).save(path, format="JPEG", quality=quality)


def _open(path: Path, content: bytes | None) -> Image.Image:
    try:
        # Bytes, never a path: Pillow 13 maps plain TIFF files into memory by their path, and those that EXIF turns by a
        # quarter come out as garbage.
        content = path.read_bytes() if content is None else content
        picture = Image.open(io.BytesIO(content), formats=FORMATS)
    except UnidentifiedImageError:
        what = f"no readable image ({', '.join(FORMATS)})" if content else "an empty file"
        raise InputError(f"{path}: {what}; replace or remove it") from None
    except Exception as error:
        raise InputError(f"{path}: cannot be opened ({error}); replace or remove it") from error
    width, height = picture.size
    if width * height > MAX_PIXELS:
        raise InputError(f"{path}: {width}x{height} pixels, more than {MAX_PIXELS:,}; make it smaller or remove it")
    return picture


def _upright(picture: Image.Image) -> Image.Image:
    """Turned as its EXIF says. `ImageOps.exif_transpose` also rewrites the EXIF, and fails where that is broken."""
    picture.load()
    change = UPRIGHT.get(_orientation(picture))
    return picture if change is None else picture.transpose(change)


def _orientation(picture: Image.Image) -> int:
    value = picture.getexif().get(ExifTags.Base.Orientation, 1)
    return value if value in UPRIGHT else 1


def _spread(picture: Image.Image) -> int:
    """By what Pillow multiplies the stored values while it decodes: greys of 2 and 4 bits are spread over 0..255."""
    tiles = getattr(picture, "tile", None)
    arguments = tiles[0][3] if tiles else ""
    raw = arguments[0] if isinstance(arguments, tuple) else arguments
    return {"L;2": 85, "L;4": 17}.get(str(raw)[:3], 1)


def _to_rgb(picture: Image.Image) -> Image.Image:
    if picture.mode in ("I", "F") or picture.mode.startswith("I;16"):
        # Pillow clips these at 255 on the way to RGB, which turns most of a 16-bit photograph white.
        grey = np.array(picture, dtype=np.float64)
        brightest = grey.max(initial=0)
        # Floats come in either of three scales; whole numbers of these modes are 16-bit.
        top = 65535.0 if picture.mode != "F" or brightest > 255 else 255.0 if brightest > 1 else 1.0
        picture = Image.fromarray(np.clip(grey * (255.0 / top), 0, 255).round().astype(np.uint8))
    if picture.has_transparency_data:
        white = Image.new("RGBA", picture.size, "white")
        return Image.alpha_composite(white, picture.convert("RGBA")).convert("RGB")
    return picture.convert("RGB")
