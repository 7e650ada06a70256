"""Statistics of a step: the same whether they are read at once or a step later, and a bad step moves no weight."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

from tests.support.training import Recorder, same_tensors, weights
from trainer.engine import step
from trainer.engine.loop import Trainer
from trainer.engine.stopping import NonFiniteLoss

Maker = Callable[..., Trainer]


def test_read_a_step_later_the_numbers_are_the_same_tensors(make_trainer: Maker) -> None:
    recorders, results = [Recorder(), Recorder()], []
    for lag, recorder in enumerate(recorders):
        trainer = make_trainer("--train.epochs", "4", "--train.eval_every", "1", lag=lag, callback=recorder)
        trainer.fit()
        results.append(weights(trainer))
    at_once, later = recorders
    assert same_tensors(*results)
    assert at_once.scores == later.scores
    assert set(at_once.missing_at_evaluation) == set(later.missing_at_evaluation) == {0}
    for number, values in at_once.steps.items():
        for key in ("train/loss", "train/lr", "train/grad_norm"):
            assert later.steps[number][key] == values[key]


@pytest.mark.parametrize("lag", [0, 1])
def test_a_bad_step_moves_no_weight_however_late_it_is_read(
    make_trainer: Maker, monkeypatch: pytest.MonkeyPatch, lag: int
) -> None:
    recorder = Recorder()
    trainer = make_trainer("--train.epochs", "5", lag=lag, callback=recorder)
    real, states = step.objective, []

    def broken(*arguments: Any) -> Any:
        states.append([value.clone() for value in trainer.train_step.segmenter.network.parameters()])
        bad = float("nan") if len(states) == 3 else 1.0
        return tuple(part * bad for part in real(*arguments))

    monkeypatch.setattr(step, "objective", broken)
    with pytest.raises(NonFiniteLoss, match="step 3") as error:
        trainer.fit()
    after = list(trainer.train_step.segmenter.network.parameters())
    assert all(torch.equal(one, other) for one, other in zip(states[2], after, strict=True))
    assert not all(torch.equal(one, other) for one, other in zip(states[1], after, strict=True))
    assert set(recorder.steps) == {1, 2}
    assert sorted(error.value.rows) == sorted(trainer.loader.rows(2).tolist())
    assert all(np.isfinite(value.detach().numpy()).all() for value in after)
