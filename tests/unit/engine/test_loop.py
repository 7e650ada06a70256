"""Training loop: what it evaluates, and how many steps it plans."""

from collections.abc import Callable
from itertools import pairwise
from typing import Any

import pytest

from tests.support.training import Recorder, same_tensors
from trainer.engine import budget, loop
from trainer.engine.checkpoint.format import Checkpoint, TrainState
from trainer.engine.evaluate import Evaluation
from trainer.engine.loop import Trainer
from trainer.model.metrics import Scores
from trainer.model.segmenter import Segmenter

Maker = Callable[..., Trainer]


def test_the_ema_is_evaluated_and_is_the_best(make_trainer: Maker) -> None:
    trainer = make_trainer("--train.ema", "0.9", "--train.epochs", "2")
    trainer.fit()
    assert trainer.state.best_step in (0, 4)
    if trainer.state.best_step == 4:
        assert same_tensors(trainer.best, trainer.train_step.result.state_dict())
    trainer = make_trainer("--train.epochs", "2", "--train.ema", "0")
    assert trainer.train_step.result is trainer.train_step.segmenter


BUDGET = ["--train.minutes", "20", "--train.epochs", "500", "--train.progressive", "false", "--train.eval_every", "5"]


def clock_of(trainer: Trainer, monkeypatch: pytest.MonkeyPatch, step_s: Callable[[int], float]) -> list[float]:
    """Give the loop a clock that stands still, but for steps of `step_s` seconds and evaluations of 20."""
    now = [0.0]
    monkeypatch.setattr(loop.time, "perf_counter", lambda: now[0])
    monkeypatch.setattr(budget.Budget.__init__, "__defaults__", (0.0, lambda: now[0]))
    real_step, real_evaluate = trainer.train_step.__class__.__call__, trainer.evaluate

    def step(self: object, batch: object, number: int, *others: object) -> object:
        now[0] += step_s(number)
        return real_step(self, batch, number, *others)  # type: ignore[arg-type]

    def evaluate(segmenter: Segmenter) -> Evaluation:
        now[0] += 20
        return real_evaluate(segmenter)

    monkeypatch.setattr(trainer.train_step.__class__, "__call__", step)
    trainer.evaluate = evaluate
    return now


@pytest.mark.parametrize(
    ("first_s", "then_s", "steps"),
    [(20, 20, (47, 53)), (10, 40, (30, 42)), (40, 10, (52, 70))],
    ids=["even", "slower", "faster"],
)
def test_a_budget_of_minutes_is_kept(
    first_s: float, then_s: float, steps: tuple[int, int], make_trainer: Maker, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Within 15 %, also where the machine is four times as slow or as fast after 12 steps, and the rate falls to 0."""
    recorder = Recorder()
    trainer = make_trainer(*BUDGET, callback=recorder)
    now = clock_of(trainer, monkeypatch, lambda step: first_s if step <= 12 else then_s)
    monkeypatch.setattr(trainer.train_step, "measure", lambda _batch: first_s)
    trainer.start_s = 40.0
    trainer.fit()
    assert 0.9 * 1200 <= now[0] + 40 <= 1.02 * 1200
    last = max(recorder.steps)
    assert steps[0] <= last <= steps[1]
    assert last == max(recorder.scores) == trainer.state.total_steps  # evaluated at its end, wherever in an epoch
    rates = [recorder.steps[step]["train/lr"] for step in sorted(recorder.steps)]
    assert rates[-1] < 0.02 * max(rates)
    top = rates.index(max(rates))
    assert rates[top:] == sorted(rates[top:], reverse=True)
    assert max(abs(one - other) for one, other in pairwise(rates[top:])) < 0.15 * max(rates)  # no jumps


def test_a_planned_budget_is_resumed_exactly(make_trainer: Maker, monkeypatch: pytest.MonkeyPatch) -> None:
    """From a checkpoint after the plan has changed: the same rates, plans and weights, by the same clock."""
    saved: dict[int, Checkpoint] = {}
    trainer = make_trainer(*BUDGET)

    class Saving(Recorder):
        def on_step(self, step: int, values: dict[str, float]) -> None:
            super().on_step(step, values)
            saved[step] = trainer.snapshot()

    recorder = Saving()
    trainer.callback = recorder
    now = clock_of(trainer, monkeypatch, lambda step: 10 if step <= 12 else 40)
    monkeypatch.setattr(trainer.train_step, "measure", lambda _batch: 10.0)
    trainer.fit()
    total = trainer.state.total_steps
    plans = {step: one.state.plan for step, one in saved.items()}
    step = next(step for step in range(20, total) if plans[step] == plans[step + 1] and plans[step].changed_after)
    again = make_trainer(*BUDGET, callback=(after := Recorder()))
    monkeypatch.undo()
    now[0] = 0.0
    clock_of(again, monkeypatch, lambda _step: 40)
    again.restore(saved[step])
    again.fit()
    assert after.steps[step + 1]["train/lr"] == recorder.steps[step + 1]["train/lr"]
    assert after.steps[step + 1]["train/loss"] == recorder.steps[step + 1]["train/loss"]
    assert abs(again.state.total_steps - total) <= 3


def test_an_older_checkpoint_has_a_plan() -> None:
    state = TrainState(total_steps=40)  # as before plans could change
    assert [state.plan.place(step) for step in (0, 1, 39)] == [0, 1, 39]
    assert state.plan.length == 40


def test_a_generous_budget_adds_nothing(make_trainer: Maker) -> None:
    recorder = Recorder()
    make_trainer("--train.minutes", "60", "--train.epochs", "3", callback=recorder).fit()
    assert recorder.planned == 3 * 2


# ------------------------------------------------------------------------------------------------ the curve

CURVE = ["--train.patience", "curve", "--train.epochs", "60", "--train.eval_every", "1"]
"""120 planned steps, evaluated after every second one."""


class Planned(Recorder):
    """Recorder that keeps the changes of the plan."""

    def __init__(self) -> None:
        super().__init__()
        self.changes: list[tuple[int, int, str]] = []

    def on_plan(self, state: TrainState, reason: str = "") -> None:
        self.changes.append((state.step, state.total_steps, reason))


def scored(trainer: Trainer, iou: Callable[[int], dict[str, float]]) -> Planned:
    """Give `trainer` an evaluation that finds `iou` after so many steps, and a recorder."""
    trainer.callback = recorder = Planned()
    trainer.evaluate = lambda _segmenter: Evaluation(Scores(iou(trainer.state.step), {}, []), 0.1, ())
    return recorder


def test_training_ends_where_the_curve_levels_off(make_trainer: Maker) -> None:
    trainer = make_trainer(*CURVE)
    recorder = scored(trainer, lambda step: {"cat": 0.5 if step else 0.0})
    trainer.fit()
    ((step, total, reason),) = recorder.changes
    assert (step, total, trainer.state.step) == (40, 53, 53)
    assert "0.500 after 40 steps" in reason
    rates = [recorder.steps[step]["train/lr"] for step in sorted(recorder.steps)]
    top = rates.index(max(rates))
    assert rates[top:] == sorted(rates[top:], reverse=True)
    assert rates[-1] < 0.02 * max(rates)
    assert max(recorder.scores) == 53
    assert trainer.state.scores == [0.5] * 27


def test_training_goes_on_where_the_curve_rises_or_nobody_asked(make_trainer: Maker) -> None:
    rising = make_trainer(*CURVE)
    recorder = scored(rising, lambda step: {"cat": step / 130})
    rising.fit()
    assert (recorder.changes, rising.state.step) == ([], 120)
    given = make_trainer("--train.epochs", "40", "--train.eval_every", "1")
    recorder = scored(given, lambda _step: {"cat": 0.5})
    given.fit()
    assert (recorder.changes, given.state.step, given.state.scores) == ([], 80, [])


def test_a_class_that_is_not_found_gets_more_time(make_trainer: Maker) -> None:
    trainer = make_trainer(*CURVE)
    recorder = scored(trainer, lambda step: {"cat": 0.5 if step else 0.0, "dog": 0.0})
    trainer.fit()
    assert [step for step, _, _ in recorder.changes] == [60]


@pytest.mark.parametrize("step", [30, 40, 47])
def test_the_end_by_the_curve_is_resumed_exactly(step: int, make_trainer: Maker) -> None:
    """From a checkpoint before the decision, at it, and after it."""
    saved: dict[int, Checkpoint] = {}

    def iou(step: int) -> dict[str, float]:
        return {"cat": 0.5 + (step % 3) / 1000 if step else 0.0}

    trainer = make_trainer(*CURVE)
    before = scored(trainer, iou)
    real = before.on_evaluation

    def on_step(number: int, values: dict[str, float]) -> None:
        before.steps[number] = values
        if number != 40:
            saved[number] = trainer.snapshot()

    def on_evaluation(*arguments: Any) -> None:
        saved[trainer.state.step] = trainer.snapshot()  # as where this fails
        real(*arguments)

    before.on_step, before.on_evaluation = on_step, on_evaluation  # type: ignore[method-assign]
    trainer.fit()
    ((decided, total, _),) = before.changes
    again = make_trainer(*CURVE)
    after = scored(again, iou)
    again.restore(saved[step])
    again.fit()
    assert (decided, again.state.step, again.state.scores) == (40, total, trainer.state.scores)
    assert [after.steps[number]["train/lr"] for number in range(step + 1, total + 1)] == [
        before.steps[number]["train/lr"] for number in range(step + 1, total + 1)
    ]
    assert same_tensors(again.train_step.result.state_dict(), trainer.train_step.result.state_dict())


def test_a_checkpoint_without_scores_runs_to_its_planned_end(make_trainer: Maker) -> None:
    trainer = make_trainer(*CURVE)
    recorder = scored(trainer, lambda _step: {"cat": 0.5})
    trainer.state = TrainState(step=20, total_steps=120)  # of a version that kept no scores
    trainer.fit()
    assert (recorder.changes, trainer.state.step) == ([], 120)
