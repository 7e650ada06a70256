"""Where runs are tracked: what is refused, what is waited for, and what nobody gets to read."""

import sqlite3
import threading
import time
from contextlib import closing
from pathlib import Path

import pytest

from trainer import InputError, redact
from trainer.tracking import store


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("http://someone:secret@host:5000/x", "http://host:5000/x"),
        ("http://token@host", "http://host"),
        ("postgresql+psycopg2://u:p%40ss@db/mlflow: refused", "postgresql+psycopg2://db/mlflow: refused"),
        ("https:/user:secret@host/data: no such folder", "https:/host/data: no such folder"),
        ("'http://a:b@c' and (http://d:e@f)", "'http://c' and (http://f)"),
        ("https://host/x?token=abc&size=3", "https://host/x?token=***&size=3"),
        ("https://host/x?size=3&access_token=abc", "https://host/x?size=3&access_token=***"),
        ("said my-own-t0ken, and again my-own-t0ken", "said ***, and again ***"),
        # What only looks like it.
        ("models:/cat-unet@champion", "models:/cat-unet@champion"),
        ("sqlite:////home/me@work/mlflow.db", "sqlite:////home/me@work/mlflow.db"),
        ("write to me@example.org", "write to me@example.org"),
        ("/data/a:b@c/cats", "/data/a:b@c/cats"),
        ("http://host/path@2", "http://host/path@2"),
    ],
)
def test_public(text: str, shown: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_TOKEN", "my-own-t0ken")
    monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", "a")  # too short to be searched for
    assert redact(text) == shown
    assert str(InputError(text)) == shown


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
def test_sqlite_file(uri: str, file: str | None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    assert store.sqlite_file() == (file and Path(file))


def test_a_locked_database_is_waited_for_and_then_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "new folder" / "mlflow.db"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{file}")
    store.probe()  # makes the folder
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
def test_stores_that_mlflow_does_not_write_to(uri: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    with pytest.raises(InputError, match="MLFLOW_TRACKING_URI"):
        store.probe()


def test_an_old_file_store_is_called_that(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "17").mkdir()
    (tmp_path / "17" / "meta.yaml").touch()
    for uri in (str(tmp_path), tmp_path.as_uri()):
        monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
        with pytest.raises(InputError, match=f"file store .* --source {tmp_path} "):
            store.probe()
