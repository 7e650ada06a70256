"""Colours of the class ids."""

import numpy as np


def palette() -> np.ndarray:
    """Colours of the 256 mask values, uint8 [256, 3]: 0 black, 1 the tutorial's green, then the VOC colours.

    The VOC colours come from the bits of the index (Everingham 2012, VOC development kit, `VOClabelcolormap`). The
    tutorial's green is their second colour, so the first two are swapped. 255 is VOC's pale yellow-grey.
    """
    index = np.arange(256)
    colours = np.zeros((256, 3), dtype=np.uint8)
    for bit in range(8):
        for channel in range(3):
            colours[:, channel] |= (((index >> (3 * bit + channel)) & 1) << (7 - bit)).astype(np.uint8)
    colours[[1, 2]] = colours[[2, 1]]
    return colours
