"""From picture files to mask and overlay files: decoding, predicting and writing at the same time."""

import time
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from trainer import InputError
from trainer.data.cache import shrink_image
from trainer.data.files import read_image, write_jpeg, write_mask
from trainer.data.pictures import Picture
from trainer.drawing.overlay import draw_overlay
from trainer.engine.evaluate import network_logits
from trainer.engine.readahead import read_ahead
from trainer.model.segmenter import Segmenter

READERS = WRITERS = 2


@dataclass
class Outcome:
    """One picture on its way through: decoded, then predicted, or failed."""

    picture: Picture
    image: np.ndarray | None = None  # uint8 [H, W, 3]
    square: np.ndarray | None = None  # uint8 [S, S, 3], what the network sees
    mask: np.ndarray | None = None  # uint8 [H, W]
    confidence: float = 0.0
    seconds: float = 0.0
    error: str = ""


def outline(segmenter: Segmenter, pictures: list[Picture], output: Path, batch_size: int) -> Iterator[dict[str, Any]]:
    """Write the masks and overlays of `pictures` below `output`; yields a row of the report for each, in order.

    At most some three batches of pictures are in memory, however many there are.
    """

    def read(picture: Picture) -> Outcome:
        return decode(picture, segmenter.contract.image_size)

    with ThreadPoolExecutor(WRITERS) as writers:
        waiting: deque[Future[dict[str, Any]]] = deque()
        for batch in batches(read_ahead(iter(pictures), read, READERS), batch_size):
            predict_batch(segmenter, batch)
            while batch:  # a picture that is written is held by nobody
                waiting.append(writers.submit(write, batch.pop(0), segmenter, output))
            while len(waiting) > batch_size:  # results wait in memory for the disk, but only so many
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()


def batches(outcomes: Iterator[Outcome], size: int) -> Iterator[list[Outcome]]:
    batch: list[Outcome] = []
    for outcome in outcomes:
        batch.append(outcome)
        if len(batch) == size:
            yield batch
            batch = []
    if batch:
        yield batch


def decode(picture: Picture, size: int) -> Outcome:
    """Read a picture and make the square that the network sees, or tell what is wrong with the file."""
    began = time.perf_counter()
    try:
        image = read_image(picture.path)
    except (InputError, OSError) as error:
        return Outcome(picture, error=str(error))
    return Outcome(picture, image, shrink_image(image, size), seconds=time.perf_counter() - began)


@torch.inference_mode()
def predict_batch(segmenter: Segmenter, batch: list[Outcome]) -> None:
    """Fill in class ids and confidence of each picture at its own size."""
    readable = [(one, one.image, one.square) for one in batch if one.image is not None and one.square is not None]
    if not readable:
        return
    began = time.perf_counter()
    squares = torch.from_numpy(np.stack([square for _, _, square in readable])).permute(0, 3, 1, 2)
    logits = network_logits(segmenter, squares.to(segmenter.mean.device))
    for row, (outcome, image, _) in enumerate(readable):
        height, width, _ = image.shape
        probabilities = segmenter.probabilities(logits[row : row + 1], (height, width))
        surest = torch.maximum(probabilities, 1 - probabilities) if len(probabilities[0]) == 1 else probabilities
        outcome.mask = segmenter.classes(probabilities)[0].cpu().numpy()
        outcome.confidence = float(surest.amax(dim=1).mean())
    for outcome, _, _ in readable:
        outcome.seconds += (time.perf_counter() - began) / len(readable)


def write(outcome: Outcome, segmenter: Segmenter, output: Path) -> dict[str, Any]:
    """Write mask and overlay of one picture; returns its row of the report."""
    row: dict[str, Any] = {"file": str(outcome.picture.path)}
    if outcome.image is None or outcome.mask is None:
        return row | {"error": outcome.error}
    began = time.perf_counter()
    names, colours = segmenter.contract.class_names, segmenter.contract.colours
    mask_file, overlay_file = (
        output / part / outcome.picture.name.with_name(outcome.picture.name.name + suffix)
        for part, suffix in (("masks", ".png"), ("overlays", ".jpg"))
    )
    try:
        for file in (mask_file, overlay_file):
            file.parent.mkdir(parents=True, exist_ok=True)
        write_mask(mask_file, outcome.mask)
        write_jpeg(overlay_file, draw_overlay(outcome.image, outcome.mask, colours))
    except OSError as error:
        return row | {"error": f"{outcome.picture.path}: result cannot be written ({error})"}
    height, width = outcome.mask.shape
    counts = [np.count_nonzero(outcome.mask == index) for index in range(len(names))]  # far faster than bincount
    return row | {
        "width": width,
        "height": height,
        "share": {name: round(count / outcome.mask.size, 6) for name, count in zip(names, counts, strict=True)},
        "confidence": round(outcome.confidence, 4),
        "seconds": round(outcome.seconds + time.perf_counter() - began, 4),
    }
