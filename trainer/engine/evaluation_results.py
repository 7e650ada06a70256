"""Results of an evaluation of its own, `evaluate.py`: files, a run of kind evaluation, and what is printed."""

import shutil
import sys
from collections.abc import Sequence

from trainer.data.evaluation_set import EvaluationSet
from trainer.engine.evaluation_command import EVALUATIONS, SUMMARY, Work
from trainer.engine.evaluation_files import draw_figures, draw_galleries, record_results
from trainer.model.scorecard import Row, Scorecard
from trainer.model.segmenter import Segmenter
from trainer.system.atomic import why_not_written
from trainer.system.entry import EXIT_FAILED
from trainer.system.installation import command
from trainer.system.provenance import versions
from trainer.system.run_folder import RunFolder
from trainer.system.terminal import Display
from trainer.system.text import one_line, quote, show
from trainer.tracking.description import describe_evaluation
from trainer.tracking.evaluation import Source, describe_source, open_evaluation
from trainer.tracking.names import NOTE
from trainer.tracking.run import Run
from trainer.tracking.store import ui_command

FLUSH_SECONDS = 120.0
"""Longest wait for the tracking server at the end, in seconds."""

MOST_SHOWN = 20
"""Classes that are printed; the files have all."""


def record(work: Work, card: Scorecard, data: EvaluationSet, segmenter: Segmenter, source: Source) -> RunFolder:
    """Write all files, and the record of a run, into a new folder; where that is cut short, nothing of it stays."""
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


def conclude(work: Work, card: Scorecard, folder: RunFolder) -> int:
    """Send the run and copy the files; print the scores, and where everything is. Returns the exit code."""
    log, options = work.display.log, work.options
    keys = ("iou", "dice", "precision", "recall", "boundary_f1")
    print_table(card.class_rows()[:MOST_SHOWN], ("class", *keys), work.display)
    if options.per_image:
        print_table([card.images[place] for place in card.order], ("image", *keys), work.display)
    log(card.sentence(), "bold")
    if doubt := card.warning():
        log(f"warning: {doubt}", "yellow")
    if card.scores.absent:
        log(f"{', '.join(map(one_line, card.scores.absent))}: not in these masks, and not in the mean", "yellow")
    if card.calibration_error is not None:
        log(f"confidence: off by {card.calibration_error:.3f} on average")
    log(describe_training_images(card))
    code = 0
    if options.output:
        try:
            # The summary first: by it, the next call knows an output that is cut short for one that it may replace.
            for file in sorted(folder.evaluation.iterdir(), key=lambda file: (file.name != SUMMARY, file.name)):
                shutil.copyfile(file, options.output / file.name)
        except OSError as error:
            print(f"evaluate.py: --output: {why_not_written(options.output, error)}", file=sys.stderr)
            code = EXIT_FAILED
    log(f"files: {folder.evaluation if code or not options.output else options.output}")
    if work.tracking.enabled:
        send(folder, work.display)
    return code


def send(folder: RunFolder, display: Display) -> None:
    """Send the run to the store, and print where to look at it; or how to send it later."""
    run = Run(folder, None, tracked=True)
    sent = run.flush(FLUSH_SECONDS)
    run.status("finished", exit_code=0)
    run.close()
    if not sent:
        display.log(f"the run is not sent yet ({run.last_error or 'no answer in time'}). Complete this with", "yellow")
        display.log(f"  {command('sync')} {quote(folder)}", "yellow")
    info = folder.read_run()
    display.log(f"look at run {info['run_name']} in experiment {info['experiment']}:  {ui_command()}", "bold")


def describe_training_images(card: Scorecard) -> str:
    """Sentence about the images that have trained the model."""
    count = card.trained
    if count is None:
        return "whether these pictures have trained the model is not known"
    if not count:
        return "none of these pictures trained the model"
    return f"{count} of {len(card.table.images)} pictures have trained the model: the score says little about others"


def print_table(rows: Sequence[Row], keys: Sequence[str], display: Display) -> None:
    """Print rows with a first column of names and others of numbers."""
    names = [show(row[keys[0]], 40) for row in rows]
    width = max([len(keys[0]), *map(len, names)])
    display.log(keys[0].ljust(width) + "".join(key.rjust(13) for key in keys[1:]), "bold")
    for name, row in zip(names, rows, strict=True):
        cells = ["-" if row[key] is None else f"{row[key]:.4f}" for key in keys[1:]]
        display.log(name.ljust(width) + "".join(cell.rjust(13) for cell in cells))
