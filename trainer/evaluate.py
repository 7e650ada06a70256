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
import shutil
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from trainer import EXIT_INPUT, InputError
from trainer.config import MLRUNS, TrackingConfig, data_config
from trainer.engine.evaluation_command import given, read_command
from trainer.system import launcher
from trainer.system.atomic import why_not_written
from trainer.system.entry import EXIT_FAILED, is_main_process, leave, run_program
from trainer.system.installation import command, require
from trainer.system.output import prepare_output
from trainer.system.signals import EXIT_STOPPED, StopSignals, exit_code
from trainer.system.terminal import Display
from trainer.system.text import one_line, quote, show

if TYPE_CHECKING:
    from trainer.config import DataConfig
    from trainer.data.evaluation_set import EvaluationSet
    from trainer.data.sources import Sources
    from trainer.engine.distributed.accelerator import Accelerator
    from trainer.inference.model import Model
    from trainer.model.scorecard import Row, Scorecard
    from trainer.model.segmenter import Segmenter
    from trainer.system.run_folder import RunFolder
    from trainer.tracking.evaluation import Source

CACHE, EVALUATIONS = MLRUNS / "cache", MLRUNS / "evaluations"

TIMEOUT_MINUTES = 30.0
"""Longest wait of a process for another one, in minutes."""

SILENT_SECONDS = 10.0
"""Time that a process waits for the main one to report the same error, in seconds."""

FLUSH_SECONDS = 120.0
"""Longest wait for the tracking server at the end, in seconds."""

MOST_SHOWN = 20
"""Classes that are printed; the files have all."""


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


# ---------------------------------------------------------------- evaluation


@dataclass(frozen=True)
class Work:
    """A call, checked as far as that takes no image and no model."""

    options: argparse.Namespace
    tracking: TrackingConfig
    stop: StopSignals
    display: Display
    sources: "Sources"
    part: str
    rows: list[int]
    """Rows of the samples of that part."""

    began_ms: int
    """Time at which the program began."""

    def warn(self, text: str) -> None:
        """Print a warning."""
        self.display.log(f"warning: {text}", "yellow")


def evaluate(options: argparse.Namespace, stop: StopSignals) -> int:
    """Check everything, count, and record; return the exit code."""
    began_ms = time.time_ns() // 1_000_000
    config = data_config(**given(options, "root", "val_fraction", "fold", "layout", "classes", "value_map"))
    tracking = TrackingConfig(**given(options, "enabled", "required", "experiment", "run_name"))
    part = options.part or ("val" if given(options, "val_fraction", "fold") else "all")
    sources, rows = find_rows(config, part)
    if is_main_process():
        for folder in filter(None, (EVALUATIONS, options.output)):
            check_output(folder)
    display = Display(quiet=not is_main_process())
    work = Work(options, tracking, stop, display, sources, part, rows, began_ms)

    # From here on, torch: unsound options and folders end before.
    from trainer.engine.distributed import accelerator as hardware
    from trainer.engine.distributed.failure import find_cause
    from trainer.engine.evaluate import EvaluationStopped

    accelerator = hardware.join_processes("no", 1, TIMEOUT_MINUTES)
    try:
        return _evaluate(work, accelerator)
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


def check_output(folder: Path) -> None:
    """Make a folder for results. Raises InputError where that is not possible, before any work."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        tempfile.TemporaryFile(dir=folder).close()
    except OSError as error:
        raise InputError(f"{folder}: cannot be written ({error.strerror}); give another --output") from error


def _evaluate(work: Work, accelerator: "Accelerator") -> int:
    from trainer.data.evaluation_set import open_evaluation_set
    from trainer.engine.distributed.collectives import gather
    from trainer.engine.score_images import score_images
    from trainer.system.cpus import usable_cpus

    display, stop = work.display, work.stop
    model, source = load(work)
    segmenter, contract = model.segmenter, model.segmenter.contract
    seen = contract.shown, contract.range_of_levels, contract.class_names
    data = open_evaluation_set(work.sources, work.rows, *seen, CACHE, display.progress_bar)
    for note in data.notes:
        work.warn(note)
    segmenter.to(accelerator.device)
    stop.defer()
    tally = score_images(
        segmenter,
        data.images,
        max(1, usable_cpus() // int(os.environ.get("LOCAL_WORLD_SIZE", "1"))),
        accelerator.process_index,
        accelerator.num_processes,
        gather,
        display.progress_bar("evaluating", len(work.rows)),
        stop.requested,
    )
    display.close()
    code = 0
    if source is not None:  # the main process
        stop.interrupt_again()
        card = make_card(tally, data, segmenter, source)
        code = conclude(work, card, record(work, card, data, segmenter, source))
    accelerator.wait_for_everyone()
    return code


def load(work: Work) -> "tuple[Model, Source | None]":
    """Load the model on all processes, in the version that the main one finds.

    Returns also, on the main process, where it is from. A collective.
    """
    from trainer.engine.distributed.collectives import broadcast
    from trainer.tracking.evaluation import check_right, check_store, find_source
    from trainer.tracking.load import load_model

    model, source = None, None
    found: tuple[str, InputError | None] | None = None
    if is_main_process():
        try:
            reachable = check_store(work.tracking, work.warn)
            model = load_model(work.options.model)
            source = find_source(model.origin, reachable)
            if reachable:
                source = check_right(work.tracking, source, work.sources.title, work.warn)
            work.display.log("  ".join(f"{key} {value}" for key, value in source.origin.items() if value))
            found = source.uri, None
        except InputError as error:
            found = "", error
    exact, refusal = broadcast(found)
    if refusal is not None:
        raise refusal
    return model or load_model(exact), source


def make_card(tally: Any, data: "EvaluationSet", segmenter: "Segmenter", source: "Source") -> "Scorecard":
    """Scores of what was counted."""
    from trainer.engine.evaluate import score_table
    from trainer.model.scorecard import Scorecard

    contract = segmenter.contract
    known = {key: source.origin.get(key, "") for key in ("uid", "run_id", "name", "version")}
    model = {key: value for key, value in known.items() if value} | {"dataset_digest": contract.dataset_digest}
    table = score_table(tally, data.images, contract.class_names, model)
    return Scorecard(table, tally, contract.threshold if contract.channels == 1 else None, source.trained_on)


# ---------------------------------------------------------------- results


def record(
    work: Work, card: "Scorecard", data: "EvaluationSet", segmenter: "Segmenter", source: "Source"
) -> "RunFolder":
    """Write all files, and the record of a run, into a new folder; where that is cut short, nothing of it stays."""
    from trainer.engine.evaluation_files import draw_figures, draw_galleries, record_results
    from trainer.system.provenance import versions
    from trainer.tracking.description import describe_evaluation
    from trainer.tracking.evaluation import describe_source, open_evaluation
    from trainer.tracking.names import NOTE

    options = work.options
    run = open_evaluation(EVALUATIONS, work.tracking, source, data.title, work.began_ms)
    try:
        facts = {"evaluation.images": len(card.table.images), "evaluation.part": work.part}
        facts |= {} if card.trained is None else {"evaluation.trained_images": card.trained}
        link = describe_source(run, source, data.title, data.digest, facts | versions())
        about = {"model_uri": source.uri, "data": data.title, "part": work.part, "dataset_digest": data.digest}
        record_results(run, card, about, 0, link)
        folder = run.folder.evaluation
        files = draw_galleries(folder, card, segmenter, data.images, options.gallery)
        files += draw_figures(folder, card, work.warn)
        for file in files:
            run.artifact(file, folder.name)
        run.tags({NOTE: describe_evaluation(card, source.uri, data.title, data.digest, options.root)})
        run.end("FINISHED")
        run.close()
        run.status("finished", exit_code=0)
    except BaseException:
        shutil.rmtree(run.folder.path, ignore_errors=True)
        raise
    return run.folder


def conclude(work: Work, card: "Scorecard", folder: "RunFolder") -> int:
    """Send the run and copy the files; print the scores, and where everything is. Returns the exit code."""
    log, options = work.display.log, work.options
    keys = ("iou", "dice", "precision", "recall", "boundary_f1")
    print_table(card.class_rows()[:MOST_SHOWN], ("class", *keys), work.display)
    if options.per_image:
        print_table([card.images[place] for place in card.order], ("image", *keys), work.display)
    log(card.sentence(), "bold")
    if card.scores.absent:
        log(f"{', '.join(map(one_line, card.scores.absent))}: not in these masks, and not in the mean", "yellow")
    if card.calibration_error is not None:
        log(f"confidence: off by {card.calibration_error:.3f} on average")
    log(describe_training_images(card))
    code = 0
    if options.output:
        try:
            for file in sorted(folder.evaluation.iterdir()):
                shutil.copyfile(file, options.output / file.name)
        except OSError as error:
            code = _refuse(f"--output: {why_not_written(options.output, error)}", EXIT_FAILED, work.stop)
    log(f"files: {folder.evaluation if code or not options.output else options.output}")
    if work.tracking.enabled:
        send(folder, work.display)
    return code


def send(folder: "RunFolder", display: Display) -> None:
    """Send the run to the store, and print where to look at it; or how to send it later."""
    from trainer.tracking.run import Run
    from trainer.tracking.store import ui_command

    run = Run(folder, None, tracked=True)
    sent = run.flush(FLUSH_SECONDS)
    run.status("finished", exit_code=0)
    run.close()
    if not sent:
        display.log(f"the run is not sent yet ({run.last_error or 'no answer in time'}). Complete this with", "yellow")
        display.log(f"  {command('sync')} {quote(folder)}", "yellow")
    info = folder.read_run()
    display.log(f"look at run {info['run_name']} in experiment {info['experiment']}:  {ui_command()}", "bold")


def describe_training_images(card: "Scorecard") -> str:
    """Sentence about the images that have trained the model."""
    count = card.trained
    if count is None:
        return "whether these pictures have trained the model is not known"
    if not count:
        return "none of these pictures has trained the model"
    return f"{count} of {len(card.table.images)} pictures have trained the model: the score says little about others"


def print_table(rows: "Sequence[Row]", keys: Sequence[str], display: Display) -> None:
    """Print rows with a first column of names and others of numbers."""
    names = [show(row[keys[0]], 40) for row in rows]
    width = max([len(keys[0]), *map(len, names)])
    display.log(keys[0].ljust(width) + "".join(key.rjust(13) for key in keys[1:]), "bold")
    for name, row in zip(names, rows, strict=True):
        cells = ["-" if row[key] is None else f"{row[key]:.4f}" for key in keys[1:]]
        display.log(name.ljust(width) + "".join(cell.rjust(13) for cell in cells))


if __name__ == "__main__":
    leave(main())
