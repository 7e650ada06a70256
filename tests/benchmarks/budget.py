"""What `train.patience curve` saves and costs: training that ends by the curve of val/miou against the whole plan.

python -m tests.benchmarks.budget --data.root DIR [--folds 0,1] [--seeds 0,1] [--options "--key value ..."]

Each fold is trained with each seed to the end of the whole plan. Where the curve would have ended it, the state is
kept, and the short end is trained from there, so that both differ in nothing else. The score of a run is its best
val/miou, which is that of the model it registers. Seconds are those of the steps.
"""

import argparse
import shlex
import statistics
import tempfile
from dataclasses import dataclass
from pathlib import Path

from accelerate import Accelerator

from tests.benchmarks.measuring import markdown
from tests.support.training import prepare
from trainer.engine.callback import NullCallback
from trainer.engine.checkpoint.format import Checkpoint, TrainState
from trainer.engine.curve import Verdict, levelled_off
from trainer.engine.distributed.accelerator import join_processes
from trainer.engine.evaluate import Evaluation
from trainer.engine.loop import Trainer


class Watcher(NullCallback):
    """Callback that keeps the state at the first verdict of the curve, and lets training go on."""

    trainer: Trainer
    verdict: Verdict | None = None
    checkpoint: Checkpoint

    def __init__(self) -> None:
        self.scores: list[float] = []

    def on_evaluation(self, state: TrainState, _values: dict[str, float], evaluation: Evaluation) -> None:
        """Ask the curve, as the loop does."""
        if state.step == 0 or self.verdict:
            return
        self.scores.append(evaluation.scores.miou or 0.0)
        interval, missing = self.trainer.schedule.evaluation_interval, 0.0 in evaluation.scores.iou.values()
        self.verdict = levelled_off(self.scores, interval, state.plan, missing)
        if self.verdict:
            self.checkpoint = self.trainer.snapshot()


@dataclass(frozen=True)
class Pair:
    """The whole plan, and the same training with the short end."""

    whole: TrainState
    ended: TrainState
    verdict: Verdict | None


def train(arguments: list[str], cache: Path, accelerator: Accelerator) -> Pair:
    """Train the whole plan, and the short end again from where the curve says."""
    watcher = Watcher()
    watcher.trainer = prepare(arguments, cache).trainer(accelerator, watcher)
    whole = watcher.trainer.fit()
    if watcher.verdict is None:
        return Pair(whole, whole, None)
    again = prepare(arguments, cache).trainer(accelerator)
    again.restore(watcher.checkpoint)
    again.state.plan = again.state.plan.changed(again.state.step, watcher.verdict.total_steps)
    return Pair(whole, again.fit(), watcher.verdict)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data.root", dest="root", required=True)
    parser.add_argument("--folds", default="0")
    parser.add_argument("--seeds", default="0")
    parser.add_argument("--options", default="", help="of train.py, such as '--data.image_size 128'")
    options = parser.parse_args()
    folds, seeds = ([int(number) for number in text.split(",")] for text in (options.folds, options.seeds))
    given = ["--data.root", options.root, "--train.patience", "0", *shlex.split(options.options)]
    rows, pairs, accelerator = list[list[str]](), list[Pair](), join_processes("auto", 0, timeout_minutes=10)
    with tempfile.TemporaryDirectory() as cache:
        for fold in folds:
            for seed in seeds:
                own = [*given, "--data.fold", f"{fold}", "--train.seed", f"{seed}"]
                pair = train(own, Path(cache), accelerator)
                pairs.append(pair)
                rows.append([f"{fold}", f"{seed}", *cells(pair.ended), *cells(pair.whole), f"{difference(pair):+.4f}"])
                print(f"fold {fold} seed {seed}: {pair.verdict.reason if pair.verdict else 'never levels off'}")
    headings = [
        "fold",
        "seed",
        "steps",
        "val/miou",
        "seconds",
        "of the plan",
        "its val/miou",
        "its seconds",
        "difference",
    ]
    print(markdown(headings, rows))
    saved = 1 - sum(pair.ended.seconds for pair in pairs) / sum(pair.whole.seconds for pair in pairs)
    print(f"mean difference {statistics.fmean(map(difference, pairs)):+.4f}; {saved:.0%} of the time saved")


def difference(pair: Pair) -> float:
    """What the short end gives away, where it is negative."""
    return (pair.ended.best_miou or 0.0) - (pair.whole.best_miou or 0.0)


def cells(state: TrainState) -> list[str]:
    """Columns of one training."""
    return [f"{state.step}", f"{state.best_miou or 0.0:.4f}", f"{state.seconds:.0f}"]


if __name__ == "__main__":
    main()
