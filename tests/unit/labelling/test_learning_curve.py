"""The learning curve: what is known of curves without noise, and how often the interval holds the truth."""

import numpy as np
import pytest

from trainer.labelling import learning_curve
from trainer.labelling.learning_curve import LEAST_ROUNDS, LEVEL, expected_gain

IMAGES = [8, 28, 48, 68, 88]


def at(images: float, a: float = 0.9, b: float = 1.2, c: float = 0.5) -> float:
    return a - b * images**-c


@pytest.mark.parametrize(("a", "b", "c"), [(0.9, 1.2, 0.5), (0.8, 3.0, 1.0), (0.95, 0.8, 0.25)])
def test_an_exact_curve_is_found(a: float, b: float, c: float) -> None:
    gain = expected_gain(IMAGES, [at(number, a, b, c) for number in IMAGES], 20)
    true = at(108, a, b, c) - at(88, a, b, c)
    assert gain is not None
    assert gain.expected == pytest.approx(true, rel=0.1)
    assert gain.low <= true <= gain.high


@pytest.mark.parametrize("rounds", [4, 5])
@pytest.mark.parametrize("noise", [0.01, 0.03])
def test_the_interval_holds_the_truth_at_least_as_often_as_it_says(
    noise: float, rounds: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where one score more than the curve has parameters says how far they scatter."""
    monkeypatch.setattr(learning_curve, "DRAWS", 300)
    images = IMAGES[:rounds]
    true, held = at(images[-1] + 20) - at(images[-1]), 0
    for seed in range(40):
        random = np.random.default_rng(seed)
        gain = expected_gain(images, [at(number) + noise * random.normal() for number in images], 20)
        assert gain is not None
        held += gain.low <= true <= gain.high
    assert held / 40 >= LEVEL - 0.05


def test_too_few_rounds_tell_nothing() -> None:
    assert expected_gain(IMAGES[: LEAST_ROUNDS - 1], [0.3, 0.5, 0.6], 20) is None
    assert expected_gain([8, 8, 28, 28], [0.3, 0.31, 0.5, 0.5], 20) is None
    assert expected_gain([], [], 20) is None


def test_scores_that_fall_promise_nothing() -> None:
    gain = expected_gain(IMAGES, [0.8, 0.7, 0.6, 0.5, 0.4], 20)
    assert gain is not None
    assert gain.expected == 0
    assert gain.low >= 0


def test_no_curve_passes_one() -> None:
    gain = expected_gain(IMAGES, [0.1, 0.5, 0.8, 0.97, 0.999], 10**9)
    assert gain is not None
    assert 0 <= gain.expected <= 0.2
    assert gain.high < 1
