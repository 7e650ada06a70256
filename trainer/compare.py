"""Compare runs and models: settings, scores on the same images with their doubt, curves and pictures in one HTML file.

python trainer/compare.py RUN|models:/... [RUN ...] [--output compare.html]
python trainer/compare.py --experiment cats --top 5
python trainer/compare.py models:/cats@champion models:/cats/7 --data.root HOLDOUT
"""

if __name__ == "__main__":
    import signal

    signal.signal(signal.SIGINT, signal.SIG_DFL)  # ends without a traceback, until the next import is done
    from trainer.system.entry import guard_imports

    guard_imports("compare.py")

import argparse
import functools
import json
import math
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from trainer import InputError, redact
from trainer.system.atomic import write_text
from trainer.system.command import explain_errors
from trainer.system.entry import leave, run_program
from trainer.system.installation import command, require, usage
from trainer.system.output import Parser, ShowVersion, prepare_output
from trainer.system.signals import StopSignals
from trainer.system.text import join, show

if TYPE_CHECKING:
    from trainer.engine.score_folder import FolderScores
    from trainer.model.ranking import Ranking
    from trainer.model.score_table import ScoreTable
    from trainer.system.terminal import Display
    from trainer.tracking.run_finder import Finder
    from trainer.tracking.run_reader import ComparedRun

SHEET = Path("compare.html")
"""File of the sheet where no other is named."""

DATA_KEYS = ("root", "layout", "classes", "value_map")
"""Settings of the data that apply to --data.root."""

MOST_RUNS = 12
"""Runs side by side that a person can still read."""


def main(arguments: list[str] | None = None) -> int:
    """Return the exit code: 0 done, 1 the file cannot be written, 2 wrong usage or nothing comparable, 130 or 143
    stopped."""
    return run_program("compare.py", functools.partial(_main, arguments), prints_results=True)


def _main(arguments: list[str] | None, stop: StopSignals) -> int:
    prepare_output(arguments)
    options = read_command(arguments)
    return explain_errors("compare.py", functools.partial(compare, options, stop), options.output)


def read_command(arguments: list[str] | None) -> argparse.Namespace:
    """Options of a command line. Exits with 2 where it is wrong."""
    parser = Parser(
        prog=usage("compare"),
        description="Compare runs and models on the same images, each difference with its 95 % interval.",
    )
    parser.add_argument("--version", action=ShowVersion, nargs=0, help="print the version")
    parser.add_argument(
        *("runs",),
        nargs="*",
        metavar="RUN",
        help="id or name of a run, run folder, or address of a model (models:/name@alias, models:/name/3); the others "
        "are compared with the first",
    )
    parser.add_argument("--experiment", metavar="NAME", help="compare the best runs of an experiment, best first")
    parser.add_argument("--top", type=int, default=5, metavar="N", help=f"how many of them, 1 to {MOST_RUNS} (5)")
    parser.add_argument(
        "--data.root",
        dest="root",
        nargs="+",
        metavar="DIR",
        help="score all models again, on these labelled pictures instead of those that validated them",
    )
    for key in DATA_KEYS[1:]:
        count = "+" if key == "classes" else None
        parser.add_argument(f"--data.{key}", dest=key, nargs=count, help=f"with --data.root, as data.{key} in training")
    parser.add_argument("--output", type=Path, default=SHEET, metavar="FILE", help=f"HTML file to write ({SHEET})")
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write the numbers as JSON")
    parser.add_argument("--no_artifact", action="store_true", help="do not add the file to the runs in MLflow")
    options = parser.parse_args(arguments)
    if not options.runs and options.experiment is None:
        parser.error("name the runs to compare, or --experiment NAME")
    if not 1 <= options.top <= MOST_RUNS:
        parser.error(f"--top: {options.top} is not possible; give 1 to {MOST_RUNS}")
    if len(options.runs) > MOST_RUNS:
        parser.error(f"{len(options.runs)} runs do not fit side by side; name at most {MOST_RUNS}")
    return options


def compare(options: argparse.Namespace, stop: StopSignals) -> int:
    """Find the runs, rank them, write the sheet, and print the outcome; return the exit code."""
    check_files(options)
    from trainer.system.terminal import Display
    from trainer.tracking.run_finder import Finder

    display, finder = Display(), Finder()
    runs, notes = find_runs(options, finder)
    from trainer.model.ranking import OtherClassesError

    ranking, refusal, scored = None, "", None
    try:
        scored = score_anew(options, runs, display, stop) if options.root else None
        tables = scored.tables if scored else {run.name: run.table for run in runs if run.table is not None}
        ranking = rank_tables(options, tables) if tables else None
    except OtherClassesError as error:
        refusal = str(error)
    from trainer.drawing.sheet import render
    from trainer.tracking.comparison import describe_comparison, watched_images

    notes = [*notes, *finder.warnings, *(scored.notes if scored else ())]
    content = describe_comparison(runs, ranking, refusal, notes, " and ".join(options.root or ()))
    differing = scored.draw([(one["hash"], one["image"]) for one in content["disagreements"]]) if scored else {}
    html = render(content, watched_images(runs), differing)
    write_text(options.output, html)
    if options.json:
        write_text(options.json, json.dumps(content, indent=1) + "\n")
    show_outcome(content, display)
    display.log(f"{options.output.absolute()}  {len(html) / 1e6:.1f} MB")
    if not options.no_artifact:
        add_to_runs(finder, runs, html, display)
    return 0


def check_files(options: argparse.Namespace) -> None:
    """Raise InputError, before any work, where a file to be written cannot be."""
    for name, file in (("--output", options.output), ("--json", options.json)):
        if file is None:
            continue
        if file.is_dir():
            raise InputError(f"{name} {show(file)}: is a folder; give a file, such as {show(file / SHEET.name)}")
        try:
            tempfile.TemporaryFile(dir=file.parent).close()
        except OSError as error:
            raise InputError(f"{name} {show(file)}: cannot be written ({error.strerror}); give another file") from error


def find_runs(options: argparse.Namespace, finder: "Finder") -> "tuple[list[ComparedRun], list[str]]":
    """Runs that were asked for, in that order, each once; and sentences about what was left out."""
    from trainer.tracking.run_finder import unique_runs

    found = [finder.find(text) for text in options.runs]
    if options.experiment is not None:
        found += finder.experiment(options.experiment, options.top)
    runs, notes = unique_runs(found)
    if len(runs) > MOST_RUNS:
        raise InputError(f"{len(runs)} runs do not fit side by side; name at most {MOST_RUNS}, or a smaller --top")
    return runs, notes


def score_anew(
    options: argparse.Namespace, runs: "Sequence[ComparedRun]", display: "Display", stop: StopSignals
) -> "FolderScores":
    """Score all models on the labelled pictures of --data.root. No run is opened for that.

    Raises OtherClassesError where the models know other classes, InputError where a model cannot be loaded or the
    folder does not fit the models.
    """
    require("train", "scoring models")
    from trainer.config import MLRUNS, data_config

    config = data_config(**{key: value for key in DATA_KEYS if (value := getattr(options, key)) is not None})
    from trainer.engine.score_folder import open_labelled, score_on
    from trainer.model.ranking import require_same_classes
    from trainer.tracking.load import load_model

    models, problems = {}, []
    for run in runs:
        try:
            if run.model:
                models[run.name] = load_model(run.model)
        except InputError as error:  # of a run that failed, say: the others can be compared
            problems.append(f"{show(run.name)} is not scored: {error}")
    if not models:
        names = ", ".join(show(run.name) for run in runs)
        raise InputError("\n".join(problems) or f"--data.root: {names}: no model to score")
    require_same_classes({name: model.segmenter.contract.class_names for name, model in models.items()})
    data = open_labelled(config, models, MLRUNS / "cache", display.progress_bar)
    stop.defer()
    advance = display.progress_bar("scoring models", len(models) * len(data.images.samples))
    scored = score_on(data.images, models, stop.requested, advance)
    stop.interrupt_again()
    return replace(scored, notes=(*problems, *data.notes, *training_notes(scored)))


def training_notes(scored: "FolderScores") -> list[str]:
    """Sentences on models that were trained on images that they are scored on, or may have been."""
    from trainer.tracking.evaluation import find_source

    notes, unknown = [], []
    for name, model in scored.models.items():
        trained_on = find_source(model.origin, bool({"version", "run_id"} & model.origin.keys())).trained_on
        images = scored.tables[name].images
        count = sum(image.image in (trained_on or ()) for image in images)
        if trained_on is None:
            unknown.append(show(name))
        elif count:
            notes.append(f"{show(name)} was trained on {count} of these {len(images)} images: it has an advantage")
    if unknown:
        notes.append(f"whether some of these images were trained on is not known of {', '.join(unknown)}")
    return notes


def rank_tables(options: argparse.Namespace, tables: "Mapping[str, ScoreTable]") -> "Ranking":
    """Rank the models that have a table of scores.

    Raises OtherClassesError where they know other classes, and InputError, with the command that helps, where they were
    scored on different images.
    """
    from trainer.model.ranking import TooFewCommonError, rank

    try:
        return rank(tables)
    except TooFewCommonError as error:
        words = join([*options.runs, *(["--experiment", options.experiment] if options.experiment else [])])
        raise InputError(
            f"{error}. Score them anew on labelled pictures that none of them was trained on: "
            f"{command('compare')} {words} --data.root DIR"
        ) from error


def show_outcome(content: dict[str, Any], display: "Display") -> None:
    """Print the sentences, the scores, and the settings that differ."""
    from trainer.model.comparison import Interval

    for sentence in content["verdict"]:
        display.log(sentence, "bold")
    for note in content["notes"]:
        display.log(f"note: {note}", "yellow")
    if content["pairs"]:
        ranked = sorted((run for run in content["runs"] if "rank" in run), key=lambda run: run["rank"])
        width = max(len(show(run["name"], 40)) for run in ranked)
        for run in ranked:
            score = Interval(**{key: math.nan if value is None else value for key, value in run["miou"].items()})
            display.log(f"  {run['rank']:>2}  {show(run['name'], 40):{width}}  {score}")
    for row in settings_rows(content):
        display.log(f"  {row}")


def settings_rows(content: Mapping[str, Any]) -> list[str]:
    """Lines of the settings that differ: a column for each run, below its rank or, where it has none, its name."""
    runs, settings = content["runs"], content["settings"]
    if not settings:
        return []
    order = sorted(range(len(runs)), key=lambda place: runs[place].get("rank", len(runs) + place))
    heads = [f"{run['rank']}" if content["pairs"] and "rank" in run else show(run["name"], 40) for run in runs]
    rows = [["", *(heads[place] for place in order)]]
    rows += [[key, *(show(values[place], 40) for place in order)] for key, values in settings.items()]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return ["  ".join(f"{cell:{width}}" for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]


def add_to_runs(finder: "Finder", runs: "Sequence[ComparedRun]", html: str, display: "Display") -> None:
    """Add the sheet to each run in MLflow. Where that fails, it is said; the file is there."""
    from trainer.tracking.errors import in_words
    from trainer.tracking.run_reader import log_sheet

    wanted = [run for run in runs if run.run_id]
    added, failed = 0, ""
    for run in wanted:
        try:
            client = finder.client
        except InputError as error:
            failed = str(error)
            break
        try:
            log_sheet(client, run.run_id, html)
            added += 1
        except Exception as error:  # of MLflow, the network, or the store that keeps the files
            failed = redact(in_words(error))
    if added:
        display.log(f"added to {added} of {len(runs)} runs in MLflow as comparison/{SHEET.name}")
    if failed:
        display.log(f"warning: not added to {len(wanted) - added} of {len(runs)} runs in MLflow: {failed}", "yellow")


if __name__ == "__main__":
    leave(main())
