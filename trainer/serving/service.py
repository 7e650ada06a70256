"""The way of a request: admitted, decoded, through the network with others, described and encoded."""

import asyncio
import math
import sys
import time
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TypeVar

import torch

from trainer import InputError
from trainer.data.image_header import read_header
from trainer.data.image_io import PIXELS, read_scaled
from trainer.data.stack import is_stack
from trainer.inference.findings import clean_mask, describe, describe_objects
from trainer.inference.given import InputImage
from trainer.inference.predictor import NETWORK_BYTES, NETWORK_BYTES_GPU, ImageResult, divide
from trainer.serving.answers import Predicted, Wanted, encode
from trainer.serving.batcher import Batcher, Job
from trainer.serving.limits import AsyncBudget, Limits, Refused
from trainer.serving.metrics import Metrics
from trainer.serving.upload import Bodies, Upload
from trainer.serving.versions import Scored, Served, Versions
from trainer.system.cpus import usable_cpus
from trainer.system.launcher import given_threads

R = TypeVar("R")

MOST_OBJECTS = 10_000
"""Objects of an image in answers that have a shape for each: an outline takes about a millisecond."""

LONGEST_RETRY = 60
"""Longest time after which a client is asked to come back, in seconds."""


class Service:
    """Everything that requests share: the versions, the network's threads, others that decode and encode, limits."""

    def __init__(self, versions: Versions, limits: Limits, metrics: Metrics) -> None:
        self.versions, self.limits, self.metrics = versions, limits, metrics
        threads = given_threads()[0] or min(torch.get_num_threads(), usable_cpus())
        torch.set_num_threads(threads)
        self.batcher = Batcher(*self._divide(threads), self._note_batch)
        self.pool = ThreadPoolExecutor(usable_cpus() + 1, "pictures", initializer=torch.set_num_threads, initargs=(1,))
        self.loaders = ThreadPoolExecutor(2, "versions")
        self.bodies = Bodies(limits)
        self.pixels = AsyncBudget(PIXELS.total)
        self.under_way = 0
        self.image_s = 0.1
        """Time that an image takes in the network, of late, in seconds."""

        self.stopping = False

    def _divide(self, threads: int) -> tuple[int, int, int]:
        """Images of a batch, CPUs, and threads with the network, as prediction of many files has them."""
        segmenter = self.versions.current.model.segmenter
        on_cpu = segmenter.mean.device.type == "cpu"
        most = (NETWORK_BYTES if on_cpu else NETWORK_BYTES_GPU) // segmenter.contract.picture_bytes
        workers, size = divide(sys.maxsize, self.limits.batch_size, threads if on_cpu else 1, most)
        return size, threads, workers

    def close(self) -> None:
        """End the threads, when what they work on is done."""
        self.versions.stop.set()
        self.batcher.close()
        self.pool.shutdown(cancel_futures=True)
        self.loaders.shutdown(wait=False, cancel_futures=True)

    def _note_batch(self, size: int, seconds: float) -> None:
        self.image_s += 0.2 * (seconds / size - self.image_s)
        self.metrics.observe("batch_pictures", size)

    @property
    def ready(self) -> bool:
        """True while requests are answered."""
        return self.batcher.alive and not self.stopping

    # ---------------------------------------------------------------- admission

    def check_room(self) -> None:
        """Raise Refused where as many images are under way as may be."""
        if self.under_way >= self.limits.queue:
            retry_s = min(LONGEST_RETRY, max(1, math.ceil(self.under_way * self.image_s)))
            raise Refused(503, f"{self.under_way} pictures are under way; ask again later", retry_s=retry_s)

    @asynccontextmanager
    async def place(self) -> AsyncIterator[None]:
        """Count an image as under way for the block. Raises Refused where there is no room."""
        self.check_room()
        self.under_way += 1
        try:
            yield
        finally:
            self.under_way -= 1

    async def find(self, version: str) -> Served:
        """Return a version, which may have to be loaded first. Raises Refused where there is none."""
        if version in ("", self.versions.current.version):
            return self.versions.current
        return await asyncio.get_running_loop().run_in_executor(self.loaders, self.versions.get, version)

    # ---------------------------------------------------------------- prediction

    async def answer(self, upload: Upload, wanted: Wanted) -> tuple[bytes, Predicted]:
        """Predict an image; return the answer in the form that is wanted. Raises Refused."""
        async with self.predict(upload, wanted) as found:
            return await self.run(lambda: encode(wanted.form, found, wanted)), found

    @asynccontextmanager
    async def predict(self, upload: Upload, wanted: Wanted) -> AsyncIterator[Predicted]:
        """Predict an image, which is in memory for the block. Raises Refused."""
        scored = (await self.find(wanted.version)).at(wanted.options.threshold)
        async with self.place():
            held = await self.run(lambda: self._check(upload))
            channels = scored.segmenter.contract.channels
            weight = 1 + ("confidence_map" in wanted.maps) / 12 + ("probabilities" in wanted.maps) * channels / 6
            async with self.pixels.hold(int(held * weight), self.limits.seconds):
                result = await self.run(lambda: decode(upload, scored))
                batch = await self._through_network(result, scored, wanted)
                found = await self.run(lambda: look_at(upload, result, scored, wanted, batch))
                self.metrics.count("pictures_total", version=scored.served.version)
                yield found

    async def _through_network(self, result: ImageResult, scored: Scored, wanted: Wanted) -> int:
        """Have a decoded image predicted; return the number of images of its batch."""
        loop = asyncio.get_running_loop()
        deadline_s = time.monotonic() + self.limits.seconds
        job = Job(scored, result, wanted.maps, wanted.options.flips, deadline_s, loop.create_future())
        self.batcher.submit(job)
        return await job.done

    async def run(self, work: Callable[[], R]) -> R:
        """Run `work` in a thread."""
        return await asyncio.get_running_loop().run_in_executor(self.pool, work)

    def _check(self, upload: Upload) -> int:
        """Pixels that an image takes in memory, by its header. Raises Refused where it is none, or too large."""
        try:
            header = read_header(Path(upload.name), upload.content)
        except InputError as error:
            raise Refused(422, f"{error}") from error
        height, width = header.size
        if max(header.held, height * width) > self.limits.pixels:
            text = f"{width}x{height} pixels, more than {self.limits.pixels:,}"
            raise Refused(413, f"{upload.name}: {text}; make it smaller")
        if is_stack(upload.content):
            raise Refused(422, f"{upload.name}: a stack of pages; send them one by one, or use predict.py")
        return header.held


def decode(upload: Upload, scored: Scored) -> ImageResult:
    """Decode an image as predict.py does. Raises Refused where that is not possible."""
    began = time.perf_counter()
    source = InputImage(Path(upload.name), Path(Path(upload.name).stem))
    try:
        levels = scored.segmenter.contract.range_of_levels
        image, clipped = read_scaled(source.path, upload.content, levels=levels)
    except MemoryError:
        raise Refused(503, "not enough memory for the picture now; ask again", retry_s=5) from None
    except Exception as error:  # decoders of other libraries raise errors of any type for a broken file
        text = f"{error}" if isinstance(error, InputError) else f"{upload.name}: cannot be decoded ({error})"
        raise Refused(422, text) from error
    shown = scored.segmenter.show(image)
    return ImageResult(source, image, shown, clipped=clipped, seconds=time.perf_counter() - began)


def look_at(upload: Upload, result: ImageResult, scored: Scored, wanted: Wanted, batch: int) -> Predicted:
    """Find the objects of a predicted image, and describe it. Raises Refused where they cannot be told apart."""
    assert result.mask is not None
    try:
        objects = clean_mask(result.mask, wanted.options, scored.segmenter.contract)
    except InputError as error:
        raise Refused(422, f"{upload.name}: {error}") from error
    if objects is not None and len(objects) > MOST_OBJECTS and (wanted.options.labelme or wanted.options.coco):
        text = f"{len(objects):,} objects, more than {MOST_OBJECTS:,}; remove small ones by min_area"
        raise Refused(422, f"{upload.name}: {text}")
    row = {
        "file": upload.name,
        **describe(result, objects, scored.segmenter.contract),
        "seconds": round(result.seconds, 4),
    }
    about = describe_objects(result, objects, wanted.options)
    return Predicted(result, objects, row, about, scored, upload.name, batch)
