"""Which images come first: against a plain loop over all sums, and on scenes of which there are many frames."""

import hypothesis
import hypothesis.extra.numpy as hnp
import hypothesis.strategies as st
import numpy as np
import pytest

from trainer.labelling import order
from trainer.labelling.order import LARGE_PIXELS, LEAST_DOUBT, choose, effort

NOBODY = np.zeros((0, 8))
SIZE = np.full(100, 1000)


def scenes(count: int, frames: int, seed: int = 0) -> np.ndarray:
    """Features of `frames` nearly equal frames of each of `count` scenes, float64 [count * frames, 8]."""
    random = np.random.default_rng(seed)
    return np.repeat(random.normal(size=(count, 8)), frames, axis=0) + random.normal(
        scale=0.01, size=(frames * count, 8)
    )


def test_no_two_frames_of_a_scene_while_there_are_others() -> None:
    doubts = np.full(100, 0.5)
    doubts[:30] = 0.9  # three scenes are the hardest
    chosen = choose(doubts, SIZE, scenes(10, 10), NOBODY, 10)
    assert sorted(row // 10 for row in chosen) == list(range(10))
    assert {row // 10 for row in chosen[:1]} <= {0, 1, 2}


def test_what_is_labelled_is_not_chosen_again() -> None:
    features = scenes(10, 10)
    chosen = choose(np.full(100, 0.5), SIZE, features, features[[5, 15, 25]], 7)
    assert sorted(row // 10 for row in chosen) == [3, 4, 5, 6, 7, 8, 9]


def test_doubt_decides_among_equals() -> None:
    doubts = np.array([0.2, 0.6, 0.4, 0.8, 0.3, 0.5])
    assert choose(doubts, SIZE[:6], np.eye(6), NOBODY[:, :6], 3) == [3, 1, 5]


def test_what_many_are_like_comes_before_what_is_odd() -> None:
    """One image of a scene of 19, though a single one, far away, is doubted more."""
    features = np.concatenate([scenes(1, 19), -5 * scenes(1, 1, seed=1)])
    doubts = np.append(np.full(19, 0.5), 0.9)
    first, second = choose(doubts, SIZE[:20], features, NOBODY, 2)
    assert first < 19
    assert second == 19


def test_large_images_come_later() -> None:
    doubts, pixels = np.array([0.9, 0.5, 0.5]), np.array([4 * LARGE_PIXELS, LARGE_PIXELS, 100])
    np.testing.assert_allclose(effort(pixels), [4, 1, 1])
    assert choose(doubts, np.full(3, 100), np.eye(3), NOBODY[:, :3], 3)[0] == 0
    assert choose(doubts, pixels, np.eye(3), NOBODY[:, :3], 3)[-1] == 0


def test_a_pool_without_doubt_is_ordered_by_its_scenes() -> None:
    chosen = choose(np.zeros(100), SIZE, scenes(10, 10), NOBODY, 10)
    assert sorted(row // 10 for row in chosen) == list(range(10))


@pytest.mark.parametrize("count", [1, 3, 5, 9])
def test_each_once_and_no_more_than_there_are(count: int) -> None:
    chosen = choose(np.ones(5), SIZE[:5], np.zeros((5, 8)), NOBODY, count)
    assert len(chosen) == len(set(chosen)) == min(count, 5)


def test_the_order_does_not_depend_on_how_many_distances_are_held(monkeypatch: pytest.MonkeyPatch) -> None:
    random = np.random.default_rng(3)
    features, doubts = random.normal(size=(100, 8)), random.random(100)
    together = choose(doubts, SIZE, features, features[:5], 30)
    monkeypatch.setattr(order, "BLOCK_VALUES", 700)
    assert choose(doubts, SIZE, features, features[:5], 30) == together


@hypothesis.settings(max_examples=40)
@hypothesis.given(
    hnp.arrays(np.float64, (7, 3), elements=st.floats(-3, 3)),
    hnp.arrays(np.float64, (2, 3), elements=st.floats(-3, 3)),
    hnp.arrays(np.float64, 7, elements=st.floats(0, 1)),
    hnp.arrays(np.int64, 7, elements=st.integers(1, 3 * LARGE_PIXELS)),
)
def test_each_choice_is_the_best_that_is_left(
    features: np.ndarray, known: np.ndarray, doubts: np.ndarray, pixels: np.ndarray
) -> None:
    together = np.concatenate([features, known])
    together = (together - together.mean(axis=0)) / np.maximum(together.std(axis=0), 1e-6)
    places = [list(row / max(np.linalg.norm(row), 1e-12)) for row in together]

    def distance(one: int, others: list[int]) -> float:
        return min([1.0, *(float(np.linalg.norm(np.subtract(places[one], places[other]))) / 2 for other in others)])

    def gain(row: int, near: list[int]) -> float:
        falls = [distance(one, near) - distance(one, [*near, row]) for one in range(7)]
        weights = [max(doubt, LEAST_DOUBT) for doubt in doubts]
        return sum(weight * fall for weight, fall in zip(weights, falls, strict=True)) / max(
            1.0, pixels[row] / LARGE_PIXELS
        )

    chosen: list[int] = []
    for row in choose(doubts, pixels, features, known, 7):
        gains = {one: gain(one, [7, 8, *chosen]) for one in range(7) if one not in chosen}
        assert gains[row] >= max(gains.values()) - 1e-6
        chosen.append(row)
