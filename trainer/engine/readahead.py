"""Reading in threads, ahead of the work."""

from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice
from typing import TypeVar

T = TypeVar("T")
R = TypeVar("R")


def read_ahead(requests: Iterator[T], read: Callable[[T], R], workers: int) -> Iterator[R]:
    """`map(read, requests)` in order, with up to `workers` threads reading before they are asked."""
    if workers == 0:
        yield from map(read, requests)
        return
    with ThreadPoolExecutor(workers) as pool:
        waiting: deque[Future[R]] = deque(pool.submit(read, request) for request in islice(requests, 2 * workers))
        while waiting:
            result = waiting.popleft().result()
            waiting.extend(pool.submit(read, request) for request in islice(requests, 1))
            yield result
