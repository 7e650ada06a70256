"""Start of a shared server: `mlflow server` with passwords, after checks of everything that it needs."""

import argparse
import configparser
import ipaddress
import os
import secrets
import socket
import sys
from pathlib import Path
from typing import NoReturn

from trainer import InputError
from trainer.system.atomic import atomic_file
from trainer.tracking.errors import store_errors
from trainer.tracking.shared import artifacts, database
from trainer.tracking.shared.backup import require_whole
from trainer.tracking.shared.users import PASSWORD_VARIABLE, Users

LOGIN_SECONDS = 10
"""Time for which a worker of the server remembers that a password was right: to compare it takes 50 ms of a CPU."""

ENVIRONMENT = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_BASIC_AUTH_FAIL_CLOSED": "true",  # what MLflow has no rule for is refused
    "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",  # nothing here uses it: eight more processes
}
"""Settings of the server, where the environment has no others."""


def require_hosts(options: argparse.Namespace) -> None:
    """Raise InputError where other machines are to reach the server, and it is not said by which names."""
    if not is_loopback(options.host) and not options.allowed_hosts:
        raise InputError(
            f"--host {options.host}: say by which names others may call it, with the port: --allowed-hosts "
            f'"NAME:{options.port},ADDRESS:{options.port}"'
        )


def is_loopback(host: str) -> bool:
    """Return whether only this machine reaches an address."""
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return host == "localhost"


def require_free(host: str, port: int) -> None:
    """Raise InputError where the server could not listen; MLflow would say so in the middle of a long log."""
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host.strip("[]"), port, type=socket.SOCK_STREAM)[0]
        with socket.socket(family, kind, protocol) as listening:
            listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listening.bind(address)
    except OSError as error:
        raise InputError(
            f"--host {host} --port {port}: {error.strerror}; give another port, or end what uses it"
        ) from error


def start(url: str, place: Path | str, options: argparse.Namespace, others: list[str]) -> NoReturn:
    """Become the server; `others` are further options of `mlflow server`. Raises InputError where it cannot start."""
    require_hosts(options)
    require_free(options.host, options.port)
    require_whole(place)
    artifacts.check(place)
    with store_errors():
        _make_tables(url)
        admins = Users(url).admins()
    if not admins:
        raise InputError("no user may log in yet; make the first one: bash launch/server.sh user NAME admin")
    own = ("MLFLOW_TRACKING_", PASSWORD_VARIABLE)  # of a person who logs in
    variables = {key: value for key, value in os.environ.items() if not key.startswith(own)}
    variables |= {database.VARIABLE: database.for_mlflow(url), artifacts.VARIABLE: str(place)}
    variables |= {"MLFLOW_AUTH_CONFIG_PATH": str(_write_settings(url, admins[0]))}
    variables |= {"MLFLOW_FLASK_SERVER_SECRET_KEY": _secret_key()}
    words = [sys.executable, "-m", "mlflow", "server", *others, "--app-name", "basic-auth", "--serve-artifacts"]
    words += ["--host", options.host, "--port", str(options.port), "--workers", str(options.workers)]
    words += ["--allowed-hosts", allowed_hosts(options)] if options.allowed_hosts else []
    where = place if isinstance(place, Path) else f"{place}, by this machine's key"
    host = f"[{options.host}]" if ":" in options.host else options.host
    print(f"http://{host}:{options.port}  database {url}, artifacts {where}", flush=True)
    if not is_loopback(options.host) and "--ssl" not in " ".join(others):
        print("warning: without TLS, passwords can be read on the way; see Tracking on a server", file=sys.stderr)
    sys.stderr.flush()
    os.execve(sys.executable, words, ENVIRONMENT | variables)


def allowed_hosts(options: argparse.Namespace) -> str:
    """Names by which others may call the server, and those by which this machine does."""
    return ",".join([options.allowed_hosts, *(f"{name}:{options.port}" for name in ("localhost", "127.0.0.1"))])


def _make_tables(url: str) -> None:
    """Make the tables of a new database. Raises where they are another version's of MLflow."""
    from mlflow import MlflowClient

    MlflowClient(database.for_mlflow(url)).search_experiments(max_results=1)


def _write_settings(url: str, admin: str) -> Path:
    """Write the file with which MLflow's logins are set up; it holds no password."""
    settings = configparser.RawConfigParser()
    settings["mlflow"] = {
        "default_permission": "READ",
        "database_uri": database.for_mlflow(url).replace("%", "%%"),
        "admin_username": admin.replace("%", "%%"),
        "authorization_function": "mlflow.server.auth:authenticate_request_basic_auth",
        "auth_cache_ttl_seconds": str(LOGIN_SECONDS),
    }
    file = artifacts.HOME / "basic_auth.ini"
    _write(file, settings)
    return file


def _write(file: Path, settings: configparser.RawConfigParser) -> None:
    import io

    text = io.StringIO()
    settings.write(text)
    file.parent.mkdir(parents=True, exist_ok=True)
    with atomic_file(file) as output:
        os.fchmod(output.fileno(), 0o600)
        output.write(text.getvalue().encode())


def _secret_key() -> str:
    """Key with which MLflow signs its forms, the same at each start."""
    if given := os.environ.get("MLFLOW_FLASK_SERVER_SECRET_KEY"):
        return given
    file = artifacts.HOME / "secret_key"
    if not file.exists():
        with atomic_file(file) as output:
            os.fchmod(output.fileno(), 0o600)
            output.write(secrets.token_hex(32).encode())
    return file.read_text().strip()
