"""Closing words of predict.py: what is done, what is not, and what to look at first."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from trainer.data.files import FORMAT, HEIC
from trainer.inference.options import Options
from trainer.system.entry import EXIT_FAILED
from trainer.system.signals import StopSignals, exit_code
from trainer.system.text import count_of, one_line, quote

if TYPE_CHECKING:
    from trainer.data.account import Account
    from trainer.inference.doubt import Doubts
    from trainer.inference.given import InputImage
    from trainer.inference.model import Model
    from trainer.inference.report import Report

EXIT_SOME_FAILED = 3

RESULTS = (("masks", ".png"), ("overlays", ".jpg"))
"""Folders of the results, and the suffix of the files in each."""

MOST_ERRORS = 20
"""Number of failed images that are printed; the report has all."""

MOST_UNSURE = 3
"""Number of images to look at first that are printed; the report has all."""

CONTRACT_FILE = "segmenter.json"

GO_ON = "; the same command with --skip_existing does the rest"


def conclude(
    display: Any,
    output: Path,
    images: "list[InputImage]",
    report: "Report",
    account: "Account",
    model: "Model",
    stop: StopSignals,
    died: list[int],
) -> int:
    """Say what was done and what was not; return the exit code."""
    rows = [report.rows[name] for name in report.names if name in report.rows]
    failed = [row for row in rows if "error" in row]
    for row in failed[:MOST_ERRORS]:
        print(f"predict.py: {one_line(row['error'])}", file=sys.stderr)
    warn_clipped(display, [row["file"] for row in rows if "clipped" in row], model)
    done = len(rows) - len(failed)
    for number in died:
        print(f"predict.py: process {number} died before it had done its pictures", file=sys.stderr)
    if stop.requested():
        text = f"predict.py: stopped; {done} of {len(images)} pictures are done, see report.csv"
        print(f"{text}{GO_ON if len(rows) < len(images) else ''}", file=sys.stderr)
        return exit_code(stop.number)
    if len(rows) < len(images):
        left = count_of(len(images) - len(rows), "picture")
        print(f"predict.py: {left} not done{GO_ON}", file=sys.stderr)
        return EXIT_FAILED
    folder = output / ("overlays" if (output / "overlays").is_dir() else "masks")
    display.log(f"{count_of(done, 'picture')} done, {len(failed)} failed; see {folder} and report.csv")
    if account.count:
        display.log(f"left out, {account.summary()}", "yellow" if account.warnings() else "")
    for reason in (HEIC, FORMAT):
        if reason in account.left:
            display.log(f"to have {', '.join(account.left[reason].places)} too: {reason.advice}", "yellow")
    return EXIT_SOME_FAILED if failed else 0


def warn_clipped(display: Any, clipped: list[str], model: "Model") -> None:
    """Say which images have levels that the model does not know."""
    contract = model.segmenter.contract
    if clipped and contract.range_of_levels is not None:
        others = f" and {len(clipped) - 1} more" if len(clipped) > 1 else ""
        known = "ranges of the bands" if contract.levels is None else "{:g} to {:g}".format(*contract.levels)
        display.log(f"{one_line(clipped[0])}{others}: levels beyond the {known} that the model knows were clipped")


def warn_missing_letters(display: Any, model: "Model", options: Options) -> None:
    """Say once which classes stand in the legends by their number, since no font has the letters of their names."""
    from trainer.drawing.fonts import undrawable

    names = undrawable(model.segmenter.contract.class_names[1:]) if options.overlay == "contour" else []
    if names:
        display.log(
            f"warning: no font of this system has the letters of {one_line(', '.join(names))}; overlays have the "
            "numbers of these classes instead: install a font of that script, such as fonts-noto-cjk",
            "yellow",
        )


def warn_labels_kept(display: Any, report: "Report") -> None:
    """Say which files of Labelme were left as a person made them."""
    kept = [row["labelme"] for row in report.rows.values() if row.get("labels_kept")]
    if kept:
        others = f" and {len(kept) - 1} more" if len(kept) > 1 else ""
        display.log(
            f"{one_line(kept[0])}{others}: labels that a person has corrected, accepted or drawn stay as they are; "
            "for the model's outlines give another --output",
            "yellow",
        )


def warn_earlier_results(
    display: Any, output: Path, options: Options, images: "list[InputImage]", report: "Report"
) -> None:
    """Warn of masks and overlays of other images, which the reports do not name, and of tables not made this time."""
    from trainer.inference.outputs import result_name
    from trainer.inference.own_masks import is_own_table

    rows = {image.name: report.rows.get(result_name(image), {"error": "not done"}) for image in images}
    if earlier := earlier_results(output, {name for name, row in rows.items() if "error" not in row}):
        display.log(
            f"warning: {len(earlier)} files in {output} are of an earlier call, such as "
            f"{earlier[0].relative_to(output)}: of other pictures, perhaps of another model; the reports tell of "
            "this call alone",
            "yellow",
        )
    asked = {"coco.json": options.coco, "objects.csv": options.objects}
    old = [name for name, made in asked.items() if not made and is_own_table(output / name)]
    if old:
        one = len(old) == 1
        wanted = " and ".join(f"--{name.partition('.')[0]}" for name in old)
        display.log(
            f"warning: {' and '.join(old)} in {output} {'is' if one else 'are'} of an earlier call, perhaps of another "
            f"model: give {wanted} to write {'it' if one else 'them'} anew, or remove {'it' if one else 'them'}",
            "yellow",
        )


def warn_doubts(display: Any, doubts: "Doubts", report: "Report", model: "Model", runs: str) -> None:
    """Name the images to look at first, and warn about images that are unlike those of the training.

    `runs`: address or command with which a person sees the runs of the store that the model is from.
    """
    log, origin = display.log, model.origin
    done = [row for row in report.rows.values() if "error" not in row]
    unsure = [row["file"] for row in done if row.get("unsure")]
    if unsure and len(done) > 1:
        first = ", ".join(one_line(file) for file in unsure[:MOST_UNSURE])
        more = f" and {len(unsure) - MOST_UNSURE} more" if len(unsure) > MOST_UNSURE else ""
        share = f"all {len(done)}" if len(unsure) == len(done) else f"{len(unsure)} of {len(done)}"
        log(f"the model is unsure of {share} pictures, look at them first (unsure in report.csv): {first}{more}", "")
    warnings = doubts.warnings()
    for text in warnings:
        log(f"warning: {text}", "yellow")
    if warnings and origin.get("run_id"):
        log(f"the pictures of its run show what it was trained on:  {runs}", "yellow")
    elif warnings and (contract := Path(origin["uri"]) / CONTRACT_FILE).is_file():
        log(f"its contract says what it was trained on:  python -m json.tool {quote(contract)}", "yellow")


def earlier_results(output: Path, done: set[Path]) -> list[Path]:
    """Masks and overlays in `output` of other pictures than `done`, the names without suffix of this call's."""
    found = [path for part, suffix in RESULTS for path in sorted((output / part).rglob(f"*{suffix}"))]
    suffixes = dict(RESULTS)

    def name(path: Path) -> Path:
        part, *rest = path.relative_to(output).parts
        return Path(*rest).with_name(path.name.removesuffix(suffixes[part]))

    return [path for path in found if name(path) not in done]
