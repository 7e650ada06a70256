"""Command line of serve.py. Light: a mistyped option is refused before anything heavy is loaded."""

import argparse
import ipaddress
import os
import re
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from trainer import learn_secrets
from trainer.serving.limits import Limits
from trainer.system.installation import usage
from trainer.system.output import Parser, ShowVersion

TOKEN_VARIABLE, STUDIO_VARIABLE = "SEGTRAINER_TOKEN", "LABEL_STUDIO_API_KEY"
"""Environment variables with the token of this service, and with Label Studio's: a command line is seen by others."""

SHORTEST_TOKEN = 8
"""Characters of a token; a shorter one is guessed."""


def read_command(arguments: list[str] | None) -> argparse.Namespace:
    """Options of a command line, with `limits`. Exits with 2 where it is wrong."""
    parser = _parser()
    given = parser.parse_args(arguments)
    given.token = given.token if given.token is not None else os.environ.get(TOKEN_VARIABLE, "")
    given.studio_token = os.environ.get(STUDIO_VARIABLE, "")
    for name, token in ((f"--token or {TOKEN_VARIABLE}", given.token), (STUDIO_VARIABLE, given.studio_token)):
        learn_secrets(f"token={token}")
        if token and not re.fullmatch(r"[!-~]+", token):
            parser.error(f"{name}: letters, digits and signs of ASCII without blanks; make one: openssl rand -hex 24")
    if given.token and len(given.token) < SHORTEST_TOKEN:
        parser.error(f"--token: fewer than {SHORTEST_TOKEN} characters; make one: openssl rand -hex 24")
    if not is_loopback(given.host) and not given.token:
        parser.error(
            f"--host {given.host}: others could use the service; give --token, or {TOKEN_VARIABLE} in the environment"
        )
    given.limits = Limits(
        given.max_megabytes * 2**20, given.max_pixels, given.timeout, given.queue_size, given.batch_size
    )
    return given


def is_loopback(host: str) -> bool:
    """Return whether a host is this machine alone."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _parser() -> Parser:
    parser = Parser(
        prog=usage("serve"),
        description="Serve a model over HTTP: for programs, labelling tools and a page in the browser.",
        epilog="X-AnyLabeling: remote server http://HOST:PORT. Label Studio: model http://HOST:PORT.",
    )
    parser.add_argument("--version", action=ShowVersion, nargs=0, help="print the version")
    parser.add_argument("--model", required=True, help="models:/name@alias, models:/name/3, or a model folder")
    parser.add_argument("--host", default="127.0.0.1", help="address to listen at (127.0.0.1: this machine alone)")
    parser.add_argument("--port", type=_number(0, 65535), default=8000, help="port; 0 takes a free one (8000)")
    parser.add_argument(
        "--token",
        metavar="TOKEN",
        help=f"token that requests must send; better in {TOKEN_VARIABLE}, which others do not see",
    )
    parser.add_argument(
        "--poll", type=_seconds, default=5.0, metavar="SECONDS", help="time between looks at the alias (5)"
    )
    parser.add_argument(
        "--queue", type=Path, metavar="DIR", help="labelling queue: folder for pictures that a person marks as wrong"
    )
    parser.add_argument(
        "--label_studio",
        type=_address,
        metavar="URL",
        help=f"Label Studio, the only host whose pictures are fetched; its token: {STUDIO_VARIABLE}",
    )
    _add_limits(parser)
    return parser


def _add_limits(parser: Parser) -> None:
    limits, usual = parser.add_argument_group("limits"), Limits()
    limits.add_argument(
        "--max_megabytes",
        type=_number(1, 4096),
        default=usual.body_bytes // 2**20,
        metavar="N",
        help=f"of a request ({usual.body_bytes // 2**20})",
    )
    limits.add_argument(
        "--max_pixels",
        type=_number(1, 200_000_000),
        default=usual.pixels,
        metavar="N",
        help=f"of a picture ({usual.pixels})",
    )
    limits.add_argument(
        "--timeout",
        type=_seconds,
        default=usual.seconds,
        metavar="SECONDS",
        help=f"for a request to arrive, to wait, and to be read ({usual.seconds:.0f} each)",
    )
    limits.add_argument(
        "--queue_size",
        type=_number(1, 10_000),
        default=usual.queue,
        metavar="N",
        help=f"pictures under way; more are refused with 503 ({usual.queue})",
    )
    limits.add_argument(
        "--batch_size",
        type=_number(1, 1024),
        default=usual.batch_size,
        metavar="N",
        help=f"pictures that go through the network together ({usual.batch_size})",
    )


def _number(least: int, most: int) -> Any:
    """Type of an option that is a whole number from `least` to `most`."""

    def convert(text: str) -> int:
        if not (text.isdecimal() and text.isascii() and len(text) < 19 and least <= int(text) <= most):
            raise argparse.ArgumentTypeError(f"{text} is not possible; give a number from {least} to {most}")
        return int(text)

    return convert


def _seconds(text: str) -> float:
    try:
        number = float(text)
    except ValueError:
        number = -1.0
    if not 0.1 <= number <= 86_400:
        raise argparse.ArgumentTypeError(f"{text} is not possible; give seconds from 0.1 to 86400")
    return number


def _address(text: str) -> str:
    try:
        parts = urlsplit(text)
        possible = parts.scheme in ("http", "https") and parts.hostname and parts.port != 0 and "@" not in parts.netloc
    except ValueError:
        possible = False
    if not possible:
        raise argparse.ArgumentTypeError("no address of a server; give http://HOST:PORT, without user and password")
    return text.rstrip("/")
