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
    """Compute IoU (Everingham 2010, VOC challenge, section 4.1.2) and Dice of each foreground class.

    `confusion`: int64 [K, K]; `class_names`: K names, the background's first.
    """
    counts = confusion.to("cpu", torch.float64)
    correct, true, predicted = counts.diagonal(), counts.sum(dim=1), counts.sum(dim=0)
    iou, dice, absent = {}, {}, []
    for index, name in enumerate(class_names[1:], start=1):
        if true[index] == 0:
            absent.append(name)
            continue
        iou[name] = float(correct[index] / (true[index] + predicted[index] - correct[index]))
        dice[name] = float(2 * correct[index] / (true[index] + predicted[index]))
    return Scores(iou, dice, absent)
