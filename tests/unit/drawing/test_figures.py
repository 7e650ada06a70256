"""Figures of the watch list and the contact sheet."""

import numpy as np
import pytest

from tests.support.images import box_mask, smooth_image
from trainer import IGNORE
from trainer.drawing.figures import (
    CONFUSED,
    MISSED,
    PANEL,
    RIGHT,
    SHEET,
    WRONG,
    contact_sheet,
    error_map,
    shrink_to_panel,
    watch_panels,
)


def test_error_map() -> None:
    mask = np.array([[0, 0, 1, 1, 1, 255, 255]], dtype=np.uint8)
    predicted = np.array([[0, 1, 1, 0, 2, 0, 1]], dtype=np.uint8)
    found = error_map(mask, predicted)
    assert found.dtype == np.uint8
    assert found.tolist() == [[0, 2, 1, 3, 4, 5, 5]]


@pytest.mark.parametrize("size", [(320, 320), (320, 100), (33, 320), (1, 320), (10, 20)], ids=str)
def test_watch_panels_are_one_row(size: tuple[int, int]) -> None:
    mask = box_mask(*size)
    found = watch_panels(smooth_image(*size), mask, mask)
    assert found.shape == (PANEL, 4 * PANEL, 3)
    assert found.dtype == np.uint8


def centre(figure: np.ndarray, panel: int) -> np.ndarray:
    """Colour in the middle of a panel, the first is 0."""
    return figure[PANEL // 2, panel * PANEL + PANEL // 2].astype(float)


@pytest.mark.parametrize(
    ("true", "predicted", "colour"),
    [(1, 1, RIGHT), (0, 1, WRONG), (1, 0, MISSED), (1, 2, CONFUSED), (255, 1, (128, 128, 128))],
    ids=["right", "wrong", "missed", "confused", "ignored"],
)
def test_the_four_panels(true: int, predicted: int, colour: tuple[int, int, int]) -> None:
    """Prediction, mask, errors, image."""
    image = np.zeros((PANEL, PANEL, 3), dtype=np.uint8)
    image[:] = (200, 180, 100)
    found = watch_panels(image, np.full((PANEL, PANEL), true, np.uint8), np.full((PANEL, PANEL), predicted, np.uint8))
    colours = {0: None, 1: (0, 128, 0), 2: (128, 0, 0), 255: None}

    def blended(overlay: tuple[int, int, int] | None, ground: tuple[int, int, int], alpha: float) -> np.ndarray:
        return np.array(ground) if overlay is None else (1 - alpha) * np.array(ground) + alpha * np.array(overlay)

    np.testing.assert_allclose(centre(found, 0), blended(colours[predicted], (200, 180, 100), 0.3), atol=1)
    np.testing.assert_allclose(centre(found, 1), blended(colours[true], (200, 180, 100), 0.3), atol=1)
    np.testing.assert_allclose(centre(found, 2), blended(colour, (80, 80, 80), 0.8), atol=1)
    assert centre(found, 3).tolist() == [200, 180, 100]


def test_a_mask_has_a_line_that_shows_on_any_ground() -> None:
    mask = box_mask(PANEL, PANEL)
    for level in (0, 128, 255):
        image = np.full((PANEL, PANEL, 3), level, np.uint8)
        panel = watch_panels(image, mask, mask)[:, PANEL : 2 * PANEL].astype(int).sum(axis=2)
        assert panel.max() - panel.min() > 300


def test_the_score_is_written_into_the_prediction() -> None:
    image, mask = smooth_image(PANEL, PANEL), box_mask(PANEL, PANEL)
    plain, scored = watch_panels(image, mask, mask), watch_panels(image, mask, mask, score=0.87)
    columns = np.flatnonzero((plain != scored).any(axis=(0, 2)))
    assert 0 <= columns.min() < columns.max() < PANEL


def test_right_background_is_grey() -> None:
    background = np.zeros((PANEL, PANEL), np.uint8)
    image = np.zeros((PANEL, PANEL, 3), dtype=np.uint8)
    image[:] = (200, 180, 100)
    assert centre(watch_panels(image, background, background), 2).tolist() == [80, 80, 80]


@pytest.mark.parametrize(
    ("size", "expected"),
    [
        ((640, 480), (320, 240)),
        ((480, 640), (240, 320)),
        ((10, 20), (160, 320)),
        ((320, 320), (320, 320)),
        ((1, 9999), (1, 320)),
    ],
)
def test_shrink_to_panel(size: tuple[int, int], expected: tuple[int, int]) -> None:
    assert shrink_to_panel(size) == expected


def test_contact_sheet() -> None:
    image, mask = np.full((20, 30, 3), 100, dtype=np.uint8), np.zeros((20, 30), dtype=np.uint8)
    labelled = mask.copy()
    labelled[:, :15] = 1
    ignored = np.full_like(mask, IGNORE)
    sheet = contact_sheet([[(image, mask), (image, labelled)], [(image, ignored), (image, mask)]])
    assert sheet.shape == (2 * SHEET, 2 * SHEET, 3)
    plain, half, hatched = sheet[:SHEET, :SHEET], sheet[SHEET:, :SHEET], sheet[:SHEET, SHEET:]
    middle = SHEET // 2
    assert (plain[middle, middle] == 100).all()
    assert half[middle, middle // 2, 1] > half[middle, middle // 2, 0]  # green over the left half
    assert (half[middle, middle + middle // 2] == 100).all()
    grey = hatched[middle - 30 : middle + 30, 20:-20]
    assert set(np.unique(grey)) == {100, 200}
