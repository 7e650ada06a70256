"""Contours: where they are, and that they show on any ground."""

import numpy as np
import pytest
from scipy import ndimage

from tests.support.images import smooth_image
from trainer.drawing.contour import RIM, draw_contours, line_width
from trainer.drawing.palette import palette
from trainer.system import strips

GREEN = ((0, 0, 0), (0, 128, 0))


def disc(height: int = 60, width: int = 80, radius: int = 15) -> np.ndarray:
    rows, columns = np.mgrid[:height, :width]
    return (np.hypot(rows - height // 2, columns - width // 2) < radius).astype(np.uint8)


def brightness(colour: np.ndarray) -> np.ndarray:
    """Perceived brightness, 0 to 255 (ITU-R BT.601)."""
    return colour @ np.array([0.299, 0.587, 0.114])


@pytest.mark.parametrize("ground", [0, 20, 60, 100, 128, 160, 200, 255])
@pytest.mark.parametrize("class_id", [1, 2, 3, 4, 5, 6, 7, 20])
def test_a_contour_shows_on_any_ground(ground: int, class_id: int) -> None:
    mask = disc() * np.uint8(class_id)
    image = np.full((*mask.shape, 3), ground, np.uint8)
    draw_contours(image, mask, GREEN)
    drawn = (image != ground).any(axis=2)
    assert drawn.any()
    assert np.abs(brightness(image[drawn]) - ground).max() > 70


def test_it_follows_the_border_and_leaves_the_rest() -> None:
    mask = disc()
    before = smooth_image(*mask.shape)
    image = before.copy()
    draw_contours(image, mask, GREEN)
    near = ndimage.binary_dilation(mask, iterations=4) & ~ndimage.binary_erosion(mask, iterations=4)
    np.testing.assert_array_equal(image[~near], before[~near])
    line = (image == np.rint(0.55 * 255 + 0.45 * palette()[1]).astype(np.uint8)).all(axis=2)
    border = mask.astype(bool) & ~ndimage.binary_erosion(mask)
    assert line[border].all()
    assert ndimage.label(line, np.ones((3, 3)))[1] == 1, "the line is interrupted"
    rim = (image == RIM).all(axis=2)
    assert (ndimage.binary_dilation(line) & ~line <= rim).all(), "the line lacks a rim"


@pytest.mark.parametrize("height", [800, 3000])
def test_thick_lines_of_large_images_have_no_gaps(height: int) -> None:
    mask = disc(height, height, height // 3)
    image = np.full((height, height, 3), 128, np.uint8)
    draw_contours(image, mask, GREEN)
    line = (image[..., 1] > 190) & (image[..., 0] < 190)
    inside = ndimage.label(~line)[1]
    assert inside == 2, "the ground inside and outside of the line are connected"
    # As many pixels as a ring of that width.
    assert line.sum() == pytest.approx(2 * np.pi * (height // 3) * line_width(height, height), rel=0.15)


def test_lines_are_wider_in_larger_images() -> None:
    widths = [line_width(side, side // 2) for side in (10, 500, 1000, 4000, 10000)]
    assert widths[:2] == [2, 2]
    assert widths == sorted(widths)
    assert 8 <= widths[3] <= 16


def test_strips_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    mask = disc()
    mask[20:35, 40:70] = 2
    whole = smooth_image(*mask.shape)
    part = whole.copy()
    draw_contours(whole, mask, GREEN)
    monkeypatch.setattr(strips, "STRIP_PIXELS", 200)
    draw_contours(part, mask, GREEN)
    np.testing.assert_array_equal(part, whole)


def test_noise_has_thin_lines() -> None:
    mask = np.random.default_rng(0).integers(0, 2, (40, 50), np.uint8)
    image = np.full((40, 50, 3), 255, np.uint8)
    draw_contours(image, mask, GREEN)
    assert not (image == RIM).all(axis=2).any()
    np.testing.assert_array_equal(
        (image != 255).any(axis=2), mask.astype(bool) & ~ndimage.binary_erosion(mask, border_value=1)
    )


def test_an_empty_mask_changes_nothing() -> None:
    image = smooth_image(20, 30)
    before = image.copy()
    for mask in (np.zeros((20, 30), np.uint8), np.ones((20, 30), np.uint8)):
        draw_contours(image, mask, GREEN)
        np.testing.assert_array_equal(image, before)
