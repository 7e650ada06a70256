"""Legend of an overlay: where it is, what it shows, and when it is left out."""

import numpy as np
import pytest

from trainer.drawing.legend import GROUND, TEXT, Entry, draw_legend

CAT, DOG = (1, "cat", (0, 128, 0)), (2, "dog", (128, 0, 0))


def drawn(size: tuple[int, int], entries: list[Entry], mask: np.ndarray | None = None):
    """Rows, columns that a legend covers in a white image, or None; and the image."""
    image = np.full((*size, 3), 250, np.uint8)
    draw_legend(image, np.zeros(size, np.uint8) if mask is None else mask, entries)
    rows, columns = np.nonzero((image != 250).any(axis=2))
    if len(rows) == 0:
        return None, image
    return (slice(rows.min(), rows.max() + 1), slice(columns.min(), columns.max() + 1)), image


def has(image: np.ndarray, colour: tuple[int, int, int]) -> bool:
    return bool((image == colour).all(axis=2).any())


@pytest.mark.parametrize("size", [(120, 160), (300, 400), (3000, 4000), (400, 3000), (900, 300)])
def test_it_has_the_classes_and_a_readable_size(size: tuple[int, int]) -> None:
    box, image = drawn(size, [CAT, DOG])
    assert box is not None
    for colour in (CAT[2], DOG[2], GROUND, TEXT):
        assert has(image[box], colour)
    height, width = image[box].shape[:2]
    assert height <= 0.35 * size[0]
    assert width <= 0.5 * size[1]
    assert height >= 2 * 11


@pytest.mark.parametrize("corner", range(4))
def test_it_stands_where_there_is_least_to_see(corner: int) -> None:
    mask = np.ones((300, 400), np.uint8)
    rows, columns = (slice(150, 300), slice(0, 150))[corner // 2], (slice(0, 200), slice(200, 400))[corner % 2]
    mask[rows, columns] = 0
    box, _ = drawn((300, 400), [CAT], mask)
    assert box is not None
    assert not mask[box].any()


@pytest.mark.parametrize("size", [(1, 1), (20, 30), (48, 56), (30, 2000)])
def test_small_images_have_none(size: tuple[int, int]) -> None:
    assert drawn(size, [CAT, DOG])[0] is None


@pytest.mark.parametrize("size", [(300, 2000), (200, 900), (600, 900)])
def test_many_classes_stand_in_columns(size: tuple[int, int]) -> None:
    """In panoramas and small pictures too, all of them, each square beside its name."""
    count = 9 if size[0] < 600 else 20
    box, image = drawn(size, [(number, f"class {number}", (number, 1, 200)) for number in range(1, count + 1)])
    assert box is not None
    height, width = image[box].shape[:2]
    assert height <= 0.35 * size[0]
    assert width <= 0.5 * size[1]
    lefts = []
    for number in range(1, count + 1):
        rows, columns = np.nonzero((image == (number, 1, 200)).all(axis=2))
        lefts.append(columns.min())
        assert np.ptp(columns) >= 8
        name = image[rows.min() : rows.max() + 1, columns.max() + 5 : columns.max() + 40]
        assert has(name, TEXT), number
    assert len(set(lefts)) > 1
    assert lefts == sorted(lefts)


def test_no_classes_no_legend() -> None:
    assert drawn((300, 400), [])[0] is None


def test_many_and_long_names_still_fit() -> None:
    many = [(number, f"class {number} " + "x" * 200, (number, 1, 2)) for number in range(30)]
    box, image = drawn((800, 1000), many)
    assert box is not None
    assert has(image, (23, 1, 2))
    assert not has(image, (24, 1, 2))  # "and 6 more"
    box, image = drawn((640, 700), many)
    assert box is not None
    assert has(image, (11, 1, 2))
    assert not has(image, (12, 1, 2))  # "and 18 more"
    for name in ("\x1b[31m", "é", "狗", " ", "\n"):
        assert drawn((300, 400), [(1, name, (1, 2, 3))])[0] is not None
