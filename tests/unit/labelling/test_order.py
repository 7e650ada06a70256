"""Which images come first: against a plain loop over all pairs, and on scenes of which there are many frames."""

import hypothesis
import hypothesis.extra.numpy as hnp
import hypothesis.strategies as st
import numpy as np
import pytest

from trainer.labelling.order import LARGE_PIXELS, LEAST_DOUBT, choose, worth

NOBODY = np.zeros((0, 8))
SIZE = np.full(100, 1000)


def scenes(count: int, frames: int, seed: int = 0) -> np.ndarray:
    """Features of `frames` nearly equal frames of each of `count` scenes, float64 [count * frames, 8]."""
    random = np.random.default_rng(seed)
    return np.repeat(random.normal(size=(count, 8)), frames, axis=0) + random.normal(
        scale=0.01, size=(frames * count, 8)
    )


def test_no_two_frames_of_a_scene_while_there_are_others() -> None:
    features = scenes(10, 10)
    doubts = np.full(100, 0.5)
    doubts[:30] = 0.9  # three scenes are the hardest
    chosen = choose(worth(doubts, SIZE), features, NOBODY, 10)
    assert sorted(row // 10 for row in chosen) == list(range(10))
    assert {row // 10 for row in chosen[:1]} <= {0, 1, 2}


def test_what_is_labelled_is_not_chosen_again() -> None:
    features = scenes(10, 10)
    known = scenes(10, 10)[[5, 15, 25]]
    chosen = choose(worth(np.full(100, 0.5), SIZE), features, known, 7)
    assert sorted(row // 10 for row in chosen) == [3, 4, 5, 6, 7, 8, 9]


def test_doubt_decides_among_equals() -> None:
    features = np.eye(6)
    doubts = np.array([0.2, 0.6, 0.4, 0.8, 0.3, 0.5])
    assert choose(worth(doubts, SIZE[:6]), features, NOBODY[:, :6], 3) == [3, 1, 5]


def test_large_images_come_later() -> None:
    doubts, pixels = np.array([0.9, 0.5, 0.5]), np.array([4 * LARGE_PIXELS, LARGE_PIXELS, 100])
    np.testing.assert_allclose(worth(doubts, pixels), [0.225, 0.5, 0.5])
    assert choose(worth(doubts, pixels), np.eye(3), NOBODY[:, :3], 3)[-1] == 0


def test_a_pool_without_doubt_is_ordered_by_its_scenes() -> None:
    chosen = choose(worth(np.zeros(100), SIZE), scenes(10, 10), NOBODY, 10)
    assert sorted(row // 10 for row in chosen) == list(range(10))
    assert worth(np.zeros(1), np.ones(1)) == LEAST_DOUBT


@pytest.mark.parametrize("count", [1, 3, 5, 9])
def test_each_once_and_no_more_than_there_are(count: int) -> None:
    chosen = choose(np.ones(5), np.zeros((5, 8)), NOBODY, count)
    assert len(chosen) == len(set(chosen)) == min(count, 5)


@hypothesis.settings(max_examples=40)
@hypothesis.given(
    hnp.arrays(np.float64, (7, 3), elements=st.floats(-3, 3)),
    hnp.arrays(np.float64, (2, 3), elements=st.floats(-3, 3)),
    hnp.arrays(np.float64, 7, elements=st.floats(0.1, 1)),
)
def test_each_choice_is_the_best_that_is_left(features: np.ndarray, known: np.ndarray, weights: np.ndarray) -> None:
    together = np.concatenate([features, known])
    together = (together - together.mean(axis=0)) / np.maximum(together.std(axis=0), 1e-6)
    places = [list(row / max(np.linalg.norm(row), 1e-12)) for row in together]
    chosen: list[int] = []
    for row in choose(weights, features, known, 7):
        near = [*range(7, 9), *chosen]
        scores = {
            one: weights[one]
            * min([1.0, *(np.linalg.norm(np.subtract(places[one], places[other])) / 2 for other in near)])
            for one in range(7)
            if one not in chosen
        }
        assert scores[row] >= max(scores.values()) - 1e-9
        chosen.append(row)
