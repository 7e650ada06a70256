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

    def outside(self, deep: DeepImage) -> np.ndarray:
        """Levels of each band that are outside of its range, and all that are there, about: float64 [C, 2]."""
        return np.concatenate([levels.outside(band_of(deep, number)) for number, levels in enumerate(self.bands)])


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
        bands = "1 band" if found == 1 else f"{found} bands"
        raise InputError(f"{path}: {bands} instead of {wanted}; all must have as many as the training (data.channels)")


def _read_picture(path: Path, content: bytes, channels: int) -> DeepImage:
    """Channels of a picture that Pillow decodes, as bands."""
    pil_image = open_image(path, content)
    try:
        deep = _decode_picture(pil_image, path, content)
    except Exception as error:  # Pillow raises errors of any type for a broken file
        raise InputError(f"{path}: damaged image ({error}); replace or remove it") from error
    require_bands(path, deep.stored.shape[2], channels)
    return deep


def _decode_picture(pil_image: Image.Image, path: Path, content: bytes) -> DeepImage:
    if is_deep(pil_image):
        deep = as_shown(decode_deep(pil_image, lambda: open_image(path, content), upright), pil_image)
        opacity = [] if deep.alpha is None else [deep.alpha.astype(np.uint16) * 257]
        return DeepImage(np.dstack([deep.stored, *opacity]), deep.nodata)
    mode = {"1": "L", "P": "RGB", "PA": "RGBA"}.get(pil_image.mode, pil_image.mode)
    levels = np.array(upright(pil_image).convert(mode))
    return DeepImage(levels if levels.ndim == 3 else levels[..., None])
