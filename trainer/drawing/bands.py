"""Pictures of images that have other bands than red, green and blue."""

import numpy as np


def to_rgb(image: np.ndarray) -> np.ndarray:
    """RGB picture, uint8 [H, W, 3], of an image, uint8 [H, W, C]: its first three bands, or of fewer the first as grey.

    An image of three bands is returned as it is.
    """
    bands = image.shape[2]
    if bands == 3:
        return image
    return np.ascontiguousarray(image[..., :3]) if bands > 3 else np.repeat(image[..., :1], 3, axis=2)
