"""Make a dataset folder, or check one.

python trainer/prepare.py check DIR [DIR ...] [--json FILE] [--sheet FILE] [--model URI]
python trainer/prepare.py labelme ANNOTATED OUT --labels labels.txt
python trainer/prepare.py synthetic OUT --count 200
python trainer/prepare.py pets OUT
python trainer/prepare.py clean [--yes]
"""

if __name__ == "__main__":
    import signal

    signal.signal(signal.SIGINT, signal.SIG_DFL)  # ends without a traceback, until the next import is done
    from trainer.system.entry import guard_imports

    guard_imports("prepare.py")

import argparse
import re
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

from trainer import EXIT_INPUT, InputError
from trainer.system.atomic import why_not_written, write_text
from trainer.system.command import command_parser, run_command
from trainer.system.entry import leave
from trainer.system.installation import training_command
from trainer.system.signals import StopSignals
from trainer.system.text import quote


def main(arguments: list[str] | None = None) -> int:
    """Return the exit code: 0 done, 1 the report cannot be printed, 2 wrong usage or data, 130 or 143 stopped."""
    return run_command("prepare.py", read_command, arguments, prints_results=True)


def read_command(arguments: list[str] | None) -> argparse.Namespace:
    """Options of a command line, and under `command` the function that it calls. Exits with 2 where it is wrong."""
    commands = {
        "check": _add_check,
        "clean": _add_clean,
        "labelme": _add_labelme,
        "pets": _add_pets,
        "synthetic": _add_synthetic,
    }
    return command_parser("prepare", "Make a data folder, or check one.", commands).parse_args(arguments)


# ---------------------------------------------------------------- check


def _add_check(commands: Any) -> None:
    check = commands.add_parser("check", help="summarise a data folder and list its faults")
    check.add_argument("folders", nargs="+", metavar="DIR", help="folder with labelled pictures, as for data.root")
    check.add_argument("--json", metavar="FILE", help="write the report as JSON; - writes it to standard output alone")
    check.add_argument(
        "--sheet", type=Path, metavar="FILE", help="draw the pictures with their masks into one picture, such as x.png"
    )
    check.add_argument(
        "--model",
        metavar="URI",
        help="list the pictures about which this model and the label disagree most; --sheet draws those",
    )
    for key, kind in (
        ("val_fraction", float),
        ("fold", int),
        ("image_size", int),
        ("layout", str),
        ("channels", _channels),
    ):
        check.add_argument(f"--{key}", f"--data.{key}", type=kind, help=f"as data.{key} in training")
    check.add_argument(
        "--classes", "--data.classes", nargs="+", help="as data.classes in training: the names, the one with id 1 first"
    )
    check.add_argument(
        "--value_map", "--data.value_map", help="as data.value_map in training, such as '{0: background, 255: cat}'"
    )
    check.set_defaults(command=check_data)


def _channels(text: str) -> int | str:
    """Value of data.channels."""
    return text if text == "auto" else int(text)


def check_data(options: argparse.Namespace, _stop: StopSignals) -> int:
    """Print or write the report on data folders; exit code 2 where it holds errors."""
    from trainer.config import data_config
    from trainer.data.checks.report import check_folders
    from trainer.data.checks.show import show_report
    from trainer.system.terminal import Display

    keys = ("val_fraction", "fold", "image_size", "layout", "channels", "classes", "value_map")
    # Both spellings, with data. and without, so that an option which this command prints works here, too.
    given = {key: value for key in keys if (value := getattr(options, key)) is not None}
    config = data_config(root=options.folders, **given)
    display = Display(quiet=options.json == "-")
    if options.sheet:
        from trainer.data.checks.sheet import check_sheet_file  # loads torch, which takes longer than many a check

        check_sheet_file(options.sheet)
    model = None
    if options.model:
        from trainer.labelling.model_check import ModelCheck

        model = ModelCheck(options.model)
    report = check_folders(config, display.progress_bar)
    report = replace(report, findings=[replace(one, text=_as_arguments(one.text)) for one in report.findings])
    found = model.find(config, report, display) if model else []
    if model:
        from trainer.labelling.disagreement import as_json

        report = replace(report, summary=report.summary | {"disagreements": as_json(found)})
    if options.json == "-":
        print(report.to_json(ascii_only=True))
    else:
        show_report(report, display)
        if options.json:
            write_report(Path(options.json), report.to_json())
    if model:
        model.show(config, found, options.sheet, display)
    elif options.sheet:
        from trainer.data.checks.sheet import draw_sheet

        draw_sheet(config, report, options.sheet, display)
    return EXIT_INPUT if report.of("error") else 0


def _as_arguments(advice: str) -> str:
    """Advice in the words of this command, whose folders come without an option; other options it takes as training."""
    advice = re.sub(r", or several as --data\.root .*", ", or several of them", advice)
    return advice.replace("--data.root ", "")


def write_report(file: Path, text: str) -> None:
    """Write the report to `file`. Raises InputError where that is not possible."""
    try:
        write_text(file, text + "\n")
    except OSError as error:
        raise InputError(f"--json {why_not_written(file, error)}; give another file") from error


# ---------------------------------------------------------------- labelme


def _add_labelme(commands: Any) -> None:
    labelme = commands.add_parser("labelme", help="turn Labelme's JSON files into masks")
    labelme.add_argument("annotated", type=Path, help="folder with the images and the JSON files")
    labelme.add_argument("out", type=Path, help="folder to make")
    labelme.add_argument("--labels", type=Path, required=True, help="text file with the labels, one a line")
    labelme.add_argument(
        "--val_fraction", type=float, help="also write a fixed split that validates on this share, above 0, up to 0.5"
    )
    labelme.set_defaults(command=convert)


def convert(options: argparse.Namespace, _stop: StopSignals) -> int:
    """Convert a folder of Labelme files to a VOC folder, and print what it holds."""
    from trainer.data.layouts.labelme import unlabelled_note, waiting_note
    from trainer.make.labelme_to_voc import convert_labelme
    from trainer.system.terminal import Display

    if options.val_fraction is not None and not 0 < options.val_fraction <= 0.5:
        raise InputError(f"--val_fraction: {options.val_fraction} is not possible; give a share above 0, up to 0.5")
    display = Display()
    done = convert_labelme(options.annotated, options.out, options.labels, options.val_fraction, display.progress_bar)
    found = [f"{name} in {images}" for name, images in done.images_per_class.items() if images]
    display.log(f"{done.images} pictures with masks in {options.out}: {', '.join(found) or 'all background'}")
    if done.unlabelled:
        display.log(unlabelled_note(options.annotated, done.unlabelled))
    if done.waiting:
        display.log(waiting_note(options.annotated, done.waiting))
    if done.account.count:
        display.log(f"left out, {done.account.summary()}")
    for warning in done.account.warnings():
        display.log(f"warning: {warning}", "yellow")
    if done.shared:
        several = f"more than one JSON file for {', '.join(done.shared)}"
        display.log(f"warning: {several}; the same picture may train and validate", "yellow")
    display.log(f"train with\n  {_train_command(options.out)}")
    return 0


# ---------------------------------------------------------------- synthetic


def _add_synthetic(commands: Any) -> None:
    synthetic = commands.add_parser("synthetic", help="draw scenes with cats and their exact masks")
    synthetic.add_argument("out", type=Path, help="folder to make")
    synthetic.add_argument("--count", type=int, default=200, help="pictures (200)")
    synthetic.add_argument("--size", type=int, default=256, help="side in pixels (256)")
    synthetic.add_argument("--seed", type=int, default=0, help="another seed draws other scenes (0)")
    synthetic.add_argument(
        "--classes", nargs="+", default=["cat"], help="what is labelled; the rest is background (cat)"
    )
    synthetic.add_argument("--labelme", action="store_true", help="write Labelme JSON instead of masks")
    synthetic.set_defaults(command=draw)


def draw(options: argparse.Namespace, _stop: StopSignals) -> int:
    """Draw generated scenes into a new folder."""
    from trainer.make.synthetic import write_labelme, write_voc
    from trainer.system.terminal import Display

    for name, least in (("count", 1), ("size", 32), ("seed", 0)):
        if getattr(options, name) < least:
            raise InputError(f"--{name}: {getattr(options, name)} is not possible; give {least} or more")
    if options.out.exists():
        raise InputError(f"{options.out}: exists already; remove it or give another folder")
    display = Display()
    advance = display.progress_bar("drawing", options.count)
    write = write_labelme if options.labelme else write_voc
    write(
        options.out,
        options.count,
        size=options.size,
        seed=options.seed,
        labelled=tuple(options.classes),
        progress=lambda _done: advance(),
    )
    display.log(f"{options.count} pictures in {options.out}")
    return 0


# ---------------------------------------------------------------- pets


def _add_pets(commands: Any) -> None:
    pets = commands.add_parser("pets", help="download the Oxford-IIIT Pet Dataset (0.8 GB)")
    pets.add_argument("out", type=Path, help="folder to make; an interrupted download is resumed")
    pets.add_argument("--url", help="where else images.tar.gz and annotations.tar.gz lie")
    pets.set_defaults(command=fetch)


def fetch(options: argparse.Namespace, _stop: StopSignals) -> int:
    """Download the Oxford-IIIT Pet Dataset into a new folder."""
    from trainer.make.oxford_pets import URL, fetch_pets
    from trainer.system.terminal import Display

    display = Display()
    try:
        fetch_pets(options.out, options.url or URL, display.progress_bar)
    finally:
        display.close()
    display.log(f"the pets are in {options.out}; train with\n  {_train_command(options.out)}")
    return 0


# ---------------------------------------------------------------- clean


def _add_clean(commands: Any) -> None:
    clean = commands.add_parser("clean", help="remove what finished runs in mlruns/work/ no longer need")
    clean.add_argument("--yes", action="store_true", help="remove it without asking")
    clean.set_defaults(command=clean_runs)


def clean_runs(options: argparse.Namespace, _stop: StopSignals) -> int:
    """Print what would be removed and its size; remove it with --yes, or after a yes on a terminal."""
    from trainer.config import MLRUNS
    from trainer.system.clean import find_remains, remove

    work = MLRUNS / "work"
    found = find_remains(work)
    if not found:
        print(f"{work}: nothing to remove; models, pictures, journals and what unfinished runs need stay")
        return 0
    for one in found:
        print(f"{one.size / 1e6:10.1f} MB  {', '.join(str(path.relative_to(work)) for path in one.paths)}")
    print(
        f"{sum(one.size for one in found) / 1e6:10.1f} MB  in all: checkpoints of finished runs, and incomplete files"
    )
    asked = sys.stdin.isatty() and sys.stdout.isatty()
    if not options.yes and not (asked and input("remove them? [y/N] ").strip().lower() in ("y", "yes")):
        print("nothing is removed" + ("" if asked else "; --yes removes them"))
        return 0
    try:
        used = [one for one in found if not remove(one)]
    except OSError as error:
        raise InputError(f"{error.filename}: cannot be removed ({error.strerror}); check its permissions") from error
    for one in used:
        print(f"prepare.py: {one.folder}: a training is using it, so it stays", file=sys.stderr)
    print("removed" if not used else "removed the others")
    return 0


def _train_command(folder: Path) -> str:
    return f"{training_command()} --data.root {quote(folder)}"


if __name__ == "__main__":
    leave(main())
