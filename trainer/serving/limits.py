"""Limits of the service, what is said where one is reached, and the memory that requests share."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass


@dataclass(frozen=True)
class Limits:
    """Bounds of a request, and of all together."""

    body_bytes: int = 64 * 2**20
    """Bytes of the body of a request."""

    pixels: int = 50_000_000
    """Pixels of an image."""

    seconds: float = 60.0
    """Time in which a body has to arrive, an image to be taken up by the network, and a client to read its answer."""

    queue: int = 64
    """Images under way at the same time: decoded, waiting, in the network, or encoded."""

    batch_size: int = 8
    """Images that go through the network together."""

    @property
    def all_bytes(self) -> int:
        """Bytes of the bodies of all requests together."""
        return 4 * self.body_bytes


class Refused(Exception):
    """An answer other than the one that was asked for: the status of HTTP, and what is wrong with the fix."""

    def __init__(self, status: int, text: str, retry_s: int = 0) -> None:
        """`retry_s`: seconds after which the same request may succeed; 0 where it never does."""
        super().__init__(text)
        self.status, self.text, self.retry_s = status, text, retry_s


class AsyncBudget:
    """Amount that the requests of the event loop share, such as pixels in memory."""

    def __init__(self, total: int) -> None:
        self.total, self.held = total, 0
        self.waiters: set[asyncio.Future[None]] = set()

    @asynccontextmanager
    async def hold(self, amount: int, seconds: float) -> AsyncIterator[None]:
        """Wait until `amount` is free, and keep it for the block; what is more than the total goes alone.

        Raises Refused where that takes longer than `seconds`.
        """
        try:
            async with asyncio.timeout(seconds):
                await self._wait(amount)
        except TimeoutError:
            raise Refused(503, "there is no memory for the picture; ask again later", retry_s=10) from None
        self.held += amount
        try:
            yield
        finally:
            self.held -= amount
            for waiter in self.waiters:
                if not waiter.done():
                    waiter.set_result(None)

    async def _wait(self, amount: int) -> None:
        while self.held and self.held + amount > self.total:
            waiter = asyncio.get_running_loop().create_future()
            self.waiters.add(waiter)
            try:
                await waiter
            finally:
                self.waiters.discard(waiter)
