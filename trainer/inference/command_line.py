"""Command line of predict.py. Light: a mistyped option is refused before anything heavy is loaded."""

import argparse
import math
import sys
from pathlib import Path
from typing import Any, Literal

from trainer.inference.options import LABELME, OVERLAYS, PROBABILITIES, TTA
from trainer.system.installation import usage
from trainer.system.output import Parser, ShowVersion


def read_command(arguments: list[str] | None) -> argparse.Namespace:
    """Options of a command line, which either predicts or exports. Exits with 2 where it is wrong."""
    words = sys.argv[1:] if arguments is None else arguments
    exports = any(word.partition("=")[0] == "--export" for word in words)
    parser = _parser(exports)
    given = parser.parse_args(arguments)
    if exports and (given.input or given.output):
        parser.error("--export: nothing is predicted with it; leave --input and --output out")
    others = {*vars(given)} - {"model", "export", "threshold", "input", "output"}
    useless = sorted(f"--{name}" for name in others if getattr(given, name) != parser.get_default(name))
    if exports and useless:
        parser.error(f"--export: of all options for masks the model keeps --threshold; leave {', '.join(useless)} out")
    return given


def _parser(exports: bool) -> Parser:
    parser = Parser(
        prog=usage("predict"),
        description="Outline the known classes in pictures.",
        epilog="Several processes: accelerate launch trainer/predict.py ... ; each takes its share of the pictures.",
    )
    parser.add_argument("--version", action=ShowVersion, nargs=0, help="print the version")
    parser.add_argument(
        "--model", required=True, help="models:/name@alias, models:/name/3, runs:/..., or a model folder"
    )
    parser.add_argument(
        "--input",
        required=not exports,
        nargs="+",
        type=Path,
        metavar="PATH",
        help="pictures, folders of them, patterns ('pics/**/*.jpg'), or - for a list of paths on standard input",
    )
    parser.add_argument(
        "--output", required=not exports, type=Path, metavar="DIR", help="where masks/, overlays/ and report.* go"
    )
    parser.add_argument(
        "--export",
        nargs=2,
        metavar=("KIND", "FILE"),
        help="write the model, and --threshold, for other programs: onnx x.onnx, pt2 x.pt2",
    )
    parser.add_argument(
        "--batch_size", type=_count(1), default=8, metavar="N", help="pictures that go through the network together (8)"
    )
    parser.add_argument(
        "--skip_existing",
        action="store_true",
        help="skip what an earlier call has done: same picture, model and options",
    )
    masks = parser.add_argument_group("masks")
    masks.add_argument("--threshold", type=_threshold, metavar="T", help="0 to 1, for one class (the model's own)")
    masks.add_argument(
        "--min_area",
        type=_area,
        default=0,
        metavar="PIXELS",
        help="remove smaller objects (0); auto: far smaller ones than were labelled, and such holes",
    )
    masks.add_argument(
        "--tta",
        choices=TTA,
        default="",
        help="flips: average with the mirrored picture (twice the time)",
    )
    masks.add_argument("--largest_only", action="store_true", help="keep only the largest object of each class")
    files = parser.add_argument_group("files")
    files.add_argument(
        "--overlay", choices=OVERLAYS, default="contour", help="contours and a legend (contour), or the blend alone"
    )
    files.add_argument("--probabilities", choices=PROBABILITIES, default="", help="16-bit PNG, or float16 arrays")
    files.add_argument("--confidence_map", action="store_true", help="confidence/: grey pictures, white is sure")
    files.add_argument(
        "--labelme", choices=LABELME, default="", help="labelme/: files to correct in Labelme; masks keep every pixel"
    )
    files.add_argument("--coco", action="store_true", help="coco.json: every object with its run lengths")
    files.add_argument("--objects", action="store_true", help="objects.csv: area, box and centre of every object")
    return parser


def _count(least: int) -> Any:
    """Type of an option that is a whole number of at least `least`."""

    def convert(text: str) -> int:
        if not (text.isdecimal() and text.isascii() and len(text) < 19 and int(text) >= least):
            raise argparse.ArgumentTypeError(f"{text} is not possible; give {least} or more")
        return int(text)

    return convert


def _area(text: str) -> int | Literal["auto"]:
    return "auto" if text == "auto" else _count(0)(text)


def _threshold(text: str) -> float:
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    if not 0 <= number <= 1:
        raise argparse.ArgumentTypeError(f"{text} is not possible; give a number from 0 to 1")
    return number
