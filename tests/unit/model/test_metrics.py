"""Confusion matrix, IoU and Dice against scikit-learn and torchmetrics."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics as oracle
from torchmetrics.classification import MulticlassJaccardIndex
from torchmetrics.functional.segmentation import dice_score

from trainer import IGNORE
from trainer.model.metrics import confusion_matrix, scores

NAMES = ("_background_", "cat", "dog", "bird")


def example(classes: int, seed: int = 0, size: int = 40) -> tuple[torch.Tensor, torch.Tensor]:
    """Predicted classes and masks, uint8 [3, H, W], that agree on about half of the pixels."""
    random = np.random.default_rng(seed)
    masks = random.integers(0, classes, (3, size, size + 3)).astype(np.uint8)
    predicted = np.where(random.random(masks.shape) < 0.5, masks, random.integers(0, classes, masks.shape))
    masks[random.random(masks.shape) < 0.1] = IGNORE
    return torch.from_numpy(predicted.astype(np.uint8)), torch.from_numpy(masks)


@pytest.mark.parametrize("classes", [2, 3, 4])
def test_confusion_matrix_equals_scikit_learn(classes: int) -> None:
    predicted, masks = example(classes)
    counted = (masks != IGNORE).numpy()
    expected = oracle.confusion_matrix(masks.numpy()[counted], predicted.numpy()[counted], labels=range(classes))
    found = confusion_matrix(predicted, masks, classes)
    assert found.dtype == torch.int64
    assert found.tolist() == expected.tolist()
    assert confusion_matrix(predicted.long(), masks.long(), classes).tolist() == expected.tolist()


@pytest.mark.parametrize("classes", [2, 3, 4])
def test_scores_equal_scikit_learn(classes: int) -> None:
    predicted, masks = example(classes)
    counted = (masks != IGNORE).numpy()
    truth, guess = masks.numpy()[counted], predicted.numpy()[counted]
    labels = range(1, classes)
    found = scores(confusion_matrix(predicted, masks, classes), NAMES[:classes])
    assert list(found.iou) == list(found.dice) == list(NAMES[1:classes])
    assert list(found.iou.values()) == pytest.approx(oracle.jaccard_score(truth, guess, labels=labels, average=None))
    assert list(found.dice.values()) == pytest.approx(oracle.f1_score(truth, guess, labels=labels, average=None))
    assert found.miou == pytest.approx(oracle.jaccard_score(truth, guess, labels=labels, average="macro"))
    assert found.mean_dice == pytest.approx(oracle.f1_score(truth, guess, labels=labels, average="macro"))
    assert found.absent == []


def test_scores_equal_torchmetrics() -> None:
    predicted, masks = example(4)
    found = scores(confusion_matrix(predicted, masks, 4), NAMES)
    jaccard = MulticlassJaccardIndex(4, average=None, ignore_index=IGNORE)
    assert list(found.iou.values()) == pytest.approx(jaccard(predicted.long(), masks.long())[1:].tolist())
    masks[masks == IGNORE] = 0  # torchmetrics' Dice cannot ignore pixels
    found = scores(confusion_matrix(predicted, masks, 4), NAMES)
    one_image = [ids.long().reshape(1, -1, masks.shape[2]) for ids in (predicted, masks)]
    dice = dice_score(*one_image, 4, include_background=False, average="none", input_format="index")
    assert list(found.dice.values()) == pytest.approx(dice[0].tolist())


def test_ignored_pixels_are_not_counted() -> None:
    predicted, masks = example(3)
    other = predicted.clone()
    other[masks == IGNORE] = (other[masks == IGNORE] + 1) % 3
    assert torch.equal(confusion_matrix(predicted, masks, 3), confusion_matrix(other, masks, 3))
    assert int(confusion_matrix(predicted, masks, 3).sum()) == int((masks != IGNORE).sum())
    assert confusion_matrix(predicted, torch.full_like(masks, IGNORE), 3).sum() == 0


def test_absent_class_is_named_and_left_out_even_where_predicted() -> None:
    masks = torch.tensor([[0, 0, 1, 1, 3, 3]], dtype=torch.uint8)
    predicted = torch.tensor([[0, 2, 1, 2, 3, 0]], dtype=torch.uint8)
    found = scores(confusion_matrix(predicted, masks, 4), NAMES)
    assert found.absent == ["dog"]
    assert found.iou == {"cat": 0.5, "bird": 0.5}
    assert found.dice == pytest.approx({"cat": 2 / 3, "bird": 2 / 3})
    assert found.miou == 0.5


def test_class_that_is_never_predicted_scores_zero() -> None:
    masks = torch.tensor([[0, 1, 2, 2]], dtype=torch.uint8)
    found = scores(confusion_matrix(torch.tensor([[0, 1, 0, 0]], dtype=torch.uint8), masks, 3), NAMES[:3])
    assert found.iou == {"cat": 1.0, "dog": 0.0}
    assert found.miou == 0.5


def test_no_score_without_foreground() -> None:
    masks = torch.zeros(4, 4, dtype=torch.uint8)
    found = scores(confusion_matrix(torch.ones_like(masks), masks, 3), NAMES[:3])
    assert found.miou is None
    assert found.mean_dice is None
    assert found.absent == ["cat", "dog"]
    assert found.iou == found.dice == {}


@settings(max_examples=30, deadline=None)
@given(pieces=st.lists(st.integers(1, 9), min_size=1, max_size=12), classes=st.integers(2, 5), seed=st.integers(0, 999))
def test_adds_up_over_any_partition(pieces: list[int], classes: int, seed: int) -> None:
    predicted, masks = (values.flatten()[: sum(pieces)] for values in example(classes, seed, size=8))
    parts = zip(predicted.split(pieces), masks.split(pieces), strict=True)
    added = torch.stack([confusion_matrix(guess, truth, classes) for guess, truth in parts]).sum(dim=0)
    assert torch.equal(added, confusion_matrix(predicted, masks, classes))
