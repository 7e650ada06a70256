"""The estimate of the bar follows the last steps, not the first, and spreads evaluations over the steps."""

import pytest

from trainer.system.pace import Pace


def test_slow_first_steps_are_forgotten() -> None:
    pace, now_s = Pace(), 0.0
    assert pace.left_s(10) is None
    for number in range(20):
        now_s += 100 if number < 3 else 2
        pace.step(now_s)
    assert pace.left_s(180) == 360


def test_an_evaluation_counts_for_the_steps_around_it() -> None:
    """Every 10 steps of 2 s, one of 30 s: one after such a pause is no pace of 32 s a step."""
    pace, now_s = Pace(), 0.0
    for number in range(41):
        if number % 10 == 0:
            now_s += 30
            pace.evaluation()
        now_s += 2
        pace.step(now_s)
    assert pace.left_s(100) == pytest.approx(100 * (2 + 3), rel=0.02)


def test_another_pace_is_followed() -> None:
    pace, now_s = Pace(), 0.0
    for number in range(200):
        now_s += 1 if number < 100 else 4
        pace.step(now_s)
    assert pace.left_s(10) == 40
