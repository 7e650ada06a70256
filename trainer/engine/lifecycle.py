"""A run from its first sign to its last: begun or resumed, described, finished, promoted, ended."""

import os
import shlex
import socket
import time
from typing import Any

from trainer import InputError
from trainer.config import MLRUNS, Config
from trainer.data.dataset import Dataset, ValidationSet
from trainer.engine.checkpoint.resume import Start
from trainer.engine.loop import Trainer
from trainer.model.segmenter import Segmenter
from trainer.system import launcher, run_folder
from trainer.system.signals import EXIT_STOPPED
from trainer.system.terminal import Display
from trainer.tracking import store
from trainer.tracking.run import Run

FLUSH_SECONDS = 120.0


FLUSH_SECONDS_STOPPED = 10.0
"""Of the 30 that a launcher or a cluster leaves a process after asking it to stop."""


def begin(
    config: Config,
    dataset: "Dataset",
    machine: dict[str, str],
    world: dict[str, str],
    reachable: bool,
    display: Display,
) -> "tuple[Run | None, Start]":
    """The run that is new or goes on, with its folder locked; and what the other processes must know of it."""
    from trainer.engine.checkpoint import resume
    from trainer.tracking.run import log_settings, open_run

    data, name = dataset.content(), config.tracking.run_name
    name = name or f"{dataset.title}-{config.data.image_size}px-{time.strftime('%m%d-%H%M')}"
    try:
        start = resume.find(config, MLRUNS / "work", data, launcher.identity() if launcher.restarted() else "")
        for warning in start.warnings:
            display.log(f"warning: {warning}", "yellow")
        if start.finished:
            return None, start
        folder = start.folder or run_folder.new_folder(config, name, data, dataset.report.to_json())
        run_folder.lock(folder)
        run = open_run(folder, config, start.folder is None, reachable, display.log)
    except InputError as error:
        return None, resume.Start(error=error)
    run.status_fields = {"resume": launcher.resume_command(folder), "pid": os.getpid(), "host": socket.gethostname()}
    run.status_fields["launcher"] = launcher.identity()
    facts = machine | {"data.class_names": ", ".join(dataset.names[1:])}
    log_settings(run, config, facts, dataset.title, data)
    step = start.checkpoint.position.step if start.checkpoint else 0
    if start.folder is not None:
        display.log(f"run {folder.name} goes on after step {step}", "bold")
        run.resumed(step)
        changes = resume.no_longer_exact(start.checkpoint, world, config) if start.checkpoint else []
        if changes:
            display.log(f"warning: the last bits of the numbers differ from now on: {'; '.join(changes)}", "yellow")
    run.status("running", step=step)
    display.log(f"should it stop, go on with:  {run.status_fields['resume']}", "dim")
    return run, start


def describe(loop: "Trainer", run: "Run | None", display: Display) -> None:
    """How the network is trained on this machine, and what it will see."""
    from trainer.engine.reporter import augmentation_sheet

    at_once, compiled = loop.stepper.micro_batch_size, loop.stepper.compiled
    display.log(f"{at_once} pictures at once on each process, {loop.config.train.batch_size} in a step")
    display.log(loop.stepper.why_compiled)
    if run:
        run.params({"hardware.micro_batch_size": at_once, "hardware.compiled": compiled})
        if not run.has_image("augmented", 0):
            run.picture("augmented", augmentation_sheet(loop.batches, loop.config), 0)


def finish(config: Config, run: "Run", loop: "Trainer", validation: "ValidationSet", display: Display) -> None:
    """Save the best weights as the run's model, have them registered, decide about the champion."""
    from trainer.model.model_folder import load_segmenter, save_segmenter

    position, segmenter = loop.position, loop.segmenter
    segmenter.load_state_dict(loop.best)
    segmenter.to("cpu")
    loop.watcher.on_images(segmenter, position.best_step or 0)
    model = run.folder / "model"
    save_segmenter(segmenter, model)
    run.tags({"best.miou": position.best_miou, "best.step": position.best_step})
    display.log(f"best: step {position.best_step}, val/miou {position.best_miou or 0:.4f}", "bold")
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
            display.log(f"the new version of {config.registry.name} was not compared: {error}", "yellow")


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
    display.log(f"registered models:/{name}/{decision.version}: {decision.reason}")
    model = f"models:/{name}@champion" if decision.promoted else f"models:/{name}/{decision.version}"
    display.log("now the champion; use it with" if decision.promoted else "not promoted; use it with")
    display.log(f"  python trainer/predict.py --model {shlex.quote(model)} --input PICTURES --output OUT")


def end(
    run: "Run | None", display: Display, status: str, state: str, code: int, loop: "Trainer | None", **details: Any
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
        display.log(f"{run.folder}: {error}", "red")
        sent = False
    if code:
        display.log(f"{state}: {details.get('reason', '')}", "red")
        display.log(f"go on with:  {run.status_fields['resume']}")
    display.log(f"run folder: {run.folder}")
    if not run.tracked:
        return code
    from trainer.tracking.journal import unsent

    if not sent:
        reason = run.last_error or "no answer in time"
        display.log(f"{unsent(run.folder)} records are not sent yet ({reason}). Send them later with", "yellow")
        display.log(f"  python trainer/sync.py {run.folder}", "yellow")
    info = run.info()
    display.log(f"look at run {info['run_name']} in experiment {info['experiment']}:  {store.ui_command()}", "bold")
    return code
