"""One optimizer step: the EMA, measuring without a trace, padded batches, no waiting for the device."""

from collections.abc import Callable

import pytest
import torch

from tests.support.training import same_tensors, weights
from trainer.engine.loop import Trainer

Maker = Callable[..., Trainer]


def test_the_ema_follows_the_weights(make_trainer: Maker) -> None:
    trainer = make_trainer("--train.ema", "0.6", "--train.epochs", "10")
    expected, seen = weights(trainer), []
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
    assert not same_tensors({name: ema[name] for name in moving}, weights(trainer))


def test_measuring_changes_nothing(make_trainer: Maker) -> None:
    trainer, other = make_trainer("--train.epochs", "2"), make_trainer("--train.epochs", "2")
    before = weights(trainer)
    assert trainer.train_step.measure(trainer.loader.read(0, 32)) > 0
    assert same_tensors(before, weights(trainer))
    results = []
    for one in (trainer, other):
        one.fit()
        results.append(weights(one))
    assert same_tensors(*results)


def test_a_padded_batch_has_the_loss_of_its_real_samples(make_trainer: Maker) -> None:
    """The last batch is padded with samples of weight 0, so that a compiled step has one shape."""
    settings = ["--train.batch_size", "3", "--data.augment", "off", "--model.norm", "group"]
    trainer, other = make_trainer(*settings, pad=True), make_trainer(*settings)
    short, plain = trainer.loader.read(2, 32), other.loader.read(2, 32)  # eight samples: the third batch has two
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
        ["--data.copy_paste", "0.5", "--loss.class_weights", "balanced"],
        ["--data.augment", "light", "--loss.reduction", "batch", "--train.micro_batch_size", "2"],
        ["--data.augment", "off", "--model.norm", "group"],
    ],
)
def test_nothing_up_to_the_gradient_waits_for_the_device(
    make_trainer: Maker, monkeypatch: pytest.MonkeyPatch, settings: list[str]
) -> None:
    """Tensors on `meta` have no content: to read a number, or to leave a tensor on the CPU, is an error."""
    trainer, nowhere = make_trainer(*settings), torch.device("meta")
    batches = [trainer.loader.read(0, side) for side in (16, 32)]
    train_step = trainer.train_step
    train_step.segmenter.to(nowhere)
    train_step.class_weights = None if train_step.class_weights is None else train_step.class_weights.to(nowhere)
    monkeypatch.setattr(train_step.accelerator.state, "device", nowhere)
    for batch in batches:
        loss, norm = train_step.backward(batch), train_step.clip_gradient()
        assert loss.device == norm.device == nowhere
