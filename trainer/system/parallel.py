"""Reading in threads, ahead of the work."""

import os
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice
from typing import Any, TypeVar

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


Progress = Callable[[str, int], Callable[[], None]]
"""Told what is done and how often; gives a function to call each time one is finished."""


TOGETHER, AHEAD = 8, 128
"""Samples that a thread takes at a time, since handing over costs as much as reading a small file; and how many such
handfuls wait: a list of all would take memory for each."""


def on_all_cores(function: Callable[[Any], Any], arguments: Sequence[Any]) -> list[Any]:
    """What `function` gives for each of the arguments, in their order; raises what it raises."""
    results: list[Any] = []
    handfuls = [arguments[start : start + TOGETHER] for start in range(0, len(arguments), TOGETHER)]
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        for start in range(0, len(handfuls), AHEAD):
            for some in pool.map(lambda some: [function(one) for one in some], handfuls[start : start + AHEAD]):
                results += some
    return results
