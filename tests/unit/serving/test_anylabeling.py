"""X-AnyLabeling's exchange, as its client `services/auto_labeling/remote_server.py` has it, from request to shapes."""

import base64
import json
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageDraw

from tests.support.serving import InProcess, MakeInProcess, image_bytes
from trainer.serving.limits import Limits

HEADERS = {"Content-Type": "application/json", "Token": ""}


def epsilon(slider: int) -> float:
    """Fineness of a place of the slider, 1 to 100, as the tool's `on_mask_fineness_changed` has it."""
    return 0.0001 + (slider - 1) * (0.01 - 0.0001) / 99


def predict_shapes(service: InProcess, content: bytes, **params: Any) -> list[dict[str, Any]]:
    """Shapes for an image, asked for and read as the client does."""
    (model_id,) = service.ask("GET", "/v1/models", headers=HEADERS).json["data"]
    given = {"conf_threshold": 0.0, "iou_threshold": 0.0, "epsilon_factor": 0.001} | params
    image = f"data:image/jpeg;base64,{base64.b64encode(content).decode()}"
    payload = {"model": model_id, "image": image, "params": given}
    answer = service.ask("POST", "/v1/predict", json.dumps(payload).encode(), HEADERS)
    assert answer.status == 200, answer.content
    data = answer.json["data"]
    assert data["replace"] is None
    assert isinstance(data["description"], str)
    for shape in data["shapes"]:
        assert all(len(point) == 2 and all(isinstance(one, int | float) for one in point) for point in shape["points"])
    return data["shapes"]


def draw(shapes: list[dict[str, Any]], size: tuple[int, int]) -> np.ndarray:
    """Class ids of shapes drawn one over the other, uint8 [H, W]."""
    pil_image = Image.new("L", size[::-1])
    for shape in shapes:
        class_id = int(shape["label"].split()[1])
        points = [tuple(point) for point in shape["points"]]
        ImageDraw.Draw(pil_image).polygon(points, fill=class_id, outline=class_id)
    return np.array(pil_image)


def test_the_list_of_models(make_service: MakeInProcess) -> None:
    service = make_service()
    ((model_id, model),) = service.ask("GET", "/v1/models", headers=HEADERS).json["data"].items()
    assert model_id == "cats 0"
    assert model["batch_processing_mode"] == "default"
    assert service.service.versions.current.version in model["display_name"]
    widgets = {widget["name"]: widget["value"] for widget in model["widgets"]}
    # As the tool's own server checks them.
    assert isinstance(widgets["mask_fineness_slider"], int)
    assert epsilon(widgets["mask_fineness_slider"]) == pytest.approx(0.001)
    assert 0 <= widgets["edit_conf"] <= 1
    assert widgets["toggle_preserve_existing_annotations"] is False
    assert "button_run" in widgets


@pytest.mark.parametrize("foreground", [1, 3])
def test_shapes_are_the_mask(foreground: int, make_service: MakeInProcess) -> None:
    service, content = make_service(foreground), image_bytes(97, 131, 5, "JPEG")
    mask = service.ask("POST", "/predict", content, {"content-type": "image/jpeg"}).array
    shapes = predict_shapes(service, content, epsilon_factor=0)
    assert shapes
    assert (draw(shapes, mask.shape) != mask).mean() < 0.002  # where an outline meets itself, a pixel is lost
    assert {shape["shape_type"] for shape in shapes} == {"polygon"}
    assert all(0 < shape["score"] <= 1 for shape in shapes)


def test_fineness_is_honoured(make_service: MakeInProcess) -> None:
    service, content = make_service(), image_bytes(97, 131, 5, "JPEG")
    mask = service.ask("POST", "/predict", content, {"content-type": "image/jpeg"}).array
    points, errors = [], []
    for slider in (1, 20, 100):
        shapes = predict_shapes(service, content, epsilon_factor=epsilon(slider))
        points.append(sum(len(shape["points"]) for shape in shapes))
        errors.append(float((draw(shapes, mask.shape) != mask).mean()))
    assert points[0] > points[1] > points[2]
    assert errors[0] < errors[2] < 0.2


def test_confidence_is_honoured(make_service: MakeInProcess) -> None:
    service, content = make_service(3), image_bytes(97, 131, 5, "JPEG")
    scores = sorted(shape["score"] for shape in predict_shapes(service, content))
    assert scores[0] < scores[-1]
    bound = (scores[0] + scores[-1]) / 2
    kept = [shape["score"] for shape in predict_shapes(service, content, conf_threshold=bound)]
    assert sorted(kept) == [score for score in scores if score >= bound]


IMAGE = f"data:image/png;base64,{base64.b64encode(image_bytes()).decode()}"
REFUSED: list[tuple[bytes, int]] = [
    (b"", 422),
    (b"{", 422),
    (b"[" * 100_000, 422),
    (b"\xff\xfe", 422),
    (b"null", 422),
    (b"{}", 422),
    (json.dumps({"model": "another", "image": IMAGE}).encode(), 404),
    (json.dumps({"model": ["x"], "image": IMAGE}).encode(), 404),
    (json.dumps({"image": "data:image/png;base64,eA=="}).encode(), 422),
    (json.dumps({"image": "http://127.0.0.1/x.png"}).encode(), 422),
    (json.dumps({"image": IMAGE, "params": [1]}).encode(), 422),
    *(
        (f'{{"image": "{IMAGE}", "params": {{"epsilon_factor": {value}}}}}'.encode(), 422)
        for value in ("-1", '"x"', "true", "NaN", "Infinity", "[]")
    ),
]


def test_refused(make_service: MakeInProcess) -> None:
    service = make_service()
    for body, status in REFUSED:
        answer = service.ask("POST", "/v1/predict", body, HEADERS)
        assert answer.status == status, (body[:80], answer.content)
        assert answer.json["error"]


def test_limits_hold_here_too(make_service: MakeInProcess) -> None:
    service = make_service(limits=Limits(pixels=5000))
    assert service.ask("POST", "/v1/predict", json.dumps({"image": IMAGE}).encode(), HEADERS).status == 413
