"""Levels of images deeper than 8 bits: as they are stored, and the one range of a dataset that becomes 0..255."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from PIL import Image

from trainer.data.tiff_planes import has_planes, open_planes
from trainer.data.tiff_tags import Tag

NODATA = (-9999.0, -32768.0)
"""Negative levels by which instruments and maps mark pixels without data."""

HUGE = 1e30
"""Levels from here on, of either sign, mark pixels without data, too."""

TOPS = (1.0, 255.0, 1023.0, 4095.0, 16383.0, 65535.0)
"""Highest levels of floats of 0 to 1 and of integers of 8 to 16 bits."""

SMALLEST_USE = 0.25
"""Share of the range of the bits that a dataset must use to be scaled by it; below, its own range is taken."""

TAIL = 0.001
"""Share of an image's pixels at either end that may be faulty ones."""

FAULTY = 4
"""Factor by which the tails must widen a dataset's range to be left out of it."""

MEASURED_PIXELS = 1_000_000
"""Pixels of an image that its range is measured from, at most."""


@dataclass(frozen=True)
class Levels:
    """Range of stored levels that becomes 0..255; darker and brighter ones are clipped."""

    low: float
    high: float

    def to_uint8(self, deep: "DeepImage") -> np.ndarray:
        """Scale an image to uint8 of its own shape; pixels without data become 0."""
        stored = deep.stored
        if stored.dtype in (np.uint8, np.uint16):  # through a table, which is fast and takes no memory for floats
            return self._scale(np.arange(65536), deep.nodata)[stored]
        return self._scale(stored, deep.nodata)

    def _scale(self, stored: np.ndarray, nodata: float | None) -> np.ndarray:
        scaled = (stored - np.float64(self.low)) * (255.0 / (self.high - self.low))
        scaled[_missing(stored, nodata)] = 0
        return np.clip(scaled, 0, 255, out=scaled).round(out=scaled).astype(np.uint8)

    def outside(self, deep: "DeepImage") -> np.ndarray:
        """Levels of an image that are outside of the range, and all that are there, about: float64 [1, 2]."""
        present = deep.present()
        outside = np.count_nonzero((present < self.low) | (present > self.high))
        return np.array([[outside, present.size]]) * float(deep.step**2)


@dataclass(frozen=True)
class DeepImage:
    """An image of more than 8 bits as it is stored."""

    stored: np.ndarray
    """Uint16, int32, int64 or float32, [H, W] or RGB [H, W, 3]; of images of bands any real numbers, [H, W, C]."""

    nodata: float | None = None
    """Level of pixels without data, as the file names it."""

    alpha: np.ndarray | None = None
    """Opacity, uint8 [H, W]; None where all is opaque."""

    def missing(self) -> np.ndarray:
        """Mark pixels without a level, bool of the shape of `stored`: NaN, infinite, or the value for no data."""
        return _missing(self.stored, self.nodata)

    @property
    def step(self) -> int:
        """Pixels from one that is measured to the next, in either direction."""
        return max(1, round((self.stored.size / MEASURED_PIXELS) ** 0.5))

    def present(self) -> np.ndarray:
        """Levels of up to MEASURED_PIXELS pixels with data, evenly chosen, 1-D."""
        chosen = self.stored[:: self.step, :: self.step]
        levels: np.ndarray = chosen[~_missing(chosen, self.nodata)]
        return levels

    def range(self) -> tuple[float, float, float, float]:
        """Lowest level, that with TAIL of the levels below it, that with TAIL above it, and the highest; else zeros."""
        levels = self.present()
        if not levels.size:
            return 0.0, 0.0, 0.0, 0.0
        rank = int(TAIL * levels.size)
        ranks = [0, rank, levels.size - 1 - rank, levels.size - 1]
        lowest, low, high, highest = (float(level) for level in np.partition(levels, ranks)[ranks])
        return lowest, low, high, highest


def _missing(stored: np.ndarray, nodata: float | None) -> np.ndarray:
    marks = np.zeros(stored.shape, dtype=bool)
    if stored.dtype.kind == "f":
        marks |= ~(np.abs(stored) < HUGE)  # NaN too
    if stored.dtype != np.uint16:
        for level in NODATA:
            marks |= stored == level
    if nodata is not None:
        marks |= stored == (np.float32(nodata) if stored.dtype == np.float32 else nodata)
    return marks


def share_outside(counts: np.ndarray) -> float:
    """Share of the levels that are outside of the range, 0 to 1, that of the band with most, by `outside` [C, 2]."""
    return float((counts[:, 0] / np.maximum(counts[:, 1], 1)).max(initial=0))


def fit_levels(ranges: np.ndarray) -> Levels | None:
    """Range of a dataset from those of its deep images, float64 [N, 4] as `DeepImage.range` has them; None if N = 0.

    It is 0 up to the highest level of the bits that hold all levels, as for images of 8 bits, if the images use a good
    part of that. Otherwise (dim images, decibels, temperatures) it is what they use.
    """
    if not len(ranges):
        return None
    lowest, low = ranges[:, :2].min(axis=0).tolist()
    high, highest = ranges[:, 2:].max(axis=0).tolist()
    if (high - low) * FAULTY < highest - lowest and high > low:
        lowest, highest = low, high
    top = next((top for top in TOPS if top >= highest), None)
    if top is not None and lowest >= 0 and highest - lowest >= SMALLEST_USE * top:
        return Levels(0.0, top)
    return Levels(lowest, highest if highest > lowest else lowest + 1)


# ------------------------------------------------------------------------------------------------ decoding

OTHER_ORDER = {"B": "L", "L": "B", "N": "B"}
"""Last letter of a Pillow raw mode of 16 bits -> that of the other byte order; N, native, is little-endian."""


def is_deep(pil_image: Image.Image) -> bool:
    """Return True for an opened image of more than 8 bits, float or integer, whose levels can be had."""
    grey = pil_image.mode in ("I", "F") or pil_image.mode.startswith("I;16")
    return grey or has_planes(pil_image) or _is_deep_colour(pil_image)


def decode_deep(
    pil_image: Image.Image, reopen: Callable[[], Image.Image], upright: Callable[[Image.Image], Image.Image]
) -> DeepImage:
    """Decode an image that `is_deep`. `reopen` opens the file again, `upright` decodes and turns an opened image."""
    raw = _raw_mode(pil_image)
    nodata = _nodata(pil_image)
    if has_planes(pil_image):
        planes = [np.array(upright(plane)).astype(np.uint16) for plane in open_planes(reopen())]
        colours = 3 if len(planes) >= 3 else 1
        alpha = (planes[colours] >> 8).astype(np.uint8) if len(planes) > colours else None
        return DeepImage(planes[0] if colours == 1 else np.dstack(planes[:3]), nodata, alpha)
    if not _is_deep_colour(pil_image):
        stored = np.array(upright(pil_image))
        if raw.startswith("I;32N"):  # unsigned, which Pillow takes for signed
            stored = stored.astype(np.int64) & 0xFFFFFFFF
        stored = stored.astype(stored.dtype.newbyteorder("="), copy=False)
        return DeepImage(stored, nodata)
    # Pillow keeps the high byte of each level. Decoded in the other byte order, the low byte takes its place.
    swapped = reopen()
    grey = raw == "LA;16B"
    raw = "RGBA" if grey else raw[:-1] + OTHER_ORDER[raw[-1]]
    swapped.tile = [tile._replace(args=_with_raw_mode(tile.args, raw)) for tile in swapped.tile]  # type: ignore[attr-defined]
    high, low = np.array(upright(pil_image)), np.array(upright(swapped))
    alpha = high[..., 3] if high.shape[2] == 4 else None
    if grey:  # decoded as RGBA, the bytes of L and alpha lie side by side
        return DeepImage(high[..., 0].astype(np.uint16) << 8 | low[..., 1], nodata, alpha)
    return DeepImage(high[..., :3].astype(np.uint16) << 8 | low[..., :3], nodata, alpha)


def white_is_0(pil_image: Image.Image) -> bool:
    """Return True for a TIFF whose level 0 is white (PhotometricInterpretation)."""
    return bool(_tags(pil_image).get(Tag.COLOURS) == 0)


def as_shown(deep: DeepImage, pil_image: Image.Image) -> DeepImage:
    """Invert greys of 16 bits in a TIFF whose 0 is white, as ImageJ writes them; Pillow does so for 8 bits alone."""
    if not white_is_0(pil_image) or deep.stored.dtype != np.uint16:
        return deep
    return DeepImage(65535 - deep.stored, None if deep.nodata is None else 65535 - deep.nodata, deep.alpha)


def _raw_mode(pil_image: Image.Image) -> str:
    tiles = getattr(pil_image, "tile", None)
    arguments = tiles[0].args if tiles else ""
    return str(arguments[0] if isinstance(arguments, tuple) else arguments)


def _with_raw_mode(arguments: object, raw: str) -> object:
    return (raw, *arguments[1:]) if isinstance(arguments, tuple) else raw


def _is_deep_colour(pil_image: Image.Image) -> bool:
    return _raw_mode(pil_image)[:-1] in ("RGB;16", "RGBA;16", "RGBX;16", "LA;16")


def _nodata(pil_image: Image.Image) -> float | None:
    try:
        return float(str(_tags(pil_image).get(Tag.GDAL_NODATA, "")).strip(" \0"))
    except ValueError:
        return None


def _tags(pil_image: Image.Image) -> Mapping[int, Any]:
    return getattr(pil_image, "tag_v2", None) or {}
