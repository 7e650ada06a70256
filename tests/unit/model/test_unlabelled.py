"""Targets and loss of images without labels, against plain numpy and torch."""

import numpy as np
import pytest
import torch

from trainer import IGNORE
from trainer.config import LossConfig
from trainer.model.loss import loss_terms
from trainer.model.unlabelled import RAMP_STEPS, THRESHOLD, WEIGHT, targets, unlabelled_losses, weight_at


@pytest.mark.parametrize("channels", [1, 3])
def test_targets_are_what_the_teacher_is_sure_of(channels: int) -> None:
    logits = 4 * torch.randn(2, channels, 7, 9, generator=torch.Generator().manual_seed(0))
    found = targets(logits).numpy()
    values = logits.double().numpy()
    if channels == 1:  # two classes, of which the background's logit is 0
        values = np.concatenate([np.zeros_like(values), values], axis=1)
    shares = np.exp(values) / np.exp(values).sum(axis=1, keepdims=True)
    sure = shares.max(axis=1) >= THRESHOLD
    assert 0.1 < sure.mean() < 0.9
    assert found.dtype == np.uint8
    assert (found == np.where(sure, shares.argmax(axis=1), IGNORE)).all()


def test_the_weight_rises_from_nothing() -> None:
    weights = [weight_at(step) for step in range(1, RAMP_STEPS + 20)]
    assert weights[0] == 0
    assert weights == sorted(weights)
    assert weights[RAMP_STEPS] == weights[-1] == WEIGHT
    assert weights[RAMP_STEPS - 1] < WEIGHT


def test_an_image_counts_by_its_share_of_sure_pixels() -> None:
    """Half of it, as much as it would count whole; without any pixel, nothing, and no gradient that is not finite."""
    loss, logits = LossConfig(), torch.randn(1, 1, 4, 8, generator=torch.Generator().manual_seed(1), requires_grad=True)
    masks = torch.randint(0, 2, (1, 4, 8), generator=torch.Generator().manual_seed(2)).to(torch.uint8)
    masks[:, :, 4:] = IGNORE
    (half,) = unlabelled_losses(loss_terms(logits, masks), torch.tensor([0.5]), loss)
    (whole,) = unlabelled_losses(loss_terms(logits[..., :4], masks[..., :4]), torch.tensor([1.0]), loss)
    torch.testing.assert_close(half, 0.5 * whole)
    masks[:] = IGNORE
    (nothing,) = unlabelled_losses(loss_terms(logits, masks), torch.tensor([0.0]), loss)
    nothing.backward()
    assert nothing == 0
    assert logits.grad is not None
    assert (logits.grad == 0).all()
