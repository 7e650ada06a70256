"""Prediction of image files: decode, predict and write masks and overlays, several batches at the same time."""

import ctypes
import functools
import math
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from itertools import takewhile
from pathlib import Path
from typing import Any

import numpy as np
import torch

from trainer import InputError
from trainer.data.files import file_bytes
from trainer.data.image_header import count_pixels
from trainer.data.image_io import PIXELS, read_scaled, write_jpeg, write_mask
from trainer.data.resize import shrink_image
from trainer.data.stack import page_content
from trainer.drawing.overlay import draw_overlay
from trainer.inference.doubt import Certainty, Doubts, is_unsure
from trainer.inference.inputs import InputImage
from trainer.model.segmenter import Contract, Segmenter
from trainer.system.parallel import read_ahead
from trainer.system.strips import strips
from trainer.system.text import valid

MOST_CLIPPED = 0.01
"""Share of an image's levels outside of the range that the model knows, above which it is said."""

MAX_BATCHES = 4
"""Most whole batches under way at the same time; each holds its images in memory."""

NETWORK_BYTES, NETWORK_BYTES_GPU = 2**31, 2**34
"""Memory that all batches may take in the network together, in bytes, on a CPU and on a GPU; one image always goes."""


@dataclass
class ImageResult:
    """One image on its way through: decoded, then predicted, or failed."""

    source: InputImage
    image: np.ndarray | None = None
    """Uint8 RGB [H, W, 3]."""

    resized: np.ndarray | None = None
    """Uint8 RGB [S, S, 3], the network's input."""

    mask: np.ndarray | None = None
    """Class ids, uint8 [H, W]."""

    clipped: float = 0.0
    """Share of the levels, 0 to 1, outside of the range that the model knows; 0 in images of 8 bits."""

    confidence: float = 0.0
    """Mean probability of the predicted classes, 0 to 1."""

    certainty: float = 0.0
    """Certainty of the foreground, 0 to 1, as `Certainty` has it."""

    seconds: float = 0.0
    error: str = ""


HUGE = 32_000_000
"""Pixels of an image, or of a group of them, after which freed memory is given back."""

M_MMAP_THRESHOLD = -3
"""Option of mallopt: smallest block, in bytes, that is given back when it is freed."""


def predict_files(
    segmenter: Segmenter,
    images: list[InputImage],
    output: Path,
    batch_size: int,
    stop_requested: Callable[[], bool] = lambda: False,
    doubts: Doubts | None = None,
) -> Iterator[dict[str, Any]]:
    """Write the masks and overlays of `images` below `output`; yield a row of the report for each, in order.

    What their warnings need is noted in `doubts`.

    Threads take a batch each from file to file, so that all cores have work whatever the network is; together they use
    as many threads as torch was given. Each holds one batch of images in memory, however many there are. No batch is
    begun once `stop_requested` is true.
    """
    threads = torch.get_num_threads()
    on_cpu = segmenter.mean.device.type == "cpu"
    most = (NETWORK_BYTES if on_cpu else NETWORK_BYTES_GPU) // segmenter.contract.picture_bytes
    workers, size = divide(len(images), batch_size, threads if on_cpu else MAX_BATCHES, most)

    def work(batch: list[InputImage]) -> list[dict[str, Any]]:
        if stop_requested():
            return []
        rows = []
        for group, pixels in group_by_pixels(batch, PIXELS.total // workers):
            if pixels > HUGE:
                return_freed_memory()
            with PIXELS.hold(pixels):
                # Threads of this worker: all of them where the others wait for the memory that it takes.
                torch.set_num_threads(threads if pixels > PIXELS.total else max(1, threads // workers))
                results = [decode(source, segmenter.contract) for source in group]
                predict_batch(segmenter, results)
                for result in results:
                    if doubts is not None and result.mask is not None and result.resized is not None:
                        doubts.note(result.certainty, result.mask, result.resized)
                rows += [write(result, segmenter, output) for result in results]
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


def group_by_pixels(batch: list[InputImage], most: int) -> Iterator[tuple[list[InputImage], int]]:
    """Divide a batch, in its order, into groups of at most `most` pixels; yield each with its number of pixels.

    A larger image is a group by itself.
    """
    group: list[InputImage] = []
    total = 0
    for source in batch:
        pixels = count_pixels(source.path) + file_bytes([str(source.path)]) // 4
        if group and total + pixels > most:
            yield group, total
            group, total = [], 0
        group.append(source)
        total += pixels
    yield group, total


def decode(source: InputImage, contract: Contract) -> ImageResult:
    """Read an image and resize it to the network's input, or note what is wrong with the file."""
    began = time.perf_counter()
    try:
        content = page_content(source.path, source.page) if source.page else None
        image, clipped = read_scaled(source.path, content, levels=contract.range_of_levels)
    except (InputError, OSError) as error:
        return ImageResult(source, error=str(error))
    resized = shrink_image(image, contract.image_size)
    return ImageResult(source, image, resized, clipped=clipped, seconds=time.perf_counter() - began)


@torch.inference_mode()
def predict_batch(segmenter: Segmenter, batch: list[ImageResult]) -> None:
    """Fill in class ids and confidence of each decoded image, at its own size."""
    decoded = [(one, one.image, one.resized) for one in batch if one.image is not None and one.resized is not None]
    if not decoded:
        return
    began = time.perf_counter()
    resized = torch.from_numpy(np.stack([resized for _, _, resized in decoded])).permute(0, 3, 1, 2)
    logits = segmenter.logits(resized.to(segmenter.mean.device))
    for row, (result, image, _) in enumerate(decoded):
        height, width, _ = image.shape
        result.mask, confidence, certainty = np.empty((height, width), np.uint8), 0.0, Certainty()
        for rows, probabilities in segmenter.strips(logits[row : row + 1], (height, width)):
            classes, sure = segmenter.classes(probabilities), segmenter.confidence(probabilities)
            result.mask[rows] = classes[0].cpu().numpy()
            confidence += float(sure.mean()) * (rows.stop - rows.start)
            certainty.add(probabilities, classes, sure)
        result.confidence, result.certainty = confidence / height, certainty.value(segmenter.contract)
    for result, _, _ in decoded:
        result.seconds += (time.perf_counter() - began) / len(decoded)


def write(result: ImageResult, segmenter: Segmenter, output: Path) -> dict[str, Any]:
    """Write mask and overlay of one image; return its row of the report."""
    row: dict[str, Any] = {"file": valid(result.source.shown)}
    if result.image is None or result.mask is None:
        return row | {"error": result.error}
    began = time.perf_counter()
    names, colours, name = segmenter.contract.class_names, segmenter.contract.colours, result.source.name
    mask_file = output / "masks" / name.with_name(f"{name.name}.png")
    overlay_file = output / "overlays" / name.with_name(f"{name.name}.jpg")
    try:
        for file in (mask_file, overlay_file):
            file.parent.mkdir(parents=True, exist_ok=True)
        write_mask(mask_file, result.mask)
        overlay = draw_overlay(result.image, result.mask, colours, out=result.image)
        result.image = result.resized = None  # encoding takes as much memory again
        write_jpeg(overlay_file, overlay)
    except OSError as error:
        return row | {"error": valid(f"{result.source.path}: result cannot be written ({error})")}
    height, width = result.mask.shape
    counts = count_classes(result.mask, len(names))
    return row | {
        "width": width,
        "height": height,
        "share": {name: round(count / result.mask.size, 6) for name, count in zip(names, counts, strict=True)},
        "confidence": round(result.confidence, 4),
        **({"unsure": True} if is_unsure(result.certainty, segmenter.contract) else {}),
        "seconds": round(result.seconds + time.perf_counter() - began, 4),
        **({"clipped": round(result.clipped, 4)} if result.clipped > MOST_CLIPPED else {}),
    }


def count_classes(mask: np.ndarray, classes: int) -> list[int]:
    """Pixels of each class id from 0 to `classes` - 1 in a mask, uint8 [H, W]."""
    counts = [0] * classes
    for rows in strips(*mask.shape):
        for index in range(classes):  # far faster than bincount
            counts[index] += int(np.count_nonzero(mask[rows] == index))
    return counts
