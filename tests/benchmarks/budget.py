"""What `train.epochs auto` saves and costs: training that ends by the curve of val/miou against the whole plan.

python -m tests.benchmarks.budget --data.root DIR [--folds 0,1] [--seeds 0,1] [--options "--key value ..."]

Each fold is trained with each seed through the real command, tracking off: once as `auto` ends it, and once with
`--train.patience 0`. The score of a run is its best val/miou, which is that of the model it registers.
"""

import argparse
import shlex
import statistics
import tempfile
from dataclasses import dataclass
from pathlib import Path

from tests.benchmarks.measuring import markdown
from tests.support import runs
from tests.support.program import Program, train_command


@dataclass(frozen=True)
class Trained:
    """Length and score of one training."""

    steps: int
    score: float
    seconds: float
    """Seconds of all steps, without evaluations."""


def train(program: Program, root: str, fold: int, seed: int, options: list[str]) -> Trained:
    """Train through the real command."""
    before = set(program.run_folders())
    words = train_command(1, "--data.root", root, "--data.fold", f"{fold}", "--train.seed", f"{seed}")
    words += ["--tracking.enabled", "false", "--tracking.watch", "0", *options]
    program.run(*words, timeout_s=24 * 3600, code=0)
    (folder,) = set(program.run_folders()) - before
    points = runs.journal_points(folder)
    best = max(score for _, _, score in points["val/miou"])
    return Trained(runs.last_step(folder), best, points["time/training_s"][-1][2])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data.root", dest="root", required=True)
    parser.add_argument("--folds", default="0")
    parser.add_argument("--seeds", default="0")
    parser.add_argument("--options", default="", help="of train.py, such as '--data.image_size 128'")
    options = parser.parse_args()
    folds, seeds = ([int(number) for number in text.split(",")] for text in (options.folds, options.seeds))
    given, rows, pairs = shlex.split(options.options), list[list[str]](), list[tuple[Trained, Trained]]()
    with tempfile.TemporaryDirectory() as folder:
        program = Program(Path(folder) / "program")
        for fold in folds:
            for seed in seeds:
                ended = train(program, options.root, fold, seed, given)
                whole = train(program, options.root, fold, seed, [*given, "--train.patience", "0"])
                pairs.append((ended, whole))
                rows.append([f"{fold}", f"{seed}", *cells(ended), *cells(whole), f"{ended.score - whole.score:+.4f}"])
                print(f"fold {fold} seed {seed}: {ended}, the whole plan {whole}", flush=True)
    headings = ["fold", "seed", "steps", "score", "seconds", "of the plan", "its score", "its seconds", "difference"]
    print(markdown(headings, rows))
    difference = statistics.fmean(ended.score - whole.score for ended, whole in pairs)
    saved = 1 - sum(ended.seconds for ended, _ in pairs) / sum(whole.seconds for _, whole in pairs)
    print(f"mean difference {difference:+.4f}; {saved:.0%} of the time saved")


def cells(one: Trained) -> list[str]:
    """Columns of one training."""
    return [f"{one.steps}", f"{one.score:.4f}", f"{one.seconds:.0f}"]


if __name__ == "__main__":
    main()
