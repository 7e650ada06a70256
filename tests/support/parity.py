"""The same training on any number of processes: started, read, and compared with one process."""

import json
import os
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from tests.support.discs import make_discs
from tests.support.program import ONE_THREAD, REPOSITORY, Command

PROMISE = 1e-5
"""Largest relative difference in float32 with group norm."""

BASE = ["--model.width", "8", "--model.norm", "group", "--data.image_size", "32", "--data.augment", "light"]
BASE += ["--data.workers", "1", "--train.epochs", "1", "--train.mixed_precision", "no", "--train.compile", "off"]
BASE += ["--optim.clip_norm", "0"]  # nothing is scaled, so that gradients are compared whole
STILL = ["--optim.lr", "1e-12"]
TWO_CLASSES = ["--data.value_map", "{0: background, 1: disc, 2: box, 255: ignore}"]
ONE_CLASS = ["--data.value_map", "{0: background, 1: disc, 2: ignore, 255: ignore}"]


@dataclass(frozen=True)
class Case:
    """One training."""

    arguments: list[str]
    """Command line of train.py."""

    fault: str = ""
    """Name of the fault that tests/support/world.py plants, to see the comparison go red; empty for none."""

    stop_after: int = 0
    """Step at which a stop is requested on process 1; 0 for none."""

    resume_after: int = 0
    """Step whose checkpoint another training resumes from; 0 for none."""

    validation_sizes: tuple[int, ...] = ()
    """Numbers of samples that the untrained network is also evaluated on."""


def case(*arguments: str, lr: list[str] = STILL, classes: list[str] = TWO_CLASSES, fault: str = "") -> Case:
    """Make a case of the settings that all share, and `arguments`."""
    return Case([*BASE, *lr, *classes, *arguments], fault)


@dataclass
class Result:
    """Numbers of one case on one process."""

    losses: np.ndarray
    """Loss of the whole batch, [steps]."""

    rates: np.ndarray
    """Learning rates, [steps]."""

    gradients: np.ndarray
    """Gradient over all weights, float32 [steps, weights]."""

    rows: list[list[int]]
    """Rows of this process's samples, by step."""

    content: dict[str, Any]
    """Everything that tests/support/world.py wrote."""

    def tensors(self) -> list[np.ndarray]:
        """Gradient of each weight tensor, [steps, numbers]."""
        return np.split(self.gradients, np.cumsum(self.content["sizes"])[:-1], axis=1)


@dataclass(frozen=True)
class Difference:
    """Largest relative differences over all steps and processes; 0 is bit for bit."""

    loss: float
    gradient: float
    rate: float
    validation: float
    same_samples: bool


def make_data(root: Path) -> Path:
    """Write 18 images, 11 of which train and 7 validate, with two classes and ignored pixels."""
    make_discs(root, count=18)
    masks = sorted((root / "SegmentationClassPNG").glob("*.png"))
    for number, path in enumerate(masks):
        mask = np.array(Image.open(path))
        mask[number % 5 : number % 5 + 9, 2:30] = 2
        mask[-(number % 7) - 1 :, :] = 255
        Image.fromarray(mask).save(path)
    lists = root / "ImageSets" / "Segmentation"
    lists.mkdir(parents=True)
    for part, some in (("train", masks[:11]), ("val", masks[11:])):
        (lists / f"{part}.txt").write_text("\n".join(path.stem for path in some))
    return root


def run_world(
    processes: int,
    cases: dict[str, Case],
    data: Path,
    out: Path,
    precision: str = "no",
    timeout_s: float = 280,
    **variables: str,
) -> dict[str, list[Result] | str]:
    """Run the cases on so many processes. Returns results by process, or the error that the program itself raised.

    Raises RuntimeError with the output where the processes fail.
    """
    out.mkdir(parents=True)
    order = {"data": str(data), "out": str(out), "mixed_precision": precision, "timeout_minutes": timeout_s / 120}
    order |= {"cases": {name: vars(one) for name, one in cases.items()}}
    (out / "order.json").write_text(json.dumps(order))
    words = [sys.executable, "-m", "tests.support.world", str(out / "order.json"), str(processes)]
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("ACCELERATE_")}
    own = {"PYTHONPATH": str(REPOSITORY), "HF_HOME": str(out / "hf"), **ONE_THREAD}
    with Command(words, REPOSITORY, {**inherited, **own, **variables}) as command:
        ended = command.end(timeout_s)
    if ended.returncode:
        raise RuntimeError(f"{processes} processes ended with {ended.returncode}:\n{ended.output}")
    return {name: read_results(out / name, processes) for name in cases}


def read_results(folder: Path, processes: int) -> list[Result] | str:
    """Read the results of one case."""
    noticed = sorted(folder.glob("*.noticed"))
    if noticed:
        assert len(noticed) == processes
        return noticed[0].read_text()
    results = []
    for process in range(processes):
        content = json.loads((folder / f"{process}.json").read_text())
        losses, rates = (np.array([step[f"train/{key}"] for step in content["steps"]]) for key in ("loss", "lr"))
        results.append(Result(losses, rates, np.load(folder / f"{process}.npy"), content["rows"], content))
    return results


def compare(reference: Result, others: list[Result]) -> Difference:
    """Compare every process with `reference`, one process without accumulation."""
    together = [
        sorted(row for rows in parts for row in rows) for parts in zip(*(one.rows for one in others), strict=True)
    ]
    return Difference(
        loss=max(relative(other.losses[:, None], reference.losses[:, None]) for other in others),
        gradient=max(
            relative(found, expected)
            for other in others
            for found, expected in zip(other.tensors(), reference.tensors(), strict=True)
        ),
        rate=max(relative(other.rates[:, None], reference.rates[:, None]) for other in others),
        validation=max(
            relative(*(np.array(validation_numbers(one))[:, None] for one in (other, reference))) for other in others
        ),
        same_samples=together == [sorted(rows) for rows in reference.rows],
    )


def relative(found: np.ndarray, expected: np.ndarray) -> float:
    """Largest over the rows of |found - expected| / |expected|, in the Euclidean norm."""
    found, expected = found.astype(np.float64), expected.astype(np.float64)
    lengths = np.linalg.norm(expected, axis=1)
    return float(np.max(np.linalg.norm(found - expected, axis=1) / np.maximum(lengths, 1e-300)))


def validation_numbers(result: Result) -> list[float]:
    """Loss, IoU and Dice of each class at each evaluation."""
    return [
        value
        for one in result.content["validation"]
        for value in (one["loss"], *one["iou"].values(), *one["dice"].values())
    ]


def within(found: Difference, tolerance: float, of_gradient: float | None = None) -> bool:
    """Whether every difference is within `tolerance`, the gradient's within `of_gradient` where that is given."""
    others = max(found.loss, found.validation)
    return (
        found.same_samples
        and found.rate == 0
        and others <= tolerance
        and found.gradient <= (tolerance if of_gradient is None else of_gradient)
    )
