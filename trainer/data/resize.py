"""The only resizers of images and masks: training, validation and prediction see the same pixels."""

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional


def shrink_image(image: np.ndarray, size: int) -> np.ndarray:
    """What the network will see of an image: uint8 [size, size, 3], resized exactly as in prediction."""
    tensor = torch.from_numpy(image).permute(2, 0, 1)[None]
    return resize_images(tensor, size)[0].permute(1, 2, 0).to(torch.uint8).numpy()


def shrink_mask(mask: np.ndarray, size: int) -> np.ndarray:
    """The class id at the centre of each pixel of the smaller mask, uint8 [size, size]."""
    rows, columns = (((np.arange(size) + 0.5) * side / size).astype(int) for side in mask.shape)
    return mask[rows[:, None], columns]


def resize_images(images: Tensor, size: int) -> Tensor:
    """Resize RGB levels [B, 3, H, W] to float32 [B, 3, size, size], rounded to whole levels 0..255.

    Rounding makes a picture that was resized once and kept as uint8 the same as one resized on the way in.
    """
    resized = functional.interpolate(images.float(), size=(size, size), mode="bilinear", antialias=True)
    return resized.round().clamp(0, 255)
