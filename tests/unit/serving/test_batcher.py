"""The thread with the network: which images go together, in which order, and what becomes of a fault."""

import asyncio
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from tests.support.images import smooth_image
from trainer.inference.given import InputImage
from trainer.inference.model import Model
from trainer.inference.predictor import ImageResult
from trainer.model.segmenter import Segmenter
from trainer.serving.batcher import Batcher, Job
from trainer.serving.limits import Refused
from trainer.serving.versions import Scored, Served

Maker = Callable[..., Segmenter]


class Held:
    """A batcher whose thread waits in its first batch until `release` is set."""

    def __init__(self, batch_size: int) -> None:
        self.sizes: list[int] = []
        self.release, self.entered = threading.Event(), threading.Event()
        self.batcher = Batcher(batch_size, 1, self.note)

    def note(self, size: int, _seconds: float) -> None:
        self.sizes.append(size)
        self.entered.set()
        assert self.release.wait(60)


@pytest.fixture
def make_held() -> Iterator[Callable[[int], Held]]:
    made: list[Held] = []

    def make(batch_size: int) -> Held:
        made.append(Held(batch_size))
        return made[-1]

    yield make
    for one in made:
        one.release.set()
        one.batcher.close(60)
        assert not one.batcher.alive


def served(segmenter: Segmenter, version: str = "1") -> Served:
    return Served(Model(segmenter, {"uri": "models:/cats@champion", "name": "cats", "version": version}))


def job(scored: Scored, seed: int = 0, maps: tuple[str, ...] = (), seconds: float = 60.0) -> Job:
    image = smooth_image(40 + seed, 50, seed)
    result = ImageResult(InputImage(Path("x.png"), Path("x")), image, scored.segmenter.show(image))
    return Job(scored, result, maps, False, time.monotonic() + seconds, asyncio.get_running_loop().create_future())


def test_what_goes_together(make_segmenter: Maker, make_held: Callable[[int], Held]) -> None:
    """First come, first served; with it all that have the same model, threshold and maps, in a batch at most."""
    held = make_held(3)

    async def run() -> None:
        one, other = served(make_segmenter()), served(make_segmenter(seed=1), "2")
        jobs = [job(one.plain)]
        held.batcher.submit(jobs[0])
        await asyncio.to_thread(held.entered.wait, 60)
        scored = [one.plain, other.plain, one.at(0.9), one.plain, one.at(0.9), one.plain, one.plain]
        maps = [(), (), (), (), ("confidence_map",), (), ()]
        for number, (which, wanted) in enumerate(zip(scored, maps, strict=True)):
            jobs.append(job(which, number, wanted))
            held.batcher.submit(jobs[-1])
        held.release.set()
        sizes = await asyncio.gather(*(one.done for one in jobs))
        assert sizes == [1, 3, 1, 1, 3, 1, 3, 1]
        for one_job in jobs:
            segmenter = one_job.scored.segmenter
            assert one_job.result.image is not None
            assert (one_job.result.mask == segmenter.predict(one_job.result.image)[0]).all()
        assert jobs[5].result.confidence_map is not None

    asyncio.run(run())
    assert held.sizes == [1, 3, 1, 1, 1, 1]


def test_tiles_go_one_by_one(make_segmenter: Maker, make_held: Callable[[int], Held]) -> None:
    held = make_held(8)

    async def run() -> None:
        tiles = served(make_segmenter(view="tiles")).plain
        jobs = [job(tiles, number) for number in range(3)]
        for one in jobs:
            held.batcher.submit(one)
        held.release.set()
        assert await asyncio.gather(*(one.done for one in jobs)) == [1, 1, 1]

    asyncio.run(run())


def test_late_and_abandoned_jobs_are_left_out(make_segmenter: Maker, make_held: Callable[[int], Held]) -> None:
    held = make_held(8)

    async def run() -> None:
        plain = served(make_segmenter()).plain
        first, late, gone, last = job(plain), job(plain, seconds=-1), job(plain), job(plain)
        held.batcher.submit(first)
        await asyncio.to_thread(held.entered.wait, 60)
        for one in (late, gone, last):
            held.batcher.submit(one)
        gone.done.cancel()
        held.release.set()
        assert await last.done == 1
        with pytest.raises(Refused) as refused:
            await late.done
        assert (refused.value.status, late.result.mask, gone.result.mask) == (503, None, None)

    asyncio.run(run())


def test_a_fault_ends_its_batch_alone(make_segmenter: Maker, make_held: Callable[[int], Held]) -> None:
    held = make_held(8)
    held.release.set()

    async def run() -> None:
        plain = served(make_segmenter()).plain
        broken, sound = job(plain), job(plain)
        broken.result.shown = np.zeros((3, 3, 1), np.uint8)  # no such image reaches the network
        held.batcher.submit(broken)
        with pytest.raises(RuntimeError):
            await broken.done
        held.batcher.submit(sound)
        assert await sound.done == 1

    asyncio.run(run())
