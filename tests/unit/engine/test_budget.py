"""Budget of train.minutes: the steps that fit, by a clock that the test moves."""

import pytest

from trainer.data.loader import ImageSides
from trainer.engine.budget import Budget
from trainer.engine.schedule import Plan

SIDES = ImageSides(small=20, full=32)


class Clock:
    def __init__(self) -> None:
        self.now_s = 0.0

    def __call__(self) -> float:
        return self.now_s


def step(budget: Budget, clock: Clock, side: int, seconds: float, times: int = 1) -> None:
    for _ in range(times):
        clock.now_s += seconds
        budget.count_step(side, seconds)


def test_before_the_first_step_it_follows_what_was_measured() -> None:
    """Half of the steps take 1 s, half 3 s, an evaluation of 10 s comes every 20: 600 - 5 - 5 = n * 2.5."""
    budget = Budget(10, SIDES, 20, clock=Clock())
    budget.measured(1.0, 3.0)
    budget.count_evaluation(10.0)
    assert budget.steps_left(Plan(1000, 1000), 0) == 236


def test_earlier_starts_have_spent_a_part() -> None:
    clock = Clock()
    budget = Budget(10, SIDES, 20, spent_s=195.0, clock=clock)
    budget.measured(1.0, 3.0)
    assert budget.steps_left(Plan(1000, 1000), 0) == 200
    clock.now_s += 20
    assert budget.spent_s() == 215


def test_steps_count_more_than_what_was_measured_and_the_larger_ones_keep_their_ratio() -> None:
    """40 steps of 2 s are done, of a plan of 100: 10 more small ones in 60, and then 50 of 6 s."""
    clock = Clock()
    budget = Budget(10, SIDES, 20, clock=clock)
    budget.measured(1.0, 3.0)
    step(budget, clock, SIDES.small, 2.0, 40)
    mean_s = (10 * 2 + 50 * 6) / 60
    assert budget.steps_left(Plan(100, 100), 40) == int((600 - 80 - 5) / mean_s)


def test_a_resumed_start_knows_the_sides_only() -> None:
    clock = Clock()
    budget = Budget(10, SIDES, 20, clock=clock)
    assert budget.steps_left(Plan(100, 100), 60) is None
    step(budget, clock, SIDES.full, 4.0)
    assert budget.steps_left(Plan(100, 100), 61) == int((600 - 4 - 5) / 4)
    # From place 0, half are small, of (20 / 32) ** 2 of the pixels.
    assert budget.steps_left(Plan(100, 100), 0) == int((600 - 4 - 5) / (0.5 * 4 + 0.5 * 4 * 0.390625))


def test_time_beside_steps_and_evaluations_is_expected_again() -> None:
    """A checkpoint of 1 s after each step of 1 s."""
    clock = Clock()
    budget = Budget(10, ImageSides(32, 32), 20, clock=clock)
    for _ in range(10):
        step(budget, clock, 32, 1.0)
        clock.now_s += 1
    assert budget.steps_left(Plan(100, 100), 10) == (600 - 20 - 5) // 2


@pytest.mark.parametrize(("minutes", "end_s"), [(0.1, 0.72), (0.5, 3.6), (10, 5)])
def test_some_time_is_left_for_the_end(minutes: float, end_s: float) -> None:
    budget = Budget(minutes, ImageSides(32, 32), 20, clock=Clock())
    budget.measured(0.1, 0.1)
    assert budget.steps_left(Plan(10**6, 10**6), 0) == pytest.approx((60 * minutes - end_s) / 0.1, abs=1)


def test_planned_again_ten_times_and_only_where_it_matters() -> None:
    clock = Clock()
    budget = Budget(10, SIDES, 20, clock=clock)
    assert not budget.due()
    clock.now_s = 61
    assert budget.due()
    plan = Plan(100, 100)
    assert budget.plan_again(plan, 50, 51, 1000) == plan  # 2 % of the steps left
    assert not budget.due()
    assert budget.plan_again(plan, 50, 40, 1000) == Plan(90, 100, 50, 50.0)
    assert budget.plan_again(plan, 50, 500, 300).total_steps == 300
    assert budget.plan_again(plan, 50, 1, 1000).total_steps == 51
    assert not Budget(0, SIDES, 20, clock=lambda: 10.0**9).due()
