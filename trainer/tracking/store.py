"""Address of the tracking store, and checks that it answers, without loading MLflow."""

import http.client
import os
import re
import shlex
import sqlite3
import ssl
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping
from contextlib import closing
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote_to_bytes, urlsplit, urlunsplit

from trainer import InputError, redact
from trainer.config import INSTALLED, MLRUNS, TrackingConfig
from trainer.system.installation import command
from trainer.system.run_folder import RunFolder, read_object

DEFAULT_DATABASE = MLRUNS / "mlflow.db"
"""Database of the store that is used where MLFLOW_TRACKING_URI names no other."""

DEFAULT = "the default store, mlruns/mlflow.db"
"""Name of that store for people."""

PROBE_SECONDS = 5.0
"""Longest wait for the answer of a tracking server before a run, in seconds."""

LOCKED_SECONDS = 45.0
"""Longest wait for another program's lock on the database, in seconds."""


def tracking_uri() -> str:
    """URI of the store in use: MLFLOW_TRACKING_URI, or the sqlite database in mlruns/."""
    return os.environ.get("MLFLOW_TRACKING_URI") or sqlite_uri(DEFAULT_DATABASE)


def sqlite_uri(file: Path) -> str:
    """URI of an sqlite database at an absolute path, whatever characters are in it."""
    if not re.search(r"[%?\udc80-\udcff]", str(file)):
        return f"sqlite:///{file}"
    # SQLAlchemy would decode a %20, and take what follows a ? for options; bytes that are no UTF-8 have no form but
    # sqlite's own. Not sqlite:/// either: MLflow makes the folder that stands after it, encoded as it is.
    from sqlalchemy.engine import URL

    database = "file:" + quote(os.fsencode(file))
    return URL.create("sqlite+pysqlite", database=database, query={"uri": "true"}).render_as_string()


def sqlite_file() -> Path | None:
    """Database file of the store in use; None where the store is not an sqlite file."""
    scheme, separator, path = tracking_uri().partition(":///")
    if not separator or scheme.partition("+")[0] != "sqlite" or not path:
        return None
    if not re.search("[%?]", path):
        return Path(path)
    from sqlalchemy.engine import make_url

    database = make_url(tracking_uri()).database or ""
    own_form = database.startswith("file:")
    return Path(os.fsdecode(unquote_to_bytes(urlsplit(database).path)) if own_form else database)


def is_default() -> bool:
    """Return whether the store in use is the one in mlruns/."""
    file = sqlite_file()
    return file is not None and file.absolute() == DEFAULT_DATABASE


def store_id() -> str:
    """Name of the store in use for run.json, without a password; empty for the one in mlruns/, which may be moved."""
    if is_default():
        return ""
    file = sqlite_file()
    return sqlite_uri(file.absolute()) if file else redact(tracking_uri()).rstrip("/")


class OtherStoreError(InputError):
    """A run would go on in another store than the one that it is recorded in."""

    def __init__(self, folder: RunFolder, began: str) -> None:
        fix = f"set MLFLOW_TRACKING_URI={began} (with your user and password, if it wants them)"
        fix = fix if "://" in began else "unset MLFLOW_TRACKING_URI" if began == DEFAULT else "set MLFLOW_TRACKING_URI"
        super().__init__(
            f"{folder}: this run is recorded in {began}, not in the store in use; {fix} to go on there. To have it in "
            "the store in use, send it to that first: "
            f"MLFLOW_TRACKING_URI={shlex.quote(redact(tracking_uri()))} {command('sync')} {shlex.quote(str(folder))}"
        )


def elsewhere(folder: RunFolder) -> str | None:
    """Store that a run folder's run began in, where that is not the store in use; None where it is, or is not known."""
    began = read_object(folder.run).get("store")
    return None if began in (None, store_id()) else began or DEFAULT


def require_begun_here(folder: RunFolder) -> None:
    """Raise OtherStoreError where the default store is in use, by oversight, for a run that began on a server.

    Another address may be another name of the same server, so that only its answer tells (`connect_run`).
    """
    began = elsewhere(folder)
    if began and is_default():
        raise OtherStoreError(folder, began)


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
        log(f"warning: {error}. Training continues; the run is kept, and sent when the store answers", "yellow")
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
    except (OSError, ValueError, http.client.HTTPException) as error:
        if isinstance(getattr(error, "reason", None), ssl.SSLError):
            return  # a server answers here too; MLflow's own settings decide whether to trust its certificate
        raise InputError(
            f"tracking server {redact(uri)}: no answer ({getattr(error, 'reason', error)}). Start it, or set "
            "MLFLOW_TRACKING_URI to another one"
        ) from error


def _probe_file(file: Path) -> None:
    """Raise InputError where the database cannot be opened and written to, which MLflow would retry for minutes."""
    if file.is_dir():
        raise InputError(f"tracking database {file}: is a folder; set MLFLOW_TRACKING_URI to sqlite:///FILE")
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        with closing(sqlite3.connect(file, timeout=LOCKED_SECONDS)) as database:
            database.execute("BEGIN IMMEDIATE")
            tables = {name for (name,) in database.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
            database.rollback()
    except (OSError, sqlite3.Error) as error:
        locked = "locked" in str(error)
        fix = "end the program that locks it" if locked else "fix this, or set MLFLOW_TRACKING_URI to another store"
        raise InputError(f"tracking database {file}: {error}; {fix}") from error
    if tables and not tables & {"experiments", "alembic_version"}:  # MLflow would add its own tables
        shown = ", ".join(sorted(tables)[:3])
        raise InputError(
            f"tracking database {file}: holds the tables of another program ({shown}); set MLFLOW_TRACKING_URI to "
            "another file"
        )


def _explain_unsupported(uri: str) -> str:
    """Error text for a store that runs cannot be written to, with the fix."""
    folder = Path(uri.removeprefix("file://"))
    if uri.startswith("sqlite:"):
        return f"MLFLOW_TRACKING_URI: {uri!r} names no file, so nothing would be kept; give sqlite:///FILE"
    if any(folder.glob("*/meta.yaml")):
        return (
            f"MLFLOW_TRACKING_URI: {uri!r} is a file store of an older MLflow, which this one does not write to. Unset "
            "it for the default store, or take the old runs along: "
            f"mlflow migrate-filestore --source {shlex.quote(str(folder))} --target sqlite:///mlflow.db and "
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


def run_page(info: Mapping[str, Any]) -> str:
    """Address of a run's page, in MLflow's view for training; of a run without a server, what shows it.

    `info`: content of run.json.
    """
    if not (tracking_uri().startswith("http") and info.get("run_id")):
        return ui_command()
    page = f"#/experiments/{info['experiment_id']}/runs/{info['run_id']}?workflowType=machine_learning"
    return f"{redact(tracking_uri()).rstrip('/')}/{page}"


def ui_command() -> str:
    """Address or command with which a user sees the runs."""
    uri = tracking_uri()
    if uri.startswith("http"):
        return redact(uri)
    if is_default() and not INSTALLED:
        return "bash launch/ui.sh"
    return f"mlflow ui --backend-store-uri {shlex.quote(redact(uri))}"
