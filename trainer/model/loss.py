"""Soft Dice loss with optional cross-entropy, as sums for each image that add up over processes."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from trainer import IGNORE
from trainer.config import LossConfig


@dataclass(frozen=True)
class LossTerms:
    """Terms of the loss for each of B images and F = max(1, K - 1) foreground classes; all float32."""

    intersection: Tensor  # [B, F], sum over pixels of probability x truth
    predicted: Tensor  # [B, F], sum of probabilities
    true: Tensor  # [B, F], pixels of the class
    cross_entropy: Tensor  # [B], mean over the pixels that are not ignored; 0 without any


def loss_terms(logits: Tensor, masks: Tensor, class_weights: Tensor | None = None) -> LossTerms:
    """Sums of soft Dice (Milletari 2016, V-Net, eq. 1, without squares) and the cross-entropy of each image.

    `logits`: [B, C, H, W]; `masks`: uint8 [B, H, W], 255 is ignored; `class_weights`: float32 [K], for a cross-entropy
    that weights each pixel by its class, as torch.nn.CrossEntropyLoss does, but within each image.
    """
    logits = logits.float()  # a sum over 65 504 pixels overflows float16
    pixel_weights: Tensor = masks != IGNORE
    if logits.shape[1] == 1:
        truth = (masks == 1)[:, None]
        probabilities = logits.sigmoid()
        entropy = functional.binary_cross_entropy_with_logits(logits, truth.float(), reduction="none")[:, 0]
    else:
        classes = torch.arange(1, logits.shape[1], device=masks.device)
        truth = masks[:, None] == classes[None, :, None, None]
        probabilities = logits.softmax(dim=1)[:, 1:]
        entropy = functional.cross_entropy(logits, masks.long(), ignore_index=IGNORE, reduction="none")
    probabilities = probabilities * pixel_weights[:, None]
    if class_weights is None:
        total_weight = pixel_weights.flatten(1).sum(dim=1).clamp(min=1)
    else:
        pixel_weights = pixel_weights * class_weights[masks.long().clamp(max=len(class_weights) - 1)]
        total_weight = pixel_weights.flatten(1).sum(dim=1)
        total_weight = total_weight.masked_fill(total_weight == 0, 1)
    return LossTerms(
        intersection=(probabilities * truth).flatten(2).sum(dim=2),
        predicted=probabilities.flatten(2).sum(dim=2),
        true=truth.flatten(2).sum(dim=2).float(),
        cross_entropy=(entropy * pixel_weights).flatten(1).sum(dim=1) / total_weight,
    )


class LossSums:
    """Terms of the loss of one image, from probabilities that come in parts."""

    def __init__(self) -> None:
        self.sums: Tensor | None = None
        self.entropy, self.weight = 0.0, 0.0

    def add(self, probabilities: Tensor, mask: Tensor, class_weights: Tensor | None = None) -> None:
        """Add rows of the image: probabilities [1, C, rows, W] and their truth, uint8 [rows, W]; as in `loss_terms`."""
        counted = mask != IGNORE
        truth, probabilities = mask[counted].long(), probabilities[0][:, counted].double()  # [N], [C, N]
        if len(probabilities) == 1:
            probabilities = torch.cat([1 - probabilities, probabilities])
        own = probabilities.gather(0, truth[None])[0].clamp(min=1e-38)
        weights = torch.ones_like(own) if class_weights is None else class_weights[truth].double()
        self.entropy -= float((weights * own.log()).sum())
        self.weight += float(weights.sum())
        classes = torch.arange(1, len(probabilities), device=mask.device)
        true = truth[None] == classes[:, None]
        sums = torch.stack([(probabilities[1:] * true).sum(1), probabilities[1:].sum(1), true.sum(1).double()])
        self.sums = sums if self.sums is None else self.sums + sums

    def terms(self) -> LossTerms:
        """Terms of the whole image."""
        assert self.sums is not None
        intersection, predicted, true = self.sums.float()[:, None]
        entropy = torch.tensor([self.entropy / self.weight if self.weight else 0.0], device=self.sums.device)
        return LossTerms(intersection, predicted, true, entropy)


def dice_loss(intersection: Tensor, predicted: Tensor, true: Tensor, smooth: float) -> Tensor:
    """1 - (2 |P.G| + smooth) / (|P| + |G| + smooth), elementwise; 0 is perfect, 1 is disjoint."""
    return 1 - (2 * intersection + smooth) / (predicted + true + smooth)


def image_losses(terms: LossTerms, smooth: float, cross_entropy: float) -> Tensor:
    """Loss of each image, [B]: Dice loss averaged over the foreground classes, plus weighted cross-entropy."""
    dice = dice_loss(terms.intersection, terms.predicted, terms.true, smooth).mean(dim=1)
    return dice + cross_entropy * terms.cross_entropy


def batch_sums(terms: LossTerms, weights: Tensor) -> Tensor:
    """Dice sums of several images together, float32 [3, F]; `weights` [B] is 0 for dummy images."""
    stacked = torch.stack([terms.intersection, terms.predicted, terms.true])  # [3, B, F]
    return (stacked * weights[None, :, None]).sum(dim=1)


def batch_dice(sums: Tensor, smooth: float) -> Tensor:
    """Dice loss over all pixels of a batch, averaged over the foreground classes; `sums`: float [3, F]."""
    return dice_loss(sums[0], sums[1], sums[2], smooth).mean()


def batch_dice_part(sums: Tensor, total: Tensor, smooth: float) -> Tensor:
    """Scalar whose gradient is one part's share of the gradient of `batch_dice(total)`.

    Dice of a batch is a ratio of sums, so the parts of a batch (micro-batches, processes) cannot each take their own
    ratio. By the chain rule, d batch_dice / d weights = sum over parts of <d batch_dice / d total, d sums / d
    weights>, and the first factor depends on the total only. `sums`: [3, F], with the graph of this part; `total`:
    [3, F], the sum over all parts.
    """
    total = total.detach().requires_grad_()
    with torch.enable_grad():
        (slope,) = torch.autograd.grad(batch_dice(total, smooth), total)
    return (slope * sums).sum()


def objective(
    terms: LossTerms,
    weights: Tensor,
    samples: int,
    loss: LossConfig,
    total: Tensor | None = None,
    all_reduce: Callable[[Tensor], Tensor] = lambda sums: sums,
) -> tuple[Tensor, Tensor]:
    """Two scalars for one part of a batch: one to differentiate, and the part's share of the loss of the batch.

    Over all parts, their gradients and values add up to those of the whole batch of `samples`. `weights`: float32 [B],
    0 for dummy samples. `total`: for loss.reduction batch, the Dice sums of the whole batch, [3, F]; None where each
    process has one part only, whose sums `all_reduce` adds up over the processes.
    """
    if loss.reduction == "image":
        part = (image_losses(terms, loss.smooth, loss.cross_entropy) * weights).sum() / samples
        return part, part
    entropy = loss.cross_entropy * (terms.cross_entropy * weights).sum() / samples
    sums = batch_sums(terms, weights)
    if total is None:
        total = all_reduce(sums.detach())
    share_of_dice = batch_dice(total, loss.smooth) * weights.sum() / samples
    return batch_dice_part(sums, total, loss.smooth) + entropy, share_of_dice + entropy


def class_weight_tensor(loss: LossConfig, device: torch.device) -> Tensor | None:
    """Weights of the classes, float32 [K] on `device`; None where all are equal."""
    assert not isinstance(loss.class_weights, str)  # resolved once the data are known
    return torch.tensor(loss.class_weights).to(device, non_blocking=True) if loss.class_weights else None
