"""Command line of launch/server.sh.

python -m trainer.tracking.shared start [--host HOST] [--port PORT] [--allowed-hosts NAMES] [options of mlflow server]
python -m trainer.tracking.shared user NAME [read|edit|manage|admin] [--password_file FILE]
python -m trainer.tracking.shared password NAME [--password_file FILE]
python -m trainer.tracking.shared remove NAME
python -m trainer.tracking.shared users
python -m trainer.tracking.shared backup FILE
python -m trainer.tracking.shared restore FILE [--yes] [--incomplete]
"""

import argparse
import functools
import os
import sys
import warnings
from pathlib import Path
from typing import Any

from trainer import EXIT_INPUT, InputError
from trainer.system.entry import leave, run_program
from trainer.system.installation import require
from trainer.system.output import Parser, prepare_output
from trainer.system.signals import StopSignals
from trainer.tracking.shared import artifacts, database
from trainer.tracking.shared.users import PASSWORD_VARIABLE, PERMISSIONS, Users, read_password

NAME = "server.sh"
COMMANDS = ("start", "user", "password", "remove", "users", "backup", "restore")


def main(arguments: list[str] | None = None) -> int:
    """Return the exit code: 0 done, 2 wrong usage, or something is not there."""
    return run_program(NAME, functools.partial(_main, arguments))


def _main(arguments: list[str] | None, _stop: StopSignals) -> int:
    prepare_output(arguments)
    warnings.filterwarnings("ignore", module=r"mlflow\.")  # about its libraries, which a user cannot act on
    options, others = _parser().parse_known_args(sys.argv[1:] if arguments is None else arguments)
    try:
        if others and options.call is not _start:
            raise InputError(f"unknown: {' '.join(others)}")
        require("server", "a shared server")
        options.others = others
        code: int = options.call(options)
        return code
    except InputError as error:
        print(f"{NAME}: {error}", file=sys.stderr)
        return EXIT_INPUT


def _parser() -> argparse.ArgumentParser:
    text = f"""A shared MLflow server: PostgreSQL, artifacts, users. {database.VARIABLE} is the database (default:
{database.DEFAULT_URL}), {artifacts.VARIABLE} the folder of the artifacts, or s3://bucket/path."""
    parser = Parser(prog=NAME, description=text, allow_abbrev=False)
    commands = parser.add_subparsers(required=True, metavar=" | ".join(COMMANDS))
    start = _add(commands, "start", _start, "start the server; further options are those of `mlflow server`")
    start.add_argument("--host", default="127.0.0.1", help="address to listen at (default: this machine alone)")
    start.add_argument("--port", type=int, default=5000)
    start.add_argument("--allowed-hosts", help='names by which it may be called, such as "mlflow.lab:5000"')
    start.add_argument("--workers", type=int, default=2, help="processes that answer")
    user = _add(commands, "user", _user, "make a user, or change what one may do")
    user.add_argument("name")
    user.add_argument("permission", nargs="?", choices=PERMISSIONS, help="edit where none is given for a new user")
    password = _add(commands, "password", _password, "give a user another password")
    password.add_argument("name")
    for one in (user, password):
        one.add_argument(
            "--password_file", metavar="FILE", help=f"file with the password, - for a pipe; or set {PASSWORD_VARIABLE}"
        )
    _add(commands, "remove", _remove, "remove a user; what they have recorded stays").add_argument("name")
    _add(commands, "users", _users, "list the users")
    _add(commands, "backup", _backup, "save database and artifacts in one file").add_argument("file", type=Path)
    restore = _add(commands, "restore", _restore, "put a backup in the place of what is there")
    restore.add_argument("file", type=Path)
    restore.add_argument("--yes", action="store_true", help="do not ask")
    restore.add_argument(
        "--incomplete", action="store_true", help="also where artifacts of the backup are no longer in S3"
    )
    return parser


def _add(commands: Any, name: str, call: Any, text: str) -> argparse.ArgumentParser:
    parser: argparse.ArgumentParser = commands.add_parser(name, help=text, description=text, allow_abbrev=False)
    parser.set_defaults(call=call)
    return parser


def _start(options: argparse.Namespace) -> int:
    from trainer.tracking.shared.start import require_hosts, start

    require_hosts(options)
    start(_reachable_database(), artifacts.destination(), options, options.others)


def _user(options: argparse.Namespace) -> int:
    users = _open_users()
    if users.has(options.name):
        if not options.permission:
            raise InputError(f"user {options.name!r}: exists already; say what is to change: {' | '.join(PERMISSIONS)}")
        users.allow(options.name, options.permission)
        print(f"user {options.name}: {options.permission}")
    else:
        permission = options.permission or "edit"
        users.add(options.name, read_password(options.name, options.password_file), permission)
        print(f"user {options.name}: {permission}, new")
    return 0


def _password(options: argparse.Namespace) -> int:
    users = _open_users()
    users.require(options.name)
    users.change_password(options.name, read_password(options.name, options.password_file))
    print(f"user {options.name}: new password")
    return 0


def _remove(options: argparse.Namespace) -> int:
    _open_users().remove(options.name)
    print(f"user {options.name}: removed")
    return 0


def _users(_options: argparse.Namespace) -> int:
    for name, permission in _open_users().rows():
        print(f"{permission:7} {name}")
    return 0


def _backup(options: argparse.Namespace) -> int:
    from trainer.tracking.shared.backup import backup, require_whole

    place = artifacts.destination()
    require_whole(place)
    print(backup(_reachable_database(), place, options.file))
    return 0


def _restore(options: argparse.Namespace) -> int:
    from trainer.tracking.shared.backup import present_runs, require_idle, restore

    url = _reachable_database()
    require_idle(url)
    runs = present_runs(url)
    asked = sys.stdin.isatty() and sys.stdout.isatty()
    question = f"replace the {runs} runs there by those of {options.file}? [y/N] "
    if runs and not options.yes and not (asked and input(question).strip().lower() in ("y", "yes")):
        raise InputError(f"{runs} runs are there; nothing is changed" + ("" if asked else "; --yes replaces them"))
    print(restore(url, artifacts.destination(), options.file, options.incomplete))
    return 0


def _open_users() -> Users:
    from trainer.tracking.errors import store_errors

    url = _reachable_database()
    with store_errors():
        return Users(url)


def _reachable_database() -> str:
    """Address of the database, which answers."""
    url = database.database_url()
    database.ask(url, "select 1")
    os.environ["MLFLOW_TRACKING_URI"] = url  # what errors of MLflow's store speak of
    return url


if __name__ == "__main__":
    leave(main())
