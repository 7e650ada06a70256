"""Tracking store: addresses that are refused, and locks that are waited for."""

import sqlite3
import threading
import time
from contextlib import closing
from pathlib import Path

import pytest
import sqlalchemy

from trainer import InputError
from trainer.system.run_folder import new_run_folder
from trainer.tracking import store


@pytest.mark.parametrize(
    ("uri", "file"),
    [
        ("sqlite:////abs/mlflow.db", "/abs/mlflow.db"),
        ("sqlite:///rel/mlflow.db", "rel/mlflow.db"),
        ("sqlite+pysqlite:////abs/mlflow.db?timeout=3", "/abs/mlflow.db"),
        ("sqlite://", None),
        ("sqlite:///", None),
        ("file:///abs/mlruns", None),
        ("http://host", None),
    ],
)
def test_sqlite_file_of_an_address(uri: str, file: str | None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    assert store.sqlite_file() == (file and Path(file))


def test_a_locked_database_is_waited_for_and_then_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "new folder" / "mlflow.db"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{file}")
    store.probe()  # creates the folder
    with closing(sqlite3.connect(file, check_same_thread=False)) as other:
        other.execute("BEGIN EXCLUSIVE")
        monkeypatch.setattr(store, "LOCKED_SECONDS", 0.2)
        with pytest.raises(InputError, match="database is locked; end the program"):
            store.probe()
        monkeypatch.setattr(store, "LOCKED_SECONDS", 60.0)
        began = time.monotonic()
        threading.Timer(0.5, other.rollback).start()
        store.probe()
        assert time.monotonic() - began >= 0.4


@pytest.mark.parametrize("uri", ["./mlruns", "file:///tmp/mlruns", "ftp://host", "mlflow.db", "sqlite://"])
def test_unsupported_stores_are_refused(uri: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    with pytest.raises(InputError, match="MLFLOW_TRACKING_URI"):
        store.probe()


def test_an_old_file_store_is_named_as_such(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "17").mkdir()
    (tmp_path / "17" / "meta.yaml").touch()
    for uri in (str(tmp_path), tmp_path.as_uri()):
        monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
        with pytest.raises(InputError, match=f"file store .* --source {tmp_path} "):
            store.probe()


@pytest.mark.parametrize(
    "name",
    [
        "plain",
        "a b",
        "what?",
        "100%",
        "a%20b",
        "#1",
        "it's",
        '"q"',
        "[x]",
        "über",
        "a&b=c;d",
        b"\xd5\xfb".decode(errors="surrogateescape"),
    ],
)
def test_a_database_below_any_path_is_that_file(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """SQLAlchemy and this program open the same file, and nothing else is made."""
    file = tmp_path / name / "mlflow.db"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", store.sqlite_uri(file))
    assert store.sqlite_file() == file
    store.probe()
    with sqlalchemy.create_engine(store.tracking_uri()).begin() as database:
        database.execute(sqlalchemy.text("create table some (thing text)"))
    with closing(sqlite3.connect(file)) as database:
        assert list(database.execute("select name from sqlite_master")) == [("some",)]
    assert sorted(tmp_path.rglob("*")) == [file.parent, file]


def test_the_name_of_a_store_moves_with_it_and_holds_no_password(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    assert store.store_id() == ""
    monkeypatch.setenv("MLFLOW_TRACKING_URI", store.sqlite_uri(store.DEFAULT_DATABASE))
    assert store.store_id() == ""
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "sqlite:///mine.db")
    assert store.store_id() == f"sqlite:///{Path.cwd() / 'mine.db'}"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://someone:secret@host:5000/")
    assert store.store_id() == "http://host:5000"


def test_a_run_of_a_server_has_no_part_in_the_default_store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://someone:secret@host:5000")
    folder = new_run_folder(tmp_path, "cats", "a run", tracked=True, store=store.store_id())
    assert "secret" not in folder.run.read_text()
    store.require_begun_here(folder)
    assert store.elsewhere(folder) is None
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://host:5001")
    store.require_begun_here(folder)  # perhaps another name of the server; its answer tells
    assert store.elsewhere(folder) == "http://host:5000"
    monkeypatch.delenv("MLFLOW_TRACKING_URI")
    with pytest.raises(store.OtherStoreError, match="set MLFLOW_TRACKING_URI=http://host:5000 "):
        store.require_begun_here(folder)


def test_what_shows_the_runs_is_of_the_store_that_has_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    assert store.ui_command() == "bash launch/ui.sh"
    for uri in (f"sqlite:///{tmp_path}/other.db", "postgresql://db.lab/mlflow"):
        monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
        assert store.ui_command() == f"mlflow ui --backend-store-uri {uri}"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://mlflow.lab:5000")
    assert store.ui_command() == "http://mlflow.lab:5000"
