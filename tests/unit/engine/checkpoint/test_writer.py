"""Writing of checkpoints in a thread: by the clock, one at a time, and errors reach the loop."""

import threading
from collections.abc import Callable
from typing import Any

import pytest

from trainer.engine.checkpoint.writer import CheckpointWriter


def test_due_by_the_clock(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    monkeypatch.setattr("trainer.engine.checkpoint.writer.time.monotonic", lambda: now[0])
    writer = CheckpointWriter(lambda _checkpoint: None, minutes=2)
    save: Callable[..., None] = writer.save
    found = []
    for now[0] in (0.0, 119.0, 120.0):
        found.append(writer.due())
    assert found == [False, False, True]
    save(lambda: None, wait=True)
    assert not writer.due()


def test_one_at_a_time_and_not_due_while_one_is_written() -> None:
    release, written = threading.Event(), list[Any]()

    def write(checkpoint: Any) -> None:
        assert release.wait(20)
        written.append(checkpoint)

    writer = CheckpointWriter(write, minutes=0)
    save: Callable[..., None] = writer.save
    save(lambda: "first", wait=False)
    assert not writer.due()
    assert written == []
    release.set()
    save(lambda: "second", wait=True)
    assert written == ["first", "second"]
    assert writer.due()


def test_an_error_is_raised_where_the_loop_waits_and_at_the_next_save() -> None:
    def write(_checkpoint: Any) -> None:
        raise OSError("disk full")

    writer = CheckpointWriter(write, minutes=0)
    save: Callable[..., None] = writer.save
    assert writer.error() is None
    with pytest.raises(OSError, match="disk full"):
        save(lambda: None, wait=True)
    save_without_waiting = CheckpointWriter(write, minutes=0)
    save = save_without_waiting.save
    save(lambda: None, wait=False)
    save_without_waiting.wait()
    assert str(save_without_waiting.error()) == "disk full"
    with pytest.raises(OSError, match="disk full"):
        save(lambda: None, wait=False)
