"""Options of serve.py: what is refused, and who may be served without a token."""

import pytest

from trainer import redact
from trainer.serving.command_line import is_loopback, read_command

MODEL = ["--model", "models:/cats@champion"]
REFUSED = {
    "--host 0.0.0.0": "--token",
    "--host ::": "--token",
    "--host cats.example": "--token",
    "--host 127.0.0.1.example": "--token",
    "--token short": "fewer than 8",
    "--port 65536": "0 to 65535",
    "--port x": "0 to 65535",
    "--queue_size 0": "1 to",
    "--batch_size 0": "1 to",
    "--max_megabytes 0": "1 to",
    "--max_pixels 1e9": "1 to",
    "--timeout 0": "0.1 to",
    "--timeout nan": "0.1 to",
    "--poll inf": "0.1 to",
    "--label_studio ftp://x": "http://HOST:PORT",
    "--label_studio http://": "http://HOST:PORT",
    "--label_studio http://user:password@host": "http://HOST:PORT",
    "--label_studio http://[::1": "http://HOST:PORT",
    "--unknown 1": "unrecognized",
}
"""Option -> part of the message."""


@pytest.fixture(autouse=True)
def _no_tokens(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SEGTRAINER_TOKEN", raising=False)
    monkeypatch.delenv("LABEL_STUDIO_API_KEY", raising=False)


@pytest.mark.parametrize("words", REFUSED)
def test_refused(words: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end:
        read_command([*MODEL, *words.split(" ", 1)])
    assert end.value.code == 2
    said = capsys.readouterr().err
    assert REFUSED[words] in said
    assert "password@" not in said


def test_a_model_is_needed(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end:
        read_command([])
    assert end.value.code == 2
    assert "--model" in capsys.readouterr().err


def test_what_is_usual() -> None:
    given = read_command(MODEL)
    assert (given.host, given.port, given.token, given.queue, given.label_studio) == ("127.0.0.1", 8000, "", None, None)


def test_tokens(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    token = "Geheim-0123456789"
    assert read_command([*MODEL, "--host", "0.0.0.0", "--token", token]).token == token
    assert redact(f"it is {token}") == "it is ***"
    monkeypatch.setenv("SEGTRAINER_TOKEN", "another-0123456789")
    assert read_command([*MODEL, "--host", "::"]).token == "another-0123456789"
    for wrong in ("two words here", "ünicode-token-1", "tab\tseparated-1"):
        monkeypatch.setenv("SEGTRAINER_TOKEN", wrong)
        with pytest.raises(SystemExit):
            read_command(MODEL)
        assert wrong not in capsys.readouterr().err


def test_limits() -> None:
    words = [
        "--max_megabytes",
        "3",
        "--max_pixels",
        "4000",
        "--timeout",
        "2.5",
        "--queue_size",
        "5",
        "--batch_size",
        "6",
    ]
    limits = read_command([*MODEL, *words]).limits
    found = (limits.body_bytes, limits.pixels, limits.seconds, limits.queue, limits.batch_size)
    assert found == (3 * 2**20, 4000, 2.5, 5, 6)


@pytest.mark.parametrize(
    ("host", "alone"),
    [("127.0.0.1", True), ("127.8.8.8", True), ("::1", True), ("localhost", True), ("10.0.0.1", False), ("", False)],
)
def test_loopback(host: str, alone: bool) -> None:
    assert is_loopback(host) is alone
