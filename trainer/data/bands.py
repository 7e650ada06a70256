"""Images of other bands than RGB: their levels as they are stored, and the range of each band that becomes 0..255."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from trainer import InputError
from trainer.data.files import read_bytes
from trainer.data.image_header import open_image, tiff_form, upright
from trainer.data.levels import DeepImage, Levels, as_shown, decode_deep, fit_levels, is_deep
from trainer.data.tiff_bands import decode_bands

DARKEST_STD = 1.0
"""Least standard deviation that a band is divided by, in levels: one that is the same everywhere says nothing."""


@dataclass(frozen=True)
class BandLevels:
    """Range of the stored levels of each band that becomes 0..255."""

    bands: tuple[Levels, ...]

    @property
    def channels(self) -> int:
        """Number C of bands."""
        return len(self.bands)

    def to_uint8(self, deep: DeepImage) -> np.ndarray:
        """Scale an image of these bands to uint8 [H, W, C]; pixels without data become 0."""
        result = np.empty(deep.stored.shape, np.uint8)
        for number, levels in enumerate(self.bands):
            result[..., number] = levels.to_uint8(band_of(deep, number))
        return result

    def clipped(self, deep: DeepImage) -> float:
        """Share of an image's levels outside of the ranges, 0 to 1; that of the band with most."""
        return max(levels.clipped(band_of(deep, number)) for number, levels in enumerate(self.bands))


def band_of(deep: DeepImage, number: int) -> DeepImage:
    """One band of an image [H, W, C], as one of greys."""
    return DeepImage(deep.stored[..., number], deep.nodata)


def band_ranges(deep: DeepImage) -> np.ndarray:
    """Range of each band as `DeepImage.range` has it, float64 [C, 4]."""
    return np.array([band_of(deep, number).range() for number in range(deep.stored.shape[2])])


def fit_band_levels(ranges: np.ndarray) -> BandLevels | None:
    """Ranges of a dataset from those of its images, float64 [N, C, 4] as `band_ranges` has them; None if N = 0."""
    fitted = [fit_levels(ranges[:, number]) for number in range(ranges.shape[1])]
    return BandLevels(tuple(filter(None, fitted))) if len(ranges) else None


def band_moments(image: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean of the levels of each band of an image, uint8 [H, W, C], and of their squares: float64 [C] each."""
    levels = np.arange(256)
    bands = (np.ascontiguousarray(image[..., number]) for number in range(image.shape[2]))
    counts = np.array([Image.fromarray(band).histogram() for band in bands])  # np.bincount makes int64 of all pixels
    pixels = image.shape[0] * image.shape[1]
    return counts @ levels / pixels, counts @ levels**2 / pixels


def normalisation(means: np.ndarray, squares: np.ndarray) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and standard deviation of the levels of each band, C numbers each, from `band_moments` of N images [N, C].

    Each image counts alike, as the network sees it.
    """
    mean = means.mean(axis=0)
    std = np.sqrt(np.maximum(squares.mean(axis=0) - mean**2, 0)).clip(min=DARKEST_STD)
    return tuple(mean.tolist()), tuple(std.tolist())


def read_bands(path: Path, content: bytes | None, channels: int) -> DeepImage:
    """Decode an image of so many bands as it is stored, [H, W, channels]; greys, opacities and inks are bands, too.

    `content`: the bytes of the file, if they were read already. Raises InputError naming the file, also where it has
    another number of bands.
    """
    content = read_bytes(path) if content is None else content
    form = tiff_form(path, content)
    if form is None:
        return _read_picture(path, content, channels)
    require_bands(path, form.bands, channels)
    try:
        return DeepImage(decode_bands(content, form), form.nodata)
    except Exception as error:  # Pillow raises errors of any type for a broken file
        raise InputError(f"{path}: damaged image ({error}); replace or remove it") from error


def require_bands(path: Path | str, found: int, wanted: int) -> None:
    """Raise InputError where a file has another number of bands than wanted."""
    if found != wanted:
        named = f"{wanted} (RGB)" if wanted == 3 else f"{wanted}"
        raise InputError(f"{path}: {found} bands instead of {named}; all pictures must have those of the training")


def _read_picture(path: Path, content: bytes, channels: int) -> DeepImage:
    """Channels of a picture that Pillow decodes, as bands."""
    pil_image = open_image(path, content)
    require_bands(path, bands_of_mode(pil_image.mode), channels)
    try:
        if is_deep(pil_image):
            deep = as_shown(decode_deep(pil_image, lambda: open_image(path, content), upright), pil_image)
            parts = [deep.stored] if deep.alpha is None else [deep.stored, deep.alpha.astype(np.uint16) * 257]
            return DeepImage(np.dstack(parts), deep.nodata)
        levels = np.array(upright(pil_image if pil_image.mode != "1" else pil_image.convert("L")))
    except Exception as error:
        raise InputError(f"{path}: damaged image ({error}); replace or remove it") from error
    return DeepImage(levels if levels.ndim == 3 else levels[..., None])


def bands_of_mode(mode: str) -> int:
    """Number of bands of an image of one of Pillow's modes; those of a palette are its colours."""
    if mode in ("1", "L", "I", "F") or mode.startswith("I;16"):
        return 1
    return {"LA": 2, "La": 2, "PA": 4, "RGBA": 4, "RGBa": 4, "RGBX": 4, "CMYK": 4}.get(mode, 3)
