"""The palette against VOC's definition."""

import numpy as np

from trainer.drawing.palette import palette


def voc_palette() -> list[tuple[int, int, int]]:
    """Palette of the VOC development kit, with the loops of its VOClabelcolormap."""
    colours = []
    for index in range(256):
        rest, red, green, blue = index, 0, 0, 0
        for bit in range(7, -1, -1):
            red |= (rest & 1) << bit
            green |= (rest >> 1 & 1) << bit
            blue |= (rest >> 2 & 1) << bit
            rest >>= 3
        colours.append((red, green, blue))
    return colours


def test_palette() -> None:
    found = palette()
    assert found.shape == (256, 3)
    assert found.dtype == np.uint8
    oracle = voc_palette()
    assert oracle[:4] == [(0, 0, 0), (128, 0, 0), (0, 128, 0), (128, 128, 0)]
    oracle[1], oracle[2] = oracle[2], oracle[1]
    assert [tuple(colour) for colour in found.tolist()] == oracle
    assert found[1].tolist() == [0, 128, 0]  # the tutorial's green
    assert len(set(oracle)) == 256
