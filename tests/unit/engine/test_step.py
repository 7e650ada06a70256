"""One step: what the EMA follows, what measuring leaves behind, numbers that are read a step later."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from tests.support.training import prepare
from trainer.engine import step
from trainer.engine.callback import NullCallback
from trainer.engine.checkpoint.format import TrainState
from trainer.engine.distributed.accelerator import join_processes
from trainer.engine.evaluate import Evaluation
from trainer.engine.loop import Trainer
from trainer.engine.stopping import NonFiniteLoss

SMALL = ["--model.width", "8", "--model.depth", "2", "--data.image_size", "32", "--train.batch_size", "4"]
Maker = Callable[..., Trainer]


class Recorder(NullCallback):
    """Keeps the numbers that it is given."""

    def __init__(self) -> None:
        self.steps: dict[int, dict[str, float]] = {}
        self.planned = 0
        self.scores: dict[int, float] = {}
        self.missing_at_evaluation: list[int] = []

    def on_train_begin(self, state: TrainState) -> None:
        self.planned = state.total_steps

    def on_step(self, step: int, values: dict[str, float]) -> None:
        self.steps[step] = values

    def on_evaluation(self, state: TrainState, values: dict[str, float], evaluation: Evaluation) -> None:
        self.scores[state.step] = evaluation.loss
        self.missing_at_evaluation.append(state.step - len(self.steps))


@pytest.fixture
def make_trainer(tmp_path: Path, make_voc: Callable[..., Path]) -> Maker:
    """Makes a Trainer over ten samples, eight of which train."""

    def make(*arguments: str, lag: int = 0, callback: Recorder | None = None, pad: bool = False) -> Trainer:
        root = tmp_path / "voc"
        if not root.is_dir():
            make_voc(*(f"p{number}" for number in range(10)))
        settings = ["--data.root", str(root), "--train.mixed_precision", "no", "--data.workers", "0"]
        prepared = prepare([*settings, *SMALL, *arguments], tmp_path)
        trainer = prepared.trainer(join_processes("no", threads=1, timeout_minutes=10), callback)
        trainer.lag, trainer.loader.pad = lag, pad
        return trainer

    return make


def state(trainer: Trainer) -> dict[str, torch.Tensor]:
    return {name: value.clone() for name, value in trainer.train_step.segmenter.state_dict().items()}


def same(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> bool:
    return all(torch.equal(one[name], other[name]) for name in one)


def test_the_average_follows_the_weights(make_trainer: Maker) -> None:
    trainer = make_trainer("--train.ema", "0.6", "--train.epochs", "10")
    expected, seen = state(trainer), []
    real = trainer.train_step.update_ema

    def update_ema(step: int) -> None:
        real(step)
        decay = min(0.6, step / (step + 9))
        for name, value in trainer.train_step.segmenter.state_dict().items():
            if value.is_floating_point():
                expected[name] = decay * expected[name] + (1 - decay) * value
        seen.append(decay)

    trainer.train_step.update_ema = update_ema  # type: ignore[method-assign]
    trainer.fit()
    assert len(set(seen)) > 10  # it warms up
    assert seen[-1] == 0.6
    ema = trainer.train_step.result.state_dict()
    moving = [name for name, value in ema.items() if value.is_floating_point()]
    assert any("running_mean" in name for name in moving)
    for name in moving:
        torch.testing.assert_close(ema[name], expected[name], rtol=1e-4, atol=1e-6)
    assert not same({name: ema[name] for name in moving}, state(trainer))


def test_what_is_evaluated_and_kept_is_the_average(make_trainer: Maker) -> None:
    trainer = make_trainer("--train.ema", "0.9", "--train.epochs", "2")
    trainer.fit()
    assert trainer.state.best_step in (0, 4)
    if trainer.state.best_step == 4:
        assert same(trainer.best, trainer.train_step.result.state_dict())
    trainer = make_trainer("--train.epochs", "2", "--train.ema", "0")
    assert trainer.train_step.result is trainer.train_step.segmenter


def test_measuring_changes_nothing(make_trainer: Maker) -> None:
    trainer, other = make_trainer("--train.epochs", "2"), make_trainer("--train.epochs", "2")
    before = state(trainer)
    assert trainer.train_step.measure(trainer.loader.read(0, 32)) > 0
    assert same(before, state(trainer))
    results = []
    for one in (trainer, other):
        one.fit()
        results.append(state(one))
    assert same(*results)


def test_a_budget_is_kept_and_settled_once(make_trainer: Maker, monkeypatch: pytest.MonkeyPatch) -> None:
    recorder = Recorder()
    budget = ["--train.minutes", "5", "--train.epochs", "200"]
    trainer = make_trainer(*budget, "--train.eval_every", "20", callback=recorder)
    monkeypatch.setattr(trainer.train_step, "measure", lambda _batch: 2.0)
    trainer.fit()
    planned = recorder.planned
    assert 140 <= planned <= 150  # of 300 s, 2 s each, and what came before
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


def test_heard_a_step_later_the_numbers_are_the_same(make_trainer: Maker) -> None:
    recorders, results = [Recorder(), Recorder()], []
    for lag, recorder in enumerate(recorders):
        trainer = make_trainer("--train.epochs", "4", "--train.eval_every", "1", lag=lag, callback=recorder)
        trainer.fit()
        results.append(state(trainer))
    at_once, later = recorders
    assert same(*results)
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


def test_a_compiled_step_has_one_shape(make_trainer: Maker) -> None:
    """The last batch is filled up with samples that weigh nothing; its loss is that of the ones that count."""
    settings = ["--train.batch_size", "3", "--data.augment", "off", "--model.norm", "group"]
    trainer, other = make_trainer(*settings, pad=True), make_trainer(*settings)
    short, plain = trainer.loader.read(2, 32), other.loader.read(2, 32)  # eight pictures: the third batch has two
    assert [len(micro.rows) for micro in short.micro] == [3]
    assert [len(micro.rows) for micro in plain.micro] == [2]
    assert short.micro[0].weights.tolist() == [1, 1, 0]
    assert (short.own, short.samples) == (plain.own, plain.samples) == (2, 2)
    torch.testing.assert_close(trainer.train_step.backward(short), other.train_step.backward(plain))
    for one, two in zip(
        trainer.train_step.segmenter.parameters(), other.train_step.segmenter.parameters(), strict=True
    ):
        torch.testing.assert_close(one.grad, two.grad, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize(
    "settings",
    [
        ["--data.copy_paste", "0.5", "--loss.class_weights", "auto"],
        ["--data.augment", "light", "--loss.reduction", "batch", "--train.micro_batch_size", "2"],
        ["--data.augment", "off", "--model.norm", "group"],
    ],
)
def test_nothing_up_to_the_gradient_waits_for_the_device(
    make_trainer: Maker, monkeypatch: pytest.MonkeyPatch, settings: list[str]
) -> None:
    """Tensors on `meta` have no content: to ask for a number, or to leave something on the CPU, is an error."""
    trainer, nowhere = make_trainer(*settings), torch.device("meta")
    batches = [trainer.loader.read(0, side) for side in (16, 32)]
    train_step = trainer.train_step
    train_step.segmenter.to(nowhere)
    train_step.class_weights = None if train_step.class_weights is None else train_step.class_weights.to(nowhere)
    monkeypatch.setattr(train_step.accelerator.state, "device", nowhere)
    for batch in batches:
        loss, norm = train_step.backward(batch), train_step.clip_gradient()
        assert loss.device == norm.device == nowhere
