"""Texts that are shown, stored or sent contain no secrets."""

import pytest

from trainer import InputError, redact


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
        ("once my-own-t0ken, and again my-own-t0ken", "once ***, and again ***"),
        # Texts that only resemble addresses with secrets.
        ("models:/cat-unet@champion", "models:/cat-unet@champion"),
        ("sqlite:////home/me@work/mlflow.db", "sqlite:////home/me@work/mlflow.db"),
        ("write to me@example.org", "write to me@example.org"),
        ("/data/a:b@c/cats", "/data/a:b@c/cats"),
        ("http://host/path@2", "http://host/path@2"),
    ],
)
def test_secrets_are_not_shown(text: str, shown: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_TOKEN", "my-own-t0ken")
    monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", "a")  # too short to be replaced
    assert redact(text) == shown
    assert str(InputError(text)) == shown
