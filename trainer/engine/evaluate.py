"""Validation: every sample exactly once on any number of processes, scored at its mask's own size."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from trainer.config import LossConfig
from trainer.data.dataset import ValidationSet
from trainer.model.loss import class_weight_tensor, image_losses, loss_terms
from trainer.model.metrics import Scores, confusion_matrix, scores
from trainer.model.segmenter import Segmenter

CHUNK = 8
"""Samples that go through the network together; fixed, so that any number of processes does the same arithmetic."""

STRIP_PIXELS = 1 << 20
"""Pixels of an image that are counted at a time."""


@dataclass(frozen=True)
class Evaluation:
    """Scores of one model on one validation set."""

    scores: Scores
    loss: float
    """Mean loss of the samples."""


class EvaluationStopped(Exception):
    """Evaluation ended early on all processes, because one of them is asked to stop."""


@torch.no_grad()
def evaluate(
    segmenter: Segmenter,
    data: ValidationSet,
    loss: LossConfig,
    process: int = 0,
    processes: int = 1,
    all_reduce: Callable[[Tensor], Tensor] = lambda own: own,
    stop_requested: Callable[[], bool] = lambda: False,
) -> Evaluation:
    """Score `segmenter` on its current device, in float32. All `processes` must call this; all get the same result.

    The model sees images as its own contract says, whatever size `data` is cached at: as in prediction.

    Each process takes every n-th chunk of samples; `all_reduce` sums a tensor over them, once for each total.
    Raises EvaluationStopped, on all of them, where `stop_requested` turns true on one before it is done.
    """
    segmenter.eval()
    data = data.at(segmenter.contract.image_size, segmenter.contract.range_of_levels)
    device = next(segmenter.parameters()).device
    classes = len(segmenter.contract.class_names)
    confusion = torch.zeros(classes, classes, dtype=torch.int64, device=device)
    # One place per sample: adding up zeros from the other processes changes no bit.
    losses = torch.zeros(len(data.samples), dtype=torch.float64, device=device)
    seen = torch.zeros(
        len(data.samples) + 1, dtype=torch.int64, device=device
    )  # the last place counts processes asked to stop
    weights = class_weight_tensor(loss, device)
    starts = range(0, len(data.samples), CHUNK)
    for start in starts[process::processes]:
        if stop_requested():
            seen[-1] = 1
            break
        places = range(start, min(start + CHUNK, len(data.samples)))
        images, small_masks = data.resized.read([data.rows[place] for place in places])
        logits = segmenter.logits(images.to(device))
        terms = loss_terms(logits, small_masks.to(device), weights)
        losses[list(places)] = image_losses(terms, loss.smooth, loss.cross_entropy).double()
        for row, place in enumerate(places):
            mask = torch.from_numpy(data.samples[place].read_mask(data.values)).to(device)
            confusion += sample_confusion(segmenter, logits[row : row + 1], mask)
            seen[place] += 1
    confusion, losses, seen = (all_reduce(value) for value in (confusion, losses, seen))
    if seen[-1]:
        raise EvaluationStopped
    assert bool((seen[:-1] == 1).all()), f"validation saw samples {seen[:-1].tolist()} times"
    return Evaluation(scores(confusion, segmenter.contract.class_names), float(losses.mean()))


def sample_confusion(segmenter: Segmenter, logits: Tensor, mask: Tensor) -> Tensor:
    """Pixel counts, int64 [K, K], of the network's logits [1, C, S, S] against one mask, uint8 [H, W].

    Class ids are counted strip by strip: the integers in between take some 40 bytes a pixel. The probabilities are
    made in one piece, since neither resizing nor softmax gives the same bits in strips: their vectors begin
    elsewhere.
    """
    height, width = mask.shape
    rows = max(1, STRIP_PIXELS // width)
    probabilities = segmenter.probabilities(logits, (height, width))
    classes = len(segmenter.contract.class_names)
    confusion = torch.zeros(classes, classes, dtype=torch.int64, device=mask.device)
    for strip, truth in zip(probabilities.split(rows, dim=2), mask.split(rows), strict=True):
        confusion += confusion_matrix(segmenter.classes(strip)[0], truth, classes)
    return confusion
