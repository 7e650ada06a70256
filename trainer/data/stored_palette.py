"""Colours that a mask file gives to the values stored in it."""

from dataclasses import dataclass

import numpy as np
from PIL import Image


@dataclass(frozen=True)
class StoredPalette:
    """Colours that a file gives to the values stored in it."""

    colours: np.ndarray
    """Uint8 RGB [n, 3], of the values 0 to n - 1."""

    grey: bool
    """True for greys, which are spread over 0..255."""


GREYS = StoredPalette(np.repeat(np.arange(256, dtype=np.uint8)[:, None], 3, axis=1), grey=True)
"""Palette of greys of 8 bits."""


def palette_of(pil_image: Image.Image) -> StoredPalette | None:
    """Colours of the values of an opened image; None where a value v is the grey (v, v, v), or a colour itself."""
    if pil_image.mode in ("P", "PA") and pil_image.palette is not None:
        small = Image.new("P", (1, 1))  # `getpalette` of the image itself decodes it
        small.putpalette(pil_image.palette)
        colours = np.array(small.getpalette("RGB"), dtype=np.uint8).reshape(-1, 3)
        return StoredPalette(colours[:256], grey=False)
    factor = 255 if pil_image.mode == "1" else decoding_factor(pil_image)
    if factor == 1:
        return None
    return StoredPalette(np.repeat(np.arange(0, 256, factor, dtype=np.uint8)[:, None], 3, axis=1), grey=True)


def decoding_factor(pil_image: Image.Image) -> int:
    """Factor that Pillow's decoder multiplies the stored values by: greys of 2 and 4 bits are spread over 0..255."""
    tiles = getattr(pil_image, "tile", None)
    arguments = tiles[0][3] if tiles else ""
    raw = arguments[0] if isinstance(arguments, tuple) else arguments
    return {"L;2": 85, "L;4": 17}.get(str(raw)[:3], 1)
