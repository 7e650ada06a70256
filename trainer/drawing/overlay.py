"""Masks as people see them: a palette, and the image with the mask blended over it."""

from collections.abc import Sequence

import numpy as np

from trainer.drawing.palette import palette


def draw_overlay(
    image: np.ndarray, mask: np.ndarray, colours: Sequence[Sequence[int]] | np.ndarray | None = None, alpha: float = 0.3
) -> np.ndarray:
    """Blend the colours of `mask` over `image`, uint8 [H, W, 3]; background pixels stay as they are.

    `image` uint8 [H, W, 3]; `mask` uint8 [H, W] class ids; `colours` [>= K, 3], by default `palette()`; `alpha` is
    the mask's share in [0, 1].
    """
    table = palette()
    if colours is not None:
        table[: len(colours)] = np.asarray(colours, dtype=np.uint8)
    # Few classes and 256 levels: every blend that can occur is worked out once, and a pixel is looked up.
    classes, levels = int(mask.max(initial=0)) + 1, np.arange(256)
    blends = np.rint((1 - alpha) * levels + alpha * table[:classes].T[..., None])  # [3, K, 256]
    blends[:, 0] = levels
    rows = mask.astype(np.int32) * 256
    result = np.empty_like(image)
    for channel, blend in enumerate(blends.astype(np.uint8)):
        result[..., channel] = blend.take(rows + image[..., channel])
    return result
