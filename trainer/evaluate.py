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
from pathlib import Path
from typing import TYPE_CHECKING, Any

from trainer import EXIT_INPUT, InputError
from trainer.config import MLRUNS, TrackingConfig, data_config
from trainer.system import launcher
from trainer.system.atomic import why_not_written
from trainer.system.entry import EXIT_FAILED, is_main_process, leave, run_program
from trainer.system.installation import command, require, usage
from trainer.system.output import Parser, ShowVersion, prepare_output
from trainer.system.signals import StopSignals, exit_code
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
    from trainer.tracking.evaluation import Source
    from trainer.tracking.run import Run

CACHE, EVALUATIONS = MLRUNS / "cache", MLRUNS / "evaluations"

TIMEOUT_MINUTES = 30.0
"""Longest wait of a process for another one, in minutes."""

SILENT_SECONDS = 10.0
"""Time that a process waits for the main one to report the same error, in seconds."""

FLUSH_SECONDS = 120.0
"""Longest wait for the tracking server at the end, in seconds."""

MOST_GALLERY = 50
"""Most images of a gallery."""

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


# ---------------------------------------------------------------- command line


def read_command(arguments: Sequence[str] | None) -> argparse.Namespace:
    """Options of a command line. Exits with 2 where it is wrong."""
    parser = Parser(
        prog=usage("evaluate"),
        description="Evaluate a model on labelled pictures.",
        epilog="Several processes: accelerate launch trainer/evaluate.py ... ; the result is the same.",
    )
    parser.add_argument("--version", action=ShowVersion, nargs=0, help="print the version")
    parser.add_argument(
        "--model", required=True, help="models:/name@alias, models:/name/3, runs:/..., or a model folder"
    )
    parser.add_argument("--per_image", action="store_true", help="print a line for each picture, the worst first")
    parser.add_argument(
        "--gallery", type=_gallery, default=4, metavar="N", help="draw the N worst and the N best pictures (4)"
    )
    parser.add_argument(
        "--output", type=Path, metavar="DIR", help="where the files go too; they are always in mlruns/evaluations/"
    )
    data = parser.add_argument_group("data, as in training")
    data.add_argument("--data.root", "--root", required=True, nargs="+", metavar="DIR", dest="root")
    data.add_argument(
        "--part",
        choices=("all", "train", "val"),
        help="all labelled pictures (the default), or those that train or validate by the folder's lists, or by "
        "data.val_fraction and data.fold; val where one of these is given",
    )
    data.add_argument("--data.val_fraction", "--val_fraction", type=float, dest="val_fraction")
    data.add_argument("--data.fold", "--fold", type=int, dest="fold")
    data.add_argument("--data.layout", "--layout", dest="layout")
    data.add_argument("--data.classes", "--classes", nargs="+", dest="classes")
    data.add_argument("--data.value_map", "--value_map", dest="value_map")
    tracking = parser.add_argument_group("tracking, as in training")
    tracking.add_argument("--tracking.enabled", type=_boolean, dest="enabled", metavar="true|false")
    tracking.add_argument("--tracking.required", type=_boolean, dest="required", metavar="true|false")
    tracking.add_argument(
        "--tracking.experiment", dest="experiment", help="auto: that of the run which trained the model"
    )
    tracking.add_argument("--tracking.run_name", dest="run_name")
    return parser.parse_args(arguments)


def _gallery(text: str) -> int:
    if not (text.isdecimal() and text.isascii() and int(text) <= MOST_GALLERY):
        raise argparse.ArgumentTypeError(f"{text} is not possible; give 0 to {MOST_GALLERY}")
    return int(text)


def _boolean(text: str) -> bool:
    if text.lower() not in ("true", "false"):
        raise argparse.ArgumentTypeError(f"{text} is not possible; give true or false")
    return text.lower() == "true"


def _given(options: argparse.Namespace, *keys: str) -> dict[str, Any]:
    return {key: value for key in keys if (value := getattr(options, key)) is not None}


# ---------------------------------------------------------------- evaluation


def evaluate(options: argparse.Namespace, stop: StopSignals) -> int:
    """Check everything, count, and record; return the exit code."""
    began_ms = time.time_ns() // 1_000_000
    config = data_config(**_given(options, "root", "val_fraction", "fold", "layout", "classes", "value_map"))
    tracking = TrackingConfig(**_given(options, "enabled", "required", "experiment", "run_name"))
    display = Display(quiet=not is_main_process())
    part = options.part or ("val" if _given(options, "val_fraction", "fold") else "all")
    sources, rows = find_rows(config, part)
    if is_main_process():
        check_output(EVALUATIONS)
        if options.output:
            check_output(options.output)

    # From here on, torch: unsound options and folders end before.
    from trainer.engine.distributed import accelerator as hardware
    from trainer.engine.distributed.failure import find_cause
    from trainer.engine.evaluate import EvaluationStopped

    accelerator = hardware.join_processes("no", 1, TIMEOUT_MINUTES)
    try:
        return _evaluate(options, stop, accelerator, display, tracking, sources, rows, part, began_ms)
    except (InputError, KeyboardInterrupt):
        raise
    except EvaluationStopped:
        display.close()
        if is_main_process():
            print("evaluate.py: stopped; nothing is recorded", file=sys.stderr)
        return exit_code(stop.number) if stop.requested() else EXIT_FAILED
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

    return take_rows(find_sources(config, divide=part != "all"), part)


def check_output(folder: Path) -> None:
    """Make a folder for results. Raises InputError where that is not possible, before any work."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        tempfile.TemporaryFile(dir=folder).close()
    except OSError as error:
        raise InputError(f"{folder}: cannot be written ({error.strerror}); give another --output") from error


def _evaluate(
    options: argparse.Namespace,
    stop: StopSignals,
    accelerator: "Accelerator",
    display: Display,
    tracking: TrackingConfig,
    sources: "Sources",
    rows: list[int],
    part: str,
    began_ms: int,
) -> int:
    from trainer.data.evaluation_set import open_evaluation_set
    from trainer.engine.distributed.collectives import gather
    from trainer.engine.score_images import score_images
    from trainer.system.cpus import usable_cpus

    model, source, reachable = load(options.model, tracking, display)
    segmenter, contract = model.segmenter, model.segmenter.contract
    seen = contract.shown, contract.range_of_levels, contract.class_names
    data = open_evaluation_set(sources, rows, *seen, CACHE, display.progress_bar)
    for note in data.notes:
        display.log(f"warning: {note}", "yellow")
    segmenter.to(accelerator.device)
    stop.defer()
    tally = score_images(
        segmenter,
        data.images,
        max(1, usable_cpus() // int(os.environ.get("LOCAL_WORLD_SIZE", "1"))),
        accelerator.process_index,
        accelerator.num_processes,
        gather,
        display.progress_bar("evaluating", len(rows)),
        stop.requested,
    )
    display.close()
    code = 0
    if source is not None:  # the main process
        stop.interrupt_again()
        card = make_card(tally, data, segmenter, source)
        run = record(options, card, data, segmenter, source, tracking, reachable, part, began_ms, display)
        code = conclude(options, card, run, display)
    accelerator.wait_for_everyone()
    return code


def load(uri: str, tracking: TrackingConfig, display: Display) -> "tuple[Model, Source | None, bool]":
    """Load the model on all processes, the version that the main one finds.

    Returns also, on the main process, where it is from, and whether the store takes a run. A collective.
    """
    from trainer.engine.distributed.collectives import broadcast
    from trainer.tracking.evaluation import check_store, find_source
    from trainer.tracking.load import load_model

    model, source, reachable = None, None, False
    found: tuple[str, InputError | None] | None = None
    if is_main_process():
        try:
            reachable = check_store(tracking, lambda text: display.log(f"warning: {text}", "yellow"))
            model = load_model(uri)
            source = find_source(model.origin, reachable)
            display.log("  ".join(f"{key} {value}" for key, value in source.origin.items() if value))
            found = source.uri, None
        except InputError as error:
            found = uri, error
    exact, refusal = broadcast(found)
    if refusal is not None:
        raise refusal
    return model or load_model(exact), source, reachable


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
    options: argparse.Namespace,
    card: "Scorecard",
    data: "EvaluationSet",
    segmenter: "Segmenter",
    source: "Source",
    tracking: TrackingConfig,
    reachable: bool,
    part: str,
    began_ms: int,
    display: Display,
) -> "Run":
    """Write all files, and record them in a run of their own."""
    from trainer.engine.evaluation_files import draw_figures, draw_galleries, record_results
    from trainer.system.provenance import versions
    from trainer.tracking.description import describe_evaluation
    from trainer.tracking.evaluation import describe_source, open_evaluation
    from trainer.tracking.names import NOTE

    run = open_evaluation(EVALUATIONS, tracking, source, data.title, began_ms)
    facts = {"evaluation.images": len(card.table.images), "evaluation.part": part}
    facts |= {} if card.trained is None else {"evaluation.trained_images": card.trained}
    link = describe_source(run, source, data.title, data.digest, facts | versions())
    about = {"model_uri": source.uri, "data": data.title, "part": part, "dataset_digest": data.digest}
    record_results(run, card, about, 0, link)
    folder = run.folder.evaluation
    files = draw_galleries(folder, card, segmenter, data.images, options.gallery)
    files += draw_figures(folder, card, lambda text: display.log(f"warning: {text}", "yellow"))
    for file in files:
        run.artifact(file, folder.name)
    run.tags({NOTE: describe_evaluation(card, source.uri, data.title, data.digest, options.root)})
    run.end("FINISHED")
    run.status("finished", exit_code=0)
    if options.output:
        for file in sorted(folder.iterdir()):
            shutil.copy(file, options.output / file.name)
    return run


def conclude(options: argparse.Namespace, card: "Scorecard", run: "Run", display: Display) -> int:
    """Print the scores and where everything is, and send the run; return the exit code."""
    from trainer.tracking.store import ui_command

    log = display.log
    sent = run.flush(FLUSH_SECONDS)
    run.close()
    run.status("finished", exit_code=0)
    print_table(card.class_rows()[:MOST_SHOWN], ("class", "iou", "dice", "precision", "recall", "boundary_f1"), display)
    if options.per_image:
        log("")
        keys = ("image", "iou", "dice", "precision", "recall", "boundary_f1")
        print_table([card.images[place] for place in card.order], keys, display)
    log(card.sentence(), "bold")
    if card.scores.absent:
        log(f"{', '.join(map(one_line, card.scores.absent))}: not in these masks, and not in the mean", "yellow")
    if card.calibration_error is not None:
        log(f"confidence: off by {card.calibration_error:.3f} on average")
    log(describe_training_images(card))
    log(f"files: {options.output or run.folder.evaluation}")
    if run.tracked:
        if not sent:
            log(f"the run is not sent yet ({run.last_error or 'no answer in time'}). Complete this with", "yellow")
            log(f"  {command('sync')} {quote(run.folder)}", "yellow")
        info = run.folder.read_run()
        log(f"look at run {info['run_name']} in experiment {info['experiment']}:  {ui_command()}", "bold")
    return 0


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
