"""Masks that labelling tools get from serve.py, against the files of predict.py, both as processes of their own.

The requests are those of the tools' own clients; what comes back is decoded by code of the tests.
"""

import base64
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image, ImageDraw

from tests.support.images import smooth_image
from tests.support.program import Program
from tests.support.serving import Serving
from tests.support.studio import TOKEN, Host, decode_brush
from trainer.model.model_folder import save_segmenter
from trainer.model.segmenter import Contract, Segmenter

pytestmark = pytest.mark.long

NAMES = ("_background_", "cat", "dog")
MODEL = "pets"
SIZES = {"wide": (90, 260), "high": (300, 140), "small": (20, 31), "plain": (61, 83)}
"""Height and width of each image."""

JSON = {"Content-Type": "application/json"}
LABELS = "".join(f'<Label value="{name}"/>' for name in NAMES[1:])
CONFIG = f"""<View><Image name="image" value="$image"/>
<BrushLabels name="tag" toName="image">{LABELS}</BrushLabels></View>"""


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Program:
    """Program with a model, images, and what predict.py writes for them."""
    program = Program(tmp_path_factory.mktemp("tools") / "program", variables={"OMP_NUM_THREADS": "1"})
    torch.manual_seed(0)
    palette = ((0, 0, 0), (0, 128, 0), (128, 0, 0))
    save_segmenter(Segmenter(Contract(NAMES, palette, 64, width=8, depth=2)).eval(), program.folder / MODEL)
    (program.folder / "images").mkdir()
    for seed, (name, size) in enumerate(SIZES.items()):
        Image.fromarray(smooth_image(*size, seed)).save(program.folder / "images" / f"{name}.jpg")
    program.python("predict", "--model", MODEL, "--input", "images", "--output", "out", code=0)
    found = np.concatenate([mask_of(program, name).ravel() for name in SIZES])
    assert all(np.bincount(found, minlength=3) > 100)  # each class is there to be got wrong
    return program


@pytest.fixture(scope="module")
def studio(program: Program) -> Iterator[Host]:
    """Host that gives the images to those who have Label Studio's token."""
    host = Host()
    for file in images(program):
        host.answers[f"/data/upload/1/{file.name}"] = (200, {}, file.read_bytes())
    yield host
    host.close()


@pytest.fixture(scope="module")
def serving(program: Program, studio: Host) -> Iterator[Serving]:
    words = ("--model", MODEL, "--label_studio", studio.address)
    with Serving(*words, environment=program.environment(LABEL_STUDIO_API_KEY=TOKEN), folder=program.folder) as one:
        yield one.wait()


def images(program: Program) -> list[Path]:
    return [program.folder / "images" / f"{name}.jpg" for name in SIZES]


def mask_of(program: Program, name: str) -> np.ndarray:
    """Mask that predict.py wrote, uint8 [H, W]."""
    return np.array(Image.open(program.folder / "out" / "masks" / f"{name}.png"))


def post(serving: Serving, path: str, content: dict[str, Any]) -> Any:
    answer = serving.ask("POST", path, json.dumps(content).encode(), JSON)
    assert answer.status == 200, answer.content
    return answer.json


def test_label_studio(serving: Serving, program: Program, studio: Host) -> None:
    """A project is set up, and its tasks are predicted: the brush regions are the masks, to the pixel."""
    assert serving.ask("GET", "/health").status == 200
    setup = {"project": "1.17", "schema": CONFIG, "hostname": studio.address, "access_token": "another-token"}
    version = post(serving, "/setup", setup)["model_version"]
    files = images(program)
    tasks = [{"id": one, "data": {"image": f"/data/upload/1/{file.name}"}} for one, file in enumerate(files)]
    results = post(serving, "/predict", {"tasks": tasks, "project": "1.17", "label_config": CONFIG})["results"]
    for file, found in zip(files, results, strict=True):
        expected = mask_of(program, file.stem)
        drawn = np.zeros_like(expected)
        for region in found["result"]:
            (label,) = region["value"]["brushlabels"]
            inside = decode_brush(region["value"]["rle"]).reshape(*expected.shape, 4)[..., 3] > 0
            assert not drawn[inside].any()
            drawn[inside] = NAMES.index(label)
        assert (drawn == expected).all(), file.name
        assert found["model_version"] == version
    assert {token for _, token in studio.asked} == {f"Token {TOKEN}"}


def test_x_anylabeling(serving: Serving, program: Program) -> None:
    """With the finest outlines, the shapes drawn in their order are the mask, but for a pixel where two parts meet."""
    ((model_id, _model),) = serving.ask("GET", "/v1/models").json["data"].items()
    for file in images(program):
        data = f"data:image/jpeg;base64,{base64.b64encode(file.read_bytes()).decode()}"
        given = {"conf_threshold": 0.0, "iou_threshold": 0.0, "epsilon_factor": 0}
        found = post(serving, "/v1/predict", {"model": model_id, "image": data, "params": given})["data"]
        expected = mask_of(program, file.stem)
        drawn = Image.new("L", expected.shape[::-1])
        for shape in found["shapes"]:
            class_id = NAMES.index(shape["label"])
            points = [tuple(point) for point in shape["points"]]
            ImageDraw.Draw(drawn).polygon(points, fill=class_id, outline=class_id)
        assert (np.array(drawn) != expected).mean() < 0.002, file.name
