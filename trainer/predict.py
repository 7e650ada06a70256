"""Predict the masks of new images with a registered model.

python trainer/predict.py --model models:/cat-unet@champion --input PATH [PATH ...] --output DIR
python trainer/predict.py --model models:/cat-unet@champion --export onnx FILE.onnx
"""

if __name__ == "__main__":
    import signal

    signal.signal(signal.SIGINT, signal.SIG_DFL)  # ends without a traceback, until the next import is done
    from trainer.system.entry import guard_imports

    guard_imports("predict.py")

import argparse
import functools
import math
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from trainer import EXIT_INPUT, InputError
from trainer.inference import closing
from trainer.inference.command_line import read_command
from trainer.inference.options import Options
from trainer.system.atomic import remove_partial, why_not_written
from trainer.system.entry import EXIT_FAILED, leave, run_program
from trainer.system.output import prepare_output
from trainer.system.signals import StopSignals, exit_code
from trainer.system.text import valid
from trainer.tracking.address import check_address
from trainer.tracking.store import ui_command

if TYPE_CHECKING:
    from trainer.data.account import Account
    from trainer.inference.given import InputImage
    from trainer.inference.journal import Entry, JournalWriter
    from trainer.inference.model import Model
    from trainer.inference.outputs import ResultWriter
    from trainer.inference.parts import OtherParts, Part
    from trainer.inference.report import Report

END_SECONDS = 30.0
"""Time in which other processes end that have got the same signal, in seconds."""


def main(arguments: list[str] | None = None) -> int:
    """Return the exit code: 0 done, 1 no report, 2 wrong usage or model, 3 some images failed and the rest are done.

    130 or 143: stopped by a signal; the images that are done are in the report.
    """
    return run_program("predict.py", functools.partial(_main, arguments))


def _main(arguments: list[str] | None, stop: StopSignals) -> int:
    prepare_output(arguments)
    given = read_command(arguments)
    options = Options(**{name: getattr(given, name) for name in Options.__dataclass_fields__})
    try:
        check_address(given.model)
        if given.export:
            return export(given.export[0], given.export[1], given.model, given.threshold)
        from trainer.inference.parts import this_part

        part = this_part()
        if part.number:
            return predict_part(given, options, part, stop)
        from trainer.inference.inputs import find_images

        images, account = find_images(given.input, given.output)
        from trainer.inference.own_masks import require_own_files, require_own_masks

        require_own_masks(given.output, images)
        require_own_files(given.output, images, options)
        make_output(given.output, options)
        return predict(given, options, images, account, part, stop)
    except InputError as error:
        print(f"predict.py: {error}", file=sys.stderr)
        return EXIT_INPUT
    except OSError as error:  # a full disk, after the images: theirs are reported one by one
        text = f"predict.py: the report: {why_not_written(given.output, error)}"
        print(f"{text}; once it can be written{closing.GO_ON.removeprefix(';')}", file=sys.stderr)
        return EXIT_FAILED


def export(kind: str, file: str, uri: str, threshold: float | None = None) -> int:
    """Write a model as one file that other programs read; return the exit code.

    `threshold`: the one that the file names; None: the model's own.
    """
    from trainer.inference.export import check_export, export_model

    target = check_export(kind, file)
    from trainer.tracking.load import load_model

    model = load_model(uri)
    set_threshold(model, threshold)
    try:
        written = export_model(model, kind, target)
    except OSError as error:
        print(f"predict.py: {why_not_written(target, error)}", file=sys.stderr)
        return EXIT_FAILED
    for path in written:
        print(f"{path}  {path.stat().st_size / 1e6:.1f} MB")
    return 0


def make_output(output: Path, options: Options) -> None:
    """Make the folders of the results. Raises InputError where that is not possible, before any work."""
    try:
        for part in options.folders:
            (output / part).mkdir(parents=True, exist_ok=True)
        tempfile.TemporaryFile(dir=output).close()
    except OSError as error:
        raise InputError(f"--output {output}: cannot be written ({error.strerror}); give another folder") from error


# ---------------------------------------------------------------- model


def load(
    uri: str, options: Options, output: Path, origin: dict[str, str] | None = None
) -> "tuple[Model, ResultWriter]":
    """Load a model, ready to predict, and a writer of its results; `origin`: as another process has found it."""
    import dataclasses
    import os

    import torch

    from trainer.inference.origin import model_facts, model_title, png_texts
    from trainer.inference.outputs import ResultWriter
    from trainer.inference.resume import model_digest
    from trainer.system.cpus import usable_cpus
    from trainer.system.launcher import given_threads
    from trainer.tracking.load import load_model

    torch.set_num_threads(given_threads()[0] or min(torch.get_num_threads(), usable_cpus()))
    model = load_model(uri)
    model = dataclasses.replace(model, origin=origin or model.origin)
    segmenter, digest = model.segmenter, model_digest(model.segmenter)
    if options.min_area == "auto" and not segmenter.contract.object_areas:
        raise InputError("--min_area auto: the model does not say how large labelled objects are; give a number")
    set_threshold(model, options.threshold)
    number = int(os.environ.get("LOCAL_RANK", "0"))
    devices = torch.cuda.device_count() if torch.cuda.is_available() else 0
    segmenter.to(torch.device(f"cuda:{number % devices}" if devices else "cpu"))
    facts = model_facts(model)
    return model, ResultWriter(segmenter.contract, output, options, png_texts(facts), (digest, model_title(facts)))


def set_threshold(model: "Model", threshold: float | None) -> None:
    """Have a model use another threshold than its own. Raises InputError where it has several classes, thus none."""
    import dataclasses

    if threshold is None:
        return
    contract = model.segmenter.contract
    if contract.channels > 1:
        count = len(contract.class_names) - 1
        raise InputError(f"--threshold: the model has {count} classes, and takes the most probable; leave it out")
    model.segmenter.contract = dataclasses.replace(contract, threshold=threshold)


def version_uri(uri: str, origin: dict[str, str]) -> str:
    """URI of the version that a model was loaded from, wherever its alias points now."""
    return f"models:/{origin['name']}/{origin['version']}" if "version" in origin else uri


# ---------------------------------------------------------------- prediction


@dataclass
class Work:
    """A call under way, on the main process."""

    report: "Report"
    journal: "JournalWriter"
    others: "OtherParts"

    def take(self, entries: "Iterator[Entry] | Sequence[Entry]") -> None:
        """Note finished images in journal and report."""
        for entry in entries:
            self.journal.add(entry)
            self.report.add(entry)
        self.report.write_when_due()


def predict(
    given: argparse.Namespace,
    options: Options,
    images: "list[InputImage]",
    account: "Account",
    part: "Part",
    stop: StopSignals,
) -> int:
    """Load the model, predict every image, write the files and the reports; return the exit code.

    A signal ends it early: batches under way are finished, and the report holds what is done.
    """
    from trainer.inference.doubt import Doubts
    from trainer.inference.journal import JournalWriter, journal_file
    from trainer.inference.origin import model_facts
    from trainer.inference.outputs import result_name
    from trainer.inference.parts import OtherParts, publish
    from trainer.inference.predictor import predict_files
    from trainer.inference.report import Report
    from trainer.inference.resume import make_plan
    from trainer.system.terminal import Display

    display, output = Display(), given.output
    JournalWriter(journal_file(output)).close()  # refused where another call is writing
    for folder in options.folders:
        remove_partial(output / folder)
    model, writer = load(given.model, options, output)
    display.log("  ".join(f"{key} {value}" for key, value in model.origin.items() if value))
    plan = make_plan(images, writer, given.skip_existing)
    if plan.note:
        display.log(plan.note)
    report = Report(
        output, model_facts(model) | {"options": options.changed}, list(map(result_name, images)), account.content()
    )
    doubts = Doubts(model.segmenter.contract)
    for entry in plan.done:
        report.add(entry)
        doubts.note_done(entry.row)
    journal = JournalWriter(journal_file(output))
    if part.count > 1:
        publish(output, version_uri(given.model, model.origin), model.origin, plan.images)
    work = Work(report, journal, OtherParts(output, part))
    advance = display.progress_bar("predicting", len(part.share(plan.images)))
    stop.defer()
    report.write(complete=False)
    settings = stop.requested, options.maps, options.flips, doubts
    for entry in predict_files(model.segmenter, part.share(plan.images), writer, given.batch_size, *settings):
        work.take([entry])
        work.take(work.others.new_entries())
        advance()
    display.close()
    collect(work, stop)
    report.write(complete=len(report.rows) == len(images))
    journal.close()
    write_tables(output, options, images, report)
    work.others.remove()
    closing.warn_missing_letters(display, model, options)
    closing.warn_labels_kept(display, report)
    closing.warn_earlier_results(display, output, options, images, report)
    closing.warn_doubts(display, doubts, report, model, ui_command())
    return closing.conclude(display, output, images, report, account, model, stop, work.others.died)


def predict_part(given: argparse.Namespace, options: Options, part: "Part", stop: StopSignals) -> int:
    """Do the share of a process that is not the main one; only its journal tells of it."""
    from trainer.inference.journal import JournalWriter, journal_file
    from trainer.inference.parts import wait_for_call
    from trainer.inference.predictor import predict_files

    uri, origin, images = wait_for_call(given.output, stop.requested)
    journal = JournalWriter(journal_file(given.output, part.number))
    model, writer = load(uri, options, given.output, origin)
    stop.defer()
    share = part.share(images)
    for entry in predict_files(
        model.segmenter, share, writer, given.batch_size, stop.requested, options.maps, options.flips
    ):
        journal.add(entry)
    journal.end()
    journal.close()
    return exit_code(stop.number) if stop.requested() else 0


def collect(work: Work, stop: StopSignals) -> None:
    """Wait for the other processes, after a signal for a while, and take what they have done."""
    from trainer.inference.parts import POLL_SECONDS

    stopped_s = math.inf
    while work.others.waiting and time.monotonic() < stopped_s + END_SECONDS:
        work.take(work.others.new_entries())
        if work.others.waiting:
            time.sleep(POLL_SECONDS)
        if stop.requested():
            stopped_s = min(stopped_s, time.monotonic())


def write_tables(output: Path, options: Options, images: "list[InputImage]", report: "Report") -> None:
    """Write objects.csv and coco.json of all images that are done, by the journal."""
    import dataclasses

    from trainer.inference.journal import index_entries, read_at
    from trainer.inference.outputs import result_name
    from trainer.inference.report import write_coco, write_objects

    places = index_entries(output) if options.objects or options.coco else {}

    def entries() -> "Iterator[Entry]":
        for image in images:
            place = places.get(result_name(image))
            entry = None if place is None else read_at(place)
            if entry is not None and "error" not in entry.row and entry.name in report.rows:
                yield dataclasses.replace(entry, row=entry.row | {"file": valid(image.shown)})

    if options.objects:
        write_objects(output / "objects.csv", entries(), report.model)
    if options.coco:
        write_coco(output / "coco.json", entries, report.model)


if __name__ == "__main__":
    leave(main())
