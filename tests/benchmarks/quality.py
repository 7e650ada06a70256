"""Quality of masks, and time to reach it: recipes against the tutorial's, k-fold on your own images.

python -m tests.benchmarks.quality --data.root DIR [--recipe "NAME: --key value ..." ...]
    [--folds 0,1,2,3,4] [--seeds 0] [--image_size 128] [--tutorial EPOCHS]

Every recipe is training through the real command, tracking off, on each fold with each seed. The tutorial's (UNet-32,
Adam 1e-4, batch 16, Dice over the batch, no augmentation, float32) is a plain loop over tensors in memory, scored as
ours is after every second epoch. To spare hours, its first two epochs give the time of one; the others compute in bf16
where the hardware does, and are charged that time.

The table shows the mean over folds and seeds of val/miou, the last one and the best of the run, their spread over
folds, minutes of the whole training loop, and after how long the mean curve passes the best mean of the first row.
"""

import argparse
import shlex
import statistics
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from rich.console import Console
from rich.table import Table

from tests.benchmarks.baselines import plain
from tests.support import runs
from tests.support.program import Program, train_command
from trainer.config import DataConfig, LossConfig, ModelConfig
from trainer.data.dataset import open_dataset
from trainer.data.full_size import FullSize
from trainer.data.sources import find_sources
from trainer.data.view import View
from trainer.engine.evaluate import evaluate
from trainer.model.build import make_contract, make_segmenter
from trainer.model.loss import dice_loss
from trainer.model.unet import UNet

TIMED = 2
"""Epochs of the tutorial's loop in float32; their time is charged for the others too."""


@dataclass
class Curve:
    """val/miou of one training by the seconds since its first step began."""

    seconds: list[float] = field(default_factory=list)
    scores: list[float] = field(default_factory=list)

    def at(self, second: float) -> float:
        """Last score at that second; 0 before the first."""
        return next((score for at, score in zip(self.seconds[::-1], self.scores[::-1], strict=True) if at <= second), 0)


def main() -> None:
    options = arguments()
    curves: dict[str, list[Curve]] = {}
    with tempfile.TemporaryDirectory() as scratch:
        program = Program(Path(scratch) / "program")
        for fold in options.folds:
            if options.tutorial:
                curves.setdefault("the tutorial's", []).append(tutorial(options, fold, Path(scratch)))
                show_curve("the tutorial's", fold, 0, curves["the tutorial's"][-1])
            for name, keys in options.recipes.items():
                for seed in options.seeds:
                    curves.setdefault(name, []).append(recipe(program, options, keys, fold, seed))
                    show_curve(name, fold, seed, curves[name][-1])
    show(curves, next(iter(curves)))


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data.root", dest="root", required=True)
    parser.add_argument("--recipe", action="append", default=[], help='"NAME: --key value ..."; may be repeated')
    parser.add_argument("--folds", default="0,1,2,3,4")
    parser.add_argument("--seeds", default="0")
    parser.add_argument("--image_size", type=int, default=128)
    parser.add_argument("--tutorial", type=int, default=40, help="epochs of the tutorial's loop; 0 leaves it out")
    options = parser.parse_args()
    options.recipes = {name.strip(): keys for name, _, keys in (text.partition(":") for text in options.recipe)}
    options.folds, options.seeds = (
        [int(number) for number in text.split(",")] for text in (options.folds, options.seeds)
    )
    return options


def recipe(program: Program, options: argparse.Namespace, keys: str, fold: int, seed: int) -> Curve:
    """Train through the real command, and read its curve from the journal."""
    before = set(program.run_folders())
    words = train_command(1, "--data.root", options.root, "--data.image_size", f"{options.image_size}")
    words += ["--data.fold", f"{fold}", "--train.seed", f"{seed}", "--tracking.enabled", "false"]
    program.run(*words, "--tracking.watch", "0", *shlex.split(keys), timeout_s=24 * 3600, code=0)
    (folder,) = set(program.run_folders()) - before
    curve, began = Curve(), None
    for record in runs.records(folder):
        metrics = record.get("metrics", {})
        if "val/loss" in metrics:
            began = began or record["time"]  # the untrained network's evaluation ends where training begins
            curve.seconds.append((record["time"] - began) / 1000)
            curve.scores.append(metrics.get("val/miou", 0.0))
    return curve


def tutorial(options: argparse.Namespace, fold: int, scratch: Path) -> Curve:
    """Train by the tutorial's recipe on the same fold; evaluations are not counted in the time."""
    roots = options.root.strip("[]").split(",")
    data = DataConfig(root=roots, fold=fold, image_size=options.image_size)
    dataset = open_dataset(
        find_sources(data), View(options.image_size), scratch / "cache", lambda _what, _total: lambda: None
    )
    contract = make_contract(
        ModelConfig(encoder="none", width=32), View(options.image_size), dataset.names, dataset.digest, ""
    )
    segmenter = make_segmenter(contract, dataset.shares(), seed=0)
    assert isinstance(segmenter.network, UNet)
    assert not isinstance(dataset.stored, FullSize)
    network = plain(segmenter.network)
    images, masks = dataset.stored.read(dataset.split.train)
    images, truth = segmenter.normalise(images).contiguous(), (masks == 1).float()[:, None]
    optimizer = torch.optim.Adam(network.parameters(), lr=1e-4)
    order, curve, spent, spent_timed = np.random.default_rng(0), Curve(), 0.0, 0.0
    for epoch in range(1, options.tutorial + 1):
        began = time.perf_counter()
        network.train()
        if epoch == TIMED + 1:
            network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        for batch in np.array_split(order.permutation(len(images)), -(-len(images) // 16)):
            optimizer.zero_grad()
            with torch.autocast("cpu", torch.bfloat16, enabled=epoch > TIMED):
                found = network(images[batch])
            found, true = found.float().sigmoid(), truth[batch]
            dice_loss((found * true).sum(), found.sum(), true.sum(), 1.0).backward()
            optimizer.step()
        spent += time.perf_counter() - began if epoch <= TIMED else spent_timed / TIMED
        spent_timed = spent if epoch <= TIMED else spent_timed
        if epoch % 2 == 0:
            result = evaluate(segmenter, dataset.validation, LossConfig(class_weights=None))
            curve.seconds.append(spent)
            curve.scores.append(result.scores.miou or 0.0)
    return curve


def show_curve(name: str, fold: int, seed: int, curve: Curve) -> None:
    """Print the last and the best score of one training."""
    last, best, seconds = curve.scores[-1], max(curve.scores), curve.seconds[-1]
    print(f"{name:24} fold {fold} seed {seed}  last {last:.4f}  best {best:.4f}  {seconds:6.1f} s", flush=True)


def mean_curve(curves: list[Curve]) -> list[tuple[float, float]]:
    """Seconds and mean score, at every second at which one of the curves has a point."""
    moments = sorted({second for curve in curves for second in curve.seconds})
    return [(moment, statistics.mean(curve.at(moment) for curve in curves)) for moment in moments]


def show(curves: dict[str, list[Curve]], first: str) -> None:
    """Print the table; the goal is the best mean of the recipe `first`."""
    goal = max(score for _, score in mean_curve(curves[first]))
    table = Table(title=f"val/miou; goal: {goal:.4f}, the best mean of {first!r}", title_justify="left")
    for column in ("recipe", "n", "last", "spread", "best", "minutes", "goal after", "in the time of the first"):
        table.add_column(column, justify="left" if column == "recipe" else "right")
    reached = {
        name: next((at for at, score in mean_curve(each) if score >= goal), None) for name, each in curves.items()
    }
    base = reached[first]
    for name, each in curves.items():
        last = [curve.scores[-1] for curve in each]
        best = [max(curve.scores) for curve in each]
        minutes = statistics.mean(curve.seconds[-1] for curve in each) / 60
        at = reached[name]
        cells = [name, f"{len(each)}", f"{statistics.mean(last):.4f}", f"{max(last) - min(last):.3f}"]
        cells += [f"{statistics.mean(best):.4f}", f"{minutes:.2f}", "never" if at is None else f"{at:.0f} s"]
        table.add_row(*cells, "-" if at is None or not base else f"{at / base:.2f}")
    Console(width=140).print(table)
    print(f"{torch.backends.cpu.get_cpu_capability()}, {torch.get_num_threads()} threads, torch {torch.__version__}")


if __name__ == "__main__":
    main()
