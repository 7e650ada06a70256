"""Label Studio's run lengths as we write them, decoded by the code of its own front end, in Python, and by ours."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis.extra.numpy import array_shapes, arrays

from tests.support import studio
from trainer.data.layouts.brush_rle import decode_brush, encode_brush

CONVERTED = [0, 0, 0, 140, 57, 27, 254, 35, 0, 183, 255, 124, 2, 223, 254, 59, 0, 143, 252]
"""What label-studio-converter 0.0.59 makes of the mask of `test_bytes_of_the_converter`."""


def expected(mask: np.ndarray) -> np.ndarray:
    return np.repeat(np.where(mask, 255, 0).astype(np.uint8).reshape(-1), 4)


@given(arrays(bool, array_shapes(min_dims=2, max_dims=2, max_side=20)))
def test_decoded_values_are_the_mask(mask: np.ndarray) -> None:
    assert (studio.decode_brush(encode_brush(mask)) == expected(mask)).all()
    assert (decode_brush(bytes(encode_brush(mask)), mask.shape) == mask).all()


@pytest.mark.parametrize("pixels", [16_383, 16_384, 16_385, 32_768, 50_000])
def test_long_runs(pixels: int) -> None:
    """The longest run of a code is 65536 values, which are 16384 pixels."""
    mask = np.zeros((3, 50_000), bool)
    mask[1, :pixels] = True
    assert (studio.decode_brush(encode_brush(mask)) == expected(mask)).all()


def test_bytes_of_the_converter() -> None:
    mask = np.zeros((5, 7), bool)
    mask[1:3, 2:5] = mask[4, 6] = True
    assert encode_brush(mask) == CONVERTED
