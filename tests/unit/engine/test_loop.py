"""Training loop: what it evaluates, and how many steps it plans."""

from collections.abc import Callable

import pytest

from tests.support.training import Recorder, same_tensors
from trainer.engine.loop import Trainer

Maker = Callable[..., Trainer]


def test_the_ema_is_evaluated_and_is_the_best(make_trainer: Maker) -> None:
    trainer = make_trainer("--train.ema", "0.9", "--train.epochs", "2")
    trainer.fit()
    assert trainer.state.best_step in (0, 4)
    if trainer.state.best_step == 4:
        assert same_tensors(trainer.best, trainer.train_step.result.state_dict())
    trainer = make_trainer("--train.epochs", "2", "--train.ema", "0")
    assert trainer.train_step.result is trainer.train_step.segmenter


def test_a_budget_of_minutes_is_kept_and_planned_once(make_trainer: Maker, monkeypatch: pytest.MonkeyPatch) -> None:
    recorder = Recorder()
    budget = ["--train.minutes", "50", "--train.epochs", "200"]
    trainer = make_trainer(*budget, "--train.eval_every", "20", callback=recorder)
    monkeypatch.setattr(trainer.train_step, "measure", lambda _batch: 20.0)
    trainer.fit()
    planned = recorder.planned
    assert 140 <= planned <= 150  # of 3000 s, 20 s each, and what came before
    assert max(recorder.steps) == max(recorder.scores) == planned  # evaluated at its end, wherever in an epoch
    assert recorder.steps[planned]["train/lr"] < 1e-6
    again = make_trainer(*budget, callback=recorder)
    again.restore(trainer.snapshot())
    monkeypatch.setattr(again.train_step, "measure", lambda _batch: 0.1)
    again.fit()
    assert recorder.planned == planned


def test_a_generous_budget_adds_nothing(make_trainer: Maker) -> None:
    recorder = Recorder()
    make_trainer("--train.minutes", "60", "--train.epochs", "3", callback=recorder).fit()
    assert recorder.planned == 3 * 2
