"""Where runs are tracked, and whether anybody answers there; without loading MLflow."""

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

PROBE_SECONDS = 5.0
LOCKED_SECONDS = 45.0  # how long another program may hold the database's lock before that is an error


def tracking_uri() -> str:
    """The store in use: MLFLOW_TRACKING_URI, or sqlite in mlruns/."""
    return os.environ.get("MLFLOW_TRACKING_URI") or f"sqlite:///{MLRUNS / 'mlflow.db'}"


def sqlite_file() -> Path | None:
    """The database file, where the store in use is one."""
    scheme, separator, path = tracking_uri().partition(":///")
    return Path(path.partition("?")[0]) if separator and scheme.partition("+")[0] == "sqlite" and path else None


def reachable(tracking: TrackingConfig, log: Callable[[str, str], None]) -> bool:
    """Whether the store answers; where it does not, `log` is told, in a text and its colour.

    Raises InputError where it does not and the run may not do without.
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
    """Raise InputError at once where no store answers, instead of after MLflow's minutes of retries."""
    uri = tracking_uri()
    if uri.startswith(("http://", "https://")):
        _probe_server(uri, PROBE_SECONDS)
    elif file := sqlite_file():
        _probe_file(file)
    elif not uri.startswith(("postgresql", "mysql", "mssql", "databricks")):
        raise InputError(_refusal(uri))


def _probe_server(uri: str, seconds: float) -> None:
    parts = urlsplit(uri)
    # urllib takes no user and password in an address; the health check needs none.
    bare = urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path.rstrip("/") + "/health", "", ""))
    try:
        urllib.request.urlopen(bare, timeout=seconds).close()
    except urllib.error.HTTPError:
        return  # something answers; what it wants, the first real call will say
    except (OSError, ValueError) as error:
        if isinstance(getattr(error, "reason", None), ssl.SSLError):
            return  # so does this one; whether to trust its certificate is for MLflow's own settings to say
        raise InputError(
            f"tracking server {redact(uri)}: no answer ({getattr(error, 'reason', error)}). Start it, or set "
            "MLFLOW_TRACKING_URI to another one"
        ) from error


def _probe_file(file: Path) -> None:
    """That the database can be opened and written to. MLflow tries a file that cannot be opened for minutes."""
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        with closing(sqlite3.connect(file, timeout=LOCKED_SECONDS)) as database:
            database.execute("BEGIN IMMEDIATE")
            database.rollback()
    except (OSError, sqlite3.Error) as error:
        locked = "locked" in str(error)
        fix = "end the program that locks it" if locked else "mend that, or set MLFLOW_TRACKING_URI to another store"
        raise InputError(f"tracking database {file}: {error}; {fix}") from error


def _refusal(uri: str) -> str:
    folder = Path(uri.removeprefix("file://"))
    if uri.startswith("sqlite:"):
        return f"MLFLOW_TRACKING_URI: {uri!r} names no file, so nothing would be kept; give sqlite:///FILE"
    if any(folder.glob("*/meta.yaml")):
        return (
            f"MLFLOW_TRACKING_URI: {uri!r} is a file store of an older MLflow, which this one does not write to. Unset "
            "it for the default store, or take the old runs along: "
            f"mlflow migrate-filestore --source {folder} --target sqlite:///mlflow.db and "
            "MLFLOW_TRACKING_URI=sqlite:///mlflow.db"
        )
    return (
        f"MLFLOW_TRACKING_URI: {uri!r} is neither a server nor a database; unset it, or give http://... or "
        "sqlite:///..."
    )


def is_alive(seconds: float) -> bool:
    """Whether the server answers within `seconds`. A database in a file counts as one that does, locked or not."""
    uri = tracking_uri()
    try:
        if uri.startswith(("http://", "https://")):
            _probe_server(uri, seconds)
    except InputError:
        return False
    return True


def ui_command() -> str:
    """What to open or type to see the runs."""
    uri = tracking_uri()
    return redact(uri) if uri.startswith("http") else "bash launch/ui.sh"
