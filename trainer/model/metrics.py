"""IoU and Dice from one integer confusion matrix, which adds up exactly over batches and processes."""

from dataclasses import dataclass

import torch
from torch import Tensor

from trainer import IGNORE


def confusion_matrix(predicted: Tensor, masks: Tensor, classes: int) -> Tensor:
    """Count pixels, int64 [K, K]: row = true class, column = predicted class; `classes` = K.

    `predicted` and `masks`: integer class ids of equal shape; pixels whose mask is 255 are left out.
    """
    counted = masks != IGNORE
    pairs = masks[counted].long() * classes + predicted[counted].long()
    return torch.bincount(pairs, minlength=classes**2).reshape(classes, classes)


def class_counts(confusion: Tensor) -> Tensor:
    """Reduce a confusion matrix, int64 [K, K], to what IoU and Dice need: int64 [K, 3].

    Of each class the pixels that are correct, that are predicted, and that are true.
    """
    return torch.stack([confusion.diagonal(), confusion.sum(dim=0), confusion.sum(dim=1)], dim=1)


@dataclass(frozen=True)
class Scores:
    """Scores over a whole set of images, each in [0, 1]."""

    iou: dict[str, float]
    """Intersection over union of each foreground class that has pixels in the masks."""

    dice: dict[str, float]
    """2 |P.G| / (|P| + |G|) of the same classes, P predicted and G true pixels."""

    absent: list[str]
    """Foreground classes without pixels in the masks; they are left out of the means."""

    @property
    def miou(self) -> float | None:
        """Mean of `iou`; None where every class is absent."""
        return sum(self.iou.values()) / len(self.iou) if self.iou else None

    @property
    def mean_dice(self) -> float | None:
        """Mean of `dice`; None where every class is absent."""
        return sum(self.dice.values()) / len(self.dice) if self.dice else None


def scores(confusion: Tensor, class_names: tuple[str, ...]) -> Scores:
    """Compute `scores_of_counts` from a confusion matrix, int64 [K, K]."""
    return scores_of_counts(class_counts(confusion), class_names)


def scores_of_counts(counts: Tensor, class_names: tuple[str, ...]) -> Scores:
    """Compute IoU (Everingham 2010, VOC challenge, section 4.1.2) and Dice of each foreground class.

    `counts`: `class_counts`, int64 [K, 3]; `class_names`: K names, the background's first.
    """
    correct, predicted, true = counts.to("cpu", torch.float64).unbind(dim=1)
    iou, dice, absent = {}, {}, []
    for index, name in enumerate(class_names[1:], start=1):
        if true[index] == 0:
            absent.append(name)
            continue
        iou[name] = float(correct[index] / (true[index] + predicted[index] - correct[index]))
        dice[name] = float(2 * correct[index] / (true[index] + predicted[index]))
    return Scores(iou, dice, absent)
