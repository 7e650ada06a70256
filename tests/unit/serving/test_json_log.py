"""The log: lines of JSON, whole and without secrets, however slow their reader is."""

import io
import json
import threading

from trainer.serving.json_log import MOST_WAITING, JsonLog


class Slow(io.StringIO):
    """A target that takes nothing until it is released."""

    def __init__(self) -> None:
        super().__init__()
        self.released = threading.Event()

    def write(self, text: str) -> int:
        assert self.released.wait(60)
        return super().write(text)


def test_lines() -> None:
    target = io.StringIO()
    log = JsonLog(target)
    log("request", path="/ü\n\x1b", seconds=0.5, note="http://user:password@host/")
    log.close(60)
    (line,) = target.getvalue().splitlines()
    assert line.isascii()
    found = json.loads(line)
    assert (found["event"], found["path"], found["seconds"]) == ("request", "/ü\n\x1b", 0.5)
    assert "password" not in line


def test_a_slow_reader_holds_nothing_up() -> None:
    target = Slow()
    log = JsonLog(target)
    for number in range(MOST_WAITING + 100):
        log("request", number=number)
    target.released.set()
    for _ in range(10):
        log("request", number=-1)
    log.close(60)
    assert not log.thread.is_alive()
    lines = [json.loads(line) for line in target.getvalue().splitlines()]
    left_out = sum(line["count"] for line in lines if line["event"] == "lines_left_out")
    written = sum(line["event"] == "request" for line in lines)
    assert left_out + log.left_out + written == MOST_WAITING + 110
    assert left_out + log.left_out >= 99


def test_a_target_that_fails() -> None:
    target = io.StringIO()
    log = JsonLog(target)
    target.close()
    log("request")
    log.close(60)
    assert not log.thread.is_alive()
