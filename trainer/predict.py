"""Predict the masks of new images with a registered model.

python trainer/predict.py --model models:/cat-unet@champion --input PATH [PATH ...] --output DIR
"""

if __name__ == "__main__":
    import signal

    signal.signal(signal.SIGINT, signal.SIG_DFL)  # ends without a traceback, until the next import is done
    from trainer.system.entry import guard_imports

    guard_imports("predict.py")

import csv
import functools
import io
import json
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from trainer import EXIT_INPUT, InputError, redact_all
from trainer.system.atomic import why_not_written, write_text
from trainer.system.entry import EXIT_FAILED, leave, run_program
from trainer.system.output import Parser, ShowVersion, prepare_output
from trainer.system.signals import StopSignals, exit_code
from trainer.system.text import cell, one_line

if TYPE_CHECKING:
    from trainer.data.account import Account
    from trainer.inference.inputs import InputImage

EXIT_SOME_FAILED = 3
RESULTS = (("masks", ".png"), ("overlays", ".jpg"))
"""Folders of the results, and the suffix of the files in each."""

MOST_ERRORS = 20
"""Number of failed images that are printed; the report has all."""


def main(arguments: list[str] | None = None) -> int:
    """Return the exit code: 0 done, 1 no report, 2 wrong usage or model, 3 some images failed and the rest are done.

    130 or 143: stopped by a signal; the images that are done are in the report.
    """
    return run_program("predict.py", functools.partial(_main, arguments))


def _main(arguments: list[str] | None, stop: StopSignals) -> int:
    prepare_output(arguments)
    options = _parser().parse_args(arguments)
    try:
        if options.batch_size < 1:
            raise InputError(f"--batch_size: {options.batch_size} is not possible; give 1 or more")
        from trainer.inference.inputs import find_images

        images, account = find_images(options.input, options.output)
        make_output(options.output)
        return predict(options.model, images, account, options.output, options.batch_size, stop)
    except InputError as error:
        print(f"predict.py: {error}", file=sys.stderr)
        return EXIT_INPUT
    except OSError as error:  # a full disk, after the images: theirs are reported one by one
        print(f"predict.py: the report: {why_not_written(options.output, error)}", file=sys.stderr)
        return EXIT_FAILED


def _parser() -> Parser:
    parser = Parser(prog="predict.py", description="Outline the known classes in pictures.")
    parser.add_argument("--version", action=ShowVersion, nargs=0, help="print the version")
    parser.add_argument(
        "--model", required=True, help="models:/name@alias, models:/name/3, runs:/..., or a model folder"
    )
    parser.add_argument(
        "--input", required=True, nargs="+", type=Path, metavar="PATH", help="pictures, or folders of them"
    )
    parser.add_argument(
        "--output", required=True, type=Path, metavar="DIR", help="where masks/, overlays/ and report.* go"
    )
    parser.add_argument("--batch_size", type=int, default=8, help="pictures that go through the network together (8)")
    return parser


def make_output(output: Path) -> None:
    """Make the folders of the results. Raises InputError where that is not possible, before any work."""
    try:
        for part in ("masks", "overlays"):
            (output / part).mkdir(parents=True, exist_ok=True)
        tempfile.TemporaryFile(dir=output).close()
    except OSError as error:
        raise InputError(f"--output {output}: cannot be written ({error.strerror}); give another folder") from error


def predict(
    uri: str, images: "list[InputImage]", account: "Account", output: Path, batch_size: int, stop: StopSignals
) -> int:
    """Load the model, predict every image, write masks, overlays and report; return the exit code.

    A signal ends it early: batches under way are finished, and the report holds what is done.
    """
    import torch

    from trainer.inference.predictor import predict_files
    from trainer.system.cpus import usable_cpus
    from trainer.system.launcher import given_threads
    from trainer.system.terminal import Display
    from trainer.tracking.load import load_model

    torch.set_num_threads(given_threads()[0] or min(torch.get_num_threads(), usable_cpus()))
    display = Display()
    model = load_model(uri)
    contract = model.segmenter.contract
    model.segmenter.to(torch.device("cuda" if torch.cuda.is_available() else "cpu"))
    display.log("  ".join(f"{key} {value}" for key, value in model.origin.items() if value))

    advance = display.progress_bar("predicting", len(images))
    rows: list[dict[str, Any]] = []
    stop.defer()
    for row in predict_files(model.segmenter, images, output, batch_size, stop.requested):
        rows.append(row)
        advance()
    display.close()

    facts = {
        "commit": contract.commit,
        "dataset_digest": contract.dataset_digest,
        "classes": list(contract.class_names),
    }
    write_report(output, model.origin | facts, rows, account.content())
    done_names = {image.name for image, row in zip(images, rows, strict=False) if "error" not in row}
    if earlier := earlier_results(output, done_names):
        display.log(
            f"warning: {len(earlier)} files in {output} are of an earlier call, such as "
            f"{earlier[0].relative_to(output)}: of other pictures, perhaps of another model; the reports tell of "
            "this call alone",
            "yellow",
        )
    failed = [row for row in rows if "error" in row]
    for row in failed[:MOST_ERRORS]:
        print(f"predict.py: {one_line(row['error'])}", file=sys.stderr)
    clipped = [row["file"] for row in rows if "clipped" in row]
    if clipped and contract.range_of_levels is not None:
        others = f" and {len(clipped) - 1} more" if len(clipped) > 1 else ""
        known = "ranges of the bands" if contract.levels is None else "{:g} to {:g}".format(*contract.levels)
        display.log(f"{one_line(clipped[0])}{others}: levels beyond the {known} that the model knows were clipped")
    done = len(rows) - len(failed)
    if stop.requested():
        print(f"predict.py: stopped; {done} of {len(images)} pictures are done, see report.csv", file=sys.stderr)
        return exit_code(stop.number)
    display.log(f"{done} pictures done, {len(failed)} failed; see {output / 'overlays'} and report.csv")
    if account.count:
        display.log(f"left out, {account.summary()}", "yellow" if account.warnings() else "")
    return EXIT_SOME_FAILED if failed else 0


def earlier_results(output: Path, done: set[Path]) -> list[Path]:
    """Masks and overlays in `output` of other pictures than `done`, the names without suffix of this call's."""
    found = [path for part, suffix in RESULTS for path in sorted((output / part).rglob(f"*{suffix}"))]
    suffixes = dict(RESULTS)

    def name(path: Path) -> Path:
        part, *rest = path.relative_to(output).parts
        return Path(*rest).with_name(path.name.removesuffix(suffixes[part]))

    return [path for path in found if name(path) not in done]


def write_report(
    output: Path, model: dict[str, Any], rows: list[dict[str, Any]], left_out: list[dict[str, Any]]
) -> None:
    """Write report.json with everything, and report.csv with one line for each image."""
    content = redact_all({"model": model, "files": rows, "left_out": left_out})
    write_text(output / "report.json", json.dumps(content, indent=1, ensure_ascii=False))
    names = model["classes"]
    file = io.StringIO(newline="")
    table = csv.writer(file)
    shares = [one_line(f"share {name}") for name in names]
    table.writerow(["file", "width", "height", *shares, "confidence", "seconds", "error"])
    for row in rows:
        parts = [row.get("share", {}).get(name, "") for name in names]
        size, rest = (row.get("width"), row.get("height")), (row.get("confidence"), row.get("seconds"))
        table.writerow([cell(row["file"]), *size, *parts, *rest, cell(row.get("error"))])
    write_text(output / "report.csv", file.getvalue())


if __name__ == "__main__":
    leave(main())
