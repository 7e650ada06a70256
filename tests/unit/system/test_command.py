"""Refusals of entry points: one line, and the exit code."""

import errno
from collections.abc import Callable
from typing import Any

import pytest

from trainer import InputError, promote, serve, sweep, sync
from trainer.serving import run as serving


def refusing(error: Exception) -> Callable[..., int]:
    def work(*_given: object) -> int:
        raise error

    return work


@pytest.mark.parametrize(
    ("main", "words", "place"),
    [
        (sync.main, [], (sync, "sync_all")),
        (promote.main, ["x", "--history"], (promote, "_run")),
        (serve.main, ["--model", "x"], (serving, "serve")),
        (sweep.main, ["--space", "x", "--trials", "1"], (sweep, "read_settings")),
    ],
)
@pytest.mark.parametrize(
    ("error", "code", "said"),
    [
        (InputError("a: no such folder"), 2, ": a: no such folder\n"),
        (PermissionError(errno.EACCES, "denied", "b"), 1, ": b: cannot be written (denied)\n"),
    ],
)
def test_what_goes_wrong_is_said_in_one_line(
    main: Callable[[list[str]], int],
    words: list[str],
    place: tuple[Any, str],
    error: Exception,
    code: int,
    said: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(*place, refusing(error))
    assert main(words) == code
    assert capsys.readouterr().err.endswith(said)
