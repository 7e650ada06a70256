"""Images without labels in the optimizer step: teacher, targets, weights, and the journal's numbers."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from tests.support.images import smooth_image
from tests.support.training import Recorder, same_tensors, weights
from trainer import IGNORE
from trainer.data import augment
from trainer.engine import step
from trainer.engine.loop import Trainer
from trainer.engine.step_stats import PendingStats, Requests
from trainer.model import unlabelled

Maker = Callable[..., Trainer]
PLAIN = ["--train.ema", "0.5", "--model.norm", "group"]


@pytest.fixture
def new(tmp_path: Path) -> list[str]:
    """Settings with seven pictures that have no labels."""
    folder = tmp_path / "new"
    folder.mkdir()
    for number in range(7):
        Image.fromarray(smooth_image(30 + number, 41, seed=90 + number)).save(folder / f"{number}.png")
    return ["--data.unlabelled", str(folder), *PLAIN]


@pytest.fixture
def sure(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have an untrained teacher be sure of most pixels, and its targets count from the first step."""
    monkeypatch.setattr(unlabelled, "THRESHOLD", 0.6)
    monkeypatch.setattr(unlabelled, "RAMP_STEPS", 1e-9)


def take(trainer: Trainer, number: int) -> dict[str, float]:
    """Take a step; return its numbers as the journal has them."""
    recorder = Recorder()
    trainer.callback = recorder
    batch = trainer.loader.read(number - 1, 32)
    trainer._report(trainer.train_step(batch, number, 1e-3, Requests()), 1.0)
    return recorder.steps[number]


def gradients(trainer: Trainer) -> list[Tensor]:
    found = [weight.grad for weight in trainer.train_step.segmenter.network.parameters()]
    return [gradient.clone() for gradient in found if gradient is not None]


# ---------------------------------------------------------------- what is read


def test_every_step_has_as_many_of_them_as_labelled_ones(make_trainer: Maker, new: list[str]) -> None:
    """4 of 7 in a step, each once before any comes again, and as a function of the step alone."""
    loader, again = (make_trainer(*new).loader for _ in range(2))
    parts = [loader.read(number, 16).unlabelled for number in range(12)]
    rows = []
    for number, part in enumerate(parts):
        assert part is not None
        assert part.samples == part.own == 4
        assert part.side == 16
        (micro,) = part.micro
        rows.append(micro.rows.tolist())
        assert len(rows[-1]) == 5  # the first is also the one that the last is mixed with
        assert len(set(rows[-1])) == 4
        other = again.read(number, 16).unlabelled
        assert other is not None
        assert torch.equal(micro.batch.images, other.micro[0].batch.images)
    assert len({tuple(some) for some in rows}) > 6
    assert {row for some in rows for row in some} == set(range(7))
    batch = loader.read(0, 16)
    assert (batch.images, batch.samples, batch.share) == (8, 4, 1)


def test_without_them_nothing_is_read(make_trainer: Maker) -> None:
    batch = make_trainer(*PLAIN).loader.read(0, 16)
    assert batch.unlabelled is None
    assert batch.images == batch.samples == 4


# ---------------------------------------------------------------- teacher and student


@pytest.mark.usefixtures("sure")
def test_the_teacher_sees_them_as_they_are_and_the_student_strongly_changed(
    make_trainer: Maker, new: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """With an oracle that makes the same change to picture and targets by the rules of the labelled ones."""
    monkeypatch.setattr(augment, "BOX_SHARE", 0.0)
    trainer = make_trainer(*new)
    train_step, part = trainer.train_step, trainer.loader.read(3, 32).unlabelled
    assert part is not None
    assert train_step.ema is not None
    seen: dict[str, list[Tensor]] = {"teacher": [], "student": []}
    modes = []

    def watch(name: str, network: torch.nn.Module) -> None:
        def keep(module: torch.nn.Module, given: tuple[Tensor]) -> None:
            seen[name].append(given[0].detach().clone())
            modes.append((name, module.training))

        network.register_forward_pre_hook(keep)

    watch("teacher", train_step.ema.network)
    watch("student", train_step.segmenter.network)
    before = weights(trainer)
    train_step.network.train()
    train_step.backward_unlabelled(part, 1.0)
    micro = part.micro[0]
    plain = train_step.ema.normalise(micro.batch.images)
    torch.testing.assert_close(seen["teacher"][0], plain)
    with torch.no_grad():
        sure = unlabelled.targets(train_step.ema.logits(micro.batch.images))
    images, masks = augment.augment(micro.batch.images, sure, "strong", 0, part.epoch, micro.rows, 32)
    images, masks = images[:4], masks[:4]  # the fifth is only mixed into others
    torch.testing.assert_close(seen["student"][0], train_step.segmenter.normalise(images))
    assert (masks != IGNORE).float().mean() > 0.1
    found = train_step._strong_with_targets(micro, part)
    assert torch.equal(found[1], masks)
    assert not torch.allclose(images, micro.batch.images[:4].float(), atol=20)
    assert set(modes[:3]) == {("teacher", False), ("student", True)}
    assert same_tensors(before, weights(trainer))  # of the group norm there are no statistics to move


def test_boxes_carry_picture_and_targets_of_another_one(
    make_trainer: Maker, new: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A teacher that is sure of bright pixels: where the targets are, the picture is bright, in boxes too."""
    trainer = make_trainer(*new)
    part = trainer.loader.read(0, 32).unlabelled
    assert part is not None
    micro = part.micro[0]
    assert trainer.train_step.ema is not None
    micro.batch.images[::2], micro.batch.images[1::2] = 200, 50
    monkeypatch.setattr(trainer.train_step.ema, "logits", lambda images: (images.mean(dim=1, keepdim=True) - 128) / 10)
    monkeypatch.setattr(augment, "_recolour", lambda images, _parameters: images)
    images, masks = trainer.train_step._strong_with_targets(micro, part)
    boxes = torch.from_numpy(augment.draw_boxes(32, 0, part.epoch, micro.rows[:4]))
    assert 0 < boxes.float().mean() < 0.5
    sure, bright = masks != IGNORE, torch.tensor([1, 0, 1, 0], dtype=torch.bool)[:, None, None] ^ boxes
    assert (sure & boxes).any()
    assert torch.equal(masks[sure] == 1, bright[sure])
    # A pixel at the border of a turned picture is a mixture with black.
    level = images.mean(dim=1)
    assert (level[sure & ~bright] <= 51).all()
    assert (level[sure & bright] > 51).float().mean() > 0.98


def test_boxes_depend_on_seed_epoch_and_sample_alone() -> None:
    boxes = augment.draw_boxes(40, 3, 5, range(400))
    assert np.array_equal(augment.draw_boxes(40, 3, 5, [17, 4]), boxes[[17, 4]])
    assert not np.array_equal(augment.draw_boxes(40, 3, 6, range(400)), boxes)
    shares = boxes.mean(axis=(1, 2))
    assert 0.4 < (shares > 0).mean() < 0.6
    assert 0.2 < shares[shares > 0].min() < shares.max() < 0.55


# ---------------------------------------------------------------- the step


@pytest.mark.usefixtures("sure")
def test_a_teacher_that_learns_changes_the_targets(make_trainer: Maker, new: list[str]) -> None:
    """Where the weights in training find the class everywhere, it does so after some steps."""
    trainer = make_trainer(*new)
    part, train_step = trainer.loader.read(0, 32).unlabelled, trainer.train_step
    assert part is not None
    before = train_step._strong_with_targets(part.micro[0], part)
    last = train_step.segmenter.network.last
    assert last.bias is not None
    with torch.no_grad():
        last.bias.fill_(30)
    for _ in range(12):
        train_step.update_ema(1000)
    after = train_step._strong_with_targets(part.micro[0], part)
    assert torch.equal(before[0], after[0])
    assert 0 in before[1]
    assert set(after[1].unique().tolist()) == {1, IGNORE}


@pytest.mark.usefixtures("sure")
@pytest.mark.parametrize("pieces", ["1", "3"])
def test_pieces_add_up_to_the_whole(make_trainer: Maker, new: list[str], pieces: str) -> None:
    results = []
    for settings in ([], ["--train.micro_batch_size", pieces]):
        trainer = make_trainer(*new, *settings)
        batch = trainer.loader.read(1, 32)
        assert batch.unlabelled is not None
        labelled = trainer.train_step.backward(batch)
        values = trainer.train_step.backward_unlabelled(batch.unlabelled, 0.7)
        results.append((labelled, values, gradients(trainer)))
    torch.testing.assert_close(results[0], results[1], rtol=1e-4, atol=1e-6)


@pytest.mark.usefixtures("sure")
def test_the_gradient_is_that_of_the_weighted_mean(make_trainer: Maker, new: list[str]) -> None:
    trainer = make_trainer(*new)
    batch = trainer.loader.read(1, 32)
    assert batch.unlabelled is not None
    found = []
    for weight in (0.0, 1.0, 3.0):
        trainer.train_step.backward(batch)
        trainer.train_step.backward_unlabelled(batch.unlabelled, weight)
        found.append(torch.cat([gradient.flatten() for gradient in gradients(trainer)]))
    torch.testing.assert_close(found[2] - found[0], 3 * (found[1] - found[0]), rtol=1e-3, atol=1e-5)
    assert (found[1] - found[0]).norm() > 0.01 * found[0].norm()


def test_padding_counts_nothing(make_trainer: Maker, new: list[str], sure: None) -> None:
    results = []
    for pad in (False, True):
        trainer = make_trainer(*new, "--train.micro_batch_size", "3", pad=pad)
        part = trainer.loader.read(1, 32).unlabelled
        assert part is not None
        assert [len(micro.rows) for micro in part.micro] == ([4, 4] if pad else [3, 3])
        trainer.train_step.network.train()
        results.append((trainer.train_step.backward_unlabelled(part, 1.0), gradients(trainer)))
    torch.testing.assert_close(results[0], results[1], rtol=1e-4, atol=1e-6)


@pytest.mark.usefixtures("sure")
def test_the_journal_has_loss_and_share_of_sure_pixels(make_trainer: Maker, new: list[str]) -> None:
    trainer = make_trainer(*new)
    part = trainer.loader.read(0, 32).unlabelled
    assert part is not None
    _, masks = trainer.train_step._strong_with_targets(part.micro[0], part)
    values = take(trainer, 1)
    assert values["train/confident"] == pytest.approx(float((masks != IGNORE).float().mean()))
    assert 0 < values["train/unlabelled_loss"] < 3
    assert values["train/images_per_second"] == 8
    plain = take(make_trainer(*PLAIN), 1)
    assert plain.keys() == values.keys() - {"train/confident", "train/unlabelled_loss"}
    assert plain["train/loss"] == values["train/loss"]
    assert plain["train/images_per_second"] == 4


def test_a_loss_that_is_not_finite_stops_the_step(
    make_trainer: Maker, new: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    trainer = make_trainer(*new)
    monkeypatch.setattr(step, "unlabelled_losses", lambda terms, *_given: terms.cross_entropy * float("nan"))
    before = weights(trainer)
    stats = trainer.train_step(trainer.loader.read(0, 32), 1, 1e-3, Requests())
    assert stats.stats.bad_processes == [0]
    assert same_tensors(before, weights(trainer))


def test_a_loss_that_is_not_finite_is_known_whatever_the_gradient(make_trainer: Maker, new: list[str]) -> None:
    """A gradient scaler skips such a step before anybody sees its gradient."""
    trainer, one = make_trainer(*new), torch.tensor(1.0)
    batch = trainer.loader.read(0, 32)
    for loss, bad in ((0.25, []), (float("nan"), [0])):
        given = trainer.train_step.accelerator, 1, batch, 1e-3, one, one, Requests(), torch.tensor([loss, 0.5])
        pending = PendingStats(*given)
        assert bool(pending.not_finite) == bool(bad)
        assert pending.stats.bad_processes == bad
        assert bad or pending.stats.unlabelled == (0.25, 0.5)


@pytest.mark.usefixtures("sure")
def test_measuring_takes_them_along_and_changes_nothing(make_trainer: Maker, new: list[str]) -> None:
    trainer = make_trainer(*new, "--model.norm", "batch")
    before, calls = weights(trainer), []
    real = trainer.train_step.backward_unlabelled
    trainer.train_step.backward_unlabelled = lambda *given, **named: calls.append(1) or real(*given, **named)  # type: ignore[method-assign]
    trainer.train_step.measure(trainer.loader.read(0, 32))
    assert len(calls) == 4
    assert same_tensors(before, weights(trainer))


@pytest.mark.usefixtures("sure")
def test_a_resumed_training_is_the_same_to_the_last_bit(make_trainer: Maker, new: list[str]) -> None:
    settings = [*new, "--train.epochs", "4", "--model.norm", "batch"]
    whole = make_trainer(*settings)
    recorder = Recorder()
    whole.callback = recorder
    snapshots = []
    real = recorder.on_step

    def on_step(number: int, values: dict[str, float]) -> None:
        real(number, values)
        if number == 3:
            snapshots.append(whole.snapshot())

    recorder.on_step = on_step  # type: ignore[method-assign]
    whole.fit()
    resumed = make_trainer(*settings)
    resumed.restore(snapshots[0])
    resumed.fit()
    assert whole.state.step == 8
    assert same_tensors(weights(whole), weights(resumed))
    other = make_trainer(*settings, "--train.seed", "1")
    other.fit()
    assert not same_tensors(weights(whole), weights(other))


def test_nothing_waits_for_the_device(make_trainer: Maker, new: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Tensors on `meta` have no content: to read a number, or to leave a tensor on the CPU, is an error."""
    trainer, nowhere = make_trainer(*new), torch.device("meta")
    part, train_step = trainer.loader.read(0, 32).unlabelled, trainer.train_step
    assert part is not None
    assert train_step.ema is not None
    train_step.segmenter.to(nowhere)
    train_step.ema.to(nowhere)
    monkeypatch.setattr(train_step.accelerator.state, "device", nowhere)
    assert train_step.backward_unlabelled(part, 1.0).device == nowhere
