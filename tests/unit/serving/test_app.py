"""Routes: what is refused and how, what is said about the model, the page, and whatever a client sends."""

import asyncio
import io
import json
import re
import struct
import zlib
from pathlib import Path
from urllib.parse import quote

import pytest
from hypothesis import HealthCheck, given, settings, strategies
from PIL import Image

from tests.support.serving import InProcess, MakeInProcess, image_bytes
from trainer.data.files import IMAGE_SUFFIXES
from trainer.serving.limits import Limits
from trainer.serving.static_files import PageFile, read_page

PNG = {"content-type": "image/png"}


def png_header(width: int, height: int, *chunks: tuple[bytes, bytes]) -> bytes:
    """A PNG file that claims a size, with further chunks and no pixels."""
    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    parts = [(b"IHDR", head), *chunks, (b"IEND", b"")]
    made = (
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data)) for kind, data in parts
    )
    return b"\x89PNG\r\n\x1a\n" + b"".join(made)


def tiff_stack(pages: int) -> bytes:
    file = io.BytesIO()
    images = [Image.new("RGB", (30, 20), (number, 0, 0)) for number in range(pages)]
    images[0].save(file, format="TIFF", save_all=True, append_images=images[1:])
    return file.getvalue()


WHOLE = image_bytes(form="JPEG")
BROKEN = {
    "no image": (b"no image", 422),
    "half a file": (WHOLE[: len(WHOLE) // 2], 422),
    "a header": (WHOLE[:100], 422),
    "60000x60000 pixels": (png_header(60_000, 60_000), 422),
    "9000x9000 pixels": (png_header(9000, 9000), 413),
    "no pixels": (png_header(20, 20), 422),
    "0x0 pixels": (png_header(0, 0), 422),
    "a bomb in a text": (png_header(20, 20, (b"zTXt", b"x\0\0" + zlib.compress(b"0" * 200_000_000))), 422),
    "a bomb in the pixels": (png_header(20, 20, (b"IDAT", zlib.compress(b"\0" * 100_000_000))), 200),
    "a stack": (tiff_stack(3), 422),
    "a page": (tiff_stack(1), 200),
    "svg": (b"<svg xmlns='http://www.w3.org/2000/svg'/>", 422),
    "postscript": (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", 422),
}


@pytest.mark.parametrize("name", BROKEN)
def test_broken_images(name: str, make_service: MakeInProcess) -> None:
    content, status = BROKEN[name]
    service = make_service()
    for path in ("/predict", "/predict?format=json&include=labelme,coco,overlay"):
        answer = service.ask("POST", path, content, {"content-type": "image/png"})
        assert answer.status == status, answer.content[:300]
        if status != 200:
            assert answer.json["error"]
            assert "\n" not in answer.json["error"]


def test_wrong_requests(make_service: MakeInProcess) -> None:
    service = make_service()
    for query, status in {
        "format=gif": 422,
        "format=json&include=gif": 422,
        "format=json&include=json": 422,
        "include=mask": 422,
        "threshold=2": 422,
        "threshold=nan": 422,
        "threshold=x": 422,
        "min_area=-1": 422,
        "min_area=99999999999999999999999": 422,
        "tta=all": 422,
        "bits=12": 422,
        "format=probabilities&class=2": 422,
        "version=2": 404,
        "version=../../etc": 422,
        "version=%00": 422,
        "name=%00%ff": 200,
        "largest_only=maybe": 422,
        "unknown=1": 422,
    }.items():
        answer = service.ask("POST", f"/predict?{query}", image_bytes(), PNG)
        assert answer.status == status, (query, answer.content[:300])
    for method, target, text in (
        ("POST", "/predict?treshold=0.5", "'treshold': no such key in a query; did you mean threshold?"),
        ("POST", "/wrong?names=x.jpg", "'names': no such key in a query; did you mean name?"),
        ("GET", "/version?v=2", "'v': no such key in a query; there are version"),
    ):
        answer = service.ask(method, target, image_bytes(), PNG)
        assert (answer.status, answer.json) == (422, {"error": text})
    assert service.ask("GET", "/health?probe=1").status == 200
    for headers, status in (
        ({"content-type": "text/html"}, 415),
        ({"content-type": "image/png", "accept": "text/html"}, 406),
        ({"content-type": "image/png", "content-length": "9999999999"}, 413),
        ({"content-type": "multipart/form-data; boundary=x"}, 400),
        ({"content-type": "application/json"}, 422),
    ):
        assert service.ask("POST", "/predict", image_bytes(), headers).status == status, headers
    for method, path, status in (
        ("GET", "/predict", 404),
        ("DELETE", "/predict", 405),
        ("POST", "/version", 405),
        ("GET", "/../etc/passwd", 404),
        ("POST", "/", 405),
    ):
        answer = service.ask(method, path)
        assert (answer.status, list(answer.json)) == (status, ["error"]), (method, path)


def test_limits(make_service: MakeInProcess) -> None:
    service = make_service(limits=Limits(body_bytes=2**20, pixels=5000))
    assert service.ask("POST", "/predict", image_bytes(50, 100), PNG).status == 200
    assert service.ask("POST", "/predict", image_bytes(51, 100), PNG).status == 413
    answer = service.ask("POST", "/predict", b"\0" * (2**20 + 1), PNG)
    assert (answer.status, "1 MB" in answer.json["error"]) == (413, True)
    npy = service.ask("POST", "/predict?format=npy", image_bytes(50, 100), PNG)
    assert service.most_held == len(npy.content)  # until it is sent
    assert service.service.bodies.held == 0
    assert service.service.pixels.held == 0


def test_a_full_queue_refuses_and_says_when_to_come_back(make_service: MakeInProcess) -> None:
    service = make_service(limits=Limits(queue=3))

    async def together() -> list[tuple[int, int]]:
        asked = [service.ask_beside("POST", "/predict", image_bytes(), PNG) for _ in range(12)]
        return [(one.status, int(one.headers.get("retry-after", 0))) for one in await asyncio.gather(*asked)]

    found = asyncio.run(together())
    assert {status for status, _ in found} == {200, 503}
    assert sum(status == 200 for status, _ in found) == 3
    assert all(1 <= seconds <= 60 for status, seconds in found if status == 503)
    assert service.service.under_way == 0
    assert service.ask("POST", "/predict", image_bytes(), PNG).status == 200


def test_more_objects_than_shapes_are_made_for(make_service: MakeInProcess, monkeypatch: pytest.MonkeyPatch) -> None:
    service = make_service()
    count = sum(service.ask("POST", "/predict?format=json", image_bytes(), PNG).json["objects"].values())
    assert count
    monkeypatch.setattr("trainer.serving.service.MOST_OBJECTS", count - 1)
    for form, status in (("mask", 200), ("json", 200), ("labelme", 422), ("coco", 422)):
        answer = service.ask("POST", f"/predict?format={form}", image_bytes(), PNG)
        assert answer.status == status
    assert "min_area" in answer.json["error"]


def test_what_is_said_about_the_model(make_service: MakeInProcess) -> None:
    service = make_service(2, changes={"dataset_digest": "abc", "commit": "def"})
    said = service.ask("GET", "/version").json
    assert said["classes"] == ["_background_", "class 1", "class 2"]
    assert said["colours"] == [[0, 0, 0], [1, 2, 3], [2, 4, 6]]
    assert (said["name"], said["version"]) == ("cats 0", service.service.versions.current.version)
    assert (said["dataset_digest"], said["commit"], said["extra"], said["moves"]) == ("abc", "def", None, False)
    for asked, status in ((said["version"], 200), ("2", 404), ("../etc", 422)):
        assert service.ask("GET", f"/version?version={asked}").status == status
    assert said["limits"] == {"body_bytes": 64 * 2**20, "pixels": 50_000_000}
    assert service.ask("GET", "/ready").json == {"ready": True}
    service.service.stopping = True
    assert service.ask("GET", "/ready").status == 503


def test_the_description_of_the_routes(make_service: MakeInProcess) -> None:
    described = make_service().ask("GET", "/openapi.json").json
    assert {"/predict", "/wrong", "/version", "/versions", "/health", "/ready", "/metrics"} <= set(described["paths"])
    assert {"/v1/models", "/v1/predict", "/setup", "/webhook", "/train"} <= set(described["paths"])
    names = {one["name"] for one in described["paths"]["/predict"]["post"]["parameters"]}
    assert {"format", "include", "version", "threshold", "class", "bits", "name"} <= names


def test_the_page(make_service: MakeInProcess) -> None:
    page = {
        "": PageFile(b"<p>", "text/html; charset=utf-8"),
        "a/b.js": PageFile(b"1", "text/javascript; charset=utf-8"),
    }
    service = make_service(page=page)
    index = service.ask("GET", "/")
    assert (index.content, index.headers["content-type"]) == (b"<p>", "text/html; charset=utf-8")
    assert service.ask("GET", "/a/b.js").headers["content-type"] == "text/javascript; charset=utf-8"
    assert service.ask("GET", "/a/../a/b.js").status == 404
    assert make_service().ask("GET", "/").json["service"] == "segtrainer"


def test_files_of_the_page(tmp_path: Path) -> None:
    folder = tmp_path / "page"
    (folder / "deep").mkdir(parents=True)
    for name in ("index.html", "deep/x.css", "notes.md", "script.py"):
        (folder / name).write_text(name)
    found = read_page(folder)
    assert {name: one.content for name, one in found.items()} == {
        "": b"index.html",
        "index.html": b"index.html",
        "deep/x.css": b"deep/x.css",
    }
    assert read_page(folder / "nothing") == {}


def test_the_page_takes_the_pictures_that_the_service_reads() -> None:
    page = read_page()
    (accepted,) = re.findall(rb' accept="([^"]*)"', page[""].content)
    assert accepted.decode().split(",") == ["image/*", *IMAGE_SUFFIXES]
    assert page[""] == page["index.html"]


@pytest.fixture
def fuzzed(make_service: MakeInProcess) -> InProcess:
    return make_service(limits=Limits(body_bytes=2**20, pixels=100_000))


TEXT = strategies.text(max_size=30)
VALUES = TEXT | strategies.sampled_from(["", "0", "-1", "1e400", "nan", "true", "mask", "json", "\0", "labelme,coco"])
KEYS = TEXT | strategies.sampled_from(["tasks", "label_config", "data", "image", "params", "model", "schema"])
JSON = strategies.recursive(
    strategies.none() | strategies.booleans() | strategies.floats() | TEXT,
    lambda inner: strategies.lists(inner, max_size=3) | strategies.dictionaries(KEYS, inner, max_size=4),
    max_leaves=8,
)


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=strategies.data())
def test_no_request_is_a_fault(data: strategies.DataObject, fuzzed: InProcess) -> None:
    """Whatever is sent to the routes of the description: never a 500."""
    paths = fuzzed.openapi["paths"]
    path = data.draw(strategies.sampled_from(sorted(paths)))
    method = data.draw(strategies.sampled_from(sorted(paths[path])))
    names = [one["name"] for one in paths[path][method].get("parameters", [])]
    given_names = data.draw(strategies.lists(strategies.sampled_from(names), max_size=4)) if names else []
    query = "&".join(f"{name}={quote(data.draw(VALUES), errors='replace')}" for name in given_names)
    kinds = ["image/png", "application/json", "multipart/form-data; boundary=b", "text/html", "", "image/*; \u00e9"]
    headers = {"content-type": data.draw(strategies.sampled_from(kinds))}
    if data.draw(strategies.booleans()):
        headers["accept"] = data.draw(strategies.sampled_from(["*/*", "text/html", ";;q=", "image/png;q=0.5, x"]))
    body = data.draw(
        strategies.binary(max_size=60)
        | strategies.sampled_from([image_bytes(), WHOLE[:-40]])
        | JSON.map(lambda one: json.dumps(one).encode())
    )
    answer = fuzzed.ask(method.upper(), f"{path}?{query}", body, headers)
    assert answer.status < 500 or answer.status == 503, (method, path, query, headers, body, answer.content)
