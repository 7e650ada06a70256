"""Train a UNet on labelled images, record the run in MLflow, register the model.

accelerate launch trainer/train.py --config configs/cats.yaml --data.root DIR [--key value ...]
"""

if __name__ == "__main__":
    import signal

    signal.signal(signal.SIGINT, signal.SIG_DFL)  # ends without a traceback, until the next import is done
    from trainer.system.entry import guard_imports
    from trainer.system.installation import require_training

    guard_imports("train.py")
    require_training()

import functools
import sys
import time
import traceback
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from trainer import EXIT_INPUT, InputError
from trainer.cli import parse
from trainer.config import MLRUNS, Config, flatten
from trainer.engine.checkpoint.choice import WORDS, finished_run
from trainer.system import launcher
from trainer.system.atomic import disk_is_full, why_not_written
from trainer.system.entry import EXIT_FAILED, is_main_process, leave, run_program
from trainer.system.output import prepare_output
from trainer.system.signals import StopSignals

if TYPE_CHECKING:
    from trainer.data.dataset import Dataset
    from trainer.data.sources import Sources
    from trainer.engine.checkpoint.resume import Start
    from trainer.engine.distributed.accelerator import Accelerator
    from trainer.engine.folds.group import AnyGroup
    from trainer.engine.lifecycle import AnyLifecycle
    from trainer.engine.loop import Trainer
    from trainer.model.segmenter import Segmenter
    from trainer.system.parallel import Progress

CACHE = MLRUNS / "cache"

FOUND_BY_CONTENT = ("data.root", "data.unlabelled", "resume")
"""Settings that may differ between processes: the digest of the data says what the folders hold."""


def main(arguments: list[str] | None = None) -> int:
    """Return the exit code: 0 done, 1 failed while working, 2 wrong usage, config or data, 143 stopped by a signal.

    130: stopped by Ctrl-C before there was anything to resume.
    """
    return run_program("train.py", functools.partial(_main, arguments))


def _main(arguments: list[str] | None, stop: StopSignals) -> int:
    prepare_output(arguments)
    config = parse(arguments)
    from trainer.engine.lifecycle import lifecycle  # from here on, numpy: `--help` and mistyped keys end before

    if done := finished_run(config):
        if is_main_process():
            print(f"{done} is finished; nothing is left to do")
        return 0
    from trainer.tracking.group import without_group

    apart = ""
    if config.resume in WORDS:
        try:
            config, apart = without_group(config, MLRUNS / "work", launcher.has_supervisor())
        except InputError as error:
            if is_main_process():
                print(f"train.py: {error}", file=sys.stderr)
            return EXIT_INPUT
    if config.train.several:
        from trainer.engine.folds.group import fold_group

        group = fold_group(config)
        life: AnyLifecycle = group
        work = functools.partial(train_group, config, group, stop)
    else:
        life = lifecycle(config)
        work = functools.partial(train, config, life, stop)
    if apart:
        life.display.log(apart)
    launcher.stop_with_launcher(stop)
    try:
        return work()
    except InputError as error:
        life.refuse(error, stop)
        return EXIT_INPUT
    except OSError as error:  # the cache or the run folder could not be made
        text = why_not_written(MLRUNS, error) if disk_is_full(error) else f"{error.filename}: {error.strerror}"
        life.refuse(InputError(text), stop)
        return EXIT_FAILED


def train_group(config: Config, group: "AnyGroup", stop: StopSignals) -> int:
    """Train folds and seeds one after another, then what is registered of them; return the exit code."""
    from trainer.engine.folds import plan

    group.check_store()
    sources = find(config, group.display.progress_bar, train_all=True)
    plan.require_folds(config, sources)

    from trainer.engine.distributed.accelerator import leave_processes
    from trainer.engine.distributed.collectives import broadcast

    try:
        for training in plan.own_trainings(config):
            child = plan.child_config(config, training)
            code = train(child, group.child(child, training), stop, plan.split_for(child, sources), more=True)
            if code:
                return group.stopped(code)
        if plan.registered(config) == "all" and config.train.only_fold is None:
            child = broadcast(group.final_config())
            code = train(child, group.child(child, plan.final_training(config)), stop, sources, more=True)
            if code:
                return group.stopped(code)
        return group.close(stop)
    except BaseException as error:
        group.failed(error, stop)
        raise
    finally:
        leave_processes()


def find(config: Config, progress: "Progress", train_all: bool = False) -> "Sources":
    """Find the labelled images; where there is no data.root, draw them. `train_all`: none validates."""
    from trainer.data.sources import find_sources

    roots = config.data.roots
    if not roots:
        from trainer.make.synthetic import generated_cats

        roots = [generated_cats(config.data.generated_images, CACHE, progress)]
    return find_sources(config.data, roots, train_all=train_all)


def train(
    config: Config, life: "AnyLifecycle", stop: StopSignals, sources: "Sources | None" = None, more: bool = False
) -> int:
    """Load, build, fit and close; return the exit code.

    `sources`: what is found already; `more`: whether these processes train on after this.
    """
    from trainer.data.choose_channels import choose_channels
    from trainer.data.choose_view import choose_view
    from trainer.data.view import view_of
    from trainer.model.pretrained import check_weights

    # ---------------------------------------------------------------- load
    began_s = time.monotonic()
    life.check_store()
    check_weights(config)
    progress = life.display.progress_bar
    sources = sources or find(config, progress, config.without_validation)
    data, channels_reason = choose_channels(config.data, sources.samples)
    data, view_reasons = choose_view(data, sources, CACHE, progress)
    config = replace(config, data=data)

    # From here on, torch, which takes seconds to load: unsound settings and folders end before.
    from trainer.data.dataset import open_dataset
    from trainer.engine.assembly import prepare_model, require_values_to_normalise
    from trainer.engine.distributed import accelerator as hardware
    from trainer.engine.distributed.collectives import broadcast, require_same
    from trainer.engine.distributed.nodes import host_facts

    accelerator = hardware.join_processes(
        str(config.train.mixed_precision), config.train.threads, config.train.timeout_minutes
    )
    dataset = open_dataset(sources, view_of(data), CACHE, progress)
    life.show_data(dataset)
    settings = {key: value for key, value in flatten(config).items() if key not in FOUND_BY_CONTENT}
    require_same(accelerator, settings, dataset.digest, len(dataset.split.train))

    # ---------------------------------------------------------------- build
    config, segmenter, reasons = prepare_model(config, dataset)
    require_values_to_normalise(config, accelerator, len(dataset.split.train), len(sources.unlabelled))
    for reason in [*filter(None, [channels_reason]), *view_reasons, *reasons]:
        life.display.log(reason)
    facts = hardware.hardware_facts(accelerator) | host_facts()
    environment = hardware.numeric_environment(accelerator)
    stop.defer()
    start = broadcast(life.begin(config, dataset, facts, environment))
    if start.error:
        raise start.error
    try:
        start_s = time.monotonic() - began_s if more else launcher.seconds_since_start()
        return 0 if start.finished else run(config, life, stop, start, accelerator, dataset, segmenter, start_s)
    finally:
        if not more:
            accelerator.end_training()


def run(
    config: Config,
    life: "AnyLifecycle",
    stop: StopSignals,
    start: "Start",
    accelerator: "Accelerator",
    dataset: "Dataset",
    segmenter: "Segmenter",
    start_s: float,
) -> int:
    """Fit and close a run that has begun, however it ends; return the exit code.

    `start_s`: seconds that its start has taken, which count as part of train.minutes.
    """
    from trainer.engine.assembly import build_trainer
    from trainer.engine.distributed.accelerator import memory_gib
    from trainer.engine.distributed.failure import find_cause

    trainer = None
    try:
        callback = life.callback(start, dataset, functools.partial(memory_gib, accelerator))
        trainer, reasons = build_trainer(config, accelerator, dataset, segmenter, callback, stop.requested)
        life.describe(trainer, reasons)
        if start.checkpoint:
            trainer.restore(start.checkpoint)
        else:
            trainer.start_s = start_s
        code = fit(trainer, life, dataset)
        accelerator.wait_for_everyone()  # a launcher ends the others when one leaves, and this one may still be saving
        if code == 0:
            life.register(trainer, dataset, stop)
            code = life.end("finished", trainer, resume=None, best_miou=trainer.state.best_miou)
    except BaseException as error:
        if stop.interrupting():  # while registering
            code = life.end("preempted", trainer, reason="stopped after the last step")
        else:
            stop.defer()
            cause = find_cause(accelerator, error)
            details = {"reason": cause.reason, "process": cause.process, "exception": cause.traceback}
            code = life.end("failed", trainer, **details)
            if not cause.explained and not isinstance(error, OSError | SystemExit):
                raise
    return code


def fit(trainer: "Trainer", life: "AnyLifecycle", dataset: "Dataset") -> int:
    """Train; where all processes stop before the end, report why. Returns the exit code."""
    from trainer.engine.stopping import Interrupted, NonFiniteLoss, TrainingStopped

    try:
        trainer.fit()
    except Interrupted as error:
        return life.end("preempted", trainer, reason=str(error))
    except TrainingStopped as error:
        details: dict[str, Any] = {"exception": traceback.format_exc()}
        if isinstance(error, NonFiniteLoss):
            samples = [sample.name for sample in dataset.samples(error.rows)]
            details |= {"process": error.processes, "samples": samples}
        return life.end("failed", trainer, reason=f"{type(error).__name__}: {error}", **details)
    life.display.close()
    state, schedule, epoch_steps = trainer.state, trainer.schedule, trainer.loader.steps_per_epoch
    if state.step < state.total_steps:
        life.display.log(
            f"stopped early, after epoch {state.step // epoch_steps} of {schedule.planned_steps // epoch_steps}: "
            f"no better val/miou in {schedule.patience} evaluations (train.patience)"
        )
    return 0


if __name__ == "__main__":
    leave(main())
