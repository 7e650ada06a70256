"""Connections that end where a client is too slow: with its headers, a body that nobody wants, or taking an answer."""

import asyncio
from typing import Any

from uvicorn.protocols.http.h11_impl import H11Protocol


class Connection(H11Protocol):
    """A connection of HTTP/1.1; `seconds` is set in a class of its own."""

    seconds = 60.0
    """Time for the headers of a request, the rest of a refused body, and the client to take what was sent."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.request_timer: asyncio.TimerHandle | None = None
        self.write_timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Expect a request from now on."""
        super().connection_made(transport)
        self.request_timer = self._timer()

    def data_received(self, data: bytes) -> None:
        """Take data; between requests the time runs from the first of them."""
        super().data_received(data)
        if self.cycle is not None and not self.cycle.response_complete:
            _stop(self.request_timer)
            self.request_timer = None
        elif self.request_timer is None:
            self.request_timer = self._timer()

    def pause_writing(self) -> None:
        """Note that the client does not take the answer."""
        super().pause_writing()
        self.write_timer = self.write_timer or self._timer()

    def resume_writing(self) -> None:
        """Note that it does."""
        super().resume_writing()
        _stop(self.write_timer)
        self.write_timer = None

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop the clocks."""
        _stop(self.request_timer)
        _stop(self.write_timer)
        super().connection_lost(exc)

    def _timer(self) -> asyncio.TimerHandle:
        return self.loop.call_later(self.seconds, self.transport.abort)


def _stop(timer: asyncio.TimerHandle | None) -> None:
    if timer is not None:
        timer.cancel()
