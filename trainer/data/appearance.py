"""Look of an image in a few numbers that can be compared with those of other images. Pure arrays."""

from collections.abc import Iterable

import numpy as np

from trainer.drawing.bands import to_rgb

LOOKS = 7
"""Numbers of `appearance`."""

MOST_SIDE = 64
"""Pixels of each side that are looked at; more change no number by much."""


def appearance(image: np.ndarray) -> np.ndarray:
    """Numbers in 0..255, float64 [LOOKS], of an image, uint8 RGB [H, W, 3]; of other bands, of its picture.

    Mean level of red, green and blue, their standard deviations, and the colourfulness: sqrt(255 d), d the mean over
    pixels of the largest of the three levels minus the smallest. Without the root a few colourful images are far from
    all others, and grey ones are not.
    """
    step_y, step_x = (max(1, side // MOST_SIDE) for side in image.shape[:2])
    pixels = to_rgb(image[::step_y, ::step_x]).reshape(-1, 3)
    colourfulness = (pixels.max(axis=1) - pixels.min(axis=1)).mean()
    return np.concatenate([pixels.mean(axis=0), pixels.std(axis=0), [np.sqrt(255 * colourfulness)]])


def looks_of(images: Iterable[np.ndarray]) -> tuple[tuple[float, float], ...]:
    """Mean and standard deviation over images of each number of `appearance`; empty without images."""
    looks = np.array([appearance(image) for image in images])
    if not len(looks):
        return ()
    return tuple(
        (round(float(mean), 2), round(float(std), 2))
        for mean, std in zip(looks.mean(axis=0), looks.std(axis=0), strict=True)
    )
