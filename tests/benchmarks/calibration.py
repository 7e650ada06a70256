"""Calibration and doubt of trained models: errors before and after, what the threshold gains, which images are marked.

python -m tests.benchmarks.calibration RUN_FOLDER ... [--unseen DIR]

For each run folder (of `train.py --tracking.enabled false`, say), its model is calibrated anew on the validation images
of its own settings. Then these images are predicted, or those of --unseen, a labelled folder that had no part in it.
The table has the calibration error of their pixels without and with the temperature, mIoU at 0.5 and at the threshold,
how many images have an IoU under 0.5, how many of these are marked `unsure`, and which share of all is.
"""

import argparse
import dataclasses
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from tests.benchmarks.measuring import markdown
from tests.support.data import count_nothing
from trainer import IGNORE
from trainer.cli import parse
from trainer.data.dataset import open_dataset
from trainer.data.sample import Sample
from trainer.data.sources import find_sources
from trainer.data.value_map import ValueMap
from trainer.data.view import view_of
from trainer.engine.calibrate import calibrate
from trainer.inference.doubt import Certainty, Doubts, is_unsure
from trainer.model.calibration import calibration_error
from trainer.model.metrics import confusion_matrix, scores
from trainer.model.model_folder import load_segmenter
from trainer.model.segmenter import Segmenter
from trainer.train import find

BAD = 0.5
"""IoU below which a mask should be marked."""

PIXELS = 5000
"""Pixels of each image, spread over it, that count for the calibration error: every image counts alike."""


@dataclass(frozen=True)
class Outcome:
    """Images of one run, predicted."""

    errors: tuple[float, float]
    """Calibration error without and with the temperature."""

    mious: tuple[float, float]
    """mIoU with a threshold of 0.5, and with the chosen one."""

    ious: np.ndarray
    """IoU of each image, float64 [N]; 1 where neither mask has foreground."""

    unsure: np.ndarray
    """Whether each image is marked, bool [N]."""

    warnings: list[str]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", nargs="+", type=Path, metavar="RUN_FOLDER")
    parser.add_argument("--unseen", help="a labelled folder")
    options = parser.parse_args()
    rows, outcomes = [], []
    with tempfile.TemporaryDirectory() as scratch:
        for folder in options.runs:
            segmenter, samples, values = prepare(folder, options.unseen, Path(scratch))
            outcomes.append(predict(segmenter, samples, values))
            rows.append([folder.name, *describe(segmenter, [outcomes[-1]])])
            for text in outcomes[-1].warnings:
                print(f"{folder.name}: warning: {text}")
    if len(outcomes) > 1:
        rows.append(["all", *describe(None, outcomes)])
    headings = ["run", "images", "temperature", "error before", "after", "threshold", "mIoU at 0.5", "at it"]
    print(markdown([*headings, "IoU under 0.5", "of these marked", "of all marked"], rows))


def prepare(folder: Path, unseen: str | None, cache: Path) -> tuple[Segmenter, list[Sample], ValueMap]:
    """Calibrate the model of a run; return it with the samples to predict, and what their mask values mean."""
    config = parse(["--config", str(folder / "config.yaml")])
    dataset = open_dataset(find(config, count_nothing), view_of(config.data), cache, count_nothing)
    segmenter = load_segmenter(folder / "model")
    calibrate(segmenter, dataset)
    if unseen is None:
        return segmenter, list(dataset.validation.samples), dataset.sources.values
    sources = find_sources(parse(["--data.root", unseen]).data)
    return segmenter, list(sources.samples), sources.values


@torch.no_grad()
def predict(segmenter: Segmenter, samples: list[Sample], values: ValueMap) -> Outcome:
    """Predict every sample as predict.py does."""
    contract, plain = segmenter.contract, Segmenter(segmenter.contract).eval()
    plain.load_state_dict(segmenter.state_dict())
    plain.contract = dataclasses.replace(contract, threshold=0.5)
    classes = len(contract.class_names)
    totals: list[Any] = [0, 0]
    ious, unsure, logits, truths, doubts = [], [], [], [], Doubts(contract)
    for sample in samples:
        image, mask = sample.read_image(levels=contract.range_of_levels), sample.read_mask(values)
        resized = torch.from_numpy(image)[None]
        probabilities = segmenter(resized)
        found, truth = segmenter.classes(probabilities), torch.from_numpy(mask)
        certainty = Certainty()
        certainty.add(probabilities, found, segmenter.confidence(probabilities))
        counts = [confusion_matrix(one.classes(probabilities)[0], truth, classes) for one in (plain, segmenter)]
        totals = [total + count for total, count in zip(totals, counts, strict=True)]
        miou = scores(counts[1], contract.class_names).miou
        ious.append(miou if miou is not None else float(counts[1].diagonal().sum() == counts[1].sum()))
        unsure.append(is_unsure(certainty.value(contract), contract))
        doubts.note(certainty.value(contract), found[0].numpy(), image)
        values_of = torch.log(probabilities) if classes > 2 else torch.logit(probabilities, eps=1e-7)
        counted = np.flatnonzero(mask != IGNORE)
        counted = counted[np.linspace(0, len(counted) - 1, min(PIXELS, len(counted))).astype(int)]
        logits.append(values_of[0].flatten(1)[:, torch.from_numpy(counted)].T.numpy() * contract.temperature)
        truths.append(mask.ravel()[counted])
    pixels, classes_of = np.concatenate(logits), np.concatenate(truths)
    errors = [calibration_error(pixels / temperature, classes_of) for temperature in (1, contract.temperature)]
    mious = [scores(torch.as_tensor(total), contract.class_names).miou or 0.0 for total in totals]
    return Outcome((errors[0], errors[1]), (mious[0], mious[1]), np.array(ious), np.array(unsure), doubts.warnings())


def describe(segmenter: Segmenter | None, outcomes: list[Outcome]) -> list[str]:
    """A row of the table; means over runs where there are several."""
    contract = segmenter.contract if segmenter else None
    ious, unsure = (np.concatenate([getattr(one, name) for one in outcomes]) for name in ("ious", "unsure"))
    errors, mious = (np.mean([getattr(one, name) for one in outcomes], axis=0) for name in ("errors", "mious"))
    bad = ious < BAD
    return [
        f"{len(ious)}",
        f"{contract.temperature:g}" if contract else "",
        *(f"{error:.3f}" for error in errors),
        f"{contract.threshold:g}" if contract else "",
        *(f"{miou:.3f}" for miou in mious),
        f"{bad.sum()}",
        f"{unsure[bad].sum()}",
        f"{unsure.mean():.2f}",
    ]


if __name__ == "__main__":
    main()
