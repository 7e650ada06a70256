"""Several processes that share a call: the main one says what is to do, each does every n-th image, it collects.

They share the output folder and nothing else: no process waits for another one that works.
"""

import json
import os
import socket
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from trainer import InputError
from trainer.inference.given import InputImage
from trainer.inference.journal import Entry, Follower, is_open, journal_file
from trainer.system import launcher
from trainer.system.atomic import write_text

CALL = "call.json"
"""File in which the main process says which model, and which images, while a call of several processes works."""

POLL_SECONDS, START_SECONDS = 0.2, 600.0
"""Interval of looking for what another process writes, and the time that it may take to begin, in seconds."""


@dataclass(frozen=True)
class Part:
    """Place of this process among those of a call."""

    number: int = 0
    """From 0, which is the main process."""

    count: int = 1

    def share(self, images: list[InputImage]) -> list[InputImage]:
        """Images of this process."""
        return images[self.number :: self.count]

    @property
    def others(self) -> range:
        """Numbers of the processes that are not the main one."""
        return range(1, self.count)


def this_part() -> Part:
    """Place of this process, as a launcher says in the environment. Raises InputError on several machines."""
    number, count = int(os.environ.get("RANK", "0")), int(os.environ.get("WORLD_SIZE", "1"))
    if int(os.environ.get("LOCAL_WORLD_SIZE", str(count))) != count:
        raise InputError("several machines: start predict.py on each by itself, with its own --input and --output")
    return Part(number, count)


def _launch() -> str:
    """Identity of the process that started those of this call."""
    return f"{socket.gethostname()} {os.getppid()} {launcher.identity()}"


def publish(output: Path, uri: str, origin: dict[str, str], images: list[InputImage]) -> None:
    """Say to the other processes what is to do: the URI of one version of the model, and images in their order."""
    listed = [[str(image.path), str(image.name), image.page] for image in images]
    content = {"launch": _launch(), "uri": uri, "origin": origin, "images": listed}
    write_text(output / CALL, json.dumps(content))


def wait_for_call(output: Path, stop_requested: Callable[[], bool]) -> tuple[str, dict[str, str], list[InputImage]]:
    """Wait for what the main process publishes: URI, origin and images.

    Raises InputError where the main process has ended, or does not begin.
    """
    launch, deadline = _launch(), time.monotonic() + START_SECONDS
    while time.monotonic() < deadline and not stop_requested():
        content = _read(output / CALL)
        if content is not None and content["launch"] == launch:
            images = [InputImage(Path(path), Path(name), page) for path, name, page in content["images"]]
            return content["uri"], content["origin"], images
        time.sleep(POLL_SECONDS)
        if _launch() != launch:
            break
    raise InputError("the main process has ended before it said what is to do")


def _read(file: Path) -> dict[str, Any] | None:
    try:
        return json.loads(file.read_bytes())
    except (OSError, ValueError):
        return None


class OtherParts:
    """The other processes of a call, as the main one sees them."""

    def __init__(self, output: Path, part: Part) -> None:
        self.output, self.part = output, part
        self.waiting = {number: Follower(journal_file(output, number)) for number in part.others}
        self.began_s = time.monotonic()
        self.died: list[int] = []

    def new_entries(self) -> Iterator[Entry]:
        """Yield what others have done since the last call, and note which have ended."""
        for number, follower in list(self.waiting.items()):
            alive = self._alive(number)  # first: what a process wrote before it ended is read then
            yield from follower.new_entries()
            if follower.ended or not alive:
                del self.waiting[number]
                self.died += [] if follower.ended else [number]

    def _alive(self, number: int) -> bool:
        file = journal_file(self.output, number)
        return is_open(file) if file.exists() else time.monotonic() - self.began_s < START_SECONDS

    def remove(self) -> None:
        """Remove the files of the call that only its processes need."""
        for number in self.part.others:
            journal_file(self.output, number).unlink(missing_ok=True)
        (self.output / CALL).unlink(missing_ok=True)
