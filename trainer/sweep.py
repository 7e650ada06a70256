"""Search for better settings: train with many, each in a run of its own below one parent run, and keep the best.

python trainer/sweep.py --config configs/cats.yaml --space configs/sweep.yaml --trials N [--jobs J] [--key value ...]
"""

if __name__ == "__main__":
    import signal

    signal.signal(signal.SIGINT, signal.SIG_DFL)  # ends without a traceback, until the next import is done
    from trainer.system.entry import guard_imports
    from trainer.system.installation import require_training

    guard_imports("sweep.py")
    require_training("sweep.py")

import argparse
import functools
import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from trainer import InputError, redact
from trainer.config import MLRUNS, Config
from trainer.system import launcher
from trainer.system.atomic import why_not_written
from trainer.system.command import explain_errors
from trainer.system.entry import leave, run_program
from trainer.system.installation import require, usage
from trainer.system.output import Parser, ShowVersion, prepare_output
from trainer.system.signals import StopSignals

if TYPE_CHECKING:
    from trainer.search.space import Space
    from trainer.search.sweep_folder import SweepFolder
    from trainer.system.terminal import Display
    from trainer.tracking.run import Run


def main(arguments: list[str] | None = None) -> int:
    """Return the exit code: 0 done, 1 no trial has succeeded, 2 wrong usage, settings, space or data.

    143: stopped by a signal, to be resumed; 130: by Ctrl-C, before there was anything to resume.
    """
    return run_program("sweep.py", functools.partial(_main, arguments))


def _main(arguments: list[str] | None, stop: StopSignals) -> int:
    prepare_output(arguments)
    given, settings = read_command(arguments)

    def work() -> int:
        require("sweep", "a sweep")
        config, space = read_settings(given, settings)
        return sweep(given, config, space, stop, sys.argv[1:] if arguments is None else arguments)

    return explain_errors("sweep.py", work, MLRUNS / "work")


# ---------------------------------------------------------------- the command line


def read_command(arguments: list[str] | None) -> tuple[argparse.Namespace, list[str]]:
    """Read the options of a sweep; the others are settings of train.py, for all trials."""
    parser = Parser(
        prog=usage("sweep"),
        description="Search for better settings. All other options are settings of train.py, for every trial.",
        allow_abbrev=False,
    )
    parser.add_argument("--version", action=ShowVersion, nargs=0, help="print the version")
    parser.add_argument("--space", type=Path, required=True, help="YAML file of the settings to try, with their ranges")
    parser.add_argument("--trials", type=_count, required=True, help="number of trials, over all machines")
    parser.add_argument("--jobs", type=_count, default=1, help="trainings at once on this machine")
    parser.add_argument(
        "--folds", type=_count, default=1, help="trainings per trial, for few pictures: each picture validates once"
    )
    parser.add_argument("--minutes", type=_minutes, default=0.0, help="minutes that the sweep may take on this machine")
    parser.add_argument("--resume", action="store_true", help="continue the sweep of these settings and this space")
    parser.add_argument("--study", help="name of a sweep that several machines share through --storage")
    parser.add_argument("--storage", help="database of that sweep, postgresql://... ; by default a file of the sweep")
    parser.add_argument(
        "--pruner",
        choices=("auto", "hyperband", "wilcoxon", "none"),
        default="auto",
        help="stops trials that fall behind: hyperband by their scores on the way, wilcoxon by pictures, fold by fold",
    )
    parser.add_argument("--seed", type=int, default=0, help="seed of the values that are tried")
    given, settings = parser.parse_known_args(arguments)
    if (given.storage is None) != (given.study is None):
        missing = "--study NAME" if given.study is None else "--storage postgresql://..."
        parser.error(f"--study and --storage belong together; give {missing} too")
    if given.pruner == "auto":
        given.pruner = "hyperband" if given.folds == 1 else "wilcoxon"
    if given.pruner == "wilcoxon" and given.folds == 1:
        parser.error("--pruner wilcoxon compares pictures, fold by fold; give --folds too")
    if given.pruner == "hyperband" and given.folds > 1:
        parser.error("--pruner hyperband compares single trainings; with --folds, give wilcoxon or none")
    return given, settings


def _count(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not possible; give 1 or more")
    return int(text)


def _minutes(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 <= value < float("inf"):
        raise argparse.ArgumentTypeError(f"{text!r} is not possible; give minutes, 0 for no limit")
    return value


def read_settings(given: argparse.Namespace, settings: list[str]) -> tuple[Config, "Space"]:
    """Read the settings of all trials, and the space. Raises InputError."""
    from trainer.cli import read, setting_check
    from trainer.search.space import read_space

    config = read(settings)
    if config.resume != "never":
        raise InputError("resume: --resume of a sweep takes no value; it finds the sweep by its settings")
    if config.tracking.parent is not None:
        raise InputError("tracking.parent: belongs to the trials of a sweep; leave it out")
    if config.train.folds or config.train.seeds > 1:
        raise InputError("train.folds, train.seeds: a sweep trains each trial once, or by its own option --folds K")
    if given.folds > 1 and config.data.fold:
        raise InputError(f"data.fold: {config.data.fold} is one of the folds that --folds trains; leave it out")
    if config.data.val_fraction == 0:
        raise InputError("data.val_fraction: 0 leaves nothing to compare trials by; give a share, such as 0.2")
    return config, read_space(given.space, setting_check())


# ---------------------------------------------------------------- the sweep


def sweep(given: argparse.Namespace, config: Config, space: "Space", stop: StopSignals, arguments: list[str]) -> int:
    """Find or begin the sweep, run its trials and close it; return the exit code."""
    from trainer.search.begin import Order, open_sweep
    from trainer.search.board import Board
    from trainer.search.end import close, unfinished
    from trainer.search.runner import Limits, Runner
    from trainer.search.study import STORAGE_ERRORS
    from trainer.system.terminal import Display
    from trainer.tracking import store
    from trainer.tracking.group import open_group

    display = Display()
    title = data_title(config, display)
    tracked = with_experiment(config, title)
    reachable = store.reachable(config.tracking, display.log)
    kind = {"folds": given.folds, "pruner": given.pruner, "seed": given.seed, "resume": given.resume}
    order = Order(tracked, space, given.space, title, study=given.study, storage=given.storage, **kind)
    folder, study, new = open_sweep(order, MLRUNS / "work")
    words = [word for word in arguments if word != "--resume"]
    again = redact(launcher.from_here([*launcher.own_command("sweep"), *words, "--resume"]))
    if not new and folder.run.finished and len(study.trials()) >= given.trials and not unfinished(study):
        print(f"{folder.path} is finished; nothing is left to do")
        return 0
    run = open_group(folder.run, tracked.tracking, new, reachable, display.log, again)
    stop.defer()
    announce(run, folder, space, given, display, again)
    board = Board(display, given.trials, given.jobs)
    limits = Limits(given.trials, given.jobs, given.folds, given.minutes)
    runner = Runner(study, space, folder, run, config, limits, board, stop.requested)
    problem = ""
    board.start()
    try:
        runner.run_trials()
    except STORAGE_ERRORS as error:
        problem = f"the study's database failed: {redact(str(error).strip().splitlines()[0])}"
    except OSError as error:
        problem = why_not_written(folder.path, error)
    finally:
        board.close()
    return close(runner, display, stop.requested(), again, problem)


def data_title(config: Config, display: "Display") -> str:
    """Name of the data, after a look at its folders. Raises InputError where nothing can be trained or validated."""
    from trainer.data.sources import find_sources

    roots = config.data.roots
    if not roots:
        from trainer.make.synthetic import generated_cats

        roots = [generated_cats(config.data.generated_images, MLRUNS / "cache", display.progress_bar)]
    sources = find_sources(config.data, roots)
    if not sources.split.val:
        raise InputError("data.val_fraction: no picture validates, so trials cannot be compared; give more pictures")
    return sources.title


def with_experiment(config: Config, title: str) -> Config:
    """Settings with the name of an experiment: parent and trials must be in the same one."""
    from trainer.tracking.names import model_name

    if config.tracking.experiment != "auto":
        return config
    return replace(config, tracking=replace(config.tracking, experiment=model_name(title)))


def announce(
    run: "Run", folder: "SweepFolder", space: "Space", given: argparse.Namespace, display: "Display", again: str
) -> None:
    """Print and record what is searched."""
    run.params({"sweep.settings": ", ".join(space.entries)})
    run.tags({"mlflow.source.name": "trainer/sweep.py", "sweep.trials": given.trials})
    run.artifact(folder.run.config)
    run.artifact(folder.space)
    display.log(f"sweep {folder.path.name}: {given.trials} trials of {', '.join(space.entries)}", "bold")
    display.log(f"if it stops, continue with:  {again}", "dim")


if __name__ == "__main__":
    leave(main())
