"""Soft Dice loss with optional cross-entropy, as sums per image that several processes can add up."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor
from torch.nn import functional

from trainer import IGNORE, InputError
from trainer.config import LossConfig


@dataclass(frozen=True)
class LossTerms:
    """What one image contributes, for B images and F = max(1, K - 1) foreground classes; all float32."""

    intersection: Tensor  # [B, F], sum over pixels of probability x truth
    predicted: Tensor  # [B, F], sum of probabilities
    true: Tensor  # [B, F], pixels of the class
    cross_entropy: Tensor  # [B], mean over the image's pixels that count; 0 where none does


def loss_terms(logits: Tensor, masks: Tensor, class_weights: Tensor | None = None) -> LossTerms:
    """The sums of soft Dice (Milletari 2016, V-Net, eq. 1, without squares) and the cross-entropy, per image.

    `logits` [B, C, H, W]; `masks` uint8 [B, H, W]; `class_weights` float32 [K] for the cross-entropy, a mean weighted
    by each pixel's class as in torch.nn.CrossEntropyLoss, but of one image. Pixels of 255 stay out of every sum.
    """
    logits = logits.float()  # a sum over 65 504 pixels overflows float16
    counts = masks != IGNORE
    if logits.shape[1] == 1:
        truth = (masks == 1)[:, None]
        probabilities = logits.sigmoid()
        entropy = functional.binary_cross_entropy_with_logits(logits, truth.float(), reduction="none")[:, 0]
    else:
        classes = torch.arange(1, logits.shape[1], device=masks.device)
        truth = masks[:, None] == classes[None, :, None, None]
        probabilities = logits.softmax(dim=1)[:, 1:]
        entropy = functional.cross_entropy(logits, masks.long(), ignore_index=IGNORE, reduction="none")
    probabilities = probabilities * counts[:, None]
    if class_weights is None:
        pixels = counts.flatten(1).sum(dim=1).clamp(min=1)
    else:
        counts = counts * class_weights[masks.long().clamp(max=len(class_weights) - 1)]
        pixels = counts.flatten(1).sum(dim=1)
        pixels = pixels.masked_fill(pixels == 0, 1)
    return LossTerms(
        intersection=(probabilities * truth).flatten(2).sum(dim=2),
        predicted=probabilities.flatten(2).sum(dim=2),
        true=truth.flatten(2).sum(dim=2).float(),
        cross_entropy=(entropy * counts).flatten(1).sum(dim=1) / pixels,
    )


def balancing_weights(pixels: Sequence[int]) -> list[float]:
    """A weight for each of K classes from its number of pixels: 1 / sqrt(share), scaled so that the mean pixel has 1.

    The square root keeps a class of a few pixels from drowning all others. A class without a pixel gets 0.
    """
    total = sum(pixels)
    raw = [(total / count) ** 0.5 if count else 0.0 for count in pixels]
    mean = sum(weight * count for weight, count in zip(raw, pixels, strict=True)) / max(1, total)
    return [round(weight / mean, 4) if mean else 1.0 for weight in raw]


def resolve_class_weights(loss: LossConfig, pixels: Sequence[int]) -> LossConfig:
    """`loss` with numbers for its class weights; `pixels`: labelled pixels of each of the K classes in training."""
    if loss.class_weights == "auto":
        return replace(loss, class_weights=balancing_weights(pixels))
    if loss.class_weights is not None and len(loss.class_weights) != len(pixels):
        raise InputError(
            f"loss.class_weights: {len(loss.class_weights)} weights, but there are {len(pixels)} classes with the "
            "background; give one for each"
        )
    return loss


def dice_loss(intersection: Tensor, predicted: Tensor, true: Tensor, smooth: float) -> Tensor:
    """1 - (2 |P.G| + s) / (|P| + |G| + s), elementwise; 0 is perfect, 1 is disjoint."""
    return 1 - (2 * intersection + smooth) / (predicted + true + smooth)


def image_losses(terms: LossTerms, smooth: float, cross_entropy: float) -> Tensor:
    """Loss of each image, [B]: Dice averaged over the foreground classes, plus weighted cross-entropy."""
    dice = dice_loss(terms.intersection, terms.predicted, terms.true, smooth).mean(dim=1)
    return dice + cross_entropy * terms.cross_entropy


def batch_sums(terms: LossTerms, weights: Tensor) -> Tensor:
    """The Dice sums of several images together, float32 [3, F]; `weights` [B] is 0 for images that do not count."""
    stacked = torch.stack([terms.intersection, terms.predicted, terms.true])  # [3, B, F]
    return (stacked * weights[None, :, None]).sum(dim=1)


def batch_dice(sums: Tensor, smooth: float) -> Tensor:
    """Dice loss of the pixels of a whole batch as one, averaged over the classes; `sums` float [3, F]."""
    return dice_loss(sums[0], sums[1], sums[2], smooth).mean()


def batch_dice_part(sums: Tensor, total: Tensor, smooth: float) -> Tensor:
    """A scalar whose gradient is this part's share of the gradient of `batch_dice(total)`.

    Dice of a batch is a ratio of sums, so the parts of a batch (micro-batches, processes) cannot each take their own
    ratio. But by the chain rule d batch_dice / d weights = sum over parts of <d batch_dice / d total, d sums / d
    weights>, and the first factor depends on the total only. `sums` [3, F] belongs to the graph of this part, `total`
    [3, F] is the sum over all parts.
    """
    total = total.detach().requires_grad_()
    with torch.enable_grad():
        (slope,) = torch.autograd.grad(batch_dice(total, smooth), total)
    return (slope * sums).sum()


def class_weights(loss: LossConfig, device: torch.device) -> Tensor | None:
    """The weights of the classes as float32 [K], None where all are alike."""
    assert loss.class_weights != "auto"  # the numbers stand there once the data are known
    return torch.tensor(loss.class_weights).to(device, non_blocking=True) if loss.class_weights else None
