"""Stores that cannot be used: every entry point says the same, in one line, and ends with code 2."""

import json
import shutil
import sqlite3
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import closing
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from tests.support.discs import make_discs
from tests.support.program import Program
from trainer.system.run_folder import new_run_folder

USER, PASSWORD = "anna", "pa55word-of-ours"
LOGIN = {"MLFLOW_TRACKING_USERNAME": USER, "MLFLOW_TRACKING_PASSWORD": PASSWORD}
JSON, HTML = "application/json", "text/html"
ANSWERS = {
    "401": (401, HTML, b"who are you?", "does not know a user without name and password (401); set MLFLOW_TRACKING_US"),
    "401, user": (
        401,
        JSON,
        b'{"detail": "no"}',
        "does not know the user 'anna' with this password (401); set MLFLOW_",
    ),
    "403, user": (403, JSON, b'{"error_code": "PERMISSION_DENIED"}', "the user 'anna' with this password may not do"),
    "403, address": (403, HTML, b"no", "the user 'anna' of MLFLOW_TRACKING_URI may not do this there (403)"),
    "403, name": (
        403,
        HTML,
        b"Invalid Host header - possible DNS rebinding attack detected",
        "does not answer to this name; start it with --allowed-hosts 127.0.0.1:",
    ),
    "page": (
        200,
        HTML,
        b"<html>\n<h1>Hello",
        "is no MLflow server (status 200: '<html> <h1>Hello'); set MLFLOW_TRACKING_",
    ),
    "other JSON": (200, JSON, b'{"status": "ok"}', "is no MLflow server"),
    "a list": (200, JSON, b"[]", "is no MLflow server"),
    "nothing": (200, JSON, b"", "is no MLflow server"),
    "other paths": (404, JSON, b'{"detail": "Not Found"}', "is no MLflow server (status 404"),
    "redirect": (302, HTML, b"", "is no MLflow server (status 302"),
    "overloaded": (503, HTML, b"later", "cannot answer now (status 503: 'later')"),
}
"""Case -> what a server answers to everything, and part of the message."""


def serve(status: int, kind: str, body: bytes) -> ThreadingHTTPServer:
    """A server that gives one answer to every request."""

    class Handler(BaseHTTPRequestHandler):
        def answer(self) -> None:
            self.rfile.read(int(self.headers.get("Content-Length", 0)))
            self.send_response(status)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        do_GET = do_POST = answer

        def log_message(self, *_arguments: object) -> None:
            """Print nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return server


@pytest.fixture
def program(tmp_path: Path) -> Program:
    return Program(tmp_path / "program")


@pytest.fixture(scope="module")
def stores(
    tmp_path_factory: pytest.TempPathFactory, empty_store: Path
) -> Iterator[dict[str, tuple[dict[str, str], str]]]:
    """Case -> environment of the commands, and part of the message."""
    top, found, servers = tmp_path_factory.mktemp("stores"), {}, []
    for case, (status, kind, body, message) in ANSWERS.items():
        servers.append(server := serve(status, kind, body))
        login = f"{USER}:{PASSWORD}@" if "address" in case else ""
        uri = {"MLFLOW_TRACKING_URI": f"http://{login}127.0.0.1:{server.server_port}"}
        found[case] = uri | (LOGIN if "user" in case else {}), message

    def database(name: str, message: str, make: Callable[[Path], object]) -> None:
        make(top / name)
        found[name] = {"MLFLOW_TRACKING_URI": f"sqlite:///{top / name}"}, message

    def with_schema(revision: str) -> Callable[[Path], None]:
        def make(file: Path) -> None:
            shutil.copyfile(empty_store, file)
            with closing(sqlite3.connect(file)) as opened:
                opened.execute("update alembic_version set version_num = ?", (revision,))
                opened.commit()

        return make

    def foreign(file: Path) -> None:
        with closing(sqlite3.connect(file)) as opened:
            opened.execute("create table bookmarks (page)")

    upgrade = f"older MLflow; make a copy of it, and then run: mlflow db upgrade sqlite:///{top / 'older'}"
    database("older", upgrade, with_schema("451aebb31d03"))
    database("newer", "made by a newer MLflow than the one installed", with_schema("ffffffffffff"))
    database("a folder", "is a folder; set MLFLOW_TRACKING_URI to sqlite:///FILE", lambda file: file.mkdir())
    database("a text", "file is not a database", lambda file: file.write_text("a letter, not a database\n" * 100))
    database("bookmarks", "holds the tables of another program (bookmarks)", foreign)
    for uri, message in {
        "http://127.0.0.1:9": "server http://127.0.0.1:9: no answer ([Errno 111] Connection refused). Start it",
        "http://a b/": "no answer",
        "ftp://host/x": "'ftp://host/x' is neither a server nor a database",
        "databricks": "needs its library databricks-sdk and a login",
    }.items():
        found[uri] = {"MLFLOW_TRACKING_URI": uri}, message
    yield found
    for server in servers:
        server.shutdown()
        server.server_close()


ONE_AFTER_THE_OTHER = """
import contextlib, importlib, io, json, os, sys
ends = []
for variables, entry, arguments in json.load(open(sys.argv[1])):
    for name in [name for name in os.environ if name.startswith("MLFLOW_TRACKING_")]:
        del os.environ[name]
    os.environ.update(variables)
    with contextlib.redirect_stdout(io.StringIO()) as out, contextlib.redirect_stderr(io.StringIO()) as error:
        code = importlib.import_module(f"trainer.{entry}").main(arguments)
    ends.append((code, out.getvalue(), error.getvalue()))
json.dump(ends, open(sys.argv[1], "w"))
"""


def test_every_entry_point_says_the_same(
    stores: dict[str, tuple[dict[str, str], str]], program: Program, tmp_path: Path, fault_trial: Callable[..., object]
) -> None:
    data = make_discs(tmp_path / "data")
    new_run_folder(program.folder / "mlruns" / "work", "cats", "a run", tracked=True)
    training = ["--data.root", str(data), "--data.image_size", "32", "--model.width", "8"]
    entries = {
        "predict": ["--model", "models:/cats@champion", "--input", str(data), "--output", str(tmp_path / "out")],
        "sync": [],
        "compare": ["another run"],
        "train": training,
    }
    commands = [(variables, *entry) for variables, _ in stores.values() for entry in entries.items()]
    file = tmp_path / "commands.json"
    file.write_text(json.dumps(commands))
    ended = program.run(sys.executable, "-c", ONE_AFTER_THE_OTHER, str(file), code=0)
    ends = iter(json.loads(file.read_text()))
    shown = ended.output + file.read_text()
    assert PASSWORD not in shown
    for case, (_, message) in stores.items():
        with fault_trial(36, "store that cannot be used: " + case):  # type: ignore[attr-defined]
            said = {}
            for entry in entries:
                code, _, error = next(ends)
                assert (case, entry, code) == (case, entry, 2), error
                said[entry] = error.removeprefix(f"{entry}.py: ").removesuffix("\n")
                assert message in said[entry], (case, said)
                assert "\n" not in said[entry], (case, said)
                assert "Traceback" not in error
            said["train"] = said["train"].removesuffix(". Or train on without it: --tracking.required false")
            assert len(set(said.values())) == 1, said
    assert len(program.run_folders()) == 1
