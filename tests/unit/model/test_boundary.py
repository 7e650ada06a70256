"""Agreement of borders, against a search of all pairs of pixels."""

from itertools import product

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.ndimage import distance_transform_edt

from trainer import IGNORE
from trainer.model.boundary import RADIUS, border, boundary_counts


def slow_border(mask: np.ndarray) -> list[tuple[int, int, int]]:
    """Border pixels (row, column, class), by the definition, one pixel at a time."""
    found = []
    for row, column in product(range(mask.shape[0]), range(mask.shape[1])):
        beside = [(row - 1, column), (row + 1, column), (row, column - 1), (row, column + 1)]
        others = [mask[at] for at in beside if 0 <= at[0] < mask.shape[0] and 0 <= at[1] < mask.shape[1]]
        own = mask[row, column]
        if own not in (0, IGNORE) and any(other not in (own, IGNORE) for other in others):
            found.append((row, column, int(own)))
    return found


def slow_counts(predicted: np.ndarray, mask: np.ndarray, classes: int) -> np.ndarray:
    result = np.zeros((classes, 4), np.int64)
    found, true = slow_border(predicted), slow_border(mask)
    for place, (some, others) in enumerate([(found, true), (true, found)]):
        for row, column, own in some:
            near = [other for down, right, other in others if (row - down) ** 2 + (column - right) ** 2 <= RADIUS**2]
            unknown = [
                (down, right)
                for down, right in np.argwhere(mask == IGNORE)
                if (row - down) ** 2 + (column - right) ** 2 <= RADIUS**2
            ]
            if place == 0 and unknown:
                continue
            result[own, 2 * place] += own in near
            result[own, 2 * place + 1] += 1
    return result


masks = st.builds(
    lambda seed, ignored: (
        np.random.default_rng(seed)
        .choice([0, 1, 2, IGNORE], (5, 6), p=[0.5, 0.3, 0.2 - ignored, ignored])
        .astype(np.uint8)
        .repeat(2, 0)
        .repeat(2, 1)
    ),
    st.integers(0, 10**6),
    st.sampled_from([0.0, 0.1]),
)


@given(masks, masks)
def test_counts_are_those_of_all_pairs(predicted: np.ndarray, mask: np.ndarray) -> None:
    predicted = np.where(predicted == IGNORE, 1, predicted).astype(np.uint8)
    assert np.array_equal(boundary_counts(predicted, mask, 3), slow_counts(predicted, mask, 3))


def test_counts_are_those_of_a_distance_transform() -> None:
    """On large smooth shapes, where scipy measures the distance to the other border."""
    rows, columns = np.indices((200, 150))
    mask = ((rows - 90) ** 2 + (columns - 70) ** 2 < 50**2).astype(np.uint8)
    predicted = ((rows - 91) ** 2 / 1.1 + (columns - 72) ** 2 < 49**2).astype(np.uint8)
    found, true = border(predicted) > 0, border(mask) > 0
    near_true, near_found = (distance_transform_edt(~one) <= RADIUS for one in (true, found))
    expected = [(found & near_true).sum(), found.sum(), (true & near_found).sum(), true.sum()]
    assert boundary_counts(predicted, mask, 2)[1].tolist() == expected
    assert 0 < expected[0] < expected[1]


@pytest.mark.parametrize("shift", [0, 2, 3])
def test_two_pixels_are_near_and_three_are_not(shift: int) -> None:
    mask, predicted = np.zeros((40, 40), np.uint8), np.zeros((40, 40), np.uint8)
    mask[:, 10:] = 1
    predicted[:, 10 + shift :] = 1
    matched = 40 if shift <= 2 else 0
    assert boundary_counts(predicted, mask, 2)[1].tolist() == [matched, 40, matched, 40]


def test_an_edge_of_the_image_is_no_border() -> None:
    full = np.ones((9, 7), np.uint8)
    assert not boundary_counts(full, full, 2).any()
