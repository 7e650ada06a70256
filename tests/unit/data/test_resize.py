"""Resizing of masks."""

import numpy as np
import pytest

from trainer.data.resize_mask import shrink_mask


@pytest.mark.parametrize("size", [8, 10, 31, 64])
def test_smaller_mask_takes_the_nearest_pixel(size: int) -> None:
    mask = np.random.default_rng(0).choice([0, 3, 200, 255], (24, 40)).astype(np.uint8)
    found = shrink_mask(mask, size)
    assert found.shape == (size, size)
    # By definition, the pixel of the mask that the centre of the new pixel lies in.
    for row in range(size):
        for column in range(size):
            assert found[row, column] == mask[int((row + 0.5) * 24 / size), int((column + 0.5) * 40 / size)]
    assert np.array_equal(shrink_mask(mask[:24, :24], 24), mask[:24, :24])
