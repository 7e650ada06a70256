"""Train a UNet on labelled pictures, record the run in MLflow, register the model.

accelerate launch trainer/train.py --config configs/cats.yaml --data.root DIR [--key value ...]
"""

import dataclasses
import functools
import os
import shlex
import shutil
import signal
import sys
import time
from typing import TYPE_CHECKING, Any

from trainer import InputError
from trainer.config import MLRUNS, Config, flatten, parse, to_yaml
from trainer.drawing.display import Display

if TYPE_CHECKING:
    from trainer.data.cache import Dataset
    from trainer.engine.loop import Loop
    from trainer.model.segmenter import Segmenter
    from trainer.tracking.run import Run

EXIT_INPUT, EXIT_STOPPED = 2, 143
FLUSH_SECONDS = 120.0
SILENT_SECONDS = 10.0


def main(arguments: list[str] | None = None) -> int:
    """Returns the exit code: 0 done, 1 failed while working, 2 wrong usage, config or data, 143 stopped by a signal."""
    config = parse(arguments)
    # The one question of who speaks; everything below gets real or idle listeners.
    speaks = os.environ.get("RANK", "0") == "0"
    display = Display(quiet=not speaks)
    try:
        return train(config, display, speaks)
    except InputError as error:
        display.close()
        if not speaks:
            time.sleep(SILENT_SECONDS)  # the main process finds the same, says so and ends us all; or only we see it
        print(f"train.py: {error}", file=sys.stderr)
        return EXIT_INPUT
    except KeyboardInterrupt:  # before the first step; later ones are taken at step boundaries
        display.close()
        return EXIT_STOPPED


def train(config: Config, display: Display, speaks: bool) -> int:
    display.settings(flatten(config), flatten(Config()))

    # ---------------------------------------------------------------- data: what can be checked without torch
    from trainer.data.dataset import plan

    tracked = speaks and reachable(config, display)
    sources = plan(config.data, MLRUNS / "cache", display.counting)

    # ---------------------------------------------------------------- processes and pixels
    from trainer.data.cache import open_dataset
    from trainer.data.check import check_command
    from trainer.engine import hardware, together
    from trainer.model.loss import settled

    accelerator = hardware.start(config.train.mixed_precision, config.train.threads, config.train.timeout_minutes)
    dataset = open_dataset(sources, config.data.image_size, MLRUNS / "cache", display.counting)
    display.warnings([finding.text for finding in dataset.report.of("warning")], check_command(config.data))
    display.say(
        f"{len(dataset.split.train)} pictures train, {len(dataset.split.val)} validate; "
        f"classes: {', '.join(dataset.names[1:])}; dataset {dataset.digest}"
    )

    settings = {key: value for key, value in flatten(config).items() if key != "data.root"}
    together.require_same(accelerator, settings, dataset.digest, len(dataset.split.train))

    # ---------------------------------------------------------------- model
    config = dataclasses.replace(config, loss=settled(config.loss, dataset.pixels().tolist()))
    segmenter = make_segmenter(config, dataset)
    machine = hardware.describe(accelerator)
    display.say("  ".join(f"{key.removeprefix('hardware.')} {value}" for key, value in machine.items() if value))

    # ---------------------------------------------------------------- fit
    from trainer.engine.evaluate import ValidationSet
    from trainer.engine.loop import IdleWatcher, Interrupted, Loop
    from trainer.engine.reporter import Reporter

    validation = ValidationSet(dataset.samples(dataset.split.val), dataset.split.val, dataset.squares, sources.values)
    run = start_run(config, dataset, machine, tracked, display) if speaks else None
    stop = catch_signals()
    try:
        loop = Loop(
            config, accelerator, segmenter, dataset.squares, dataset.split.train, validation, lambda: bool(stop)
        )
        display.say(f"{loop.micro_batch_size} pictures at once on each process, {config.train.batch_size} in a step")
        if run:
            run.params({"hardware.micro_batch_size": loop.micro_batch_size})
            memory = functools.partial(hardware.memory_gib, accelerator)
            loop.fit(Reporter(run, display, validation, config.tracking.watch, loop.sampler, loop.total_steps, memory))
        else:
            loop.fit(IdleWatcher())
        display.close()
        if loop.position.step < loop.total_steps:
            epoch = loop.position.step // loop.sampler.steps_per_epoch
            display.say(
                f"stopped early, after epoch {epoch} of {config.train.epochs}: no better val/miou in "
                f"{config.train.patience} evaluations (train.patience)"
            )
        if run:
            finish(config, run, loop, validation, display)
    except Interrupted as error:
        return end(run, display, "KILLED", "preempted", EXIT_STOPPED, reason=str(error))
    except (Exception, KeyboardInterrupt) as error:
        display.close()
        failure = together.settle(accelerator, error)
        end(run, display, "FAILED", "failed", 1, reason=failure.reason, exception=failure.traceback)
        if failure.explained:
            return 1
        raise
    finally:
        accelerator.end_training()
    return 0


def reachable(config: Config, display: Display) -> bool:
    """Whether the tracking store answers. Raises InputError where it does not and the run may not do without."""
    from trainer.tracking.address import probe

    if not config.tracking.enabled:
        return False
    try:
        probe()
    except InputError as error:
        if config.tracking.required:
            raise InputError(f"{error}. Or train on without it: --tracking.required false") from error
        display.say(f"warning: {error}. Training goes on; the run is kept, and sent when the store answers", "yellow")
        return False
    return True


def make_segmenter(config: Config, dataset: "Dataset") -> "Segmenter":
    """A new model for these classes, or one that starts from the weights of model.init."""
    import torch

    from trainer.drawing.overlay import palette
    from trainer.model.segmenter import Contract, Segmenter
    from trainer.model.unet import start_from_shares
    from trainer.tracking.run import git

    torch.manual_seed(config.train.seed)
    contract = Contract(
        class_names=dataset.names,
        colours=tuple((int(r), int(g), int(b)) for r, g, b in palette()[: len(dataset.names)]),
        image_size=config.data.image_size,
        width=config.model.width,
        depth=config.model.depth,
        norm=config.model.norm,
        dataset_digest=dataset.digest,
        commit=git("rev-parse", "HEAD"),
    )
    segmenter = Segmenter(contract)
    if config.model.init is None:
        start_from_shares(segmenter.network, dataset.shares())
        return segmenter
    from trainer.tracking.open import open_model

    other = open_model(config.model.init).segmenter
    for name in ("class_names", "width", "depth", "norm"):
        theirs, ours = getattr(other.contract, name), getattr(contract, name)
        if theirs != ours:
            raise InputError(
                f"model.init: {config.model.init} has {name} {theirs}, this run {ours}; make them the same"
            )
    segmenter.load_state_dict(other.state_dict())
    return segmenter


def start_run(config: Config, dataset: "Dataset", machine: dict[str, str], reachable: bool, display: Display) -> "Run":
    """Make the run folder and tell the journal all that is known before the first step."""
    from trainer.engine.reporter import training_pictures
    from trainer.tracking.run import Run, new_run_folder, versions

    if reachable:
        from trainer.tracking.server import open_run

    name = config.tracking.run_name or f"{dataset.title}-{config.data.image_size}px-{time.strftime('%m%d-%H%M')}"
    folder = new_run_folder(MLRUNS / "work", config.tracking.experiment, name, config.tracking.enabled)
    (folder / "config.yaml").write_text(to_yaml(config))
    dataset.write_split(folder / "split.json")
    (folder / "check.json").write_text(dataset.report.to_json(), encoding="utf-8")
    try:
        client = open_run(folder) if reachable else None
    except InputError as error:
        if config.tracking.required:
            shutil.rmtree(folder)
            raise
        display.say(f"warning: {error}. Training goes on; sync.py sends the run later", "yellow")
        client = None
    run = Run(folder, client, config.tracking.enabled)
    run.params(flatten(config) | machine | versions() | {"data.digest": dataset.digest})
    run.params({"data.class_names": ", ".join(dataset.names[1:]), "data.train_samples": len(dataset.split.train)})
    for context, rows in (("training", dataset.split.train), ("validation", dataset.split.val)):
        run.dataset(dataset.title, dataset.digest, context, {"samples": len(rows)})
    for file in ("config.yaml", "split.json", "check.json"):
        run.artifact(folder / file)
    run.picture("augmented", training_pictures(dataset.squares, dataset.split.train, config), 0)
    run.status("running", step=0, epoch=0)
    return run


def catch_signals() -> list[int]:
    """The signals received so far. The first is only noted, for the next step boundary; the second ends at once."""
    received: list[int] = []

    def note(number: int, _frame: Any) -> None:
        if received:
            os._exit(128 + number)
        received.append(number)

    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1):
        signal.signal(number, note)
    return received


def finish(config: Config, run: "Run", loop: "Loop", validation: Any, display: Display) -> None:
    """Save the best weights as the run's model, have them registered, decide about the champion, say where to look."""
    from trainer.model.segmenter import load_segmenter, save_segmenter

    position, segmenter = loop.position, loop.segmenter
    segmenter.load_state_dict(loop.best)
    segmenter.to("cpu")
    loop.watcher.on_pictures(segmenter, position.best_step or 0)
    model = run.folder / "model"
    save_segmenter(segmenter, model)
    run.tags({"best.miou": position.best_miou, "best.step": position.best_step})
    display.say(f"best: step {position.best_step}, val/miou {position.best_miou or 0:.4f}", "bold")
    if config.tracking.enabled:
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
    end(run, display, "FINISHED", "finished", 0, step=position.step, best_miou=position.best_miou)


def promote(config: Config, run: "Run", validation: Any, display: Display) -> None:
    """Score the new version and the present champion on this run's validation set; the better one is champion."""
    import json

    from trainer.engine.evaluate import evaluate
    from trainer.model.segmenter import load_segmenter
    from trainer.tracking import registry
    from trainer.tracking.open import open_version
    from trainer.tracking.server import connect as server_connect

    client = run.client or server_connect()
    name, version = config.registry.name, json.loads((run.folder / "version.json").read_text())["version"]
    assert name is not None
    new = load_segmenter(run.folder / "model")
    ours = evaluate(new, validation, config.loss).scores.miou
    present = registry.champion(client, name)
    evidence: dict[str, Any] = {
        "promotion.candidate_miou": ours,
        "promotion.dataset_digest": new.contract.dataset_digest,
    }
    verdict, better = "the first version", True
    if present is not None:
        try:
            other = open_version(present)
            if other.contract.class_names != new.contract.class_names:
                raise InputError(f"its classes are {', '.join(other.contract.class_names[1:])}")
            theirs = evaluate(other, validation, config.loss).scores.miou
            better = (ours or 0.0) > (theirs or 0.0)
            evidence |= {"promotion.champion_version": present.version, "promotion.champion_miou": theirs}
            verdict = f"val/miou {ours or 0:.4f} against {theirs or 0:.4f} of the champion, version {present.version}"
        except InputError as error:
            verdict, better = f"version {present.version}, the champion, cannot be compared: {error}", False
    promoted = {"auto": better, "never": False, "force": True}[config.registry.promote]
    if promoted:
        registry.promote(client, name, version)
    registry.note(client, name, version, evidence | {"promotion.promoted": promoted, "promotion.reason": verdict})
    display.say(f"registered models:/{name}/{version}: {verdict}")
    address = f"models:/{name}@champion" if promoted else f"models:/{name}/{version}"
    display.say("now the champion; use it with" if promoted else "not promoted; use it with")
    display.say(f"  python trainer/predict.py --model {shlex.quote(address)} --input PICTURES --output OUT")


def end(run: "Run | None", display: Display, status: str, state: str, code: int, **details: Any) -> int:
    """Close the run truthfully, within a bounded time, and say where to look. Returns `code`."""
    display.close()
    if run is None:
        return code
    run.end(status)
    run.status(state, exit_code=code, **details)
    sent = run.flush(FLUSH_SECONDS)
    run.close()
    if code:
        display.say(f"{state}: {details.get('reason', '')}", "red")
    display.say(f"run folder: {run.folder}")
    if not run.tracked:
        return code
    from trainer.tracking.address import look_command
    from trainer.tracking.journal import unsent

    if not sent:
        reason = run.last_error or "no answer in time"
        display.say(f"{unsent(run.folder)} records are not sent yet ({reason}). Send them later with", "yellow")
        display.say(f"  python trainer/sync.py {run.folder}", "yellow")
    info = run.info()
    display.say(f"look at run {info['run_name']} in experiment {info['experiment']}:  {look_command()}", "bold")
    return code


if __name__ == "__main__":
    sys.exit(main())
