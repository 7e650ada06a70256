"""Train a UNet on labelled pictures, record the run in MLflow, register the model.

accelerate launch trainer/train.py --config configs/cats.yaml --data.root DIR [--key value ...]
"""

import functools
import os
import shlex
import socket
import sys
import time
import traceback
from typing import TYPE_CHECKING, Any

from trainer import InputError
from trainer.arguments import parse
from trainer.config import MLRUNS, Config, flatten
from trainer.drawing.display import Display
from trainer.engine import launcher
from trainer.engine.signals import EXIT_STOPPED, StopSignals
from trainer.tracking import address

if TYPE_CHECKING:
    from trainer.data.cache import Dataset
    from trainer.engine.evaluate import ValidationSet
    from trainer.engine.hardware import Accelerator
    from trainer.engine.loop import Loop
    from trainer.engine.resume import Start
    from trainer.model.segmenter import Segmenter
    from trainer.tracking.run import Run

EXIT_INPUT = 2
FLUSH_SECONDS = 120.0
SILENT_SECONDS = 10.0
FLUSH_SECONDS_STOPPED = 10.0
"""Of the 30 that a launcher or a cluster leaves a process after asking it to stop."""


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
    tracked = speaks and address.reachable(config.tracking, display.say)
    accelerator, dataset = load(config, display, speaks)
    config, segmenter = build(config, dataset, display)

    # ---------------------------------------------------------------- a new run, or one that goes on
    from trainer.engine import hardware, together
    from trainer.engine.evaluate import ValidationSet
    from trainer.engine.loop import Loop, told_by_main
    from trainer.engine.reporter import Reporter
    from trainer.engine.watcher import IdleWatcher

    rows = dataset.split.val
    validation = ValidationSet(dataset.samples(rows), rows, dataset.squares, dataset.sources.values)
    machine, world = hardware.describe(accelerator), hardware.world(accelerator)
    display.say("  ".join(f"{key.removeprefix('hardware.')} {value}" for key, value in machine.items() if value))
    stop.hold()
    run, start = begin(config, dataset, machine, world, tracked, display) if speaks else (None, None)
    start = told_by_main(start)
    if start.error:
        raise start.error
    if start.finished:
        display.say(f"{start.folder} is finished; nothing is left to do", "bold")
        accelerator.end_training()
        return 0

    # ---------------------------------------------------------------- fit
    loop = None
    try:
        rows = dataset.split.train
        loop = Loop(config, accelerator, segmenter, dataset.squares, rows, validation, stop.requested, world)
        describe(loop, run, display)
        if start.checkpoint:
            loop.restore(start.checkpoint)
        memory = functools.partial(hardware.memory_gib, accelerator)
        watcher = Reporter(run, display, validation, config, loop, memory) if run else IdleWatcher()
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
        failure = together.settle(accelerator, error)
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
    from trainer.data.dataset import plan

    sources = plan(config.data, MLRUNS / "cache", display.counting)

    from trainer.data.cache import open_dataset
    from trainer.data.check import check_command
    from trainer.engine import hardware, together

    accelerator = hardware.start(config.train.mixed_precision, config.train.threads, config.train.timeout_minutes)
    dataset = open_dataset(sources, config.data.image_size, MLRUNS / "cache", display.counting)
    if speaks:  # one comparison of all pictures is enough
        display.warnings([finding.text for finding in dataset.report.of("warning")], check_command(config.data))
    display.say(
        f"{len(dataset.split.train)} pictures train, {len(dataset.split.val)} validate; "
        f"classes: {', '.join(dataset.names[1:])}; dataset {dataset.digest}"
    )
    settings = {key: value for key, value in flatten(config).items() if key not in ("data.root", "resume")}
    together.require_same(accelerator, settings, dataset.digest, len(dataset.split.train))
    return accelerator, dataset


def build(config: Config, dataset: "Dataset", display: Display) -> "tuple[Config, Segmenter]":
    """The settings with what the data decides of them, and the model that training starts with."""
    from trainer.engine.recipe import settle
    from trainer.model.build import make_segmenter, open_init
    from trainer.tracking.run import git

    init = open_init(config)
    config, decisions = settle(config, dataset, init.contract.width if init else None)
    for line in decisions:
        display.say(line)
    commit = git("rev-parse", "HEAD")
    return config, make_segmenter(config, dataset.names, dataset.shares(), dataset.digest, commit, init)


def begin(
    config: Config,
    dataset: "Dataset",
    machine: dict[str, str],
    world: dict[str, str],
    reachable: bool,
    display: Display,
) -> "tuple[Run | None, Start]":
    """The run that is new or goes on, with its folder locked; and what the other processes must know of it."""
    from trainer.engine import resume
    from trainer.tracking import opening

    data, name = dataset.content(), config.tracking.run_name
    name = name or f"{dataset.title}-{config.data.image_size}px-{time.strftime('%m%d-%H%M')}"
    try:
        start = resume.find(config, MLRUNS / "work", data, launcher.identity() if launcher.restarted() else "")
        for warning in start.warnings:
            display.say(f"warning: {warning}", "yellow")
        if start.finished:
            return None, start
        folder = start.folder or opening.new_folder(config, name, data, dataset.report.to_json())
        resume.lock(folder)
        run = opening.open_run(folder, config, start.folder is None, reachable, display.say)
    except InputError as error:
        return None, resume.Start(error=error)
    run.standing = {"resume": launcher.resume_command(folder), "pid": os.getpid(), "host": socket.gethostname()}
    run.standing["launcher"] = launcher.identity()
    facts = machine | {"data.class_names": ", ".join(dataset.names[1:])}
    opening.introduce(run, config, facts, dataset.title, data)
    step = start.checkpoint.position.step if start.checkpoint else 0
    if start.folder is not None:
        display.say(f"run {folder.name} goes on after step {step}", "bold")
        run.resumed(step)
        changes = resume.no_longer_exact(start.checkpoint, world, config) if start.checkpoint else []
        if changes:
            display.say(f"warning: the last bits of the numbers differ from now on: {'; '.join(changes)}", "yellow")
    run.status("running", step=step)
    display.say(f"should it stop, go on with:  {run.standing['resume']}", "dim")
    return run, start


def describe(loop: "Loop", run: "Run | None", display: Display) -> None:
    """How the network is trained on this machine, and what it will see."""
    from trainer.engine.reporter import training_pictures

    at_once, compiled = loop.stepper.micro_batch_size, loop.stepper.compiled
    display.say(f"{at_once} pictures at once on each process, {loop.config.train.batch_size} in a step")
    display.say(loop.stepper.why_compiled)
    if run:
        run.params({"hardware.micro_batch_size": at_once, "hardware.compiled": compiled})
        if not run.has_picture("augmented", 0):
            run.picture("augmented", training_pictures(loop.batches, loop.config), 0)


def fit(loop: "Loop", watcher: Any, run: "Run | None", display: Display, dataset: "Dataset") -> int:
    """Train; where all processes leave before the end, say why. Returns the exit code."""
    from trainer.engine.leaving import Interrupted, LeftTogether, NonFiniteLoss

    try:
        loop.fit(watcher)
    except Interrupted as error:
        return end(run, display, "KILLED", "preempted", EXIT_STOPPED, loop, reason=str(error))
    except LeftTogether as error:
        details: dict[str, Any] = {"exception": traceback.format_exc()}
        if isinstance(error, NonFiniteLoss):
            samples = [sample.name for sample in dataset.samples(error.rows)]
            details |= {"process": error.processes, "samples": samples}
        return end(run, display, "FAILED", "failed", 1, loop, reason=f"{type(error).__name__}: {error}", **details)
    display.close()
    if loop.position.step < loop.position.total_steps:
        train = loop.config.train
        display.say(
            f"stopped early, after epoch {loop.position.step // loop.batches.steps_per_epoch} of {train.epochs}: "
            f"no better val/miou in {train.patience} evaluations (train.patience)"
        )
    return 0


def finish(config: Config, run: "Run", loop: "Loop", validation: "ValidationSet", display: Display) -> None:
    """Save the best weights as the run's model, have them registered, decide about the champion."""
    from trainer.model.segmenter import load_segmenter, save_segmenter

    position, segmenter = loop.position, loop.segmenter
    segmenter.load_state_dict(loop.best)
    segmenter.to("cpu")
    loop.watcher.on_pictures(segmenter, position.best_step or 0)
    model = run.folder / "model"
    save_segmenter(segmenter, model)
    run.tags({"best.miou": position.best_miou, "best.step": position.best_step})
    display.say(f"best: step {position.best_step}, val/miou {position.best_miou or 0:.4f}", "bold")
    if not config.tracking.enabled:
        return
    from trainer.tracking.registry import export

    export(load_segmenter(model), model)
    if config.registry.name:
        contract = segmenter.contract
        tags = {"commit": contract.commit, "dataset_digest": contract.dataset_digest}
        run.register(config.registry.name, tags | {"val/miou": f"{position.best_miou}"})
    sent = run.flush(FLUSH_SECONDS)
    if sent and config.registry.name:
        try:
            promote(config, run, validation, display)
        except Exception as error:  # a registry that fails now takes nothing from a finished training
            display.say(f"the new version of {config.registry.name} was not compared: {error}", "yellow")


def promote(config: Config, run: "Run", validation: "ValidationSet", display: Display) -> None:
    """Have the new version compared with the champion, and say how it went."""
    from trainer.engine.evaluate import evaluate
    from trainer.tracking.promotion import decide
    from trainer.tracking.server import connect

    def score(segmenter: "Segmenter") -> float | None:
        return evaluate(segmenter, validation, config.loss).scores.miou

    name = config.registry.name
    assert name is not None
    decision = decide(run.client or connect(), run.folder, name, config.registry.promote, score)
    display.say(f"registered models:/{name}/{decision.version}: {decision.reason}")
    model = f"models:/{name}@champion" if decision.promoted else f"models:/{name}/{decision.version}"
    display.say("now the champion; use it with" if decision.promoted else "not promoted; use it with")
    display.say(f"  python trainer/predict.py --model {shlex.quote(model)} --input PICTURES --output OUT")


def end(
    run: "Run | None", display: Display, status: str, state: str, code: int, loop: "Loop | None", **details: Any
) -> int:
    """Close the run truthfully, within a bounded time, and say where to look. Returns `code`."""
    display.close()
    if run is None:
        return code
    if loop is not None:
        details = {"step": loop.position.step, "epoch": loop.position.step / loop.batches.steps_per_epoch} | details
    try:
        run.end(status)
        run.status(state, exit_code=code, **details)
        sent = run.flush(FLUSH_SECONDS_STOPPED if code == EXIT_STOPPED else FLUSH_SECONDS)
        run.status(state, exit_code=code, **details)  # again, for the number of records that are not sent
        run.close()
    except OSError as error:  # a full disk; the reason below has more of it
        display.say(f"{run.folder}: {error}", "red")
        sent = False
    if code:
        display.say(f"{state}: {details.get('reason', '')}", "red")
        display.say(f"go on with:  {run.standing['resume']}")
    display.say(f"run folder: {run.folder}")
    if not run.tracked:
        return code
    from trainer.tracking.journal import unsent

    if not sent:
        reason = run.last_error or "no answer in time"
        display.say(f"{unsent(run.folder)} records are not sent yet ({reason}). Send them later with", "yellow")
        display.say(f"  python trainer/sync.py {run.folder}", "yellow")
    info = run.info()
    display.say(f"look at run {info['run_name']} in experiment {info['experiment']}:  {address.look_command()}", "bold")
    return code


if __name__ == "__main__":
    sys.exit(main())
