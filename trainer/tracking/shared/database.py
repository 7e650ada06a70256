"""PostgreSQL database of a shared server: its address without a password, and the programs that come with it."""

import os
import shlex
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, quote, unquote, urlencode, urlsplit, urlunsplit

from trainer import InputError, learn_secrets
from trainer.tracking.errors import excerpt

VARIABLE = "MLFLOW_BACKEND_STORE_URI"
"""Environment variable with the address of the database; MLflow's own."""

DEFAULT_URL = "postgresql:///segtrainer"
"""Database that is used without it: one of this machine's PostgreSQL, where the system's user is the login."""

WANTED = "give postgresql://HOST/DATABASE, with the user before the host"

CONNECT_SECONDS = 10
"""Longest wait for the database, in seconds."""

COUNT_SESSIONS = """select count(*) from pg_stat_activity
where datname = current_database() and pid <> pg_backend_pid() and backend_type = 'client backend'"""


def database_url() -> str:
    """Address of the database without its password, which PGPASSWORD holds from now on, for all programs started here.

    So no list of processes, no log and no file shows it. Raises InputError where the address is not PostgreSQL's.
    """
    given = os.environ.get(VARIABLE) or DEFAULT_URL
    learn_secrets(given)
    parts = urlsplit(given)
    if parts.scheme.partition("+")[0] not in ("postgresql", "postgres"):
        raise InputError(f"{VARIABLE}: {given!r} is no PostgreSQL; {WANTED}")
    login, _, host = parts.netloc.rpartition("@")
    user, _, password = login.partition(":")
    options = dict(parse_qsl(parts.query, keep_blank_values=True))
    password = options.pop("password", unquote(password))
    if password:
        os.environ["PGPASSWORD"] = password
    if not unquote(parts.path.lstrip("/")):
        raise InputError(f"{VARIABLE}: {given!r} names no database; {WANTED}")
    netloc = f"{user}@{host}" if user else host
    url = urlunsplit(("postgresql", netloc, parts.path, urlencode(options, quote_via=quote), ""))
    # Python would leave out the empty host of postgresql:///name.
    return url if "://" in url else url.replace("postgresql:", "postgresql://", 1)


def for_mlflow(url: str) -> str:
    """Address with the driver of the extra `server`: SQLAlchemy's default is another one in each of its versions."""
    return url.replace("postgresql:", "postgresql+psycopg2:", 1)


@contextmanager
def connect(url: str) -> Iterator[Any]:
    """Yield a connection whose changes are kept where the block succeeds. Raises InputError where there is none."""
    import psycopg2

    try:
        connection = psycopg2.connect(url, connect_timeout=CONNECT_SECONDS)
    except psycopg2.Error as error:
        raise InputError(f"database {url}: {excerpt(str(error))}; {_fix(url, str(error))}") from error
    try:
        with connection:
            yield connection
    finally:
        connection.close()


def _fix(url: str, error: str) -> str:
    """What to do about a database that cannot be opened."""
    user, name = _names(url)
    if "does not exist" in error:
        return (
            f"make it: sudo -u postgres createuser {shlex.quote(user)}; "
            f"sudo -u postgres createdb --owner {shlex.quote(user)} {shlex.quote(name)}"
        )
    if "password" in error:
        return f"give user and password in {VARIABLE}, or the password in PGPASSWORD"
    return f"start PostgreSQL (apt-get install postgresql), or set {VARIABLE} to another one"


def _names(url: str) -> tuple[str, str]:
    """User and name of a database."""
    import getpass

    parts = urlsplit(url)
    user = unquote(parts.netloc.rpartition("@")[0]) or os.environ.get("PGUSER") or getpass.getuser()
    return user, unquote(parts.path.lstrip("/"))


def ask(url: str, question: str) -> Any:
    """The one value that a query gives."""
    with connect(url) as connection, connection.cursor() as cursor:
        cursor.execute(question)
        return cursor.fetchone()[0]


def has_table(url: str, name: str) -> bool:
    """Return whether the database has a table of this name."""
    return bool(ask(url, f"select to_regclass('{name}') is not null"))


def program(name: str) -> str:
    """Path of one of PostgreSQL's programs, such as pg_dump. Raises InputError where it is not installed."""
    newest = sorted(Path("/usr/lib/postgresql").glob(f"*/bin/{name}"), key=lambda path: path.parts[4].zfill(5))
    found = shutil.which(name) or next(map(str, reversed(newest)), None)
    if found is None:
        raise InputError(f"{name} is not installed; it comes with PostgreSQL: apt-get install postgresql-client")
    return found


def require_success(words: list[str], done: subprocess.CompletedProcess[bytes]) -> None:
    """Raise InputError with the first error of a program of PostgreSQL that has failed."""
    if done.returncode:
        raise InputError(f"{Path(words[0]).name}: {excerpt(done.stderr.decode(errors='replace'))}")
