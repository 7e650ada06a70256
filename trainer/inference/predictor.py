"""Prediction of image files: decoded, predicted and handed on to be written, several batches at the same time."""

import ctypes
import functools
import math
import time
from collections.abc import Callable, Collection, Iterator
from contextlib import suppress
from dataclasses import dataclass
from itertools import takewhile
from typing import TypeVar

import numpy as np
import torch

from trainer import InputError
from trainer.data.files import file_bytes
from trainer.data.image_header import count_held
from trainer.data.image_io import PIXELS, read_scaled
from trainer.data.stack import page_content
from trainer.inference.doubt import Certainty, Doubts
from trainer.inference.given import InputImage
from trainer.model.segmenter import Segmenter
from trainer.system.parallel import read_ahead

R = TypeVar("R")

MAX_BATCHES = 4
"""Most whole batches under way at the same time; each holds its images in memory."""

NETWORK_BYTES, NETWORK_BYTES_GPU = 2**31, 2**34
"""Memory that all batches may take in the network together, in bytes, on a CPU and on a GPU; one image always goes."""


@dataclass
class ImageResult:
    """One image on its way through: decoded, then predicted, or failed."""

    source: InputImage
    image: np.ndarray | None = None
    """Uint8 [H, W, C], RGB where C is 3."""

    shown: np.ndarray | None = None
    """Uint8 as the network is shown it: [S, S, C], or what tiles are cut from."""

    mask: np.ndarray | None = None
    """Class ids, uint8 [H, W]."""

    clipped: float = 0.0
    """Share of the levels, 0 to 1, outside of the range that the model knows; 0 in images of 8 bits."""

    confidence: float = 0.0
    """Mean probability of the predicted classes, 0 to 1."""

    certainty: float = 0.0
    """Certainty of the foreground, 0 to 1, as `Certainty` has it."""

    confidence_map: np.ndarray | None = None
    """Probability of each pixel's class, 0 to 1 as uint8 [H, W]; only where it is asked for."""

    probabilities: np.ndarray | None = None
    """Probability of the foreground or of each class, 0 to 1 as uint16 [C, H, W]; only where they are asked for."""

    seconds: float = 0.0
    error: str = ""


HUGE = 32_000_000
"""Pixels of an image, or of a group of them, after which freed memory is given back."""

M_MMAP_THRESHOLD = -3
"""Option of mallopt: smallest block, in bytes, that is given back when it is freed."""


def predict_files(
    segmenter: Segmenter,
    images: list[InputImage],
    write: Callable[[ImageResult], R],
    batch_size: int,
    stop_requested: Callable[[], bool] = lambda: False,
    maps: Collection[str] = (),
    flips: bool = False,
    doubts: Doubts | None = None,
) -> Iterator[R]:
    """Predict `images`; yield what `write` returns for the result of each, in order.

    `maps`: which of `confidence_map` and `probabilities` the results have. `flips`: as `predict_batch` has it.

    What their warnings need is noted in `doubts`.

    Threads take a batch each from file to file, so that all cores have work whatever the network is; together they use
    as many threads as torch was given. Each holds one batch of images in memory, however many there are. No batch is
    begun once `stop_requested` is true.
    """
    threads = torch.get_num_threads()
    on_cpu = segmenter.mean.device.type == "cpu"
    most = (NETWORK_BYTES if on_cpu else NETWORK_BYTES_GPU) // segmenter.contract.picture_bytes
    workers, size = divide(len(images), batch_size, threads if on_cpu else MAX_BATCHES, most)

    # Pixels that take the memory of one with its maps; without them up to 12 bytes.
    weight = 1 + ("confidence_map" in maps) / 12 + ("probabilities" in maps) * segmenter.contract.channels / 6

    def work(batch: list[InputImage]) -> list[R]:
        if stop_requested():
            return []
        rows: list[R] = []
        for group, pixels in group_by_pixels(batch, int(PIXELS.total / weight) // workers):
            if pixels > HUGE:
                return_freed_memory()
            with PIXELS.hold(int(weight * pixels)):
                # Threads of this worker: all of them where the others wait for the memory that it takes.
                torch.set_num_threads(threads if weight * pixels > PIXELS.total else max(1, threads // workers))
                results = [decode(source, segmenter) for source in group]
                if pixels > HUGE:
                    trim_memory()
                predict_batch(segmenter, results, maps, flips)
                for result in results:
                    if doubts is not None and result.mask is not None and result.shown is not None:
                        doubts.note(result.certainty, result.mask, result.shown)
                rows += [write(result) for result in results]
        return rows

    batches = (images[at : at + size] for at in range(0, len(images), size))
    try:
        for rows in read_ahead(takewhile(lambda _: not stop_requested(), batches), work, workers):
            yield from rows
    finally:
        torch.set_num_threads(threads)


def divide(images: int, batch_size: int, threads: int, most: int) -> tuple[int, int]:
    """Number of workers, and of the images that each takes at once; at most `most` images are in the network.

    As many workers as `threads`, where there are as many images: each then computes with one thread. Several threads of
    one worker wait for each other, which takes many times as long where other processes want the CPUs too. All workers
    together hold no more than MAX_BATCHES batches, however many there are.
    """
    held = MAX_BATCHES * batch_size
    workers = max(1, min(images, threads, most, held))
    return workers, max(1, min(batch_size, math.ceil(images / workers), most // workers, held // workers))


@functools.cache
def return_freed_memory() -> None:
    """Have the C library give freed blocks back to the system. Does nothing where it is not glibc.

    By itself it keeps blocks of up to 32 MB for reuse in each thread, once one was freed. Pillow's have 16 MB: after
    images of 178 megapixels two threads kept 2 GB of them. Those of a strip are smaller: new ones for each cost a third
    of the time.
    """
    with suppress(OSError, AttributeError):
        ctypes.CDLL("libc.so.6").mallopt(M_MMAP_THRESHOLD, 4 * 2**20)


def trim_memory() -> None:
    """Give freed blocks back at once: after the resizing of 100 megapixels 1.1 GB of them are left."""
    with suppress(OSError, AttributeError):
        ctypes.CDLL("libc.so.6").malloc_trim(0)


def group_by_pixels(batch: list[InputImage], most: int) -> Iterator[tuple[list[InputImage], int]]:
    """Divide a batch, in its order, into groups of at most `most` pixels; yield each with its number of pixels.

    A larger image is a group by itself.
    """
    group: list[InputImage] = []
    total = 0
    for source in batch:
        pixels = count_held(source.path) + file_bytes([str(source.path)]) // 4
        if group and total + pixels > most:
            yield group, total
            group, total = [], 0
        group.append(source)
        total += pixels
    yield group, total


def decode(source: InputImage, segmenter: Segmenter) -> ImageResult:
    """Read an image, or note what is wrong with the file."""
    began = time.perf_counter()
    try:
        content = page_content(source.path, source.page) if source.page else None
        image, clipped = read_scaled(source.path, content, levels=segmenter.contract.range_of_levels)
    except (InputError, OSError) as error:
        return ImageResult(source, error=str(error))
    return ImageResult(source, image, segmenter.show(image), clipped=clipped, seconds=time.perf_counter() - began)


@torch.inference_mode()
def predict_batch(
    segmenter: Segmenter, batch: list[ImageResult], maps: Collection[str] = (), flips: bool = False
) -> None:
    """Fill in class ids, confidence and `maps` of each decoded image, at its own size.

    `flips`: from the mean of the probabilities of the image and of its mirror image.
    """
    decoded = [(one, one.shown) for one in batch if one.shown is not None]
    if not decoded:
        return
    began = time.perf_counter()
    if segmenter.contract.view == "tiles" or flips:
        for result, shown in decoded:
            fill(segmenter, result, segmenter.rows(shown, size_of(result), flips), maps)
    else:
        resized = torch.from_numpy(np.stack([shown for _, shown in decoded])).permute(0, 3, 1, 2)
        logits = segmenter.logits(resized.to(segmenter.mean.device))
        for row, (result, _) in enumerate(decoded):
            fill(segmenter, result, segmenter.strips(logits[row : row + 1], size_of(result)), maps)
    for result, _ in decoded:
        result.seconds += (time.perf_counter() - began) / len(decoded)


def size_of(result: ImageResult) -> tuple[int, int]:
    """Height and width of a decoded image."""
    assert result.image is not None
    return result.image.shape[0], result.image.shape[1]


def fill(
    segmenter: Segmenter, result: ImageResult, parts: Iterator[tuple[slice, torch.Tensor]], maps: Collection[str]
) -> None:
    """Fill in class ids, confidence and `maps` from the probabilities [1, C, rows, W] of the rows of an image."""
    height, width = size = size_of(result)
    result.mask, confidence, certainty = np.empty(size, np.uint8), 0.0, Certainty()
    if "confidence_map" in maps:
        result.confidence_map = np.empty(size, np.uint8)
    if "probabilities" in maps:
        result.probabilities = np.empty((segmenter.contract.channels, height, width), np.uint16)
    for rows, probabilities in parts:
        classes, sure = segmenter.classes(probabilities), segmenter.confidence(probabilities)
        result.mask[rows] = classes[0].cpu().numpy()
        confidence += float(sure.mean()) * (rows.stop - rows.start)
        certainty.add(probabilities, classes, sure)
        if result.confidence_map is not None:
            result.confidence_map[rows] = (sure[0] * 255).round().to(torch.uint8).cpu().numpy()
        if result.probabilities is not None:
            result.probabilities[:, rows] = (probabilities[0] * 65535).round().int().cpu().numpy()
    result.confidence, result.certainty = confidence / height, certainty.value(segmenter.contract)
