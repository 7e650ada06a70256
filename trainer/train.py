"""Train a UNet on labelled pictures, record the run in MLflow, register the model.

accelerate launch trainer/train.py --config configs/cats.yaml --data.root DIR [--key value ...]
"""

import functools
import os
import sys
import traceback
from typing import TYPE_CHECKING, Any

from trainer import InputError
from trainer.cli import parse
from trainer.config import MLRUNS, Config, flatten
from trainer.system import launcher
from trainer.system.signals import EXIT_STOPPED, StopSignals
from trainer.system.terminal import Display
from trainer.tracking import store

if TYPE_CHECKING:
    from trainer.data.dataset import Dataset
    from trainer.engine.distributed.accelerator import Accelerator
    from trainer.engine.loop import Trainer
    from trainer.model.segmenter import Segmenter
    from trainer.tracking.run import Run

EXIT_INPUT = 2
SILENT_SECONDS = 10.0


def main(arguments: list[str] | None = None) -> int:
    """Returns the exit code: 0 done, 1 failed while working, 2 wrong usage, config or data, 143 stopped by a signal."""
    config = parse(arguments)
    # The one question of who speaks; everything below gets real or idle listeners.
    speaks = os.environ.get("RANK", "0") == "0"
    display = Display(quiet=not speaks)
    stop = StopSignals()
    launcher.watch(stop)
    try:
        return train(config, display, speaks, stop)
    except InputError as error:
        display.close()
        # Mostly the main process finds the same, says so, and the launcher ends us; or only we see it.
        if speaks or not stop.wait(SILENT_SECONDS):
            print(f"train.py: {error}", file=sys.stderr)
        return EXIT_INPUT
    except KeyboardInterrupt:  # before the first step
        display.close()
        return EXIT_STOPPED


def train(config: Config, display: Display, speaks: bool, stop: StopSignals) -> int:
    display.settings(flatten(config), flatten(Config()))
    tracked = speaks and store.reachable(config.tracking, display.log)
    accelerator, dataset = load(config, display, speaks)
    config, segmenter = build(config, dataset, display)

    # ---------------------------------------------------------------- a new run, or one that goes on
    from trainer.data.dataset import ValidationSet
    from trainer.engine.callback import NullCallback
    from trainer.engine.distributed.accelerator import describe as hardware_facts
    from trainer.engine.distributed.accelerator import memory_gib
    from trainer.engine.distributed.accelerator import world as world_facts
    from trainer.engine.distributed.collectives import broadcast
    from trainer.engine.distributed.failure import find_cause
    from trainer.engine.lifecycle import begin, describe, end, finish
    from trainer.engine.loop import Trainer
    from trainer.engine.reporter import Reporter

    rows = dataset.split.val
    validation = ValidationSet(dataset.samples(rows), rows, dataset.resized, dataset.sources.values)
    machine, world = hardware_facts(accelerator), world_facts(accelerator)
    display.log("  ".join(f"{key.removeprefix('hardware.')} {value}" for key, value in machine.items() if value))
    stop.hold()
    run, start = begin(config, dataset, machine, world, tracked, display) if speaks else (None, None)
    start = broadcast(start)
    if start.error:
        raise start.error
    if start.finished:
        display.log(f"{start.folder} is finished; nothing is left to do", "bold")
        accelerator.end_training()
        return 0

    # ---------------------------------------------------------------- fit
    loop = None
    try:
        rows = dataset.split.train
        loop = Trainer(config, accelerator, segmenter, dataset.resized, rows, validation, stop.requested, world)
        describe(loop, run, display)
        if start.checkpoint:
            loop.restore(start.checkpoint)
        memory = functools.partial(memory_gib, accelerator)
        watcher = Reporter(run, display, validation, config, loop, memory) if run else NullCallback()
        code = fit(loop, watcher, run, display, dataset)
        accelerator.wait_for_everyone()  # a launcher ends the others when one leaves, and this one may still be saving
        if run and code == 0:
            stop.release()
            finish(config, run, loop, validation, display)
            stop.hold()
            end(run, display, "FINISHED", "finished", 0, loop, resume=None, best_miou=loop.position.best_miou)
    except KeyboardInterrupt:  # in `finish`
        code = end(run, display, "KILLED", "preempted", EXIT_STOPPED, loop, reason="stopped after the last step")
    except BaseException as error:
        stop.hold()
        failure = find_cause(accelerator, error)
        details = {"reason": failure.reason, "process": failure.process, "exception": failure.traceback}
        end(run, display, "FAILED", "failed", 1, loop, **details)
        if not failure.explained and not isinstance(error, OSError | SystemExit):
            raise
        code = 1
    finally:
        accelerator.end_training()
    return code


def load(config: Config, display: Display, speaks: bool) -> "tuple[Accelerator, Dataset]":
    """The processes, and the data that all of them have. What can be checked without torch is, before it is loaded."""
    from trainer.data.sources import plan

    sources = plan(config.data, MLRUNS / "cache", display.progress_bar)

    from trainer.data.checks.report import check_command
    from trainer.data.dataset import open_dataset
    from trainer.engine.distributed.accelerator import start
    from trainer.engine.distributed.collectives import require_same

    accelerator = start(config.train.mixed_precision, config.train.threads, config.train.timeout_minutes)
    dataset = open_dataset(sources, config.data.image_size, MLRUNS / "cache", display.progress_bar)
    if speaks:  # one comparison of all pictures is enough
        display.warnings([finding.text for finding in dataset.report.of("warning")], check_command(config.data))
    display.log(
        f"{len(dataset.split.train)} pictures train, {len(dataset.split.val)} validate; "
        f"classes: {', '.join(dataset.names[1:])}; dataset {dataset.digest}"
    )
    settings = {key: value for key, value in flatten(config).items() if key not in ("data.root", "resume")}
    require_same(accelerator, settings, dataset.digest, len(dataset.split.train))
    return accelerator, dataset


def build(config: Config, dataset: "Dataset", display: Display) -> "tuple[Config, Segmenter]":
    """The settings with what the data decides of them, and the model that training starts with."""
    from trainer.engine.auto import resolve
    from trainer.model.build import make_segmenter
    from trainer.system.provenance import git
    from trainer.tracking.load import open_init

    init = open_init(config)
    config, decisions = resolve(config, dataset, init.contract.width if init else None)
    for line in decisions:
        display.log(line)
    commit = git("rev-parse", "HEAD")
    return config, make_segmenter(config, dataset.names, dataset.shares(), dataset.digest, commit, init)


def fit(loop: "Trainer", watcher: Any, run: "Run | None", display: Display, dataset: "Dataset") -> int:
    """Train; where all processes leave before the end, say why. Returns the exit code."""
    from trainer.engine.lifecycle import end
    from trainer.engine.stopping import Interrupted, NonFiniteLoss, TrainingStopped

    try:
        loop.fit(watcher)
    except Interrupted as error:
        return end(run, display, "KILLED", "preempted", EXIT_STOPPED, loop, reason=str(error))
    except TrainingStopped as error:
        details: dict[str, Any] = {"exception": traceback.format_exc()}
        if isinstance(error, NonFiniteLoss):
            samples = [sample.name for sample in dataset.samples(error.rows)]
            details |= {"process": error.processes, "samples": samples}
        return end(run, display, "FAILED", "failed", 1, loop, reason=f"{type(error).__name__}: {error}", **details)
    display.close()
    if loop.position.step < loop.position.total_steps:
        train = loop.config.train
        display.log(
            f"stopped early, after epoch {loop.position.step // loop.batches.steps_per_epoch} of {train.epochs}: "
            f"no better val/miou in {train.patience} evaluations (train.patience)"
        )
    return 0


if __name__ == "__main__":
    sys.exit(main())
