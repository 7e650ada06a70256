"""From picture files to mask and overlay files: decoding, predicting and writing, some batches at the same time."""

import math
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from trainer import InputError
from trainer.data.image_io import read_image, write_jpeg, write_mask
from trainer.data.resize import shrink_image
from trainer.drawing.overlay import draw_overlay
from trainer.inference.inputs import InputImage
from trainer.model.segmenter import Segmenter, network_logits
from trainer.system.parallel import read_ahead

LANES = 4
"""Batches under way at the same time, at most: each holds its pictures in memory."""


@dataclass
class ImageResult:
    """One picture on its way through: decoded, then predicted, or failed."""

    picture: InputImage
    image: np.ndarray | None = None  # uint8 [H, W, 3]
    square: np.ndarray | None = None  # uint8 [S, S, 3], what the network sees
    mask: np.ndarray | None = None  # uint8 [H, W]
    confidence: float = 0.0
    seconds: float = 0.0
    error: str = ""


def predict_files(
    segmenter: Segmenter, pictures: list[InputImage], output: Path, batch_size: int
) -> Iterator[dict[str, Any]]:
    """Write the masks and overlays of `pictures` below `output`; yields a row of the report for each, in order.

    Threads take a batch each from file to file, so that all cores have work whatever the network is; together they use
    as many threads as torch was given. Each holds one batch of pictures in memory, however many there are.
    """
    threads = torch.get_num_threads()
    lanes = max(1, min(LANES, threads if segmenter.mean.device.type == "cpu" else LANES, len(pictures)))

    def work(batch: list[InputImage]) -> list[dict[str, Any]]:
        torch.set_num_threads(max(1, threads // lanes))  # of this lane
        outcomes = [decode(picture, segmenter.contract.image_size) for picture in batch]
        predict_batch(segmenter, outcomes)
        return [write(outcome, segmenter, output) for outcome in outcomes]

    size = max(1, min(batch_size, math.ceil(len(pictures) / lanes)))
    try:
        for rows in read_ahead((pictures[at : at + size] for at in range(0, len(pictures), size)), work, lanes):
            yield from rows
    finally:
        torch.set_num_threads(threads)


def decode(picture: InputImage, size: int) -> ImageResult:
    """Read a picture and make the square that the network sees, or tell what is wrong with the file."""
    began = time.perf_counter()
    try:
        image = read_image(picture.path)
    except (InputError, OSError) as error:
        return ImageResult(picture, error=str(error))
    return ImageResult(picture, image, shrink_image(image, size), seconds=time.perf_counter() - began)


@torch.inference_mode()
def predict_batch(segmenter: Segmenter, batch: list[ImageResult]) -> None:
    """Fill in class ids and confidence of each picture at its own size."""
    readable = [(one, one.image, one.square) for one in batch if one.image is not None and one.square is not None]
    if not readable:
        return
    began = time.perf_counter()
    resized = torch.from_numpy(np.stack([square for _, _, square in readable])).permute(0, 3, 1, 2)
    logits = network_logits(segmenter, resized.to(segmenter.mean.device))
    for row, (outcome, image, _) in enumerate(readable):
        height, width, _ = image.shape
        probabilities = segmenter.probabilities(logits[row : row + 1], (height, width))
        surest = torch.maximum(probabilities, 1 - probabilities) if len(probabilities[0]) == 1 else probabilities
        outcome.mask = segmenter.classes(probabilities)[0].cpu().numpy()
        outcome.confidence = float(surest.amax(dim=1).mean())
    for outcome, _, _ in readable:
        outcome.seconds += (time.perf_counter() - began) / len(readable)


def write(outcome: ImageResult, segmenter: Segmenter, output: Path) -> dict[str, Any]:
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
