"""Place of the artifacts in the default store: mlruns/artifacts, wherever the repository is.

MLflow keeps absolute locations. They are rewritten where the repository was moved or copied, or is seen under another
path, so that nothing is read or written where it was before.

    python -m trainer.tracking.location      does that, and prints the URI of the store and of its artifacts
"""

import sqlite3
import sys
from contextlib import closing
from pathlib import Path

from filelock import FileLock

from trainer import EXIT_INPUT
from trainer.config import MLRUNS
from trainer.tracking.store import DEFAULT_DATABASE, LOCKED_SECONDS, sqlite_uri

ARTIFACTS = (MLRUNS / "artifacts").as_uri()
"""Location of the artifacts of the default store."""

COLUMNS = (
    *(("experiments", "artifact_location"), ("runs", "artifact_uri"), ("logged_models", "artifact_location")),
    *(("model_versions", "storage_location"), ("model_versions", "source")),
)
"""Tables of MLflow and their columns that hold a location."""


def lock(database: Path) -> FileLock:
    """Lock of the process that makes the tables of a database, or changes its locations."""
    return FileLock(f"{database}.lock")


def follow_repository() -> None:
    """Make the locations in the default store those of this repository. The caller holds `lock`."""
    if not DEFAULT_DATABASE.exists():
        return
    with closing(sqlite3.connect(DEFAULT_DATABASE, timeout=LOCKED_SECONDS)) as database:
        tables = {name for (name,) in database.execute("select name from sqlite_master where type = 'table'")}
        if "experiments" not in tables:
            return
        # All locations follow from those of the experiments, so that these alone tell whether anything has moved.
        locations = [place for (place,) in database.execute("select distinct artifact_location from experiments")]
        moved = {old: new for old, new in map(_place, filter(None, locations)) if old != new}
        with database:
            for old, new in moved.items():
                for table, column in COLUMNS:
                    if table in tables:
                        database.execute(
                            f"update {table} set {column} = ? || substr({column}, ?) "
                            f"where {column} = ? or substr({column}, 1, ?) = ?",
                            (new, len(old) + 1, old, len(old) + 1, f"{old}/"),
                        )


def _place(location: str) -> tuple[str, str]:
    """Beginning of an experiment's location that stands for the artifacts of the default store, and what it is now.

    Both are the same for a location that a person has chosen.
    """
    before, folder, rest = location.rpartition("/mlruns/")
    if folder and rest.partition("/")[0] == "artifacts" and before.startswith(("file:", "/")):
        return f"{before}/mlruns/artifacts", ARTIFACTS
    if folder and rest == "0" and before.startswith(("file:", "/")):
        # MLflow puts its experiment 0 where the first process happened to run that opened the store.
        return location, f"{ARTIFACTS}/0"
    return location, location


def main() -> int:
    """Print the URI of the default store and of its artifacts, for another program; return the exit code."""
    try:
        MLRUNS.mkdir(exist_ok=True)
        with lock(DEFAULT_DATABASE):
            follow_repository()
    except (OSError, sqlite3.Error) as error:
        print(f"{DEFAULT_DATABASE}: {error}", file=sys.stderr)
        return EXIT_INPUT
    print(sqlite_uri(DEFAULT_DATABASE), ARTIFACTS, sep="\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
