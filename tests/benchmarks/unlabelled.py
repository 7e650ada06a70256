"""Gain by pictures without outlines: the same training with and without them, scored on their outlines afterwards.

python -m tests.benchmarks.unlabelled --labelled DIR --more DIR [--seeds 0,1,2] [--minutes 2] [--image_size 128]
    [--recipe "NAME: --key value ..." ...] [-- --key value ...]

`--labelled`: a few labelled pictures, of which an eighth validates, another one for each seed. `--more`: a VOC folder;
its pictures train without their masks, which then score the model that training leaves. Each training is the real
command, tracking off, of so many minutes; only its first and last step are evaluated, so that the last model is kept.
Recipes are compared with the training without these pictures; by default there is one, of the default settings.
Settings after `--` are for all. `--minutes 0` leaves the length to them: on a busy machine, `--train.epochs` that take
as much computing compare better.
"""

import argparse
import shlex
import statistics
import tempfile
from pathlib import Path

import numpy as np
import torch
from rich.console import Console
from rich.table import Table

from tests.support import runs
from tests.support.data import count_nothing
from tests.support.program import Program, train_command
from trainer.config import DataConfig, LossConfig
from trainer.data.dataset import ValidationSet, open_dataset
from trainer.data.layouts.voc import IMAGES
from trainer.data.sources import find_sources
from trainer.data.view import View
from trainer.engine.evaluate import evaluate
from trainer.model.model_folder import load_segmenter

WITHOUT = "without"


def main() -> None:
    options = arguments()
    scores: dict[str, list[float]] = {}
    with tempfile.TemporaryDirectory() as scratch:
        program, test = Program(Path(scratch) / "program"), all_samples(options, Path(scratch) / "cache")
        for seed in options.seeds:
            for name, keys in options.recipes.items():
                folder = train(program, options, keys, seed)
                score = (
                    evaluate(load_segmenter(folder / "model"), test, LossConfig(class_weights=None)).scores.miou or 0.0
                )
                scores.setdefault(name, []).append(score)
                show_run(name, seed, score, folder)
    show(scores)


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--labelled", type=Path, required=True)
    parser.add_argument("--more", type=Path, required=True)
    parser.add_argument("--seeds", default="0,1,2")
    parser.add_argument("--minutes", type=float, default=2.0)
    parser.add_argument("--image_size", type=int, default=128)
    parser.add_argument("--recipe", action="append", default=[], help='"NAME: --key value ..."; may be repeated')
    parser.add_argument("keys", nargs="*")
    options = parser.parse_args()
    options.seeds = [int(number) for number in options.seeds.split(",")]
    unlabelled = f"--data.unlabelled {shlex.quote(str(options.more / IMAGES))}"
    given = [text.partition(":") for text in options.recipe] or [("with", ":", "")]
    recipes = {WITHOUT: ""} | {name.strip(): keys for name, _, keys in given}
    options.recipes = {name: keys if name == WITHOUT else f"{unlabelled} {keys}" for name, keys in recipes.items()}
    return options


def all_samples(options: argparse.Namespace, cache: Path) -> ValidationSet:
    """All samples of the folder whose pictures train without their masks."""
    sources = find_sources(DataConfig(root=str(options.more)))
    dataset = open_dataset(sources, View(options.image_size), cache, count_nothing)
    return ValidationSet(sources.samples, range(len(sources.samples)), dataset.stored, sources.values, dataset.levels)


def train(program: Program, options: argparse.Namespace, keys: str, seed: int) -> Path:
    """Train through the real command; return its run folder."""
    before = set(program.run_folders())
    words = train_command(1, "--data.root", str(options.labelled), "--data.image_size", f"{options.image_size}")
    words += ["--data.val_fraction", "0.125", "--data.fold", f"{seed % 8}", "--train.seed", f"{seed}"]
    words += ["--train.minutes", f"{options.minutes}", "--train.eval_every", "1000000", "--tracking.enabled", "false"]
    words += ["--tracking.watch", "0", *options.keys, *shlex.split(keys)]
    program.run(*words, timeout_s=24 * 3600, code=0)
    (folder,) = set(program.run_folders()) - before
    return folder


def show_run(name: str, seed: int, score: float, folder: Path) -> None:
    """Print the score of one training, its steps, and how sure the teacher was in each quarter of them."""
    steps = [record["metrics"] for record in runs.records(folder) if "train/loss" in record.get("metrics", {})]
    confident = [step.get("train/confident", 0.0) for step in steps]
    sure = [float(part.mean()) for part in np.array_split(confident, 4) if len(part)]
    shares = " ".join(f"{share:.2f}" for share in sure)
    print(f"{name:24} seed {seed}  mIoU {score:.4f}  {len(steps)} steps, sure of {shares}", flush=True)


def show(scores: dict[str, list[float]]) -> None:
    """Print the table: means over the seeds, and the gain of each seed over the training without the pictures."""
    table = Table(title="mean IoU on the pictures that trained without outlines", title_justify="left")
    for column in ("recipe", "n", "mean IoU", "lowest", "highest", "gain", "of each seed"):
        table.add_column(column, justify="left" if column == "recipe" else "right")
    for name, each in scores.items():
        gains = [score - base for score, base in zip(each, scores[WITHOUT], strict=True)]
        cells = [name, f"{len(each)}", f"{statistics.mean(each):.4f}", f"{min(each):.4f}", f"{max(each):.4f}"]
        table.add_row(*cells, f"{statistics.mean(gains):+.4f}", " ".join(f"{gain:+.4f}" for gain in gains))
    Console(width=140).print(table)
    print(f"{torch.backends.cpu.get_cpu_capability()}, torch {torch.__version__}")


if __name__ == "__main__":
    main()
