"""Artifacts of a shared server: a folder of this machine, or S3."""

import importlib
import os
import shlex
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from trainer import InputError
from trainer.config import MLRUNS
from trainer.system.atomic import why_not_written
from trainer.system.installation import require
from trainer.tracking.errors import excerpt

VARIABLE = "MLFLOW_ARTIFACTS_DESTINATION"
"""Environment variable with the place of the artifacts; MLflow's own."""

HOME = MLRUNS / "server"
"""Folder of what a shared server keeps on its machine."""

S3_SECONDS = 5
"""Longest wait for an answer of S3 at the start, in seconds."""


def destination() -> Path | str:
    """Place of the artifacts: a folder, or the address of another store, such as s3://bucket/path."""
    given = os.environ.get(VARIABLE) or str(HOME / "artifacts")
    parts = urlsplit(given)
    if parts.scheme in ("", "file"):
        return Path(unquote(parts.path) if parts.scheme else given).absolute()
    return given


def check(place: Path | str) -> None:
    """Raise InputError where artifacts cannot be stored in a place."""
    if isinstance(place, Path):
        _check_folder(place)
    elif urlsplit(place).scheme == "s3":
        require("server", "S3")
        _check_s3(place)


def _check_folder(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        fix = f"make it writable, or set {VARIABLE} to another folder or to s3://BUCKET/PATH"
        raise InputError(f"{why_not_written(folder, error)}; {fix}") from error


def _check_s3(place: str) -> None:
    """Raise InputError where S3 does not show the bucket to the server's own key."""
    with _s3(place) as (client, where):
        client.list_objects_v2(**where, MaxKeys=1)


def list_stored(place: str) -> dict[str, int] | None:
    """Return the name, below a place in S3, and the size in bytes of each artifact there; None of another store.

    Raises InputError where S3 does not answer, or refuses.
    """
    if urlsplit(place).scheme != "s3":
        return None
    require("server", "S3")
    found: dict[str, int] = {}
    with _s3(place) as (client, where):
        for page in client.get_paginator("list_objects_v2").paginate(**where):
            for entry in page.get("Contents", ()):
                found[entry["Key"].removeprefix(where["Prefix"])] = entry["Size"]
    return found


def describe_listed(place: str, listed: dict[str, int] | None) -> str:
    """Sentence about artifacts that are not in a backup."""
    if listed is None:
        return f"the artifacts in {place} are not in it; save them as that store is saved"
    size = sum(listed.values()) / 1e6
    return (
        f"{len(listed)} artifacts, {size:.1f} MB, stay in {place} and are not in it: turn on that bucket's versioning, "
        f"or copy them as well, aws s3 sync {shlex.quote(place)} FOLDER; a restore checks that they are there"
    )


def require_listed(place: str, listed: dict[str, int] | None, incomplete: bool) -> str:
    """Return a sentence about the artifacts that a backup has listed in S3.

    Raises InputError where some are not there now, and that was not to be accepted.
    """
    present = None if listed is None else list_stored(place)
    if listed is None or present is None:
        return f"whether its artifacts in {place} are there was not checked: the backup does not list them"
    missing = sorted(listed.keys() - present.keys())
    changed = sum(present[name] != size for name, size in listed.items() if name in present)
    if missing and not incomplete:
        raise InputError(
            f"{place}: {len(missing)} of the {len(listed)} artifacts of this backup are not there, {missing[0]!r} the "
            "first; bring them back from the bucket's versions or a copy, or restore without them: --incomplete"
        )
    text = f"{len(listed) - len(missing)} of its {len(listed)} artifacts are in {place}"
    return f"{text}, {changed} of them of another size since" if changed else text


@contextmanager
def _s3(place: str) -> Iterator[tuple[Any, dict[str, str]]]:
    """Yield a client of S3, and bucket and prefix of a place; turn the client's errors into InputError."""
    boto3: Any = importlib.import_module("boto3")
    configuration = importlib.import_module("botocore.config").Config(
        connect_timeout=S3_SECONDS, read_timeout=S3_SECONDS, retries={"max_attempts": 1}
    )
    parts = urlsplit(place)
    endpoint = os.environ.get("MLFLOW_S3_ENDPOINT_URL") or None
    folder = parts.path.strip("/")
    try:
        client = boto3.client("s3", endpoint_url=endpoint, config=configuration)
        yield client, {"Bucket": parts.netloc, "Prefix": folder and f"{folder}/"}
    except Exception as error:  # of boto3, which has hundreds
        raise InputError(
            f"{VARIABLE} {place}: {excerpt(str(error))}; set MLFLOW_S3_ENDPOINT_URL, AWS_ACCESS_KEY_ID and "
            "AWS_SECRET_ACCESS_KEY of the bucket"
        ) from error
