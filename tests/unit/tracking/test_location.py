"""Locations of artifacts: those of the default store follow the repository, all others stay."""

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from trainer.tracking import location

OLD, NEW = "file:///old/a%20b/mlruns", "file:///new/mlruns/artifacts"
ROWS = {
    ("experiments", "artifact_location"): {
        f"{OLD}/artifacts": NEW,
        "/elsewhere/mlruns/0": f"{NEW}/0",
        "s3://bucket/mlruns/artifacts": "s3://bucket/mlruns/artifacts",
        "file:///mine": "file:///mine",
        "file:///other/mlruns/7": "file:///other/mlruns/7",
        "mlflow-artifacts:/3": "mlflow-artifacts:/3",
    },
    ("runs", "artifact_uri"): {
        f"{OLD}/artifacts/r1/artifacts": f"{NEW}/r1/artifacts",
        f"{OLD}/artifacts2/r1/artifacts": f"{OLD}/artifacts2/r1/artifacts",
        "/elsewhere/mlruns/0/r2/artifacts": f"{NEW}/0/r2/artifacts",
        "file:///mine/r3/artifacts": "file:///mine/r3/artifacts",
    },
    ("model_versions", "source"): {"models:/m-1": "models:/m-1", f"{OLD}/artifacts/r1/model": f"{NEW}/r1/model"},
}


def test_locations_follow_the_repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "mlflow.db"
    monkeypatch.setattr(location, "DEFAULT_DATABASE", file)
    monkeypatch.setattr(location, "ARTIFACTS", NEW)
    location.follow_repository()
    assert not file.exists()
    with closing(sqlite3.connect(file)) as database:
        location.follow_repository()  # no tables yet
        for (table, column), rows in ROWS.items():
            database.execute(f"create table if not exists {table} ({column} text)")
            database.executemany(f"insert into {table} ({column}) values (?)", [(old,) for old in rows])
        database.execute("alter table model_versions add column storage_location text")
        database.commit()
        for _ in range(2):
            location.follow_repository()
            for (table, column), rows in ROWS.items():
                assert [value for (value,) in database.execute(f"select {column} from {table}")] == list(rows.values())
