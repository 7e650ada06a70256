"""Threads that read ahead: the results of `map`, in order, and few of them at a time."""

import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from trainer.system.parallel import Budget, read_ahead


@pytest.mark.parametrize("workers", [0, 1, 3])
@pytest.mark.parametrize("count", [0, 1, 5, 40])
def test_same_as_map(workers: int, count: int) -> None:
    assert list(read_ahead(iter(range(count)), lambda number: number**2, workers)) == [
        number**2 for number in range(count)
    ]


@pytest.mark.parametrize("workers", [0, 2])
def test_reads_only_a_few_ahead(workers: int) -> None:
    """Results that wait take memory."""
    requested: list[int] = []

    def requests() -> Iterator[int]:
        for number in range(100):
            requested.append(number)
            yield number

    results = read_ahead(requests(), lambda number: number, workers)
    for taken in range(10):
        next(results)
        assert taken + 1 <= len(requested) <= taken + 1 + 2 * workers
    results.close()  # type: ignore[attr-defined]


def test_threads_read_at_the_same_time() -> None:
    meeting = threading.Barrier(2, timeout=20)
    assert len(list(read_ahead(iter(range(4)), lambda _: meeting.wait(), 2))) == 4


@pytest.mark.parametrize("workers", [0, 2])
def test_an_error_is_raised_in_order(workers: int) -> None:
    def read(number: int) -> int:
        if number == 3:
            raise ValueError("number 3")
        return number

    results = read_ahead(iter(range(9)), read, workers)
    assert [next(results) for _ in range(3)] == [0, 1, 2]
    with pytest.raises(ValueError, match="number 3"):
        next(results)


def test_a_budget_is_never_exceeded_but_by_one_alone() -> None:
    budget, under_way, lock = Budget(100), [], threading.Lock()

    def work(amount: int) -> None:
        with budget.hold(amount):
            with lock:
                under_way.append(amount)
                assert sum(under_way) <= 100 or len(under_way) == 1
            time.sleep(0.001)
            with lock:
                under_way.remove(amount)

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(work, [30, 60, 10, 500, 100, 99, 1, 250] * 8))
    assert budget.held == 0


def test_a_budget_is_given_back_after_an_error() -> None:
    budget = Budget(10)
    with pytest.raises(ValueError, match="damaged"), budget.hold(10):
        raise ValueError("damaged")
    with budget.hold(10):
        assert budget.held == 10
