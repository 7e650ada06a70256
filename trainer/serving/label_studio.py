"""The protocol of Label Studio's machine learning backends: tasks in, brush labels or polygons out."""

import hashlib
from collections.abc import Mapping
from typing import Any

import numpy as np

from trainer.data.layouts.brush_rle import encode_brush
from trainer.serving.answers import Predicted
from trainer.serving.fetch import ImageHost
from trainer.serving.label_config import Control
from trainer.serving.limits import Refused
from trainer.serving.polygons import object_polygons
from trainer.serving.upload import Upload, clean_name, read_data_address

MOST_TASKS = 1000
POLYGON_TOLERANCE = 0.001
"""Share of an outline's length that its polygon may leave it by."""


def read_tasks(content: Any) -> list[dict[str, Any]]:
    """Tasks of a request to POST /predict. Raises Refused where it is none of Label Studio's."""
    tasks = content.get("tasks") if isinstance(content, dict) else None
    if not isinstance(tasks, list) or not all(isinstance(one, dict) for one in tasks):
        raise Refused(422, "give a picture, or Label Studio's {tasks, label_config} as JSON")
    if len(tasks) > MOST_TASKS:
        raise Refused(413, f"more than {MOST_TASKS} tasks; ask for fewer at a time")
    if not isinstance(content.get("label_config"), str):
        raise Refused(422, "label_config: give the project's labelling configuration")
    return tasks


def fetch_image(task: Mapping[str, Any], control: Control, host: ImageHost | None) -> Upload:
    """Image of a task. Raises Refused where it names none, or one that is not fetched."""
    data = task.get("data")
    address = data.get(control.key) if isinstance(data, Mapping) else None
    if not isinstance(address, str) or not address:
        raise Refused(422, f"task {task.get('id')}: no text in data.{control.key}, which label_config names")
    if address.startswith("data:"):
        return Upload(read_data_address(address))
    if host is None:
        raise Refused(422, "start serve.py with --label_studio URL: pictures are fetched from that host alone")
    return Upload(host.fetch(address), clean_name(address.partition("?d=")[2] or address.partition("?")[0]))


def regions(found: Predicted, control: Control) -> list[dict[str, Any]]:
    """Regions of a predicted image: a brush mask for each class, or a polygon for each object."""
    mask = found.result.mask
    assert mask is not None
    names = found.scored.segmenter.contract.class_names
    ids = {number: control.labels[name] for number, name in enumerate(names) if number and name in control.labels}
    made = _brushes(mask, ids) if control.kind == "brushlabels" else _polygons(found, ids)
    height, width = mask.shape
    scores = _scores(found, list(ids))
    return [
        {
            "id": hashlib.sha256(f"{found.scored.title} {number}".encode()).hexdigest()[:10],
            "from_name": control.name,
            "to_name": control.to_name,
            "type": control.kind,
            "origin": "prediction",
            "original_width": width,
            "original_height": height,
            "image_rotation": 0,
            "score": scores[class_id],
            "value": value | {control.kind: [ids[class_id]]},
        }
        for number, (class_id, value) in enumerate(made)
    ]


def _brushes(mask: np.ndarray, ids: Mapping[int, str]) -> list[tuple[int, dict[str, Any]]]:
    found = [(number, mask == number) for number in ids]
    return [(number, {"format": "rle", "rle": encode_brush(own)}) for number, own in found if own.any()]


def _polygons(found: Predicted, ids: Mapping[int, str]) -> list[tuple[int, dict[str, Any]]]:
    """Polygons in per cent of the width and height; the centre of a pixel is half a pixel from its corner."""
    objects = found.objects
    assert objects is not None
    height, width = objects.size
    scale = np.array([100 / width, 100 / height])
    return [
        (int(class_id), {"points": ((polygon + 0.5) * scale).tolist(), "closed": True})
        for class_id, polygon in zip(objects.classes, object_polygons(objects, POLYGON_TOLERANCE), strict=True)
        if int(class_id) in ids
    ]


def _scores(found: Predicted, ids: list[int]) -> dict[int, float]:
    """Mean confidence of the pixels of each class."""
    mask, levels = found.result.mask, found.result.confidence_map
    assert mask is not None
    assert levels is not None
    own = {number: levels[mask == number] for number in ids}
    return {number: round(float(one.mean()) / 255, 4) if one.size else 0.0 for number, one in own.items()}
