"""Evaluate a model on labelled images: scores with intervals, curves, calibration, the worst and the best images.

python trainer/evaluate.py --model models:/cat-unet@champion --data.root DIR [--per_image] [--output DIR]
accelerate launch trainer/evaluate.py ... shares the images among several processes; the result is the same.
"""

if __name__ == "__main__":
    import signal

    signal.signal(signal.SIGINT, signal.SIG_DFL)  # ends without a traceback, until the next import is done
    from trainer.system.entry import guard_imports

    guard_imports("evaluate.py")

import argparse
import functools
import os
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from trainer import EXIT_INPUT, InputError
from trainer.config import MLRUNS, TrackingConfig, data_config
from trainer.engine.evaluation_command import EVALUATIONS, FILES, SUMMARY, Work, given, read_command
from trainer.system import launcher
from trainer.system.atomic import why_not_written
from trainer.system.entry import EXIT_FAILED, is_main_process, leave, run_program
from trainer.system.installation import require
from trainer.system.output import prepare_output
from trainer.system.run_folder import read_object
from trainer.system.signals import EXIT_STOPPED, StopSignals, exit_code
from trainer.system.terminal import Display

if TYPE_CHECKING:
    from trainer.config import DataConfig
    from trainer.data.sources import Sources

TIMEOUT_MINUTES = 30.0
"""Longest wait of a process for another one, in minutes."""

SILENT_SECONDS = 10.0
"""Time that a process waits for the main one to report the same error, in seconds."""


def main(arguments: list[str] | None = None) -> int:
    """Return the exit code: 0 done, 1 failed while working, 2 wrong usage, model or data, 130 or 143 stopped."""
    return run_program("evaluate.py", functools.partial(_main, arguments))


def _main(arguments: list[str] | None, stop: StopSignals) -> int:
    prepare_output(arguments)
    options = read_command(arguments)
    try:
        require("train", "evaluation")
        launcher.stop_with_launcher(stop)
        return evaluate(options, stop)
    except InputError as error:
        return _refuse(f"{error}", EXIT_INPUT, stop)
    except OSError as error:
        return _refuse(why_not_written(Path(error.filename or MLRUNS), error), EXIT_FAILED, stop)


def _refuse(text: str, code: int, stop: StopSignals) -> int:
    """Print an error once, whichever processes have found it; return `code`."""
    if is_main_process() or not stop.wait(SILENT_SECONDS):
        print(f"evaluate.py: {text}", file=sys.stderr)
    return code


def evaluate(options: argparse.Namespace, stop: StopSignals) -> int:
    """Check everything, count, and record; return the exit code."""
    began_ms = time.time_ns() // 1_000_000
    config = data_config(**given(options, "root", "val_fraction", "fold", "layout", "classes", "value_map"))
    tracking = TrackingConfig(**given(options, "enabled", "required", "experiment", "run_name"))
    part = options.part or ("val" if given(options, "val_fraction", "fold") else "all")
    sources, rows = find_rows(config, part)
    if is_main_process():
        if options.output:
            check_free(options.output, config.roots)
        for folder in filter(None, (EVALUATIONS, options.output)):
            check_output(folder)
    display = Display(quiet=not is_main_process())
    work = Work(options, tracking, stop, display, sources, part, rows, began_ms)

    # From here on, torch: unsound options and folders end before.
    from trainer.engine.distributed import accelerator as hardware
    from trainer.engine.distributed.failure import find_cause
    from trainer.engine.evaluate import EvaluationStopped
    from trainer.engine.evaluation_run import evaluate_model

    accelerator = hardware.join_processes("no", 1, TIMEOUT_MINUTES)
    try:
        return evaluate_model(work, accelerator)
    except (InputError, KeyboardInterrupt):
        raise
    except EvaluationStopped:
        display.close()
        if is_main_process():
            print("evaluate.py: stopped; nothing is recorded", file=sys.stderr)
        return exit_code(stop.number) if stop.requested() else EXIT_STOPPED
    except Exception as error:
        cause = find_cause(accelerator, error)
        if not cause.explained and not isinstance(error, OSError):
            raise
        return _refuse(cause.reason, EXIT_FAILED, stop)
    finally:
        accelerator.end_training()


def find_rows(config: "DataConfig", part: str) -> "tuple[Sources, list[int]]":
    """Find the samples of the data, and which of them are evaluated."""
    from trainer.data.evaluation_set import take_rows
    from trainer.data.sources import find_sources

    return take_rows(find_sources(config, validate_all=part == "all"), part)


def check_free(folder: Path, roots: Sequence[Path]) -> None:
    """Check that no file of a person would be replaced in `folder`, and that it lies outside of the data `roots`.

    Raises InputError otherwise. The files of an earlier evaluation may be replaced.
    """
    for root in roots:
        if Path(os.path.realpath(folder)).is_relative_to(os.path.realpath(root)):
            raise InputError(
                f"--output {folder}: in the data folder {root}, where the results could be taken for data; give a "
                "folder outside of it"
            )
    found = [name for name in FILES if os.path.lexists(folder / name)]
    if found and not {"class_names", "digest", "miou"} <= read_object(folder / SUMMARY).keys():
        raise InputError(
            f"--output {folder}: holds {found[0]}, which no evaluation has written and which would be replaced; give "
            "another folder"
        )


def check_output(folder: Path) -> None:
    """Make a folder for results. Raises InputError where that is not possible, before any work."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        tempfile.TemporaryFile(dir=folder).close()
    except OSError as error:
        raise InputError(f"{folder}: cannot be written ({error.strerror}); give another --output") from error


if __name__ == "__main__":
    leave(main())
