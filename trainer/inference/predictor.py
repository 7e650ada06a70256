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
from trainer.data.image_header import count_held
from trainer.data.image_io import PIXELS, read_scaled, write_jpeg, write_mask
from trainer.data.stack import page_content
from trainer.drawing.bands import to_rgb
from trainer.drawing.overlay import draw_overlay
from trainer.inference.inputs import InputImage
from trainer.model.segmenter import Segmenter
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
    """Uint8 [H, W, C], RGB where C is 3."""

    shown: np.ndarray | None = None
    """Uint8 as the network is shown it: [S, S, C], or what tiles are cut from."""

    mask: np.ndarray | None = None
    """Class ids, uint8 [H, W]."""

    clipped: float = 0.0
    """Share of the levels, 0 to 1, outside of the range that the model knows; 0 in images of 8 bits."""

    confidence: float = 0.0
    """Mean probability of the predicted classes, 0 to 1."""

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
) -> Iterator[dict[str, Any]]:
    """Write the masks and overlays of `images` below `output`; yield a row of the report for each, in order.

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
                results = [decode(source, segmenter) for source in group]
                predict_batch(segmenter, results)
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
def predict_batch(segmenter: Segmenter, batch: list[ImageResult]) -> None:
    """Fill in class ids and confidence of each decoded image, at its own size."""
    decoded = [(one, one.shown) for one in batch if one.shown is not None]
    if not decoded:
        return
    began = time.perf_counter()
    if segmenter.contract.view == "tiles":
        for result, shown in decoded:
            fill(segmenter, result, segmenter.rows(shown, size_of(result)))
    else:
        resized = torch.from_numpy(np.stack([shown for _, shown in decoded])).permute(0, 3, 1, 2)
        logits = segmenter.logits(resized.to(segmenter.mean.device))
        for row, (result, _) in enumerate(decoded):
            fill(segmenter, result, segmenter.strips(logits[row : row + 1], size_of(result)))
    for result, _ in decoded:
        result.seconds += (time.perf_counter() - began) / len(decoded)


def size_of(result: ImageResult) -> tuple[int, int]:
    """Height and width of a decoded image."""
    assert result.image is not None
    return result.image.shape[0], result.image.shape[1]


def fill(segmenter: Segmenter, result: ImageResult, parts: Iterator[tuple[slice, torch.Tensor]]) -> None:
    """Fill in class ids and confidence from the probabilities [1, C, rows, W] of the rows of an image."""
    height, _ = size = size_of(result)
    result.mask, confidence = np.empty(size, np.uint8), 0.0
    for rows, probabilities in parts:
        result.mask[rows] = segmenter.classes(probabilities)[0].cpu().numpy()
        confidence += float(segmenter.confidence(probabilities).mean()) * (rows.stop - rows.start)
    result.confidence = confidence / height


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
        picture = to_rgb(result.image)
        overlay = draw_overlay(picture, result.mask, colours, out=picture)
        result.image = result.shown = None  # encoding takes as much memory again
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
