"""One command for all entry points: segtrainer train, predict and the others, or python -m trainer ...

segtrainer predict --model models:/cat-unet@champion --input PATH [PATH ...] --output DIR
"""

import argparse
import difflib
import importlib
import signal
import sys

from trainer.system.entry import guard_imports, leave
from trainer.system.installation import COMMAND, require_training
from trainer.system.output import Parser, ShowVersion, prepare_output

ENTRIES = {
    "train": "train, register, promote",
    "compare": "compare runs and models, with the doubt about each difference",
    "predict": "outline the known classes in pictures; --export writes the model for other programs",
    "evaluate": "score a model on labelled pictures, with intervals, curves and the worst pictures",
    "prepare": "make a data folder, or check one",
    "sweep": "search for better settings by many trainings",
    "serve": "answer over HTTP: programs, labelling tools, a page in the browser",
    "label": "the pictures that are worth labelling next, with predictions to correct",
    "sync": "send recorded runs to MLflow",
    "promote": "show which model version was in use when, choose another, or go back",
}
"""Command -> what it does; each is a module of this package with a `main`."""


def main(arguments: list[str] | None = None) -> None:
    """Run the command that the first argument names, with the others; end with its exit code, 2 for an unknown one."""
    words = sys.argv[1:] if arguments is None else arguments
    prepare_output(words)
    if not words or words[0].startswith("-"):
        _parser().parse_args(words)
        _parser().error("a command is missing; give one of " + ", ".join(ENTRIES))
    name, *rest = words
    if name not in ENTRIES:
        near = difflib.get_close_matches(name, ENTRIES, n=1, cutoff=0.0)
        _parser().error(f"{name!r} is not a command; did you mean {COMMAND} {near[0]}?")
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # ends without a traceback, until the next import is done
    guard_imports(f"{name}.py")
    if name in ("train", "sweep"):
        require_training(f"{name}.py")
    leave(importlib.import_module(f"trainer.{name}").main(rest))


def _parser() -> Parser:
    lines = "\n".join(f"  {name:10}{what}" for name, what in ENTRIES.items())
    parser = Parser(
        prog=COMMAND,
        usage=f"{COMMAND} {' | '.join(ENTRIES)} ...",
        description=f"commands, each with its own --help:\n{lines}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action=ShowVersion, nargs=0, help="print the version")
    return parser


if __name__ == "__main__":
    main()
