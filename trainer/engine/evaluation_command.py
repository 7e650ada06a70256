"""Command line of evaluate.py, and what it asks for. Light: a mistyped option is refused before the heavy imports."""

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from trainer.config import MLRUNS, TrackingConfig
from trainer.system.installation import usage
from trainer.system.output import Parser, ShowVersion
from trainer.system.signals import StopSignals
from trainer.system.terminal import Display

if TYPE_CHECKING:
    from trainer.data.sources import Sources

EVALUATIONS = MLRUNS / "evaluations"
"""Run folders of evaluations."""

SUMMARY = "summary.json"
"""File of an evaluation with everything that is not a single image's."""

FILES = (
    SUMMARY,
    "scores.json",
    *("images.csv", "images.json", "classes.csv", "classes.json"),
    *("precision_recall.png", "calibration.png", "confusion.png", "sizes.png", "worst.png", "best.png"),
)
"""Files that an evaluation writes."""

MOST_GALLERY = 50
"""Most images of a gallery."""


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
        "--output",
        type=Path,
        metavar="DIR",
        help="also write the files here, outside of the data; they are always in mlruns/evaluations/",
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


def given(options: argparse.Namespace, *keys: str) -> dict[str, Any]:
    """Those of the options that the command line has."""
    return {key: value for key in keys if (value := getattr(options, key)) is not None}


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
