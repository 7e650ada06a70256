"""Validation: every sample exactly once on any number of processes, scored at its mask's own size."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from trainer.config import LossConfig
from trainer.data.checks.scan import hash_pixels
from trainer.data.dataset import ValidationSet
from trainer.data.full_size import FullSize
from trainer.model.loss import LossSums, class_weight_tensor, image_losses, loss_terms
from trainer.model.metrics import Scores, class_counts, confusion_matrix, scores
from trainer.model.score_table import Counts, ScoredImage, ScoreTable
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

    counts: tuple[Counts, ...]
    """`class_counts` of each sample, in the order of the validation set."""


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
    assert data.class_ids is None  # the resized masks, which the loss is of, have the ids of the data
    data = data.at(segmenter.contract.shown, segmenter.contract.range_of_levels)
    device = next(segmenter.parameters()).device
    classes = len(segmenter.contract.class_names)
    confusion = torch.zeros(classes, classes, dtype=torch.int64, device=device)
    counts = torch.zeros(len(data.samples), classes, 3, dtype=torch.int64, device=device)
    # One place per sample: adding up zeros from the other processes changes no bit.
    losses = torch.zeros(len(data.samples), dtype=torch.float64, device=device)
    seen = torch.zeros(
        len(data.samples) + 1, dtype=torch.int64, device=device
    )  # the last place counts processes asked to stop
    weights = class_weight_tensor(loss, device)
    look, chunk = (_look_at_tiles, 1) if segmenter.contract.view == "tiles" else (_look_at_whole, CHUNK)
    starts = range(0, len(data.samples), chunk)
    for start in starts[process::processes]:
        if stop_requested():
            seen[-1] = 1
            break
        places = range(start, min(start + chunk, len(data.samples)))
        losses[list(places)], found = look(segmenter, data, places, loss, weights)
        confusion += found.sum(dim=0)
        counts[list(places)] = torch.stack([class_counts(one) for one in found])
        seen[list(places)] += 1
    confusion, counts, losses, seen = (all_reduce(value) for value in (confusion, counts, losses, seen))
    if seen[-1]:
        raise EvaluationStopped
    assert bool((seen[:-1] == 1).all()), f"validation saw samples {seen[:-1].tolist()} times"
    return Evaluation(scores(confusion, segmenter.contract.class_names), float(losses.mean()), as_tuples(counts))


class Counted(Protocol):
    """Whatever holds the counts of each image."""

    @property
    def counts(self) -> tuple[Counts, ...]:
        """`class_counts` of each sample, in the order of the validation set."""
        ...


def score_table(
    evaluation: Counted, data: ValidationSet, class_names: tuple[str, ...], model: Mapping[str, str]
) -> ScoreTable:
    """Table of an evaluation on `data`; `model`: where the model is from."""
    facts = data.stored.facts[list(data.rows)]
    images = []
    for place, (sample, row, counts) in enumerate(zip(data.samples, facts, evaluation.counts, strict=True)):
        mask = row["mask"] if data.class_ids is None else hash_pixels(data.read_mask(place))
        hashes, (height, width) = (f"{row['image']:016x}", f"{mask:016x}"), row["size"]
        images.append(ScoredImage(sample.name, *hashes, int(height), int(width), counts))
    return ScoreTable(class_names, tuple(images), model)


def as_tuples(counts: Tensor) -> tuple[Counts, ...]:
    """Integers of `class_counts` of some images, int64 [N, K, 3]."""
    return tuple(tuple((one[0], one[1], one[2]) for one in image) for image in counts.tolist())


def _look_at_whole(
    segmenter: Segmenter, data: ValidationSet, places: range, loss: LossConfig, weights: Tensor | None
) -> tuple[Tensor, Tensor]:
    """Losses, float64 [B], and pixel counts, int64 [B, K, K], of images that are resized."""
    assert not isinstance(data.stored, FullSize)
    images, small_masks = data.stored.read([data.rows[place] for place in places])
    device = segmenter.mean.device
    logits = segmenter.logits(images.to(device))
    terms = loss_terms(logits, small_masks.to(device), weights)
    counts = [
        sample_confusion(segmenter, logits[row : row + 1], _read_mask(data, place, device))
        for row, place in enumerate(places)
    ]
    return image_losses(terms, loss.smooth, loss.cross_entropy).double(), torch.stack(counts)


def _look_at_tiles(
    segmenter: Segmenter, data: ValidationSet, places: range, loss: LossConfig, weights: Tensor | None
) -> tuple[Tensor, Tensor]:
    """Losses, float64 [1], and pixel counts, int64 [1, K, K], of one image that is gone over tile by tile."""
    assert isinstance(data.stored, FullSize)
    mask = _read_mask(data, places[0], segmenter.mean.device)
    height, width = mask.shape
    classes = len(segmenter.contract.class_names)
    confusion = torch.zeros(classes, classes, dtype=torch.int64, device=mask.device)
    sums = LossSums()
    for part, probabilities in segmenter.rows(data.stored.image(data.rows[places[0]]), (height, width)):
        sums.add(probabilities, mask[part], weights)
        for strip, truth in strips_of(probabilities, mask[part]):
            confusion += confusion_matrix(segmenter.classes(strip)[0], truth, classes)
    return image_losses(sums.terms(), loss.smooth, loss.cross_entropy).double(), confusion[None]


def _read_mask(data: ValidationSet, place: int, device: torch.device) -> Tensor:
    """Mask of a sample at its own size, uint8 [H, W]."""
    return torch.from_numpy(data.samples[place].read_mask(data.values)).to(device)


def strips_of(probabilities: Tensor, mask: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
    """Probabilities [1, C, rows, W] and truth, uint8 [rows, W], of some rows at a time.

    Class ids are counted strip by strip: the integers in between take some 40 bytes a pixel.
    """
    rows = max(1, STRIP_PIXELS // mask.shape[1])
    return zip(probabilities.split(rows, dim=2), mask.split(rows), strict=True)


def sample_confusion(segmenter: Segmenter, logits: Tensor, mask: Tensor) -> Tensor:
    """Pixel counts, int64 [K, K], of the network's logits [1, C, S, S] against one mask, uint8 [H, W].

    The probabilities are made in one piece but for huge masks, since neither resizing nor softmax gives the same bits
    in strips: their vectors begin elsewhere.
    """
    height, width = mask.shape
    classes = len(segmenter.contract.class_names)
    confusion = torch.zeros(classes, classes, dtype=torch.int64, device=mask.device)
    for part, probabilities in segmenter.strips(logits, (height, width)):
        for strip, truth in strips_of(probabilities, mask[part]):
            confusion += confusion_matrix(segmenter.classes(strip)[0], truth, classes)
    return confusion
