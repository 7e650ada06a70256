"""Masks as people see them: a palette, and the image with the mask blended over it."""

from collections.abc import Sequence

import numpy as np


def palette() -> np.ndarray:
    """Colours of the 256 mask values, uint8 [256, 3]: 0 black, 1 the tutorial's green, then the VOC colours.

    The VOC colours come from the bits of the index (Everingham 2012, VOC development kit, `VOClabelcolormap`). Their
    second colour is our green, so the first two change places. 255 stays VOC's pale yellow-grey.
    """
    index = np.arange(256)
    colours = np.zeros((256, 3), dtype=np.uint8)
    for bit in range(8):
        for channel in range(3):
            colours[:, channel] |= (((index >> (3 * bit + channel)) & 1) << (7 - bit)).astype(np.uint8)
    colours[[1, 2]] = colours[[2, 1]]
    return colours


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
    labelled = (mask != 0)[..., None]
    blended = (1 - alpha) * image + alpha * table[mask]
    return np.where(labelled, np.rint(blended), image).astype(np.uint8)
