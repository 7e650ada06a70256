"""The learning rate: up to its peak, down to nothing, whatever the number of steps."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from trainer.engine.schedule import Plan, Schedule, learning_rate

TOTAL, WARMUP = st.integers(1, 500), st.floats(0, 1)


@pytest.mark.parametrize("total", [1, 7, 100])
def test_without_warmup_it_is_the_cosine_of_torch(total: int) -> None:
    weight = torch.nn.Parameter(torch.zeros(1))
    optimizer = torch.optim.SGD([weight], lr=0.3)
    oracle = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=total)
    for step in range(total):
        assert learning_rate(step, total, 0.3, 0.0) == pytest.approx(optimizer.param_groups[0]["lr"], abs=1e-12)
        optimizer.step()
        oracle.step()
    assert learning_rate(total, total, 0.3, 0.0) == pytest.approx(0, abs=1e-12)


def test_by_hand() -> None:
    rates = [learning_rate(step, 10, 6.0, 0.2) for step in range(10)]
    falling = [3 * (1 + math.cos(math.pi * part / 8)) for part in range(8)]
    assert rates == pytest.approx([2.0, 4.0, *falling])


@given(total=TOTAL, warmup=WARMUP)
def test_rises_then_falls_and_every_step_moves(total: int, warmup: float) -> None:
    rates = [learning_rate(step, total, 2.0, warmup) for step in range(total)]
    assert all(0 < rate <= 2.0 for rate in rates)
    top = rates.index(max(rates))
    assert rates[: top + 1] == sorted(rates[: top + 1])
    assert rates[top:] == sorted(rates[top:], reverse=True)
    assert top <= math.ceil(warmup * total)
    if warmup < 1:
        assert max(rates) == pytest.approx(2.0)
    if (1 - warmup) * total >= 1:
        assert learning_rate(total, total, 2.0, warmup) == pytest.approx(0, abs=1e-9)


@given(total=TOTAL, warmup=WARMUP, step=st.integers(0, 499))
def test_proportional_to_the_peak(total: int, warmup: float, step: int) -> None:
    assert learning_rate(step, total, 3.0, warmup) == pytest.approx(3 * learning_rate(step, total, 1.0, warmup))


@given(total=TOTAL, warmup=WARMUP)
def test_a_first_plan_is_the_course_itself(total: int, warmup: float) -> None:
    plan = Plan(total, total)
    assert [plan.place(step) for step in range(total + 1)] == list(range(total + 1))
    schedule = Schedule(total, 0, 1, 0, 2.0, warmup)
    assert all(schedule.learning_rate(step, plan) == learning_rate(step, total, 2.0, warmup) for step in range(total))


@given(data=st.data(), total=st.integers(2, 300))
def test_however_often_a_plan_changes_its_places_go_on_and_reach_the_end(data: st.DataObject, total: int) -> None:
    plan, step, before = Plan(total, total), 0, -1.0
    while step < plan.total_steps:
        place = plan.place(step)
        assert before < place < plan.length
        before, step = place, step + 1
        if step < plan.total_steps and data.draw(st.booleans()):
            changed = plan.changed(step, data.draw(st.integers(step + 1, step + 50)))
            assert changed.place(step) == plan.place(step)
            plan = changed
            if step > 400:
                break
    else:
        assert plan.place(plan.total_steps) == pytest.approx(total)
