"""Resizing of images and masks, the same for training, validation and prediction."""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional


def shrink_image(image: np.ndarray, size: int) -> np.ndarray:
    """Resize an image to the network's input, uint8 [size, size, 3], exactly as `resize_images` does."""
    tensor = torch.from_numpy(image).permute(2, 0, 1)[None]
    return resize_images(tensor, size)[0].permute(1, 2, 0).to(torch.uint8).numpy()


def nearest_pixels(shape: Sequence[int], size: Sequence[int]) -> tuple[np.ndarray, np.ndarray]:
    """Rows, int64 [h, 1], and columns, int64 [w], that resize an array of `shape` (H, W) to `size` (h, w).

    Each is the pixel at the centre of a new one.
    """
    rows, columns = (((np.arange(new) + 0.5) * old / new).astype(int) for new, old in zip(size, shape, strict=True))
    return rows[:, None], columns


def shrink_mask(mask: np.ndarray, size: int) -> np.ndarray:
    """Resize a mask, uint8 [H, W], to [size, size]: the class id at the centre of each new pixel."""
    return mask[nearest_pixels(mask.shape, (size, size))]


def resize_images(images: Tensor, size: int) -> Tensor:
    """Resize RGB levels [B, 3, H, W] to float32 [B, 3, size, size], rounded to whole levels 0..255.

    Because of the rounding, an image resized earlier and cached as uint8 equals one resized now.
    """
    resized = functional.interpolate(images.float(), size=(size, size), mode="bilinear", antialias=True)
    return resized.round().clamp(0, 255)
