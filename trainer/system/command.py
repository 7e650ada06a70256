"""Frame of entry points with several commands, such as prepare.py; and their refusals, in one line each."""

import argparse
import sys
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from trainer import EXIT_INPUT, InputError
from trainer.system.atomic import why_not_written
from trainer.system.entry import EXIT_FAILED, run_program
from trainer.system.installation import usage
from trainer.system.output import Parser, ShowVersion, prepare_output
from trainer.system.signals import StopSignals

Command = Callable[[argparse.Namespace, StopSignals], int]
"""What a command does, with its options; returns the exit code."""


def command_parser(entry: str, description: str, commands: Mapping[str, Callable[[Any], None]]) -> Parser:
    """Parser of the entry point `entry`, such as prepare.

    `commands`: name -> function that adds this command to the parsers that argparse's `add_subparsers` gives, with its
    Command as the default of `command`.
    """
    parser = Parser(prog=usage(entry), description=description)
    parser.add_argument("--version", action=ShowVersion, nargs=0, help="print the version")
    parsers = parser.add_subparsers(required=True, metavar=" | ".join(commands))
    for add in commands.values():
        add(parsers)
    return parser


def run_command(
    program: str,
    read: Callable[[list[str] | None], argparse.Namespace],
    arguments: list[str] | None,
    prints_results: bool = False,
) -> int:
    """Do what a command line asks for; return the exit code, also where a signal stops it.

    `program`: name in messages, such as prepare.py; `read`: options, and under `command` the Command; `prints_results`
    as `run_program` has it.
    """

    def body(stop: StopSignals) -> int:
        prepare_output(arguments)
        options = read(arguments)
        return explain_errors(program, partial(options.command, options, stop))

    return run_program(program, body, prints_results)


def explain_errors(program: str, work: Callable[[], int], place: Path = Path()) -> int:
    """Return the exit code of `work`; where it raises InputError or OSError, print why, and return 2 or 1.

    `place`: what cannot be written where an OSError does not say.
    """
    try:
        return work()
    except InputError as error:
        print(f"{program}: {error}", file=sys.stderr)
        return EXIT_INPUT
    except OSError as error:
        print(f"{program}: {why_not_written(Path(error.filename or place), error)}", file=sys.stderr)
        return EXIT_FAILED
