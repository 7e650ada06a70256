"""One step: what the average follows, what measuring leaves behind, numbers that are heard a step later."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from tests.support.data import count_nothing
from trainer.cli import parse
from trainer.data.dataset import ValidationSet, open_dataset
from trainer.data.sources import plan
from trainer.engine.auto import resolve
from trainer.engine.callback import NullCallback
from trainer.engine.checkpoint.format import TrainState
from trainer.engine.distributed.accelerator import start
from trainer.engine.evaluate import Evaluation
from trainer.engine.loop import Trainer
from trainer.engine.stopping import NonFiniteLoss
from trainer.model.build import make_segmenter

SMALL = ["--model.width", "8", "--model.depth", "2", "--data.image_size", "32", "--train.batch_size", "4"]
Maker = Callable[..., Trainer]


class Recorder(NullCallback):
    """Keeps what it is told."""

    def __init__(self) -> None:
        self.steps: dict[int, dict[str, float]] = {}
        self.planned = 0
        self.scores: dict[int, float] = {}
        self.heard_at_evaluation: list[int] = []

    def on_train_begin(self, position: TrainState) -> None:
        self.planned = position.total_steps

    def on_step(self, step: int, values: dict[str, float]) -> None:
        self.steps[step] = values

    def on_evaluation(self, position: TrainState, values: dict[str, float], evaluation: Evaluation) -> None:
        self.scores[position.step] = evaluation.loss
        self.heard_at_evaluation.append(len(self.steps) - position.step)


@pytest.fixture
def make_loop(tmp_path: Path, make_voc: Callable[..., Path]) -> Maker:
    """Makes a loop over ten pictures, eight of which train."""

    def make(*arguments: str, late: bool = False) -> Trainer:
        root = tmp_path / "voc"
        if not root.is_dir():
            make_voc(*(f"p{number}" for number in range(10)))
        settings = ["--data.root", str(root), "--train.mixed_precision", "no", "--data.workers", "0"]
        config = parse([*settings, *SMALL, *arguments])
        dataset = open_dataset(plan(config.data, tmp_path, count_nothing), 32, tmp_path, count_nothing)
        config, _ = resolve(config, dataset)
        accelerator = start("no", 1)
        segmenter = make_segmenter(config, dataset.names, dataset.shares(), dataset.digest, "")
        rows = dataset.split.val
        validation = ValidationSet(dataset.samples(rows), rows, dataset.resized, dataset.sources.values)
        rows = dataset.split.train
        loop = Trainer(config, accelerator, segmenter, dataset.resized, rows, validation, lambda: False, {})
        loop.heard_late = late
        return loop

    return make


def state(loop: Trainer) -> dict[str, torch.Tensor]:
    return {name: value.clone() for name, value in loop.segmenter.state_dict().items()}


def same(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> bool:
    return all(torch.equal(one[name], other[name]) for name in one)


def test_the_average_follows_the_weights(make_loop: Maker) -> None:
    loop = make_loop("--train.ema", "0.6", "--train.epochs", "10")
    expected, seen = state(loop), []
    real = loop.stepper.update

    def update(batch: Any, step: int, *others: Any) -> None:
        real(batch, step, *others)
        decay = min(0.6, step / (step + 9))
        for name, value in loop.segmenter.state_dict().items():
            if value.is_floating_point():
                expected[name] = decay * expected[name] + (1 - decay) * value
        seen.append(decay)

    loop.stepper.update = update  # type: ignore[method-assign]
    loop.fit(Recorder())
    assert len(set(seen)) > 10  # it warms up
    assert seen[-1] == 0.6
    ema = loop.stepper.result.state_dict()
    moving = [name for name, value in ema.items() if value.is_floating_point()]
    assert any("running_mean" in name for name in moving)
    for name in moving:
        torch.testing.assert_close(ema[name], expected[name], rtol=1e-4, atol=1e-6)
    assert not same({name: ema[name] for name in moving}, state(loop))


def test_what_is_evaluated_and_kept_is_the_average(make_loop: Maker) -> None:
    loop = make_loop("--train.ema", "0.9", "--train.epochs", "2")
    loop.fit(Recorder())
    assert loop.position.best_step in (0, 4)
    if loop.position.best_step == 4:
        assert same(loop.best, loop.stepper.result.state_dict())
    loop = make_loop("--train.epochs", "2", "--train.ema", "0")
    assert loop.stepper.result is loop.segmenter


def test_measuring_changes_nothing(make_loop: Maker) -> None:
    loop, other = make_loop("--train.epochs", "2"), make_loop("--train.epochs", "2")
    before = state(loop)
    assert loop.stepper.measure(loop.batches.read(0, 32)) > 0
    assert same(before, state(loop))
    results = []
    for one in (loop, other):
        one.fit(Recorder())
        results.append(state(one))
    assert same(*results)


def test_a_budget_is_kept_and_settled_once(make_loop: Maker, monkeypatch: pytest.MonkeyPatch) -> None:
    loop = make_loop("--train.minutes", "5", "--train.epochs", "200", "--train.eval_every", "20")
    monkeypatch.setattr(loop.stepper, "measure", lambda _batch: 2.0)
    watcher = Recorder()
    loop.fit(watcher)
    planned = watcher.planned
    assert 140 <= planned <= 150  # of 300 s, 2 s each, and what came before
    assert max(watcher.steps) == max(watcher.scores) == planned  # evaluated at its end, wherever in an epoch
    assert watcher.steps[planned]["train/lr"] < 1e-6
    again = make_loop("--train.minutes", "5", "--train.epochs", "200")
    again.restore(loop._snapshot())
    monkeypatch.setattr(again.stepper, "measure", lambda _batch: 0.1)
    again.fit(watcher)
    assert watcher.planned == planned


def test_a_generous_budget_adds_nothing(make_loop: Maker) -> None:
    loop, watcher = make_loop("--train.minutes", "60", "--train.epochs", "3"), Recorder()
    loop.fit(watcher)
    assert watcher.planned == 3 * 2


def test_heard_a_step_later_the_numbers_are_the_same(make_loop: Maker) -> None:
    recorders, results = [Recorder(), Recorder()], []
    for late, recorder in zip((False, True), recorders, strict=True):
        loop = make_loop("--train.epochs", "4", "--train.eval_every", "1", late=late)
        loop.fit(recorder)
        results.append(state(loop))
    now, late_ones = recorders
    assert same(*results)
    assert now.scores == late_ones.scores
    assert set(now.heard_at_evaluation) == set(late_ones.heard_at_evaluation) == {0}
    for step, values in now.steps.items():
        for key in ("train/loss", "train/lr", "train/grad_norm"):
            assert late_ones.steps[step][key] == values[key]


@pytest.mark.parametrize("late", [False, True])
def test_a_bad_step_moves_no_weight_however_late_it_is_heard(
    make_loop: Maker, monkeypatch: pytest.MonkeyPatch, late: bool
) -> None:
    loop = make_loop("--train.epochs", "5", late=late)
    real, states = loop.stepper._objective, []

    def broken(*arguments: Any) -> Any:
        states.append([value.clone() for value in loop.segmenter.network.parameters()])
        bad = float("nan") if len(states) == 3 else 1.0
        return tuple(part * bad for part in real(*arguments))

    monkeypatch.setattr(loop.stepper, "_objective", broken)
    watcher = Recorder()
    with pytest.raises(NonFiniteLoss, match="step 3") as told:
        loop.fit(watcher)
    after = list(loop.segmenter.network.parameters())
    assert all(torch.equal(one, other) for one, other in zip(states[2], after, strict=True))
    assert not all(torch.equal(one, other) for one, other in zip(states[1], after, strict=True))
    assert set(watcher.steps) == {1, 2}
    assert sorted(told.value.rows) == sorted(loop.batches.rows(2).tolist())
    assert all(np.isfinite(value.detach().numpy()).all() for value in after)


def test_a_compiled_step_has_one_shape(make_loop: Maker) -> None:
    """The last batch is filled up with samples that weigh nothing; its loss is that of the ones that count."""
    loop, other = (make_loop("--train.batch_size", "3", "--data.augment", "off", "--model.norm", "group") for _ in "12")
    loop.batches.padded = True
    short, plain = loop.batches.read(2, 32), other.batches.read(2, 32)  # eight pictures: the third batch has two
    assert [len(micro.samples) for micro in short.micro] == [3]
    assert [len(micro.samples) for micro in plain.micro] == [2]
    assert short.micro[0].weights.tolist() == [1, 1, 0]
    assert (short.own, short.samples) == (plain.own, plain.samples) == (2, 2)
    torch.testing.assert_close(loop.stepper.backward(short), other.stepper.backward(plain))
    for one, two in zip(loop.segmenter.parameters(), other.segmenter.parameters(), strict=True):
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
    make_loop: Maker, monkeypatch: pytest.MonkeyPatch, settings: list[str]
) -> None:
    """Tensors on `meta` have no content: to ask for a number, or to leave something on the CPU, is an error."""
    loop, nowhere = make_loop(*settings), torch.device("meta")
    batches = [loop.batches.read(0, side) for side in (16, 32)]
    stepper = loop.stepper
    stepper.segmenter.to(nowhere)
    stepper.class_weights = None if stepper.class_weights is None else stepper.class_weights.to(nowhere)
    monkeypatch.setattr(loop.accelerator.state, "device", nowhere)
    for batch in batches:
        loss, norm = stepper.backward(batch), stepper.clip_gradient()
        assert loss.device == norm.device == nowhere
