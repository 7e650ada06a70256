"""Findings in a predicted image: its cleaned mask, its row of the report, and its objects."""

from typing import Any

import numpy as np

from trainer import InputError
from trainer.inference.doubt import is_unsure
from trainer.inference.objects import MOST_RUNS, Objects, find_objects, keep_objects
from trainer.inference.options import Options
from trainer.inference.predictor import ImageResult
from trainer.inference.run_lengths import encode_runs
from trainer.inference.specks import remove_specks
from trainer.model.segmenter import Contract
from trainer.system.strips import strips

MOST_CLIPPED = 0.01
"""Share of an image's levels outside of the range that the model knows, above which it is said."""


def clean_mask(mask: np.ndarray, options: Options, contract: Contract) -> Objects | None:
    """Remove objects that are not wanted; return the others, None for noise. Raises InputError if they are needed.

    `mask`: class ids, uint8 [H, W], changed in place.
    """
    objects = find_objects(mask)
    if objects is None:
        if options.min_area or options.largest_only or options.labelme or options.coco or options.objects:
            raise InputError(f"the mask has more than {MOST_RUNS:,} pieces; its objects cannot be told apart")
        return None
    least = options.min_area
    if least == "auto":
        objects, least = remove_specks(mask, objects, contract), 0
    if (least or options.largest_only) and keep_objects(mask, objects, least, options.largest_only):
        return find_objects(mask)
    return objects


def describe(result: ImageResult, objects: Objects | None, contract: Contract) -> dict[str, Any]:
    """Row of the report of a predicted image, but for the names of files."""
    assert result.mask is not None
    names = contract.class_names
    height, width = result.mask.shape
    counts = count_classes(result.mask, len(names))
    return {
        "width": width,
        "height": height,
        "share": {name: round(count / result.mask.size, 6) for name, count in zip(names, counts, strict=True)},
        "pixels": dict(zip(names, counts, strict=True)),
        **({} if objects is None else {"objects": dict(zip(names[1:], objects.count(len(names))[1:], strict=True))}),
        "confidence": round(result.confidence, 4),
        **({"unsure": True} if is_unsure(result.certainty, contract) else {}),
        **({"clipped": round(result.clipped, 4)} if result.clipped > MOST_CLIPPED else {}),
    }


def describe_objects(result: ImageResult, objects: Objects | None, options: Options) -> list[dict[str, Any]]:
    """Objects of a result, as objects.csv and coco.json describe them; none where neither is asked for."""
    if objects is None or not (options.objects or options.coco):
        return []
    assert result.confidence_map is not None
    means = objects.mean_levels(result.confidence_map) / 255
    runs = objects.runs_of_each() if options.coco else []
    described = []
    for number in range(len(objects)):
        box = objects.boxes[number].tolist()
        about: dict[str, Any] = {
            "class": int(objects.classes[number]),
            "area": int(objects.areas[number]),
            "box": box,
            "centroid": np.round(objects.centroids[number], 2).tolist(),
            "confidence": round(float(means[number]), 4),
        }
        if runs:
            about["runs"] = encode_runs(objects.crop(number, runs[number]), box[0], box[1], objects.size)
        described.append(about)
    return described


def count_classes(mask: np.ndarray, classes: int) -> list[int]:
    """Pixels of each class id from 0 to `classes` - 1 in a mask, uint8 [H, W]."""
    counts = [0] * classes
    for rows in strips(*mask.shape):
        for index in range(classes):  # far faster than bincount
            counts[index] += int(np.count_nonzero(mask[rows] == index))
    return counts
