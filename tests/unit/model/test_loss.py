"""Soft Dice and cross-entropy against plain numpy, torch and scikit-learn, and as sums over parts of a batch."""

import numpy as np
import pytest
import torch
from sklearn.metrics import log_loss
from torch import Tensor
from torch.nn import functional

from trainer import IGNORE
from trainer.model.loss import (
    batch_dice,
    batch_dice_part,
    batch_sums,
    dice_loss,
    image_losses,
    loss_terms,
)

CHANNELS = [1, 3]
"""Channels of the network for one foreground class, and for two."""


def example(channels: int, images: int = 4, size: int = 9, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Logits float64 [B, C, H, W] and masks uint8 [B, H, W] with some ignored pixels."""
    random = torch.Generator().manual_seed(seed)
    logits = torch.randn(images, channels, size, size + 2, generator=random, dtype=torch.float32) * 2
    masks = torch.randint(0, max(2, channels), (images, size, size + 2), generator=random, dtype=torch.uint8)
    masks[torch.rand(masks.shape, generator=random) < 0.2] = IGNORE
    return logits, masks


def numpy_probabilities(logits: np.ndarray) -> np.ndarray:
    """Probabilities [K, H, W], float64, from logits [C, H, W]."""
    if len(logits) == 1:
        foreground = 1 / (1 + np.exp(-logits[0]))
        return np.stack([1 - foreground, foreground])
    powers = np.exp(logits - logits.max(axis=0))
    return powers / powers.sum(axis=0)


def numpy_loss(logits: np.ndarray, mask: np.ndarray, smooth: float, weight: float) -> float:
    """Oracle for the loss of one image, written from the definitions."""
    probabilities = numpy_probabilities(logits.astype(np.float64))
    counted = mask != IGNORE
    dice = []
    for number in range(1, len(probabilities)):
        predicted, truth = probabilities[number][counted], (mask[counted] == number).astype(float)
        dice.append(1 - (2 * (predicted * truth).sum() + smooth) / (predicted.sum() + truth.sum() + smooth))
    right = [probabilities[mask[row, column], row, column] for row, column in zip(*np.nonzero(counted), strict=True)]
    return float(np.mean(dice) + weight * np.mean(-np.log(right)))


@pytest.mark.parametrize("channels", CHANNELS)
@pytest.mark.parametrize(("smooth", "weight"), [(1.0, 0.5), (0.1, 0.0), (7.0, 2.0)])
def test_image_losses_equal_the_definition(channels: int, smooth: float, weight: float) -> None:
    logits, masks = example(channels)
    losses = image_losses(loss_terms(logits, masks), smooth, weight)
    oracle = [numpy_loss(one.numpy(), mask.numpy(), smooth, weight) for one, mask in zip(logits, masks, strict=True)]
    assert losses.shape == (4,)
    np.testing.assert_allclose(losses.numpy(), oracle, rtol=1e-5)


@pytest.mark.parametrize("channels", CHANNELS)
def test_cross_entropy_equals_torch_and_scikit_learn(channels: int) -> None:
    logits, masks = example(channels)
    found = loss_terms(logits, masks).cross_entropy
    for one, mask, value in zip(logits, masks, found, strict=True):
        counted = mask != IGNORE
        if channels == 1:
            truth = mask[counted].float()
            by_torch = functional.binary_cross_entropy_with_logits(one[0][counted], truth)
        else:
            by_torch = functional.cross_entropy(one[None], mask[None].long(), ignore_index=IGNORE)
        probabilities = numpy_probabilities(one.numpy().astype(np.float64))[:, counted.numpy()].T
        by_sklearn = log_loss(mask[counted].numpy(), probabilities, labels=range(max(2, channels)))
        assert float(value) == pytest.approx(float(by_torch), rel=1e-5)
        assert float(value) == pytest.approx(by_sklearn, rel=1e-5)


@pytest.mark.parametrize("channels", CHANNELS)
def test_perfect_and_opposite(channels: int) -> None:
    masks = torch.zeros(1, 32, 32, dtype=torch.uint8)
    masks[0, 5:20, 3:9] = 1
    masks[0, 22:30, 3:9] = max(1, channels - 1)
    if channels == 1:
        logits = (masks[:, None].float() - 0.5) * 60
    else:
        logits = functional.one_hot(masks.long(), channels).permute(0, 3, 1, 2).float() * 60
    assert float(image_losses(loss_terms(logits, masks), 1.0, 1.0)) == pytest.approx(0, abs=1e-5)
    assert float(image_losses(loss_terms(-logits, masks), 1.0, 0.0)) > 0.95


def test_empty_mask_and_empty_prediction_are_perfect() -> None:
    terms = loss_terms(torch.full((1, 1, 16, 16), -50.0), torch.zeros(1, 16, 16, dtype=torch.uint8))
    assert float(image_losses(terms, 1.0, 0.5)) == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize("channels", CHANNELS)
def test_ignored_pixels_are_in_no_sum_and_get_no_gradient(channels: int) -> None:
    logits, masks = example(channels)
    ignored = (masks == IGNORE)[:, None].expand_as(logits)
    changed = torch.where(ignored, torch.full_like(logits, 30.0), logits)
    first, second = loss_terms(logits, masks), loss_terms(changed, masks)
    for name in ("intersection", "predicted", "true", "cross_entropy"):
        assert torch.equal(getattr(first, name), getattr(second, name)), name

    logits.requires_grad_()
    image_losses(loss_terms(logits, masks), 1.0, 0.5).sum().backward()
    assert logits.grad is not None
    assert (logits.grad[ignored] == 0).all()
    assert (logits.grad[~ignored] != 0).all()


@pytest.mark.parametrize("channels", CHANNELS)
def test_an_image_of_ignored_pixels_has_no_loss(channels: int) -> None:
    logits = example(channels)[0].requires_grad_()
    losses = image_losses(loss_terms(logits, torch.full((4, 9, 11), IGNORE, dtype=torch.uint8)), 1.0, 0.5)
    losses.sum().backward()
    assert logits.grad is not None
    assert losses.tolist() == [0.0] * 4
    assert (logits.grad == 0).all()


@pytest.mark.parametrize("channels", CHANNELS)
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_large_images_in_half_precision(channels: int, dtype: torch.dtype) -> None:
    """More pixels than the largest number of float16, 65 504."""
    masks = torch.ones(1, 300, 300, dtype=torch.uint8)
    logits = torch.full((1, channels, 300, 300), 3.0, dtype=dtype)
    terms = loss_terms(logits, masks)
    assert float(terms.true.amax()) == 90_000
    assert terms.predicted.dtype == torch.float32
    assert float(terms.predicted[0, 0]) == pytest.approx(90_000 * (0.9525741 if channels == 1 else 1 / 3), rel=1e-4)
    assert torch.isfinite(image_losses(terms, 1.0, 0.5)).all()


@pytest.mark.parametrize("channels", CHANNELS)
@pytest.mark.parametrize("cuts", [[4], [1, 3], [2, 2], [1, 1, 2], [1, 1, 1, 1]])
def test_gradient_of_batch_dice_adds_up_over_parts(channels: int, cuts: list[int]) -> None:
    """N processes, or accumulated micro-batches, then train like one."""
    logits, masks = example(channels)
    whole = logits.clone().requires_grad_()
    total = batch_sums(loss_terms(whole, masks), torch.ones(4))
    batch_dice(total, 1.0).backward()

    parts = [part.clone().requires_grad_() for part in logits.split(cuts)]
    for part, mask in zip(parts, masks.split(cuts), strict=True):
        sums = batch_sums(loss_terms(part, mask), torch.ones(len(part)))
        batch_dice_part(sums, total, 1.0).backward()
    assert whole.grad is not None
    assert float(whole.grad.abs().amax()) > 1e-4
    added = torch.cat([part.grad for part in parts if part.grad is not None])
    torch.testing.assert_close(added, whole.grad, rtol=1e-4, atol=1e-8)


@pytest.mark.parametrize("channels", CHANNELS)
def test_batch_dice_is_dice_of_one_large_image(channels: int) -> None:
    """Compared with the oracle on the images side by side."""
    logits, masks = example(channels)
    sums = batch_sums(loss_terms(logits, masks), torch.ones(4))
    beside = np.concatenate(list(logits.numpy()), axis=2), np.concatenate(list(masks.numpy()), axis=1)
    assert float(batch_dice(sums, 1.0)) == pytest.approx(numpy_loss(*beside, smooth=1.0, weight=0.0), rel=1e-5)


@pytest.mark.parametrize("channels", CHANNELS)
def test_images_of_weight_zero_are_in_no_sum(channels: int) -> None:
    logits, masks = example(channels)
    sums = batch_sums(loss_terms(logits, masks), torch.tensor([1.0, 0.0, 1.0, 0.0]))
    alone = batch_sums(loss_terms(logits[[0, 2]], masks[[0, 2]]), torch.ones(2))
    torch.testing.assert_close(sums, alone)


@pytest.mark.parametrize("channels", CHANNELS)
def test_loss_of_an_image_does_not_depend_on_its_batch(channels: int) -> None:
    logits, masks = example(channels)
    together = image_losses(loss_terms(logits, masks), 1.0, 0.5)
    alone = [image_losses(loss_terms(logits[[row]], masks[[row]]), 1.0, 0.5) for row in range(4)]
    torch.testing.assert_close(together, torch.cat(alone))


def test_dice_loss_by_hand() -> None:
    # 3 pixels predicted, 4 true, 2 in common: Dice 4/7, with smoothing 5/8.
    assert float(dice_loss(torch.tensor(2.0), torch.tensor(3.0), torch.tensor(4.0), 1.0)) == pytest.approx(3 / 8)


# ------------------------------------------------------------------------------------------------ class weights


@pytest.mark.parametrize("channels", CHANNELS)
def test_weighted_cross_entropy_equals_torch(channels: int) -> None:
    logits, masks = example(channels)
    weights = torch.tensor([0.2, 1.5, 3.0][: max(2, channels)])
    found = loss_terms(logits, masks, weights).cross_entropy
    both = torch.cat([torch.zeros_like(logits), logits], dim=1) if channels == 1 else logits
    for one, mask, value in zip(both, masks, found, strict=True):
        oracle = functional.cross_entropy(one[None], mask[None].long(), weights, ignore_index=IGNORE)
        assert float(value) == pytest.approx(float(oracle), rel=1e-5)


def test_weights_of_one_change_nothing() -> None:
    logits, masks = example(3)
    masks[0] = IGNORE
    plain, weighted = loss_terms(logits, masks), loss_terms(logits, masks, torch.ones(3))
    for name in ("intersection", "predicted", "true", "cross_entropy"):
        torch.testing.assert_close(getattr(weighted, name), getattr(plain, name))
    only_unweighted = loss_terms(logits, torch.zeros_like(masks), torch.tensor([0.0, 1.0, 1.0]))
    assert only_unweighted.cross_entropy.tolist() == [0.0] * 4
