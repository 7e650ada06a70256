"""The service: its application asked without a network, and as a process on loopback."""

import asyncio
import http.client
import io
import json
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import numpy as np
from PIL import Image

from tests.support.images import smooth_image
from tests.support.program import REPOSITORY, Command
from trainer.serving.app import make_app
from trainer.serving.fetch import ImageHost
from trainer.serving.guard import Guard
from trainer.serving.json_log import JsonLog
from trainer.serving.limits import Limits
from trainer.serving.metrics import Metrics
from trainer.serving.service import Service
from trainer.serving.static_files import PageFile
from trainer.serving.versions import Versions

REQUEST_SECONDS = 300.0
"""Bound of a request that a test waits for, in seconds."""


@dataclass(frozen=True)
class Answer:
    """Status, headers in lower case, and content of an answer."""

    status: int
    headers: Mapping[str, str]
    content: bytes

    @property
    def json(self) -> Any:
        """Content as JSON."""
        return json.loads(self.content)

    @property
    def array(self) -> np.ndarray:
        """Content as an image file."""
        return np.array(Image.open(io.BytesIO(self.content)))


def image_bytes(height: int = 61, width: int = 83, seed: int = 0, form: str = "PNG", **options: Any) -> bytes:
    """Encode a smooth image."""
    file = io.BytesIO()
    Image.fromarray(smooth_image(height, width, seed)).save(file, format=form, **options)
    return file.getvalue()


class InProcess:
    """The whole application without a socket: its guard, its routes, its thread with the network."""

    def __init__(
        self,
        model: str | Path,
        limits: Limits | None = None,
        token: str = "",
        queue: Path | None = None,
        images: ImageHost | None = None,
        page: dict[str, PageFile] | None = None,
    ) -> None:
        self.out = io.StringIO()
        self.log, self.metrics = JsonLog(self.out), Metrics()
        self.service = Service(Versions(str(model)), limits or Limits(), self.metrics)
        routes = make_app(self.service, page or {}, queue, images)
        self.openapi = routes.openapi()
        self.app = Guard(routes, self.service, token, set(page or {}) | {""}, self.log)
        self.most_held = 0
        """Most bytes that were counted as held while an answer was sent."""

    def ask(self, method: str, target: str, body: bytes = b"", headers: Mapping[str, str] | None = None) -> Answer:
        """Ask once, in an event loop of its own."""
        return asyncio.run(self.ask_beside(method, target, body, headers))

    async def ask_beside(
        self, method: str, target: str, body: bytes = b"", headers: Mapping[str, str] | None = None
    ) -> Answer:
        """Ask in the event loop that runs; several may be asked at the same time."""
        parts = urlsplit(target)
        given = {"host": "127.0.0.1", **{key.lower(): value for key, value in (headers or {}).items()}}
        scope = {
            "type": "http",
            "asgi": {"version": "3.0"},
            "http_version": "1.1",
            "method": method,
            "scheme": "http",
            "path": parts.path,
            "raw_path": parts.path.encode(),
            "query_string": parts.query.encode(),
            "root_path": "",
            "headers": [(key.encode(), value.encode("latin-1")) for key, value in given.items()],
            "client": ("127.0.0.1", 1),
            "server": ("127.0.0.1", 8000),
            "state": {},
        }
        incoming = [{"type": "http.request", "body": body, "more_body": False}]
        sent: list[dict[str, Any]] = []

        async def receive() -> dict[str, Any]:
            return incoming.pop(0) if incoming else {"type": "http.disconnect"}

        async def send(message: Any) -> None:
            self.most_held = max(self.most_held, self.service.bodies.held)
            sent.append(message)

        await self.app(scope, receive, send)
        start = sent[0]
        found = {key.decode(): value.decode("latin-1") for key, value in start["headers"]}
        return Answer(start["status"], found, b"".join(one.get("body", b"") for one in sent[1:]))

    def lines(self) -> list[dict[str, Any]]:
        """Lines of the log, after its end."""
        self.log.close(60)
        return [json.loads(line) for line in self.out.getvalue().splitlines()]

    def close(self) -> None:
        self.service.close()
        self.log.close()


MakeInProcess = Callable[..., InProcess]
"""Fixture of the tests of the service: makes one of a small model."""


class Serving:
    """serve.py as a process on a free port of loopback."""

    def __init__(self, *words: str, environment: Mapping[str, str], folder: Path) -> None:
        """`words`: its options but for --port; it runs in `folder`."""
        command = [sys.executable, str(REPOSITORY / "trainer" / "serve.py"), "--port", "0", *words]
        self.command = Command(command, folder, environment)

    def __enter__(self) -> "Serving":
        return self

    def __exit__(self, *_error: object) -> None:
        self.command.kill()

    def wait(self) -> "Serving":
        """Return when it answers."""
        self.command.wait_for(lambda: self.event("ready"), "the service")
        return self

    def lines(self) -> list[dict[str, Any]]:
        """Lines of its log so far, without what it says to a person."""
        whole = self.command.output().rpartition("\n")[0].splitlines()
        return [json.loads(line) for line in whole if line.startswith("{")]

    def event(self, name: str) -> dict[str, Any] | None:
        """Last line of the log with this event; None where there is none."""
        return next((line for line in reversed(self.lines()) if line["event"] == name), None)

    @property
    def port(self) -> int:
        ready = self.event("ready")
        assert ready is not None
        return int(ready["address"].rpartition(":")[2])

    def connect(self) -> http.client.HTTPConnection:
        """Open a connection, for several requests."""
        return http.client.HTTPConnection("127.0.0.1", self.port, timeout=REQUEST_SECONDS)

    def ask(self, method: str, target: str, body: Any = None, headers: Mapping[str, str] | None = None) -> Answer:
        """Ask once, by a connection of its own."""
        connection = self.connect()
        try:
            return ask(connection, method, target, body, headers)
        finally:
            connection.close()


def ask(
    connection: http.client.HTTPConnection,
    method: str,
    target: str,
    body: Any = None,
    headers: Mapping[str, str] | None = None,
) -> Answer:
    """Ask by an open connection."""
    connection.request(method, target, body, dict(headers or {}))
    answer = connection.getresponse()
    return Answer(answer.status, {key.lower(): value for key, value in answer.getheaders()}, answer.read())
