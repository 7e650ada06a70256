"""Answers of the service, each against the file that predict.py writes for the same image and model."""

import asyncio
import base64
import io
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.support.serving import InProcess, MakeInProcess, image_bytes
from trainer.predict import main as predict
from trainer.serving.answers import ACCEPTED, MEDIA_TYPES, form_of
from trainer.serving.limits import Refused

JPEG = {"content-type": "image/jpeg"}
OPTIONS = {
    "": (),
    "threshold=0.7": ("--threshold", "0.7"),
    "min_area=40": ("--min_area", "40"),
    "largest_only=true": ("--largest_only",),
    "tta=flips": ("--tta", "flips"),
    "overlay=blend&labelme=masks": ("--overlay", "blend", "--labelme", "masks"),
}
"""Query -> the options of predict.py that mean the same."""


def written(service: InProcess, folder: Path, content: bytes, *options: str) -> Path:
    """Folder with everything that predict.py writes for an image x.jpg."""
    folder.mkdir()
    (folder / "x.jpg").write_bytes(content)
    words = ["--model", service.service.versions.uri, "--input", str(folder / "x.jpg"), "--output", str(folder / "o")]
    labelme = () if "--labelme" in options else ("--labelme", "polygons")
    words += ["--probabilities", "png", "--confidence_map", "--coco", *labelme, *options]
    assert predict(words) == 0
    return folder / "o"


@pytest.mark.parametrize("query", OPTIONS)
def test_answers_are_the_files_of_predict(query: str, make_service: MakeInProcess, tmp_path: Path) -> None:
    service, content = make_service(), image_bytes(97, 131, 3, "JPEG", quality=90)
    out = written(service, tmp_path / "predicted", content, *OPTIONS[query])
    files = {
        "mask": out / "masks/x.png",
        "overlay": out / "overlays/x.jpg",
        "probabilities": out / "probabilities/x.png",
        "confidence": out / "confidence/x.png",
        "labelme": out / "labelme/x.json",
        "coco": out / "coco.json",
    }
    for form, file in files.items():
        answer = service.ask("POST", f"/predict?format={form}&name=x.jpg&{query}", content, JPEG)
        assert answer.status == 200, answer.content
        assert answer.headers["content-type"] == MEDIA_TYPES[form]
        assert answer.headers["x-model-version"] == service.service.versions.current.version
        expected = file.read_bytes()
        if form == "coco":  # which has the path as predict.py was given it
            path = json.dumps(str(tmp_path / "predicted" / "x.jpg")).encode()
            assert path in expected
            expected = expected.replace(path, b'"x.jpg"')
        assert answer.content == expected, form
    row = json.loads((out / "report.json").read_text())["files"][0]
    found = service.ask("POST", f"/predict?format=json&name=x.jpg&{query}", content, JPEG).json
    for key in ("width", "height", "share", "pixels", "objects", "confidence"):
        assert found[key] == row[key]
    assert found["model"]["version"] == service.service.versions.current.version


def test_several_classes(make_service: MakeInProcess, tmp_path: Path) -> None:
    service, content = make_service(3), image_bytes(form="JPEG")
    out = written(service, tmp_path / "predicted", content)
    for number in range(4):
        answer = service.ask("POST", f"/predict?format=probabilities&class={number}", content, JPEG)
        assert answer.content == (out / f"probabilities/x/{number}.png").read_bytes()
    levels = np.load(io.BytesIO(service.ask("POST", "/predict?format=npy", content, JPEG).content))
    assert (levels.shape, levels.dtype) == ((4, 61, 83), np.float16)
    plane = np.array(Image.open(out / "probabilities/x/2.png"))
    assert np.abs(levels[2] - plane / 65535).max() < 1e-3
    for query in ("", "&class=4", "&class=-1", "&class=x"):
        assert service.ask("POST", f"/predict?format=probabilities{query}", content, JPEG).status == 422


def test_probabilities_of_8_bits(make_service: MakeInProcess) -> None:
    service, content = make_service(), image_bytes()
    fine, coarse = (
        service.ask("POST", f"/predict?format=probabilities&bits={bits}", content, JPEG).array for bits in (16, 8)
    )
    assert (fine.dtype, coarse.dtype) == (np.uint16, np.uint8)
    assert fine.shape == coarse.shape == (61, 83)
    assert np.abs(fine / 65535 - coarse / 255).max() <= 0.5 / 255 + 1e-9
    assert len(np.unique(coarse)) > 10


def test_all_in_one_answer(make_service: MakeInProcess) -> None:
    service, content = make_service(), image_bytes()
    forms = [form for form in MEDIA_TYPES if form != "json"]
    answer = service.ask("POST", f"/predict?format=json&include={','.join(forms)}", content, JPEG)
    for form in forms:
        alone = service.ask("POST", f"/predict?format={form}", content, JPEG).content
        part = answer.json[form]
        assert (part == json.loads(alone)) if form in ("labelme", "coco") else (base64.b64decode(part) == alone), form


def test_images_side_by_side(make_service: MakeInProcess) -> None:
    """Those that arrive together go through the network together, and each gets its own mask."""
    service = make_service()
    contents = [image_bytes(40 + 3 * number, 50, number) for number in range(12)]
    alone = [service.ask("POST", "/predict", content, JPEG) for content in contents]

    async def together() -> list[tuple[bytes, int]]:
        asked = [service.ask_beside("POST", "/predict", content, JPEG) for content in contents]
        return [(one.content, int(one.headers["x-batch"])) for one in await asyncio.gather(*asked)]

    found = asyncio.run(together())
    assert [content for content, _ in found] == [one.content for one in alone]
    assert max(batch for _, batch in found) > 1


@pytest.mark.parametrize(
    ("accept", "form"),
    [
        ("", "mask"),
        ("*/*", "mask"),
        ("image/*", "mask"),
        ("image/jpeg", "overlay"),
        ("text/html, image/jpeg;q=0.5, image/png;q=0.4", "overlay"),
        ("application/json, text/plain, */*", "json"),
        ("image/png;q=0.1, application/vnd.labelme+json", "labelme"),
        ("application/vnd.coco+json;q=1.0", "coco"),
        ("image/png;q=0, application/x-npy;q=0.001", "npy"),
        ("IMAGE/PNG", "mask"),
    ],
)
def test_accept(accept: str, form: str) -> None:
    assert form_of(accept) == form


@pytest.mark.parametrize("accept", ["text/html", "image/png;q=0", "image/png;q=x", "video/*", ",;,"])
def test_nothing_acceptable(accept: str) -> None:
    with pytest.raises(Refused) as refused:
        form_of(accept)
    assert refused.value.status == 406


def test_every_accepted_type_is_a_form() -> None:
    assert set(ACCEPTED.values()) <= set(MEDIA_TYPES)
