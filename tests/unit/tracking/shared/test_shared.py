"""Parts of a shared server that need neither PostgreSQL nor MLflow: addresses, passwords, hosts, places."""

import argparse
import io
import os
import socket
from pathlib import Path

import pytest

from trainer import InputError
from trainer.tracking.shared import artifacts, database
from trainer.tracking.shared.start import allowed_hosts, require_free, require_hosts
from trainer.tracking.shared.users import PASSWORD_VARIABLE, read_password


@pytest.mark.parametrize(
    ("given", "url", "password"),
    [
        ("postgresql://anna:se%2Fc%20r%40t@host:5433/runs", "postgresql://anna@host:5433/runs", "se/c r@t"),
        ("postgresql+psycopg2://anna:secret1@host/runs", "postgresql://anna@host/runs", "secret1"),
        ("postgres://host/runs", "postgresql://host/runs", None),
        ("postgresql:///runs%20of%20us", "postgresql:///runs%20of%20us", None),
        ("postgresql:///runs?host=/run/a%20b&password=secret2", "postgresql:///runs?host=%2Frun%2Fa%20b", "secret2"),
        (
            "postgresql://anna@[::1]:5432/runs?sslmode=require",
            "postgresql://anna@[::1]:5432/runs?sslmode=require",
            None,
        ),
        ("", "postgresql:///segtrainer", None),
    ],
)
def test_the_password_leaves_the_address(
    given: str, url: str, password: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(database.VARIABLE, given)
    monkeypatch.setenv("PGPASSWORD", "")  # restored afterwards
    monkeypatch.delenv("PGPASSWORD")
    assert database.database_url() == url
    assert os.environ.get("PGPASSWORD") == password


@pytest.mark.parametrize(
    "given", ["sqlite:///x.db", "mysql://u:p-a-s-s@h/d", "postgresql://host", "postgresql://host/"]
)
def test_other_databases_are_refused(given: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(database.VARIABLE, given)
    with pytest.raises(InputError, match=r"^MLFLOW_BACKEND_STORE_URI: .*; give postgresql://") as found:
        database.database_url()
    assert "p-a-s-s" not in str(found.value)


def test_passwords_come_from_files_pipes_and_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(PASSWORD_VARIABLE, raising=False)
    file = tmp_path / "password"
    file.write_text("  twelve or more \r\n")
    assert read_password("anna", str(file)) == "  twelve or more "
    monkeypatch.setattr("sys.stdin", io.StringIO("from a pipe, it is\nsecond line"))
    assert read_password("anna", "-") == "from a pipe, it is"
    with pytest.raises(InputError, match=r"^no terminal to ask for the password of anna; give --password_file"):
        read_password("anna", None)
    monkeypatch.setenv(PASSWORD_VARIABLE, "of the environment")
    assert read_password("anna", None) == "of the environment"
    for refused in ("too short", "", "of several\nlines, of which", "zwölf Zeichen, aber mit Umlaut"):
        monkeypatch.setenv(PASSWORD_VARIABLE, refused)
        with pytest.raises(InputError, match=f"^{PASSWORD_VARIABLE}: a password is one line of 12"):
            read_password("anna", None)
    with pytest.raises(InputError, match=r"--password_file .*nowhere: .*No such file"):
        read_password("anna", str(tmp_path / "nowhere"))


@pytest.mark.parametrize(
    ("host", "names", "fits"),
    [
        ("127.0.0.1", None, True),
        ("localhost", None, True),
        ("::1", None, True),
        ("127.8.8.8", None, True),
        ("0.0.0.0", None, False),
        ("::", None, False),
        ("mlflow.lab", None, False),
        ("10.0.0.7", None, False),
        ("0.0.0.0", "mlflow.lab:5000", True),
    ],
)
def test_others_reach_it_by_names_alone(host: str, names: str | None, fits: bool) -> None:
    options = argparse.Namespace(host=host, port=5000, allowed_hosts=names)
    if fits:
        require_hosts(options)
    else:
        with pytest.raises(InputError, match=f'^--host {host}: .*--allowed-hosts "NAME:5000,ADDRESS:5000"'):
            require_hosts(options)


def test_this_machine_may_always_call_it() -> None:
    options = argparse.Namespace(host="0.0.0.0", port=5001, allowed_hosts="mlflow.lab:5001")
    assert allowed_hosts(options) == "mlflow.lab:5001,localhost:5001,127.0.0.1:5001"


def test_a_port_in_use_is_named() -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        port = other.getsockname()[1]
        other.listen()
        with pytest.raises(InputError, match=f"^--host 127.0.0.1 --port {port}: Address already in use; give another"):
            require_free("127.0.0.1", port)
    require_free("127.0.0.1", port)
    with pytest.raises(InputError, match=r"^--host no\.such\.host\.invalid --port 5000: "):
        require_free("no.such.host.invalid", 5000)


def test_places_of_artifacts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for given, place in {
        "": artifacts.HOME / "artifacts",
        "some where/%41": tmp_path / "some where/%41",
        "file:///srv/a%20b": Path("/srv/a b"),
        "s3://bucket/path": "s3://bucket/path",
    }.items():
        monkeypatch.setenv(artifacts.VARIABLE, given)
        assert artifacts.destination() == place
    artifacts.check(tmp_path / "new" / "folder")
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match=r"file: cannot be written .*set MLFLOW_ARTIFACTS_DESTINATION to another"):
        artifacts.check(tmp_path / "file")
