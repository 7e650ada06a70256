"""The protocol of X-AnyLabeling's remote server: a list of models, and shapes for an image in JSON."""

import math
from collections.abc import Mapping
from typing import Any

from trainer.serving.answers import Predicted
from trainer.serving.limits import Refused
from trainer.serving.polygons import object_polygons
from trainer.serving.upload import Upload, read_data_address
from trainer.serving.versions import Served
from trainer.system.text import show

DEFAULT_FINENESS = 10
"""Place of the slider for mask_fineness, 1 to 100, that stands for an epsilon of 0.001."""

DEFAULT_EPSILON, MOST_EPSILON = 0.001, 0.1
"""Share of an outline's length that its polygon may leave it by, where a request names none, and at most."""


def list_models(served: Served) -> dict[str, Any]:
    """Answer of GET /v1/models."""
    shown = f"{served.name} {served.alias or 'version'} ({served.version})"
    widgets: list[dict[str, Any]] = [
        {"name": "button_run", "value": None},
        {"name": "edit_conf", "value": 0.0},
        {"name": "mask_fineness_slider", "value": DEFAULT_FINENESS},
        {"name": "toggle_preserve_existing_annotations", "value": False},
    ]
    model = {"display_name": shown, "batch_processing_mode": "default", "widgets": widgets}
    return {"data": {served.name: model}}


def read_request(content: Any, served: Served) -> tuple[Upload, dict[str, float]]:
    """Image and numbers of a request to POST /v1/predict. Raises Refused where it is none, or names another model."""
    if not isinstance(content, dict):
        raise Refused(422, "give {model, image, params} as JSON")
    if content.get("model") not in (served.name, None, ""):
        raise Refused(404, f"model: {show(content['model'], 100)}: there is {served.name}; choose it again")
    params = content.get("params") or {}
    if not isinstance(params, Mapping):
        raise Refused(422, "params: give an object")
    numbers = {
        "epsilon_factor": _number(params, "epsilon_factor", DEFAULT_EPSILON, MOST_EPSILON),
        "conf_threshold": _number(params, "conf_threshold", 0.0, 1.0),
    }
    return Upload(read_data_address(content.get("image"))), numbers


def _number(params: Mapping[str, Any], name: str, usual: float, most: float) -> float:
    value = params.get(name, usual)
    if value is None:
        return usual
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value) or value < 0:
        raise Refused(422, f"params.{name}: give a number from 0 to {most:g}")
    return min(float(value), most)


def shapes(found: Predicted, numbers: Mapping[str, float]) -> dict[str, Any]:
    """Answer of POST /v1/predict: a polygon for each object that is sure enough, the largest first."""
    assert found.objects is not None
    assert found.result.confidence_map is not None
    objects, names = found.objects, found.scored.segmenter.contract.class_names
    scores = objects.mean_levels(found.result.confidence_map) / 255
    polygons = object_polygons(objects, numbers["epsilon_factor"])
    order = sorted(range(len(objects)), key=lambda number: -int(objects.areas[number]))
    made = [
        {
            "label": names[objects.classes[number]],
            "shape_type": "polygon",
            "points": polygons[number].tolist(),
            "score": round(float(scores[number]), 4),
            "group_id": None,
            "flags": {},
            "description": "",
        }
        for number in order
        if scores[number] >= numbers["conf_threshold"]
    ]
    # `replace`: null leaves it to the switch in the tool, whether a person's shapes stay.
    return {"data": {"shapes": made, "replace": None, "description": found.scored.title}}
