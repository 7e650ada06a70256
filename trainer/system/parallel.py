"""Threads that read ahead or work on many items."""

import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from itertools import islice
from typing import TypeVar

from trainer.system.cpus import usable_cpus

T = TypeVar("T")
R = TypeVar("R")

Progress = Callable[[str, int], Callable[[], None]]
"""Function that starts a progress bar from a description and a number of units; it returns one that counts a unit."""

CHUNK_SIZE = 8
"""Number of items that a thread takes at a time: to pass one costs as much time as to read a small file."""

MAX_CHUNKS = 128
"""Number of chunks that wait at the same time, since each takes memory."""


class Budget:
    """Amount that the threads of this process share, such as pixels in memory."""

    def __init__(self, total: int) -> None:
        self.total, self.held = total, 0
        self.changed = threading.Condition()

    @contextmanager
    def hold(self, amount: int) -> Iterator[None]:
        """Wait until `amount` is free, and keep it for the block; what is more than the total goes alone.

        A thread must not hold twice: it would wait for itself.
        """
        with self.changed:
            self.changed.wait_for(lambda: self.held == 0 or self.held + amount <= self.total)
            self.held += amount
        try:
            yield
        finally:
            with self.changed:
                self.held -= amount
                self.changed.notify_all()


def read_ahead(requests: Iterator[T], read: Callable[[T], R], workers: int) -> Iterator[R]:
    """`map(read, requests)`, in order, with up to `workers` threads that read before a result is needed.

    At most 2 * `workers` results are in memory. 0 workers: read in the calling thread, when the result is needed.
    """
    if workers == 0:
        yield from map(read, requests)
        return
    with ThreadPoolExecutor(workers) as pool:
        waiting: deque[Future[R]] = deque(pool.submit(read, request) for request in islice(requests, 2 * workers))
        while waiting:
            result = waiting.popleft().result()
            waiting.extend(pool.submit(read, request) for request in islice(requests, 1))
            yield result


def on_all_cores(function: Callable[[T], R], arguments: Sequence[T]) -> list[R]:
    """`list(map(function, arguments))` with one thread for each CPU that may be used; raises what `function` raises."""

    def run_chunk(chunk: Sequence[T]) -> list[R]:
        return [function(argument) for argument in chunk]

    results: list[R] = []
    chunks = [arguments[start : start + CHUNK_SIZE] for start in range(0, len(arguments), CHUNK_SIZE)]
    with ThreadPoolExecutor(usable_cpus()) as pool:
        for start in range(0, len(chunks), MAX_CHUNKS):
            for part in pool.map(run_chunk, chunks[start : start + MAX_CHUNKS]):
                results += part
    return results
