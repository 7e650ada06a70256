"""Images and masks made on the fly."""

import numpy as np
from PIL import Image


def smooth_image(height: int, width: int, seed: int = 0) -> np.ndarray:
    """Make a smooth colour image, uint8 [H, W, 3], which JPEG and resizing hardly change, unlike noise."""
    random = np.random.default_rng(seed)
    rows, columns = np.mgrid[0 : 1 : height * 1j, 0 : 1 : width * 1j]
    waves = [np.sin(rows * random.uniform(1, 4) + columns * random.uniform(1, 4) + random.uniform(0, 6)) for _ in "RGB"]
    return ((np.stack(waves, axis=2) + 1) * 127.5).round().astype(np.uint8)


def box_mask(height: int, width: int, seed: int = 0, classes: int = 2) -> np.ndarray:
    """Make a mask with a box of each foreground class on background, uint8 [H, W]."""
    random = np.random.default_rng(seed)
    mask = np.zeros((height, width), dtype=np.uint8)
    for class_id in range(1, classes):
        top, left = random.integers(0, (height + 1) // 2), random.integers(0, (width + 1) // 2)
        mask[top : top + height // 3 + 1, left : left + width // 3 + 1] = class_id
    return mask


def spotted_image(height: int, width: int, seed: int) -> Image.Image:
    """Make an image of smooth colour spots, different for each seed, which JPEG and resizing hardly change."""
    spots = np.random.default_rng(seed).integers(0, 256, (6, 7, 3), dtype=np.uint8)
    return Image.fromarray(spots).resize((width, height), Image.Resampling.BICUBIC)
