"""Address of the tracking store, and checks that it answers, without loading MLflow."""

import os
import sqlite3
import ssl
import urllib.error
import urllib.request
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

from trainer import InputError, redact
from trainer.config import MLRUNS, TrackingConfig
from trainer.system.text import quote

PROBE_SECONDS = 5.0
"""Longest wait for the answer of a tracking server before a run, in seconds."""

LOCKED_SECONDS = 45.0
"""Longest wait for another program's lock on the database, in seconds."""


def tracking_uri() -> str:
    """URI of the store in use: MLFLOW_TRACKING_URI, or the sqlite database in mlruns/."""
    return os.environ.get("MLFLOW_TRACKING_URI") or f"sqlite:///{MLRUNS / 'mlflow.db'}"


def sqlite_file() -> Path | None:
    """Database file of the store in use; None where the store is not an sqlite file."""
    scheme, separator, path = tracking_uri().partition(":///")
    return Path(path.partition("?")[0]) if separator and scheme.partition("+")[0] == "sqlite" and path else None


def reachable(tracking: TrackingConfig, log: Callable[[str, str], None]) -> bool:
    """Return whether the store answers. Where it does not, `log` receives a warning and its style.

    Raises InputError where it does not answer and tracking.required is set.
    """
    if not tracking.enabled:
        return False
    try:
        probe()
    except InputError as error:
        if tracking.required:
            raise InputError(f"{error}. Or train on without it: --tracking.required false") from error
        log(f"warning: {error}. Training goes on; the run is kept, and sent when the store answers", "yellow")
        return False
    return True


def probe() -> None:
    """Check that the store answers. Raises InputError within seconds, where MLflow would retry for minutes."""
    uri = tracking_uri()
    if uri.startswith(("http://", "https://")):
        _probe_server(uri, PROBE_SECONDS)
    elif file := sqlite_file():
        _probe_file(file)
    elif not uri.startswith(("postgresql", "mysql", "mssql", "databricks")):
        raise InputError(_explain_unsupported(uri))


def _probe_server(uri: str, seconds: float) -> None:
    """Raise InputError where the server gives no answer, of whatever kind, within `seconds`."""
    parts = urlsplit(uri)
    # urllib accepts no user and password in an address; the health check needs none.
    health = urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path.rstrip("/") + "/health", "", ""))
    try:
        urllib.request.urlopen(health, timeout=seconds).close()
    except urllib.error.HTTPError:
        return  # a server answers; the first real request will show what it refuses
    except (OSError, ValueError) as error:
        if isinstance(getattr(error, "reason", None), ssl.SSLError):
            return  # a server answers here too; MLflow's own settings decide whether to trust its certificate
        raise InputError(
            f"tracking server {redact(uri)}: no answer ({getattr(error, 'reason', error)}). Start it, or set "
            "MLFLOW_TRACKING_URI to another one"
        ) from error


def _probe_file(file: Path) -> None:
    """Raise InputError where the database cannot be opened and written to, which MLflow would retry for minutes."""
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        with closing(sqlite3.connect(file, timeout=LOCKED_SECONDS)) as database:
            database.execute("BEGIN IMMEDIATE")
            database.rollback()
    except (OSError, sqlite3.Error) as error:
        locked = "locked" in str(error)
        fix = "end the program that locks it" if locked else "fix this, or set MLFLOW_TRACKING_URI to another store"
        raise InputError(f"tracking database {file}: {error}; {fix}") from error


def _explain_unsupported(uri: str) -> str:
    """Error text for a store that runs cannot be written to, with the fix."""
    folder = Path(uri.removeprefix("file://"))
    if uri.startswith("sqlite:"):
        return f"MLFLOW_TRACKING_URI: {uri!r} names no file, so nothing would be kept; give sqlite:///FILE"
    if any(folder.glob("*/meta.yaml")):
        return (
            f"MLFLOW_TRACKING_URI: {uri!r} is a file store of an older MLflow, which this one does not write to. Unset "
            "it for the default store, or take the old runs along: "
            f"mlflow migrate-filestore --source {quote(folder)} --target sqlite:///mlflow.db and "
            "MLFLOW_TRACKING_URI=sqlite:///mlflow.db"
        )
    return (
        f"MLFLOW_TRACKING_URI: {uri!r} is neither a server nor a database; unset it, or give http://... or "
        "sqlite:///..."
    )


def is_alive(seconds: float) -> bool:
    """Return whether the server answers within `seconds`. A database file counts as one that does, locked or not."""
    uri = tracking_uri()
    try:
        if uri.startswith(("http://", "https://")):
            _probe_server(uri, seconds)
    except InputError:
        return False
    return True


def ui_command() -> str:
    """Address or command with which a user sees the runs."""
    uri = tracking_uri()
    return redact(uri) if uri.startswith("http") else "bash launch/ui.sh"
