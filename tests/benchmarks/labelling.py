"""Simulated labelling: mean IoU over labelled pictures, in the order of `label.py next` and in a random one.

python -m tests.benchmarks.labelling [--data DIR [DIR ...] | --generated 96] [--frames 1] [--seeds 0,1,2,3,4]
    [--start 8] [--count 8] [--rounds 4] [--steps 80] [--image_size 128] [-- --key value ...]

The truth of folders with masks, or of generated scenes, is revealed picture by picture. For each seed a part of the
pictures is kept for scoring (`--test`), and `--start` random ones are labelled at first, the same for all orders. Each
round trains anew as train.py does, tracking off, with about `--steps` steps whatever the number of pictures, scores
the model on the part that is kept, and labels `--count` more. `--frames 4` makes four pictures of each scene of the
pool, shifted and lit a little differently, as in frames of a film.

The table has the mean over the seeds, and the share of all pictures of the pool with which 95 % of the score with all
of them is reached. Below it: the pixels that a person changes in the predictions that `next` gave, against those that
are drawn where nothing is predicted.
"""

import argparse
import contextlib
import io
import json
import math
import shutil
import statistics
import subprocess
import sys
import tempfile
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from rich.console import Console
from rich.table import Table
from scipy.stats import t as student

from tests.support.data import count_nothing
from tests.support.program import Program
from trainer import IGNORE
from trainer import label as label_command
from trainer.config import DataConfig, LossConfig
from trainer.data.dataset import ValidationSet, open_dataset
from trainer.data.image_io import read_mask, write_mask
from trainer.data.layouts.labelme_json import draw_annotation
from trainer.data.layouts.voc import IMAGES, MASKS
from trainer.data.sources import Sources, find_sources
from trainer.data.view import View
from trainer.engine.evaluate import evaluate
from trainer.make.synthetic import write_voc
from trainer.model.model_folder import load_segmenter

ORDERS = ("next", "random")
ENOUGH = 0.95
"""Share of the score with all pictures that is asked for."""


@dataclass
class Result:
    """Scores of one order and seed, and what its corrections cost."""

    scores: dict[int, float] = field(default_factory=dict)
    """Number of labelled pictures -> mean IoU."""

    changed: int = 0
    """Pixels that differ between predictions and truth."""

    drawn: int = 0
    """Pixels of the foreground in the truth."""


def main() -> None:
    options = arguments()
    results: dict[str, list[Result]] = {order: [] for order in ORDERS}
    full: list[float] = []
    with tempfile.TemporaryDirectory() as scratch, contextlib.ExitStack() as stack:
        top = Path(scratch)
        program, truth = Program(top / "program"), find_truth(options, top)
        trainings = stack.enter_context(Trainings(program))
        for seed in options.seeds:
            world = World(options, trainings, truth, top / f"seed {seed}", seed)
            full.append(world.score(world.pool))
            print(f"seed {seed}: all {len(world.pool)} labelled  mIoU {full[-1]:.4f}", flush=True)
            for order in ORDERS:
                results[order].append(world.simulate(order))
    show(results, full)


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, nargs="+")
    for name, default in (("generated", 96), ("frames", 1), ("start", 8), ("count", 8), ("rounds", 4), ("steps", 80)):
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument("--image_size", type=int, default=128)
    parser.add_argument("--test", type=float, default=1 / 3, help="share of the scenes that is kept for scoring")
    parser.add_argument("--seeds", default="0,1,2,3,4")
    parser.add_argument("keys", nargs="*")
    options = parser.parse_args()
    options.seeds = [int(number) for number in options.seeds.split(",")]
    return options


def find_truth(options: argparse.Namespace, top: Path) -> Sources:
    """All samples with their masks."""
    roots = options.data
    if not roots:
        roots = [top / "generated"]
        write_voc(roots[0], options.generated, size=options.image_size)
    return find_sources(DataConfig(root=list(map(str, roots)), val_fraction=0.1))


SERVER = """
import contextlib, io, json, sys
from trainer.train import main
for line in sys.stdin:
    with contextlib.redirect_stdout(io.StringIO()) as out, contextlib.redirect_stderr(out):
        code = main(json.loads(line))
    print(json.dumps([code, out.getvalue()[-2000:]]), flush=True)
"""


class Trainings:
    """Process of a program that does one training after the other: its start takes longer than many of them."""

    def __init__(self, program: Program) -> None:
        self.program = program
        self.process = subprocess.Popen(
            [sys.executable, "-c", SERVER],
            cwd=program.folder,
            env=program.environment(),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def __enter__(self) -> "Trainings":
        return self

    def __exit__(self, *_error: object) -> None:
        self.process.kill()
        self.process.wait()

    def train(self, words: list[str]) -> None:
        """Train as `train.py` does with these arguments."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(json.dumps(words) + "\n")
        self.process.stdin.flush()
        code, printed = json.loads(self.process.stdout.readline())
        assert code == 0, printed


def one_frame(image: np.ndarray, mask: np.ndarray, random: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """A frame of a scene, uint8 [H, W, 3] and [H, W]: most of it, shifted and lit a little differently."""
    shift = [int(random.integers(0, side // 16 + 1)) for side in mask.shape]
    rows, columns = (slice(at, at + side - side // 16) for at, side in zip(shift, mask.shape, strict=True))
    shown = (image[rows, columns] * random.uniform(0.95, 1.05)).clip(0, 255).astype(np.uint8)
    return shown, np.ascontiguousarray(mask[rows, columns])


class World:
    """Pictures of one seed: those that score, and the pool, of which some are labelled."""

    def __init__(
        self, options: argparse.Namespace, trainings: "Trainings", truth: Sources, top: Path, seed: int
    ) -> None:
        self.options, self.trainings, self.top, self.seed = options, trainings, top, seed
        self.random = np.random.default_rng(seed)
        self.trained: dict[frozenset[str], tuple[float, Path]] = {}
        order = self.random.permutation(len(truth.samples)).tolist()
        kept = round(options.test * len(order))
        for part in ("test", "truth"):
            for folder in (IMAGES, MASKS):
                (top / part / folder).mkdir(parents=True)
        for row in order[:kept]:
            self.put(truth, row, "test", 1)
        for row in order[kept:]:
            self.put(truth, row, "truth", options.frames)
        self.pool = sorted(file.stem for file in (top / "truth" / MASKS).iterdir())
        names = list((truth.names or ("_background_", "thing"))[1:])
        self.classes = json.dumps(names)
        sources = find_sources(DataConfig(root=str(top / "test"), classes=names))
        dataset = open_dataset(sources, View(options.image_size), top / "cache", count_nothing)
        rows = range(len(sources.samples))
        self.test = ValidationSet(sources.samples, rows, dataset.stored, sources.values, dataset.levels)
        self.first = sorted(self.random.permutation(self.pool)[: options.start].tolist())

    def put(self, truth: Sources, row: int, part: str, frames: int) -> None:
        """Write a sample, as so many frames: parts of it, lit differently."""
        sample = truth.samples[row]
        image, mask = sample.read_image(), sample.read_mask(truth.values)
        for number in range(frames):
            shown, labels = one_frame(image, mask, self.random) if frames > 1 else (image, mask)
            name = f"{row:04}-{number}"
            Image.fromarray(shown).save(self.top / part / IMAGES / f"{name}.jpg", quality=95)
            write_mask(self.top / part / MASKS / f"{name}.png", labels)

    # ---------------------------------------------------------------- rounds

    def simulate(self, order: str) -> Result:
        """Label in one order."""
        result, labelled = Result(), list(self.first)
        for number in range(self.options.rounds + 1):
            result.scores[len(labelled)] = self.score(labelled)
            score = result.scores[len(labelled)]
            print(f"seed {self.seed}: {order:8} {len(labelled):4} labelled  mIoU {score:.4f}", flush=True)
            if number == self.options.rounds:
                break
            left = [name for name in self.pool if name not in labelled]
            count = min(self.options.count, len(left))
            if order == "random":
                random = np.random.default_rng(1000 * self.seed + number)
                labelled += random.permutation(left)[:count].tolist()
            else:
                labelled += self.next(labelled, left, count, result)
        return result

    def score(self, labelled: list[str]) -> float:
        """Train on these pictures; return the mean IoU on those that score. The same training is done once."""
        key = frozenset(labelled)
        if key not in self.trained:
            self.trained[key] = self.train(labelled)
        score, self.model = self.trained[key]
        return score

    def train(self, labelled: list[str]) -> tuple[float, Path]:
        """Train on these pictures; return the mean IoU on those that score, and the model's folder."""
        folder = self.folder(labelled, "labelled")
        batch = 8
        epochs = max(1, round(self.options.steps / math.ceil(0.875 * len(labelled) / batch)))
        before = set(self.trainings.program.run_folders())
        words = ["--data.root", str(folder), "--data.image_size", f"{self.options.image_size}"]
        words += ["--data.val_fraction", "0.125", "--data.classes", self.classes, "--train.seed", f"{self.seed}"]
        words += ["--train.epochs", f"{epochs}", "--train.eval_every", "1000000", "--tracking.enabled", "false"]
        words += ["--tracking.watch", "0", "--model.encoder", "efficientnet-lite0", "--train.threads", "1"]
        self.trainings.train([*words, *self.options.keys])
        (run,) = set(self.trainings.program.run_folders()) - before
        segmenter = load_segmenter(run / "model")
        score = evaluate(segmenter, self.test, LossConfig(class_weights=None)).scores.miou or 0.0
        return score, run / "model"

    def folder(self, names: list[str], title: str, masks: bool = True) -> Path:
        """A folder with these pictures, and their masks."""
        folder = self.top / title
        shutil.rmtree(folder, ignore_errors=True)
        for part, suffix in ((IMAGES, ".jpg"), (MASKS, ".png"))[: 1 + masks]:
            (folder / part).mkdir(parents=True)
            for name in names:
                (folder / part / f"{name}{suffix}").hardlink_to(self.top / "truth" / part / f"{name}{suffix}")
        return folder

    def next(self, labelled: list[str], left: list[str], count: int, result: Result) -> list[str]:
        """Ask `label.py next` which pictures to label, and measure what correcting its predictions takes."""
        known, pool = self.folder(labelled, "labelled"), self.folder(left, "pool", masks=False)
        output = self.top / "to label"
        shutil.rmtree(output, ignore_errors=True)
        words = ["next", str(pool / IMAGES), "--model", str(self.model), "--output", str(output)]
        with contextlib.redirect_stdout(io.StringIO()):
            code = label_command.main([*words, "--count", f"{count}", "--labelled", str(known)])
        assert code == 0
        chosen: list[str] = json.loads((output / ".label" / "record.json").read_text())["calls"][-1]["images"]
        ids = {name: number for number, name in enumerate(json.loads(self.classes), start=1)}
        for name in chosen:
            true = read_mask(self.top / "truth" / MASKS / f"{name}.png")
            found = draw_annotation(output / f"{name}.json", output, ids)
            result.changed += int(((true != found) & (true != IGNORE)).sum())
            result.drawn += int(((true != 0) & (true != IGNORE)).sum())
        return chosen


def show(results: dict[str, list[Result]], full: list[float]) -> None:
    """Print the table, and the cost of corrections."""
    numbers = list(results["next"][0].scores)
    title = f"mean IoU over labelled pictures; {statistics.mean(full):.4f} with all, n {len(full)}"
    table = Table(title=title, title_justify="left")
    for column in ("labelled", *ORDERS, "difference, 95 %", "of each seed"):
        table.add_column(column, justify="right")
    for number in numbers:
        means = [statistics.mean(one.scores[number] for one in results[order]) for order in ORDERS]
        each = [one.scores[number] - other.scores[number] for one, other in zip(*results.values(), strict=True)]
        cells = [f"{mean:.4f}" for mean in means]
        shown = " ".join(f"{difference:+.3f}" for difference in each)
        table.add_row(f"{number}", *cells, interval(np.array(each)), shown)
    Console(width=140).print(table)
    for order, each_result in results.items():
        reached = [enough(one, score) for one, score in zip(each_result, full, strict=True)]
        print(f"{order}: {ENOUGH:.0%} of the score with all is reached with {', '.join(map(str, reached))} labelled")
    changed, drawn = (sum(getattr(one, key) for one in results["next"]) for key in ("changed", "drawn"))
    print(f"corrections: {changed} pixels changed, {drawn} drawn from nothing: {changed / max(1, drawn):.2f}")
    print(f"{torch.backends.cpu.get_cpu_capability()}, torch {torch.__version__}")


def interval(differences: np.ndarray) -> str:
    """Mean of differences [N] with its interval of 95 %, by Student's t."""
    if len(differences) < 2:
        return f"{differences.mean():+.4f}"
    half = student.ppf(0.975, len(differences) - 1) * differences.std(ddof=1) / len(differences) ** 0.5
    return f"{differences.mean():+.4f} ± {half:.4f}"


def enough(result: Result, full: float) -> int | str:
    """Fewest labelled pictures with ENOUGH of the score with all; `more` where none of the rounds has it."""
    return next((number for number, score in result.scores.items() if score >= ENOUGH * full), "more")


if __name__ == "__main__":
    main()
