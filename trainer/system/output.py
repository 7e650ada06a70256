"""Output of the entry points: whatever a name holds, it can be printed; no secret is in it, nor in a traceback."""

import argparse
import os
import sys
import threading
import traceback
from collections.abc import Sequence
from types import TracebackType
from typing import NoReturn

from trainer import EXIT_INPUT, learn_secrets, printable, redact
from trainer.system.provenance import program_version


def prepare_output(arguments: Sequence[str] | None) -> None:
    """Make output safe. To be called first by each entry point, with its command line; None stands for sys.argv."""
    _use_utf8()
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):  # not where a caller has put another object in its place
            stream.reconfigure(errors="backslashreplace")
    for word in sys.argv[1:] if arguments is None else arguments:
        learn_secrets(word)
    sys.excepthook = _print_error
    threading.excepthook = lambda given: _print_error(given.exc_type, given.exc_value, given.exc_traceback)


def _use_utf8() -> None:
    """Start again in Python's UTF-8 mode where the locale has ASCII only: names in files could not be opened."""
    if sys.getfilesystemencoding() == "ascii" and hasattr(os, "execve"):
        os.execve(sys.executable, [sys.executable, *sys.orig_argv[1:]], os.environ | {"PYTHONUTF8": "1"})


def _print_error(kind: type[BaseException], error: BaseException | None, trace: TracebackType | None) -> None:
    text = "".join(traceback.format_exception(kind, error, trace))
    print(printable(redact(text)), end="", file=sys.stderr)


class ShowVersion(argparse.Action):
    """Action of --version. The version is looked up only then: that opens files of the installation."""

    def __call__(self, parser: argparse.ArgumentParser, *_given: object) -> NoReturn:
        print(parser.prog, program_version())
        parser.exit()


class Parser(argparse.ArgumentParser):
    """Parser of a command line whose errors repeat no control characters and no secrets."""

    def error(self, message: str) -> NoReturn:
        """Print the usage and the error; exit with code 2."""
        self.print_usage(sys.stderr)
        self.exit(EXIT_INPUT, f"{self.prog}: error: {printable(redact(message))}\n")
