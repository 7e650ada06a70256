"""COCO annotations of one small image, for tests of single annotations."""

import json
from pathlib import Path
from typing import Any

import numpy as np
from pycocotools import mask as coco

from tests.support.layouts import save_image

HEIGHT, WIDTH = 20, 30


def box(left: int, top: int, right: int, bottom: int) -> list[list[int]]:
    """Polygon of a box of pixels, from `left`, `top` up to but without `right`, `bottom`."""
    return [[left, top, right, top, right, bottom, left, bottom]]


def compressed_runs(mask: np.ndarray) -> dict[str, Any]:
    """Encode a bool mask as compressed run lengths, with pycocotools."""
    runs = coco.encode(np.asfortranarray(mask.astype(np.uint8)))
    return {"size": list(mask.shape), "counts": runs["counts"].decode()}


def plain_runs(mask: np.ndarray) -> dict[str, Any]:
    """Encode a bool mask as plain run lengths, by columns and beginning with zeros, with numpy alone."""
    flat = np.concatenate([[False], mask.T.ravel(), [not mask.T.ravel()[-1]]])
    edges = np.flatnonzero(flat[1:] != flat[:-1])
    return {"size": list(mask.shape), "counts": [int(run) for run in np.diff([0, *edges])]}


def annotation(segmentation: object, category_id: object = 1, **more: Any) -> dict[str, Any]:
    return {
        "id": 5,
        "image_id": 1,
        "category_id": category_id,
        "segmentation": segmentation,
        "iscrowd": 0,
        "area": 1,
    } | more


def annotate(root: Path, *annotations: object, **more: Any) -> Path:
    """Write a folder with one image a.png and its annotations; `more` replaces lists of the JSON file."""
    save_image(root / "a.png", np.zeros((HEIGHT, WIDTH, 3), np.uint8))
    record = {
        "images": [{"id": 1, "file_name": "a.png", "height": HEIGHT, "width": WIDTH}],
        "annotations": list(annotations),
        "categories": [{"id": 1, "name": "cat"}, {"id": 2, "name": "dog"}],
    } | more
    (root / "_annotations.coco.json").write_text(json.dumps(record))
    return root
