"""Label Studio's exchange, as its `ml/api_connector.py` has it: regions decoded by code of this test."""

import base64
import json
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageDraw

from tests.support.serving import InProcess, MakeInProcess, image_bytes
from tests.support.studio import TOKEN, Host, decode_brush
from trainer.serving.fetch import ImageHost
from trainer.serving.limits import Limits

HEADERS = {"Content-Type": "application/json", "User-Agent": "heartex/1.21"}
LABELS = '<Label value="Class 1"/><Label value="class 2"/><Label value="else"/>'
BRUSH = f"""<View><Image name="image" value="$image"/>
<BrushLabels name="tag" toName="image">{LABELS}</BrushLabels></View>"""
POLYGONS = BRUSH.replace("BrushLabels", "PolygonLabels")


@pytest.fixture
def studio() -> Iterator[Host]:
    host = Host()
    yield host
    host.close()


def serve(make_service: MakeInProcess, studio: Host, foreground: int = 2) -> InProcess:
    return make_service(foreground, images=ImageHost(studio.address, TOKEN, Limits()))


def predict(service: InProcess, config: str, *addresses: str, **more: Any) -> Any:
    """Answer to a request for predictions of tasks, as `make_predictions` writes it."""
    tasks = [{"id": number, "data": {"image": address}} for number, address in enumerate(addresses)]
    params = {"login": None, "password": None, "context": None}
    request = {"tasks": tasks, "model_version": None, "project": "1.1700000000", "label_config": config}
    return service.ask("POST", "/predict", json.dumps(request | {"params": params} | more).encode(), HEADERS)


def mask_of(service: InProcess, content: bytes) -> np.ndarray:
    return service.ask("POST", "/predict", content, {"content-type": "image/jpeg"}).array


def test_the_life_of_a_backend(make_service: MakeInProcess, studio: Host) -> None:
    service = serve(make_service, studio)
    assert service.ask("GET", "/health").json["status"] == "UP"
    setup = {"project": "1.17", "schema": BRUSH, "hostname": "http://evil.example", "access_token": "other"}
    answer = service.ask("POST", "/setup", json.dumps(setup).encode(), HEADERS)
    assert (answer.status, answer.json["model_version"]) == (200, f"cats 0 {service.service.versions.current.version}")
    for path in ("/webhook", "/train"):
        assert service.ask("POST", path, json.dumps({"action": "ANNOTATION_CREATED"}).encode(), HEADERS).status == 201
    assert service.ask("GET", "/versions").json["versions"] == [service.service.versions.current.version]
    wrong = json.dumps(setup | {"schema": BRUSH.replace("lass", "lown")}).encode()
    assert service.ask("POST", "/setup", wrong, HEADERS).status == 422
    assert not studio.asked


def test_brush_regions_are_the_mask(make_service: MakeInProcess, studio: Host) -> None:
    service = serve(make_service, studio)
    contents = {f"/data/upload/1/{seed}.jpg": image_bytes(60 + seed, 90, seed, "JPEG") for seed in range(3)}
    studio.answers |= {path: (200, {}, content) for path, content in contents.items()}
    answer = predict(service, BRUSH, *contents)
    assert answer.status == 200, answer.content
    assert answer.headers["x-model-version"] == service.service.versions.current.version
    version = answer.json["model_version"]
    assert {token for _, token in studio.asked} == {f"Token {TOKEN}"}
    for found, content in zip(answer.json["results"], contents.values(), strict=True):
        mask = mask_of(service, content)
        assert found["model_version"] == version
        assert 0 < found["score"] <= 1
        assert len(found["result"]) == len(np.unique(mask[mask > 0]))
        for region in found["result"]:
            assert (region["from_name"], region["to_name"], region["type"]) == ("tag", "image", "brushlabels")
            assert (region["original_height"], region["original_width"]) == mask.shape
            assert (region["image_rotation"], region["value"]["format"]) == (0, "rle")
            alpha = decode_brush(region["value"]["rle"]).reshape(*mask.shape, 4)[..., 3]
            (label,) = region["value"]["brushlabels"]
            assert ((alpha > 0) == (mask == {"Class 1": 1, "class 2": 2}[label])).all()
        assert len({region["id"] for region in found["result"]}) == len(found["result"])
    assert any(found["result"] for found in answer.json["results"])


def test_polygon_regions(make_service: MakeInProcess, studio: Host) -> None:
    service = serve(make_service, studio, 1)
    content = image_bytes(97, 131, 5, "JPEG")
    studio.answers["/data/x.jpg"] = (200, {}, content)
    mask = mask_of(service, content)
    (found,) = predict(service, POLYGONS, "/data/x.jpg").json["results"]
    drawn = Image.new("L", mask.shape[::-1])
    for region in found["result"]:
        points = np.array(region["value"]["points"])
        assert points.min() >= 0
        assert points.max() <= 100
        places = (points * np.array(mask.shape[::-1]) / 100).astype(int)  # as the converter has it
        ImageDraw.Draw(drawn).polygon([tuple(place) for place in places.tolist()], fill=1, outline=1)
    both, either = ((np.array(drawn) > 0) & (mask > 0)).sum(), ((np.array(drawn) > 0) | (mask > 0)).sum()
    assert both / either > 0.97


def test_images_in_the_task_itself(make_service: MakeInProcess) -> None:
    service, content = make_service(2), image_bytes(form="JPEG")
    address = f"data:image/jpeg;base64,{base64.b64encode(content).decode()}"
    assert len(predict(service, BRUSH, address).json["results"]) == 1
    refused = predict(service, BRUSH, "/data/x.jpg")
    assert (refused.status, "--label_studio" in refused.json["error"]) == (422, True)


def test_no_other_host_is_asked(make_service: MakeInProcess, studio: Host) -> None:
    service, other = serve(make_service, studio), Host()
    try:
        for address in (f"{other.address}/data/x.jpg", "http://169.254.169.254/latest/meta-data", "file:///etc/passwd"):
            answer = predict(service, BRUSH, address, hostname=other.address, access_token="x")
            assert answer.status == 422
        assert not studio.asked
        assert not other.asked
    finally:
        other.close()


def test_a_task_that_fails_names_itself(make_service: MakeInProcess, studio: Host) -> None:
    service = serve(make_service, studio)
    studio.answers["/data/good.jpg"] = (200, {}, image_bytes(form="JPEG"))
    studio.answers["/data/bad.jpg"] = (200, {}, b"no picture")
    studio.answers["/data/gone.jpg"] = (404, {}, b"")
    for name, status in (("bad", 422), ("gone", 502)):
        answer = predict(service, BRUSH, "/data/good.jpg", f"/data/{name}.jpg", "/data/good.jpg")
        assert answer.status == status
        assert f"{name}.jpg" in answer.json["error"]


@pytest.mark.parametrize(
    "request_body",
    [
        b"{}",
        b"[]",
        b'{"tasks": 3}',
        b'{"tasks": [3]}',
        b'{"tasks": []}',
        b'{"tasks": [], "label_config": "<x"}',
        json.dumps({"tasks": [{"id": 1}], "label_config": BRUSH}).encode(),
        json.dumps({"tasks": [{"id": 1, "data": {"image": 3}}], "label_config": BRUSH}).encode(),
        json.dumps({"tasks": [{"data": {"image": "x" * 10_000}}], "label_config": BRUSH}).encode(),
        json.dumps({"tasks": [], "label_config": "<!DOCTYPE x>" + BRUSH}).encode(),
    ],
)
def test_refused(request_body: bytes, make_service: MakeInProcess, studio: Host) -> None:
    answer = serve(make_service, studio).ask("POST", "/predict", request_body, HEADERS)
    assert answer.status == 422
    assert answer.json["error"]


def test_no_tasks(make_service: MakeInProcess, studio: Host) -> None:
    assert predict(serve(make_service, studio), BRUSH).json["results"] == []
