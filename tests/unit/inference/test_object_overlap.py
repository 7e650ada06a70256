"""Objects and what is predicted of them, against scipy's connected components."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from scipy.ndimage import label

from trainer import IGNORE
from trainer.inference.object_overlap import object_counts
from trainer.system import strips as module


def slow_counts(predicted: np.ndarray, mask: np.ndarray) -> list[tuple[int, int, int, int]]:
    predicted = np.where(mask == IGNORE, 0, predicted)
    rows = []
    for own in (1, 2):
        true, count = label(mask == own, np.ones((3, 3)))
        found, number = label(predicted == own, np.ones((3, 3)))
        belongs: dict[int, list[int]] = {}
        for one in range(1, number + 1):
            overlap = np.bincount(true[found == one], minlength=count + 1)[1:]
            if overlap.any():
                belongs.setdefault(int(overlap.argmax()) + 1, []).append(one)
        for one in range(1, count + 1):
            mine = np.isin(found, belongs.get(one, []))
            rows.append((own, int((true == one).sum()), int(mine.sum()), int((mine & (true == one)).sum())))
    return sorted(rows)


masks = st.builds(
    lambda seed: np.random.default_rng(seed).choice([0, 1, 2, IGNORE], (9, 12), p=[0.5, 0.25, 0.2, 0.05]).astype("u1"),
    st.integers(0, 10**6),
)


@given(masks, masks)
def test_counts_are_those_of_scipy(predicted: np.ndarray, mask: np.ndarray) -> None:
    predicted = np.where(predicted == IGNORE, 0, predicted).astype(np.uint8)
    assert sorted(map(tuple, object_counts(predicted, mask).tolist())) == slow_counts(predicted, mask)


def test_strips_change_nothing(monkeypatch: object) -> None:
    rng = np.random.default_rng(0)
    mask, predicted = (rng.integers(0, 3, (40, 30)).astype(np.uint8) for _ in range(2))
    whole = object_counts(predicted, mask)
    monkeypatch.setattr(module, "STRIP_PIXELS", 61)  # type: ignore[attr-defined]
    assert np.array_equal(object_counts(predicted, mask), whole)


def test_one_prediction_over_two_objects_belongs_to_the_larger() -> None:
    mask, predicted = np.zeros((10, 30), np.uint8), np.zeros((10, 30), np.uint8)
    mask[:, :5], mask[:, 20:] = 1, 1
    predicted[:5] = 1
    assert object_counts(predicted, mask).tolist() == [[1, 50, 0, 0], [1, 100, 150, 50]]


def test_without_objects_there_are_no_rows() -> None:
    nothing = np.zeros((4, 5), np.uint8)
    assert object_counts(nothing + 1, nothing).shape == (0, 4)
    assert object_counts(nothing, nothing + 1).tolist() == [[1, 20, 0, 0]]
