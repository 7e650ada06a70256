"""Resizing of images, the same for training, validation and prediction."""

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from trainer.system.strips import HUGE_PIXELS, strips


def shrink_image(image: np.ndarray, size: int, keep_aspect: bool = False) -> np.ndarray:
    """Resize an image to the network's input, uint8 [size, size, C], exactly as `resize_images` does.

    `keep_aspect`: as if it were filled up to a square, at the right or the bottom, with black.
    """
    tensor = torch.from_numpy(image).permute(2, 0, 1)[None]
    height, width, _ = image.shape
    if keep_aspect and height != width:
        tensor = _shrink_longer_side(tensor, size)
    elif height * width > HUGE_PIXELS:
        tensor = _shrink_width(tensor, size)
    return resize_images(tensor, size)[0].permute(1, 2, 0).to(torch.uint8).numpy()


def _shrink_width(tensor: Tensor, size: int) -> Tensor:
    """Resize the width of levels, [1, C, H, W], to `size`, as float32.

    Strip by strip: float32 of a whole huge image takes four times its memory.
    """
    height, width = tensor.shape[2:]
    narrow = None
    for rows in strips(height, width):
        strip = _resize(tensor[:, :, rows].float(), (rows.stop - rows.start, size))
        if narrow is None:  # made at once: small results that are kept between freed strips hold on to their memory
            last = strip.is_contiguous(memory_format=torch.channels_last) and not strip.is_contiguous()
            form = torch.channels_last if last else torch.contiguous_format
            narrow = torch.empty((1, tensor.shape[1], height, size), memory_format=form)
        narrow[:, :, rows] = strip
    assert narrow is not None
    return narrow


def _shrink_longer_side(tensor: Tensor, size: int) -> Tensor:
    """Resize the longer side of levels, [1, C, H, W], to `size`, and fill up the other to what that one was."""
    height, width = tensor.shape[2:]
    if height > width:
        turned = _shrink_longer_side(tensor.transpose(2, 3), size)
        return turned.transpose(2, 3)
    return functional.pad(_shrink_width(tensor, size), (0, 0, 0, width - height))


def scale_image(image: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Resize an image, uint8 [H, W, C], to `size` (height, width); the same array where that is its own size."""
    if image.shape[:2] == size:
        return image
    tensor = torch.from_numpy(image).permute(2, 0, 1)[None]
    if image.shape[0] * image.shape[1] > HUGE_PIXELS:
        tensor = _shrink_width(tensor, size[1])
    scaled = _resize(tensor.float(), size).round().clamp(0, 255)
    return scaled[0].permute(1, 2, 0).to(torch.uint8).contiguous().numpy()


def resize_images(images: Tensor, size: int) -> Tensor:
    """Resize levels [B, C, H, W] to float32 [B, C, size, size], rounded to whole levels 0..255.

    Because of the rounding, an image resized earlier and cached as uint8 equals one resized now.
    """
    return _resize(images.float(), (size, size)).round().clamp(0, 255)


def _resize(images: Tensor, size: tuple[int, int]) -> Tensor:
    return functional.interpolate(images, size=size, mode="bilinear", antialias=True)
