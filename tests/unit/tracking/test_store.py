"""Tracking store: addresses that are refused, and locks that are waited for."""

import sqlite3
import threading
import time
from contextlib import closing
from pathlib import Path

import pytest

from trainer import InputError
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
