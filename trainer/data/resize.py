"""Resizing of images and masks, the same for training, validation and prediction."""

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional


def shrink_image(image: np.ndarray, size: int) -> np.ndarray:
    """Resize an image to the network's input, uint8 [size, size, 3], exactly as `resize_images` does."""
    tensor = torch.from_numpy(image).permute(2, 0, 1)[None]
    return resize_images(tensor, size)[0].permute(1, 2, 0).to(torch.uint8).numpy()


def shrink_mask(mask: np.ndarray, size: int) -> np.ndarray:
    """Resize a mask, uint8 [H, W], to [size, size]: the class id at the centre of each new pixel."""
    rows, columns = (((np.arange(size) + 0.5) * side / size).astype(int) for side in mask.shape)
    return mask[rows[:, None], columns]


def resize_images(images: Tensor, size: int) -> Tensor:
    """Resize RGB levels [B, 3, H, W] to float32 [B, 3, size, size], rounded to whole levels 0..255.

    Because of the rounding, an image resized earlier and cached as uint8 equals one resized now.
    """
    resized = functional.interpolate(images.float(), size=(size, size), mode="bilinear", antialias=True)
    return resized.round().clamp(0, 255)
