"""What stands before all routes: who may ask, which version answers, and a line of the log for each request."""

import base64
import binascii
import hmac
import json
import time
import traceback
from collections.abc import Collection, Iterator
from typing import Any
from urllib.parse import quote, urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from trainer import printable, redact
from trainer.serving.command_line import is_loopback
from trainer.serving.json_log import JsonLog
from trainer.serving.limits import Refused
from trainer.serving.metrics import Metrics
from trainer.serving.versions import Served, Versions

OPEN_PATHS = ("/health", "/ready")
"""Paths that need no token: what watches the service has none."""

SAFE_HEADERS = {
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cache-control": "no-store",
    "content-security-policy": (
        "default-src 'self'; img-src 'self' blob: data:; frame-ancestors 'none'; base-uri 'none'; form-action 'self'"
    ),
}
"""Headers of every answer: a browser runs no code but the page's own."""

IN_HEADERS = " !#$&'()*+,/:;=?@[]~"
"""Signs of a name that stand in a header as they are; others are written as %NN."""

FAULT = "a fault of the service; its log says more"
"""What is said where something went wrong that no request should cause."""

PIECE_BYTES = 2**18
"""Bytes of an answer that a client has to take within the time of a request."""

LONGEST_PATH = 200


def version_headers(served: Served) -> dict[str, str]:
    """Headers that name the version of an answer."""
    facts = {"X-Model": served.name, "X-Model-Version": served.version, "X-Model-Alias": served.alias}
    return {key: quote(value, safe=IN_HEADERS) for key, value in facts.items() if value}


class Guard:
    """ASGI application around the routes."""

    def __init__(
        self, app: ASGIApp, versions: Versions, token: str, page: Collection[str], log: JsonLog, metrics: Metrics
    ) -> None:
        """`token`: what requests must name, "" for anybody on this machine; `page`: paths that need no token."""
        self.app, self.versions, self.token, self.page = app, versions, token, page
        self.log, self.metrics = log, metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return
        began = time.perf_counter()
        facts: dict[str, Any] = {"status": 0, "bytes_in": 0, "bytes_out": 0}

        async def counting_receive() -> Message:
            message = await receive()
            facts["bytes_in"] += len(message.get("body", b""))
            return message

        async def naming_send(message: Message) -> None:
            if message["type"] == "http.response.start":
                facts["status"] = message["status"]
                headers = MutableHeaders(scope=message)
                for key, value in (SAFE_HEADERS | version_headers(self.versions.current)).items():
                    headers.setdefault(key, value)
                facts["version"] = headers["x-model-version"]
            for part in _parts(message):
                facts["bytes_out"] += len(part.get("body", b""))
                await send(part)

        try:
            try:
                self._admit(Headers(scope=scope), scope)
                await self.app(scope, counting_receive, naming_send)
            except Refused as refused:
                await _answer(naming_send, refused.status, refused.text)
            except Exception as error:
                text = printable(redact("".join(traceback.format_exception(error))))
                self.log("error", path=scope["path"][:LONGEST_PATH], error=text)
                if not facts["status"]:
                    await _answer(naming_send, 500, FAULT)
        finally:
            self._note(scope, facts, time.perf_counter() - began)

    # ---------------------------------------------------------------- who may ask

    def _admit(self, headers: Headers, scope: Scope) -> None:
        """Raise Refused for a request without the token, or one that a strange page in a browser makes."""
        if not self.token:
            host = headers.get("host", "")
            # A page of another name that leads to this machine, and a page that sends its requests here.
            if not is_loopback(_host_name(host)):
                raise Refused(403, f"host {host[:100]!r}: without a token the service is http://127.0.0.1 alone")
            origin = headers.get("origin")
            if origin is not None and urlsplit(origin).netloc != host:
                raise Refused(403, "the page of another host must not use the service")
            return
        open_page = scope["method"] in ("GET", "HEAD") and scope["path"].removeprefix("/") in self.page
        if scope["path"] not in OPEN_PATHS and not open_page and not self._has_token(headers):
            raise Refused(401, "the token is missing or wrong; send it as Authorization: Bearer TOKEN")

    def _has_token(self, headers: Headers) -> bool:
        scheme, _, given = headers.get("authorization", "").partition(" ")
        if scheme.lower() == "basic":
            try:
                given = base64.b64decode(given, validate=True).decode("latin-1").partition(":")[2]
            except (binascii.Error, ValueError):
                given = ""
        elif scheme.lower() not in ("bearer", "token"):
            given = headers.get("token", "")
        return hmac.compare_digest(given.strip().encode("latin-1", "replace"), self.token.encode())

    # ---------------------------------------------------------------- the log

    def _note(self, scope: Scope, facts: dict[str, Any], seconds: float) -> None:
        route = getattr(scope.get("route"), "path", "other")
        self.metrics.count("requests_total", path=route, status=f"{facts['status']}")
        if facts["status"] >= 400:
            self.metrics.count("refused_total", status=f"{facts['status']}")
        self.metrics.observe("request_seconds", seconds)
        client = (scope.get("client") or ("",))[0]
        asked = {"client": client, "method": scope["method"], "path": scope["path"][:LONGEST_PATH]}
        self.log("request", **asked, **facts, seconds=round(seconds, 4), **scope.get("state", {}).get("facts", {}))


def _parts(message: Message) -> Iterator[Message]:
    """A message of ASGI; a long body in pieces, so that the time that a client may take counts for each."""
    body = message.get("body", b"")
    for start in range(0, len(body) - PIECE_BYTES, PIECE_BYTES):
        yield {**message, "body": body[start : start + PIECE_BYTES], "more_body": True}
    rest = max(0, (len(body) - 1) // PIECE_BYTES) * PIECE_BYTES
    yield {**message, "body": body[rest:]} if body else message


def _host_name(host: str) -> str:
    """Name or address in a Host header, without the port."""
    try:
        return urlsplit(f"//{host}").hostname or ""
    except ValueError:
        return ""


async def _answer(send: Send, status: int, text: str) -> None:
    """Send an error, as the routes do."""
    body = json.dumps({"error": text}).encode()
    headers = [(b"content-type", b"application/json"), (b"content-length", f"{len(body)}".encode())]
    if status == 401:
        headers.append((b"www-authenticate", b"Bearer"))
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
