"""Errors of the tracking store in one line that names the store and the fix. Without mlflow."""

import configparser
import importlib
import os
import re
import shlex
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

from trainer import InputError, redact
from trainer.tracking.store import sqlite_file, tracking_uri

LONGEST = 300
"""Most characters that are shown of a text which is not ours."""

CREDENTIALS = "~/.mlflow/credentials"
"""File in which MLflow looks for a name and a password that the environment does not have."""

REFUSALS = {"UNAUTHENTICATED": 401, "CUSTOMER_UNAUTHORIZED": 401, "PERMISSION_DENIED": 403}
"""MLflow's error code -> status of the server's answer."""


def deleted_experiment(option: str, name: str, number: str) -> InputError:
    """Error for an experiment that was deleted in MLflow, with the command that brings it back."""
    words = f"mlflow experiments restore --experiment-id {number}"
    restore = f"MLFLOW_TRACKING_URI={shlex.quote(redact(tracking_uri()))} {words}"
    return InputError(f"{option}: {name!r} was deleted in MLflow; give another name, or bring it back: {restore}")


@contextmanager
def store_errors() -> Iterator[None]:
    """Turn whatever MLflow, the database driver or the network raise into an InputError of one line."""
    try:
        yield
    except InputError:
        raise
    except Exception as error:
        raise InputError(in_words(error)) from error


def in_words(error: Exception) -> str:
    """Sentence about an error of the store: which store, what is wrong, and the fix where it is known."""
    if isinstance(error, InputError):
        return str(error)
    if isinstance(error, OSError) and error.filename:  # of a local file
        return f"{error.filename}: {error.strerror}"
    status, text = status_of(error), excerpt(f"{error}") or type(error).__name__
    if status in (401, 403):
        return refusal(status)
    if tracking_uri().startswith("databricks") and "credential" in text:
        needs = "Databricks needs its library databricks-sdk and a login"
        return f"{store_name()}: {needs}; install and set up both, or set MLFLOW_TRACKING_URI to another store"
    if schema := re.search(r"out-of-date database schema \(found version (\w+)", text):
        if _knows_schema(schema[1]):
            upgrade = f"mlflow db upgrade {shlex.quote(redact(tracking_uri()))}"
            return f"{store_name()}: made by an older MLflow; make a copy of it, and then run: {upgrade}"
        return f"{store_name()}: made by a newer MLflow than the one installed; install that, or use another store"
    return f"{store_name()}: {text}"


def _knows_schema(revision: str) -> bool:
    """Return whether the installed MLflow has a script that goes on from this revision of the database."""
    (package,) = importlib.import_module("mlflow").__path__
    return any(Path(package, "store", "db_migrations", "versions").glob(f"{revision}_*.py"))


def status_of(error: BaseException) -> int | None:
    """Status of the server's answer that caused an error; None where there was none, or it is not known."""
    chain: BaseException | None = error
    while chain is not None:
        status = getattr(getattr(chain, "response", None), "status_code", None)
        status = status or REFUSALS.get(str(getattr(chain, "error_code", "")))
        if status:
            return int(status)
        chain = chain.__cause__ or chain.__context__
    return None


def refusal(status: int, what: str = "do this there") -> str:
    """Sentence about an answer 401 or 403: who was refused, and where that name and its password come from.

    `what` was refused, as it stands after "may not".
    """
    who, fix = _login()
    if status == 401:
        login = (os.environ.get(name, "") for name in ("MLFLOW_TRACKING_USERNAME", "MLFLOW_TRACKING_PASSWORD"))
        fix += "" if "".join(login).isascii() else "; MLflow's own logins are of ASCII alone"
        return f"{store_name()}: does not know {who} (401); {fix}"
    return f"{store_name()}: {who} may not {what} (403); ask for the right, or {fix}"


@contextmanager
def permitted(what: str) -> Iterator[None]:
    """Turn an answer 403 into an InputError that says what was refused; other errors pass."""
    try:
        yield
    except InputError:
        raise
    except Exception as error:
        if status_of(error) != 403:
            raise
        raise InputError(refusal(403, what)) from error


def _login() -> tuple[str, str]:
    """User who asks, and what to change to ask as another one. Never a password."""
    variables = "MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD"
    if user := urlsplit(tracking_uri()).username:  # has priority over all others
        return f"the user {user!r} of MLFLOW_TRACKING_URI", "set another name and password there"
    user, stored = os.environ.get("MLFLOW_TRACKING_USERNAME"), _stored_user()
    if user or (stored and os.environ.get("MLFLOW_TRACKING_PASSWORD")):
        return f"the user {user or stored!r} with this password", f"set {variables}"
    if stored:
        return f"the user {stored!r} of {CREDENTIALS}", f"set another name and password there, or {variables}"
    if os.environ.get("MLFLOW_TRACKING_TOKEN"):
        return "the token of MLFLOW_TRACKING_TOKEN", "set another one"
    return "a user without name and password", f"set {variables}, or MLFLOW_TRACKING_TOKEN"


def _stored_user() -> str | None:
    """Name of the user in the file where MLflow looks for one; None where it holds none."""
    settings = configparser.ConfigParser()
    try:
        settings.read(Path(CREDENTIALS).expanduser(), encoding="utf-8")
        return settings.get("mlflow", "mlflow_tracking_username", fallback=None)
    except (configparser.Error, ValueError):  # MLflow says so itself, when it reads it
        return None


def store_name() -> str:
    """Name of the store in use, for people: its address without a password, or its file."""
    uri = tracking_uri()
    if uri.startswith(("http://", "https://")):
        return f"tracking server {redact(uri)}"
    file = sqlite_file()
    return f"tracking database {file}" if file else f"tracking store {redact(uri)}"


def excerpt(text: str) -> str:
    """Text of another program without line breaks, not longer than LONGEST characters."""
    text = " ".join(text.split())
    return text if len(text) <= LONGEST else f"{text[:LONGEST]}..."
