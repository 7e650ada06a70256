"""Curve of val/miou: fitted to planted curves, and trusted where it is right."""

import math
import random
import statistics
from collections.abc import Callable, Sequence

import pytest

from trainer.engine.curve import FEWEST, LITTLE, MORE, fit, levelled_off
from trainer.engine.schedule import Plan

INTERVAL, PLANNED = 50, 3000

Truth = Callable[[float], float]


def planted(truth: Truth, noise: float, seed: int = 0, steps: int = PLANNED) -> list[float]:
    """Scores along a curve, with the noise of a moving average: neighbours deviate alike."""
    source, deviation, scores = random.Random(seed), 0.0, list[float]()
    for step in range(INTERVAL, steps + 1, INTERVAL):
        deviation = 0.5 * deviation + math.sqrt(0.75) * source.gauss(0, noise)
        scores.append(truth(step) + deviation)
    return scores


def end(scores: Sequence[float], plan: Plan | None = None, missing: bool = False) -> int | None:
    """Step at which the first verdict falls, as scores come one by one."""
    for count in range(1, len(scores) + 1):
        if levelled_off(scores[:count], INTERVAL, plan or Plan(PLANNED, PLANNED), missing):
            return INTERVAL * count
    return None


def gain(truth: Truth, step: int) -> float:
    return truth((1 + MORE) * step) - truth(step)


CURVES: dict[str, Truth] = {
    "fast": lambda step: 0.8 - 20 / step,
    "slow": lambda step: 0.8 - 6 * step**-0.5,
    "slowest": lambda step: 0.8 - 2 * step**-0.25,
}


@pytest.mark.parametrize("exponent", [0.25, 0.5, 1.0, 2.0])
def test_a_planted_curve_is_found(exponent: float) -> None:
    steps = list(range(100, 2001, 100))
    scores = [0.8 - 0.3 * (step / 100) ** -exponent for step in steps]
    curve = fit(steps, scores)
    assert curve.c == exponent
    assert [curve.at(step) for step in steps] == pytest.approx(scores)
    assert curve.gain(2000) == pytest.approx(0.3 * (20**-exponent - 30**-exponent))
    assert curve.noise == pytest.approx(0, abs=1e-9)


def test_outliers_weigh_less() -> None:
    steps = list(range(100, 2001, 100))
    scores = [0.8 - 0.3 * (step / 100) ** -1.0 + (0.2 if step in (700, 1600) else 0) for step in steps]
    assert fit(steps, scores).at(2000) == pytest.approx(0.785, abs=0.01)


def test_noise_and_the_error_of_the_gain_are_those_that_were_planted() -> None:
    steps, source = list(range(50, 3001, 50)), random.Random(0)
    curves = [fit(steps, [0.8 - 40 / step + source.gauss(0, 0.02) for step in steps]) for _ in range(200)]
    assert statistics.fmean(curve.noise for curve in curves) == pytest.approx(0.02, rel=0.1)
    same = [curve for curve in curves if curve.c == 1]
    spread = statistics.stdev(curve.gain(3000) for curve in same)
    assert statistics.fmean(curve.gain_error(3000) for curve in same) == pytest.approx(spread, rel=0.4)


@pytest.mark.parametrize("name", CURVES)
def test_a_curve_without_noise_ends_where_it_says_and_never_before(name: str) -> None:
    truth = CURVES[name]
    true = next((step for step in range(INTERVAL, PLANNED, INTERVAL) if gain(truth, step) < LITTLE), None)
    found = end(planted(truth, 0))
    if true is None:
        assert found is None
    else:
        assert found is not None
        assert true <= found <= true + 2 * INTERVAL  # the curve has to say so twice


@pytest.mark.parametrize("noise", [0.003, 0.01, 0.03])
def test_noise_delays_the_end_rather_than_hastens_it(noise: float) -> None:
    """What is given away is LITTLE on average, also where single ends come early."""
    fast = CURVES["fast"]
    ends = [end(planted(fast, noise, seed)) or PLANNED for seed in range(12)]
    assert sum(gain(fast, step) for step in ends) / len(ends) < 1.1 * LITTLE
    assert max(gain(fast, step) for step in ends) < 1.5 * LITTLE
    slow = [end(planted(CURVES["slow"], noise, seed)) for seed in range(12)]
    assert slow.count(None) >= (12 if noise < 0.02 else 6)


def test_what_the_noise_leaves_open_counts_as_gain() -> None:
    ends = [end(planted(CURVES["fast"], 0.03, seed)) or PLANNED for seed in range(12)]
    assert statistics.fmean(ends) > 1500  # 1425 by the curve alone


def test_a_high_score_within_the_noise_is_no_rise() -> None:
    ends = [end(planted(lambda _: 0.5, 0.03, seed)) or PLANNED for seed in range(12)]
    assert statistics.fmean(ends) < 1200  # 1208 where LITTLE above the curve is a rise


def test_flat_and_falling_curves_end_after_a_third_of_the_course() -> None:
    """A memorised training set looks like this."""
    assert end(planted(lambda _: 0.5, 0)) == 1000
    assert end(planted(lambda step: 0.7 - step / 10000, 0)) == 1000
    assert end(planted(lambda _: 0.5, 0), Plan(300, 300)) is None  # too few evaluations
    assert end(planted(lambda _: 0.5, 0, steps=600), Plan(900, 900)) == INTERVAL * (FEWEST + 2)


def test_a_curve_that_rises_anew_goes_on() -> None:
    broken = [0.4] * 18 + [0.5, 0.55, 0.58, 0.6]
    assert end(broken) is None
    assert end(planted(lambda step: step / 4000, 0)) is None


def test_nothing_found_at_all_is_no_level() -> None:
    assert end([0.0] * 60) is None


def test_a_class_that_is_missing_gets_half_of_the_course() -> None:
    assert end([0.5] * 60, missing=True) == 1500


def test_the_end_comes_in_a_third_of_the_steps_done_and_once() -> None:
    scores = [0.5] * 20
    verdict = levelled_off(scores, INTERVAL, Plan(PLANNED, PLANNED), missing=False)
    assert verdict
    assert verdict.total_steps == 1333
    assert "0.500 after 50, " in verdict.reason
    assert "0.500 after 1000 steps" in verdict.reason
    assert "by step 1333" in verdict.reason
    changed = Plan(PLANNED, PLANNED).changed(1000, 1333)
    assert levelled_off([0.5] * 21, INTERVAL, changed, missing=False) is None
    assert levelled_off([0.5] * 46, INTERVAL, Plan(PLANNED, PLANNED), missing=False) is None  # 700 steps are left
