"""Overlay: the image with the mask blended over it."""

from collections.abc import Sequence

import numpy as np

from trainer.drawing.palette import palette
from trainer.system.strips import on_strips


def draw_overlay(
    image: np.ndarray,
    mask: np.ndarray,
    colours: Sequence[Sequence[int]] | np.ndarray | None = None,
    alpha: float = 0.3,
    out: np.ndarray | None = None,
) -> np.ndarray:
    """Blend the colours of `mask` over `image`; return uint8 [H, W, 3]. Background pixels are unchanged.

    `image`: uint8 [H, W, 3]. `mask`: class ids, uint8 [H, W]. `colours`: RGB of the first class ids, [N, 3]; the others
    have those of `palette()`. `alpha`: opacity of the mask, in [0, 1]. `out`: array of the result, perhaps `image`.
    """
    table = palette()
    if colours is not None:
        table[: len(colours)] = np.asarray(colours, dtype=np.uint8)
    # There are few classes and 256 levels: all possible blends are computed once, and each pixel is a lookup.
    classes, levels = int(mask.max(initial=0)) + 1, np.arange(256)
    blends = np.rint((1 - alpha) * levels + alpha * table[:classes].T[..., None])  # [3, K, 256]
    blends[:, 0] = levels
    tables = blends.astype(np.uint8)
    result = np.empty_like(image) if out is None else out

    def draw(rows: slice) -> None:
        if not mask[rows].any():  # background alone
            result[rows] = image[rows]
            return
        offsets = mask[rows].astype(np.uint16) * 256
        for channel, blend in enumerate(tables):
            result[rows, :, channel] = blend.take(offsets + image[rows, :, channel])

    on_strips(draw, *mask.shape)
    return result
