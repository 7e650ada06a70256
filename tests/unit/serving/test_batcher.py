"""The threads with the network: which images go together, in which order, and what becomes of a fault."""

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
    """A batcher whose threads wait in their first batch until `release` is set."""

    def __init__(self, batch_size: int, workers: int = 1) -> None:
        self.sizes: list[int] = []
        self.release, self.entered = threading.Event(), threading.Event()
        self.batcher = Batcher(batch_size, 1, workers, self.note)

    def note(self, size: int, _seconds: float) -> None:
        self.sizes.append(size)
        self.entered.set()
        assert self.release.wait(60)


@pytest.fixture
def make_held() -> Iterator[Callable[..., Held]]:
    made: list[Held] = []

    def make(batch_size: int, workers: int = 1) -> Held:
        made.append(Held(batch_size, workers))
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


def test_what_goes_together(make_segmenter: Maker, make_held: Callable[..., Held]) -> None:
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


def test_threads_share_what_waits(make_segmenter: Maker, make_held: Callable[..., Held]) -> None:
    """Nobody takes a whole batch while others have nothing to do."""
    held = make_held(8, workers=2)

    async def run() -> None:
        plain = served(make_segmenter()).plain
        jobs = [job(plain, number) for number in range(7)]
        while held.batcher.idle < 2:
            await asyncio.sleep(0.01)
        with held.batcher.changed:
            for one in jobs:
                held.batcher.submit(one)
        while held.batcher.idle:  # one that is done takes from what the other has not taken yet
            await asyncio.sleep(0.01)
        held.release.set()
        sizes = await asyncio.gather(*(one.done for one in jobs))
        assert sorted(sizes) == [3, 3, 3, 4, 4, 4, 4]
        for one in jobs:
            assert one.result.image is not None
            assert (one.result.mask == plain.segmenter.predict(one.result.image)[0]).all()

    asyncio.run(run())


def test_tiles_go_one_by_one(make_segmenter: Maker, make_held: Callable[..., Held]) -> None:
    held = make_held(8)

    async def run() -> None:
        tiles = served(make_segmenter(view="tiles")).plain
        jobs = [job(tiles, number) for number in range(3)]
        for one in jobs:
            held.batcher.submit(one)
        held.release.set()
        assert await asyncio.gather(*(one.done for one in jobs)) == [1, 1, 1]

    asyncio.run(run())


def test_late_and_abandoned_jobs_are_left_out(make_segmenter: Maker, make_held: Callable[..., Held]) -> None:
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


def test_a_fault_ends_its_batch_alone(make_segmenter: Maker, make_held: Callable[..., Held]) -> None:
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
