"""Overlay of a mask on its image."""

import numpy as np
import pytest

from tests.support.images import box_mask, smooth_image
from trainer.drawing.overlay import draw_overlay
from trainer.drawing.palette import palette


def test_default_opacity_is_thirty_percent() -> None:
    image, mask = smooth_image(20, 30), box_mask(20, 30, classes=4)
    found = draw_overlay(image, mask)
    assert found.dtype == np.uint8
    for row in range(20):
        for column in range(30):
            colour = palette()[mask[row, column]].astype(float)
            expected = image[row, column] if mask[row, column] == 0 else 0.7 * image[row, column] + 0.3 * colour
            assert np.abs(found[row, column] - expected).max() <= 0.5 + 1e-9


@pytest.mark.parametrize(("alpha", "expected"), [(0.0, [200, 100, 50]), (1.0, [10, 20, 30]), (0.5, [105, 60, 40])])
def test_alpha_and_colours(alpha: float, expected: list[int]) -> None:
    image = np.array([[[200, 100, 50]] * 3], dtype=np.uint8)
    mask = np.array([[0, 1, 2]], dtype=np.uint8)
    before = image.copy()
    found = draw_overlay(image, mask, [(9, 9, 9), (10, 20, 30)], alpha)
    assert found[0, 0].tolist() == [200, 100, 50]
    assert found[0, 1].tolist() == expected
    blended = np.rint((1 - alpha) * image[0, 2] + alpha * palette()[2])  # class 2 has no colour in the list
    assert found[0, 2].tolist() == blended.tolist()
    assert np.array_equal(image, before)
