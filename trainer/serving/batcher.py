"""Threads with the network: they take what waits, batch by batch, in the order of arrival."""

import asyncio
import math
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

import torch

from trainer.inference.predictor import ImageResult, predict_batch
from trainer.serving.limits import Refused
from trainer.serving.versions import Scored


@dataclass(eq=False)
class Job:
    """A decoded image that waits for the network."""

    scored: Scored
    result: ImageResult
    """Filled in by a thread of the network."""

    maps: tuple[str, ...]
    flips: bool
    deadline_s: float
    """Time of `time.monotonic` after which nobody wants the result."""

    done: "asyncio.Future[int]"
    """Number of images of its batch, or what went wrong."""

    loop: asyncio.AbstractEventLoop = field(default_factory=asyncio.get_running_loop)

    def goes_with(self, other: "Job") -> bool:
        """Return whether both may be in one batch: same model, same threshold, same maps."""
        mine, theirs = self.scored, other.scored
        return (mine.served is theirs.served, self.maps, self.flips) == (
            True,
            other.maps,
            other.flips,
        ) and mine.segmenter.contract.threshold == theirs.segmenter.contract.threshold

    def resolve(self, value: int | BaseException) -> None:
        """Tell the event loop how it ended."""

        def tell() -> None:
            if not self.done.done():  # nobody waits any more
                if isinstance(value, BaseException):
                    self.done.set_exception(value)
                else:
                    self.done.set_result(value)

        self.loop.call_soon_threadsafe(tell)


class Batcher:
    """Queue and its threads. Images that the network sees whole go through it together, those in tiles one by one.

    As in prediction of files each thread computes by itself, with one CPU, while there is work for several; a batch
    that is alone is computed by all CPUs.
    """

    def __init__(self, batch_size: int, threads: int, workers: int, note: Callable[[int, float], None]) -> None:
        """`threads`: CPUs to compute with; `note`: called with the size and the seconds of each batch."""
        self.batch_size, self.threads, self.note = batch_size, threads, note
        self.waiting: deque[Job] = deque()
        self.changed = threading.Condition()
        self.idle, self.ended = 0, False
        self.workers = [
            threading.Thread(target=self._work, name=f"network {number}", daemon=True) for number in range(workers)
        ]
        for worker in self.workers:
            worker.start()

    def submit(self, job: Job) -> None:
        """Put a job at the end of the queue. Its number is bounded by who calls."""
        with self.changed:
            self.waiting.append(job)
            self.changed.notify()

    def close(self, seconds: float = 10.0) -> None:
        """End the threads when the queue is empty; wait for that, for a while."""
        with self.changed:
            self.ended = True
            self.changed.notify_all()
        for worker in self.workers:
            worker.join(seconds)

    @property
    def alive(self) -> bool:
        """Whether jobs are worked on."""
        return all(worker.is_alive() for worker in self.workers)

    def _work(self) -> None:
        while batch := self._take():
            began = time.perf_counter()
            try:
                predict_batch(
                    batch[0].scored.segmenter, [job.result for job in batch], batch[0].maps, flips=batch[0].flips
                )
                outcome: int | BaseException = len(batch)
            except (MemoryError, torch.OutOfMemoryError):
                outcome = Refused(503, "not enough memory for the picture now; try again, or a smaller one", retry_s=5)
            except Exception as error:
                outcome = error
            self.note(len(batch), time.perf_counter() - began)
            for job in batch:
                job.resolve(outcome)

    def _take(self) -> list[Job]:
        """Wait for the jobs of a batch, all with one model and the same maps, and take them; none at the end."""
        while True:
            with self.changed:
                self.idle += 1
                self.changed.wait_for(lambda: self.waiting or self.ended)
                batch = self._choose()
                self.idle -= 1
                alone = not self.waiting and self.idle == len(self.workers) - 1
            if not batch:
                return []
            now = time.monotonic()
            late = [job for job in batch if job.deadline_s < now or job.done.done()]
            for job in late:
                job.resolve(Refused(503, "the queue is too slow now; ask again", retry_s=5))
            if batch := [job for job in batch if job not in late]:
                torch.set_num_threads(self.threads if alone else max(1, self.threads // len(self.workers)))
                return batch

    def _choose(self) -> list[Job]:
        """Take the first job, with its share of those that go with it: the other idle threads get the rest."""
        if not self.waiting:
            return []
        first = self.waiting[0]
        same = [job for job in self.waiting if job.goes_with(first)]
        tiles = first.scored.segmenter.contract.view == "tiles"
        chosen = same[: 1 if tiles else min(self.batch_size, math.ceil(len(same) / self.idle))]
        for job in chosen:
            self.waiting.remove(job)
        return chosen
