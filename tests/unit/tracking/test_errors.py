"""Refusals of a server: who was refused, what for, and where that login comes from. No password is ever shown."""

from pathlib import Path

import pytest

from trainer import InputError
from trainer.tracking.errors import permitted, refusal, store_errors

VARIABLES = ("MLFLOW_TRACKING_USERNAME", "MLFLOW_TRACKING_PASSWORD", "MLFLOW_TRACKING_TOKEN")
PASSWORD = "pa55word-of-ours"


@pytest.fixture(autouse=True)
def _server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://mlflow.lab:5000")
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)


def store(tmp_path: Path, text: str) -> None:
    (tmp_path / ".mlflow").mkdir()
    (tmp_path / ".mlflow" / "credentials").write_text(text)


STORED = f"[mlflow]\nmlflow_tracking_username = karl\nmlflow_tracking_password = {PASSWORD}\n"


@pytest.mark.parametrize(
    ("stored", "variables", "who", "fix"),
    [
        ("", {}, "a user without name and password", "set MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD, or"),
        (STORED, {}, "the user 'karl' of ~/.mlflow/credentials", "set another name and password there, or MLFLOW_TR"),
        (STORED, {"USERNAME": "anna", "PASSWORD": PASSWORD}, "the user 'anna' with this password", "set MLFLOW_TR"),
        (STORED, {"PASSWORD": PASSWORD}, "the user 'karl' with this password", "set MLFLOW_TRACKING_USERNAME and"),
        ("no settings", {}, "a user without name and password", "set MLFLOW_TRACKING_USERNAME and"),
        ("[other]\na = 1\n", {}, "a user without name and password", "set MLFLOW_TRACKING_USERNAME and"),
        ("", {"TOKEN": PASSWORD}, "the token of MLFLOW_TRACKING_TOKEN", "set another one"),
    ],
)
def test_the_login_and_where_it_comes_from(
    stored: str, variables: dict[str, str], who: str, fix: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if stored:
        store(tmp_path, stored)
    for name, value in variables.items():
        monkeypatch.setenv(f"MLFLOW_TRACKING_{name}", value)
    unknown, forbidden = refusal(401), refusal(403, "add a run")
    assert unknown.startswith(f"tracking server http://mlflow.lab:5000: does not know {who} (401); {fix}")
    assert forbidden.startswith(f"tracking server http://mlflow.lab:5000: {who} may not add a run (403); ask for the")
    assert fix in forbidden
    assert PASSWORD not in unknown + forbidden


def test_logins_beyond_ascii_have_a_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_USERNAME", "jörg")
    monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", PASSWORD)
    assert refusal(401).endswith("; MLflow's own logins are of ASCII alone")


class Refused(Exception):
    """An error of MLflow, as `status_of` reads it."""

    def __init__(self, error_code: str) -> None:
        super().__init__(error_code)
        self.error_code = error_code


def test_only_a_missing_right_is_put_into_words() -> None:
    with pytest.raises(InputError, match="may not do much"), permitted("do much"):
        raise Refused("PERMISSION_DENIED")
    with pytest.raises(Refused), permitted("do much"):
        raise Refused("INTERNAL_ERROR")
    with pytest.raises(InputError, match="as it was"), permitted("do much"):
        raise InputError("as it was")


def test_a_file_that_may_not_be_written_is_named_without_numbers(tmp_path: Path) -> None:
    with pytest.raises(InputError) as found, store_errors():
        open(tmp_path)  # noqa: SIM115
    assert str(found.value) == f"{tmp_path}: Is a directory"
