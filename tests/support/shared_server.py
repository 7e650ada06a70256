"""A shared server as launch/server.sh starts it, on a PostgreSQL of its own; all of it on this machine."""

import base64
import copy
import importlib.util
import json
import os
import pwd
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote

from tests.support.program import Command, Ended, Program

DATABASE_PASSWORD = "a p@ss/w:örd of PostgreSQL"
START_SECONDS = 600.0
"""Longest wait for a server that starts, or for one of its commands, in seconds."""


def missing() -> str:
    """What these tests need and this machine lacks; empty where all is there."""
    packages = [name for name in ("psycopg2", "flask_wtf", "boto3") if importlib.util.find_spec(name) is None]
    if packages:
        return f"the extra server is not installed ({', '.join(packages)})"
    return "" if _programs() else "PostgreSQL is not installed"


def _programs() -> Path | None:
    """Folder of the newest PostgreSQL's programs."""
    folders = [path.parent for path in Path("/usr/lib/postgresql").glob("*/bin/initdb")]  # Debian's, not on PATH
    if folders:
        return max(folders, key=lambda path: int(path.parent.name))
    found = shutil.which("initdb")
    return Path(found).resolve().parent if found else None


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


class Postgres:
    """PostgreSQL on loopback with passwords, and a database of a user who may make no other."""

    user = "segtrainer"

    def __init__(self, folder: Path) -> None:
        programs = _programs()
        assert programs is not None
        self.programs, self.folder, self.port = programs, folder, free_port()
        self.name = "runs of the lab"
        (folder / "password").write_text(DATABASE_PASSWORD)
        # It does not run as root, as which tests in a container do.
        self.as_user = ["setpriv", "--reuid=postgres", "--regid=postgres", "--init-groups"] if os.getuid() == 0 else []
        if self.as_user:
            owner = pwd.getpwnam("postgres")
            for path in (folder, folder / "password"):
                os.chown(path, owner.pw_uid, owner.pw_gid)
        initdb = [str(programs / "initdb"), "--pgdata", str(folder / "data"), "--username=postgres", "--encoding=UTF8"]
        initdb += ["--auth=scram-sha-256", f"--pwfile={folder / 'password'}", "--no-sync", "--locale=C.UTF-8"]
        subprocess.run([*self.as_user, *initdb], check=True, capture_output=True, cwd=folder)
        words = [str(programs / "postgres"), "-D", str(folder / "data"), "-p", str(self.port), "-k", str(folder)]
        words += ["-c", "listen_addresses=127.0.0.1", "-c", "fsync=off"]
        self.command = Command([*self.as_user, *words], folder, {"PATH": os.environ["PATH"]})
        self.command.wait_for(self._answers, "an answer of PostgreSQL")
        self.sql(f"create role {self.user} login password '{DATABASE_PASSWORD}'", "postgres")
        self.create()

    @property
    def url(self) -> str:
        """Address of the database, with its user's password."""
        login = f"{self.user}:{quote(DATABASE_PASSWORD, safe='')}"
        return f"postgresql://{login}@127.0.0.1:{self.port}/{quote(self.name)}"

    def another(self, name: str) -> "Postgres":
        """Another, empty database of the same PostgreSQL."""
        found = copy.copy(self)
        found.name = name
        found.create()
        return found

    def _answers(self) -> bool:
        ready = [str(self.programs / "pg_isready"), "-q", "-h", "127.0.0.1", "-p", str(self.port)]
        time.sleep(0.1)
        return subprocess.run(ready).returncode == 0

    def sql(self, statement: str, database: str | None = None) -> list[tuple[Any, ...]]:
        """Rows that a statement gives to the owner of everything."""
        import psycopg2

        password = {"user": "postgres", "password": DATABASE_PASSWORD, "host": "127.0.0.1", "port": self.port}
        connection = psycopg2.connect(dbname=database or self.name, **password)
        connection.autocommit = True
        try:
            with connection.cursor() as cursor:
                cursor.execute(statement)
                return list(cursor.fetchall()) if cursor.description else []
        finally:
            connection.close()

    def create(self) -> None:
        """Make the empty database."""
        self.sql(f'create database "{self.name}" owner {self.user}', "postgres")

    def drop(self) -> None:
        """Remove the database with everything in it."""
        self.sql(f'drop database "{self.name}"', "postgres")

    def content(self) -> dict[str, str]:
        """Table -> digest of all its rows."""
        tables = [name for (name,) in self.sql("select tablename from pg_tables where schemaname = 'public'")]
        digest = 'select md5(string_agg(t::text, chr(10) order by t::text)) from "{}" t'
        return {table: str(self.sql(digest.format(table))[0][0]) for table in sorted(tables)}


@contextmanager
def postgres() -> Iterator[Postgres]:
    """Yield a PostgreSQL that nothing is left of at the end."""
    folder = Path(tempfile.mkdtemp(prefix="postgres-"))  # pytest's own folders are closed to PostgreSQL's user
    found = None
    try:
        found = Postgres(folder)
        yield found
    finally:
        if found is not None:
            found.command.kill()
        shutil.rmtree(folder)


class SharedServer:
    """Server of a copy of the program, and the commands about it."""

    def __init__(self, program: Program, database: Postgres, artifacts: str, **variables: str) -> None:
        """`artifacts`: a folder, or s3://bucket/path; `variables`: of the environment of all commands."""
        self.program, self.database, self.port = program, database, free_port()
        self.uri = f"http://127.0.0.1:{self.port}"
        places = {"MLFLOW_BACKEND_STORE_URI": database.url, "MLFLOW_ARTIFACTS_DESTINATION": artifacts}
        self.variables = places | variables
        self.command: Command | None = None
        self.log = ""

    def call(self, *words: str, code: int | None = 0, **variables: str) -> Ended:
        """Run one of the commands of server.sh to its end."""
        words = (sys.executable, "-m", "trainer.tracking.shared", *words)
        return self.program.run(*words, code=code, timeout_s=START_SECONDS, **self.variables, **variables)

    def start(self, *options: str) -> None:
        """Start it, and return when it answers."""
        words = [sys.executable, "-m", "trainer.tracking.shared", "start", "--port", str(self.port), *options]
        self.command = self.program.start(*words, "--workers", "1", **self.variables)
        self.command.wait_for(self._answers, "an answer of the shared server", START_SECONDS)

    def stop(self) -> None:
        """Kill it as the end of its machine would; it can be started again."""
        if self.command is not None:
            self.command.kill()
            self.log += self.command.output()
            self.command = None

    def _answers(self) -> bool:
        time.sleep(0.2)
        return self.ask("/health")[0] == 200

    def ask(self, path: str, content: object = None, login: tuple[str, str] | None = None) -> tuple[int, Any]:
        """Status and text of an answer; 0 where there is none. `content` is sent as JSON by POST."""
        request = urllib.request.Request(self.uri + path)
        if content is not None:
            request.data = json.dumps(content).encode()
            request.add_header("Content-Type", "application/json")
        if login:
            request.add_header("Authorization", "Basic " + base64.b64encode(":".join(login).encode()).decode())
        try:
            with urllib.request.urlopen(request, timeout=60) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            return error.code, error.read().decode()
        except OSError as error:
            return 0, str(error)
