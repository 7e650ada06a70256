"""Resizing of images and masks, the same for training, validation and prediction."""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from trainer.system.strips import HUGE_PIXELS, strips


def shrink_image(image: np.ndarray, size: int) -> np.ndarray:
    """Resize an image to the network's input, uint8 [size, size, 3], exactly as `resize_images` does."""
    tensor = torch.from_numpy(image).permute(2, 0, 1)[None]
    if image.shape[0] * image.shape[1] > HUGE_PIXELS:
        # Rows first, strip by strip: float32 of the whole image takes four times its memory.
        narrow = [
            _resize(tensor[:, :, rows].float(), (rows.stop - rows.start, size)) for rows in strips(*image.shape[:2])
        ]
        tensor = torch.cat(narrow, dim=2)
    return resize_images(tensor, size)[0].permute(1, 2, 0).to(torch.uint8).numpy()


def nearest_pixels(shape: Sequence[int], size: Sequence[int]) -> tuple[np.ndarray, np.ndarray]:
    """Rows, int64 [h, 1], and columns, int64 [w], that resize an array of `shape` (H, W) to `size` (h, w).

    Each is the pixel at the centre of a new one.
    """
    rows, columns = (((np.arange(new) + 0.5) * old / new).astype(int) for new, old in zip(size, shape, strict=True))
    return rows[:, None], columns


def shrink_mask(mask: np.ndarray, size: int) -> np.ndarray:
    """Resize a mask, uint8 [H, W], to [size, size]: the class id at the centre of each new pixel."""
    rows, columns = nearest_pixels(mask.shape, (size, size))
    return mask[rows[:, 0]][:, columns]  # in two steps, which take a third of the time of one


def resize_images(images: Tensor, size: int) -> Tensor:
    """Resize RGB levels [B, 3, H, W] to float32 [B, 3, size, size], rounded to whole levels 0..255.

    Because of the rounding, an image resized earlier and cached as uint8 equals one resized now.
    """
    return _resize(images.float(), (size, size)).round().clamp(0, 255)


def _resize(images: Tensor, size: tuple[int, int]) -> Tensor:
    return functional.interpolate(images, size=size, mode="bilinear", antialias=True)
