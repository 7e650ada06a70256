"""Predictions among Labelme's files: left out until a person has accepted or corrected them, saved as Labelme does."""

import base64
import io
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tests.support.images import box_mask, smooth_image
from tests.support.labelme import LabelmeFolder, shape
from trainer import InputError
from trainer.config import DataConfig
from trainer.data.layouts.labelme_predicted import ACCEPTED, CORRECTED, DRAWN, WAITING, state_of
from trainer.data.sources import find_sources
from trainer.inference.labelme_json import labelme_record
from trainer.inference.objects import find_objects
from trainer.prepare import main as prepare

NAMES = ("_background_", "cat")


def prediction(form: str = "polygons", name: str = "p.png") -> dict[str, Any]:
    """Content of a predicted file, as it is read from the disk."""
    mask = box_mask(40, 56)
    objects = find_objects(mask)
    assert objects is not None
    return json.loads(json.dumps(labelme_record(mask, objects, NAMES, name, form, "cats version 3")))


def saved_by_labelme(record: dict[str, Any]) -> dict[str, Any]:
    """The record as Labelme writes what it has read: every shape rebuilt, masks encoded anew, other keys kept."""
    shapes = []
    for one in record["shapes"]:
        points = [[float(x) + 1e-9, float(y)] for x, y in one["points"]]
        mask = one["mask"]
        if mask is not None:
            content = io.BytesIO()
            pixels = np.array(Image.open(io.BytesIO(base64.b64decode(mask)))) > 0
            Image.fromarray(pixels.astype(np.uint8)).save(content, format="PNG", compress_level=1)
            mask = base64.b64encode(content.getvalue()).decode()
        shapes.append({**one, "points": points, "mask": mask, "description": ""})
    others = {key: record[key] for key in record if key.startswith("predicted")}
    return {"version": "6.1.0", "flags": record["flags"], "shapes": shapes, **others, "imageData": None} | {
        key: record[key] for key in ("imagePath", "imageHeight", "imageWidth")
    }


@pytest.mark.parametrize("form", ["polygons", "masks"])
def test_what_a_person_did_is_told_by_the_file(form: str) -> None:
    record = saved_by_labelme(prediction(form))
    assert state_of(record) == WAITING
    assert state_of(record | {"flags": {"predicted": False}}) == ACCEPTED
    assert state_of(record | {"flags": {}}) == ACCEPTED
    moved = json.loads(json.dumps(record))
    moved["shapes"][0]["points"][0][0] += 0.25
    for changed in (moved, record | {"shapes": []}, record | {"shapes": [*record["shapes"], shape("point", [1, 1])]}):
        assert state_of(changed) == CORRECTED
    other = json.loads(json.dumps(record))
    other["shapes"][0]["label"] = "dog"
    assert state_of(other) == CORRECTED


def test_pixels_of_a_mask_count() -> None:
    record = prediction("masks")
    pixels = np.array(Image.open(io.BytesIO(base64.b64decode(record["shapes"][0]["mask"]))))
    pixels[0, 0] = 255 - pixels[0, 0]
    content = io.BytesIO()
    Image.fromarray(pixels).save(content, format="PNG")
    record["shapes"][0]["mask"] = base64.b64encode(content.getvalue()).decode()
    assert state_of(record) == CORRECTED


@pytest.mark.parametrize("shapes", [[3], [{"points": 7}], [{"points": [3, "a", [None]]}], [{"mask": "no base64!"}]])
def test_any_content_has_a_state(shapes: list[Any]) -> None:
    assert state_of({"shapes": shapes}) == DRAWN
    assert state_of({"shapes": shapes, "predictedShapes": "0" * 32, "flags": 3}) == CORRECTED


@pytest.fixture
def folder(tmp_path: Path) -> LabelmeFolder:
    """A folder with two labelled images and two predictions, one in a folder below."""
    made = LabelmeFolder(tmp_path)
    for link in ("link.png", "linked"):
        (made.folder / link).unlink()
    made.write("second", json.loads((made.folder / "good.json").read_text()))
    for name, seed in (("p", 3), ("sub/q", 4)):
        Image.fromarray(smooth_image(40, 56, seed)).save(made.folder / f"{name}.png")
        made.write(name, prediction(name=f"{Path(name).name}.png"))
    shutil.copyfile(made.labels, made.folder / "labels.txt")
    return made


def test_the_reader_leaves_predictions_out_and_says_so(folder: LabelmeFolder) -> None:
    found = find_sources(DataConfig(root=str(folder.folder)))
    assert [sample.name for sample in found.samples] == ["good", "second"]
    (note,) = [note for note in found.notes if "predicted" in note]
    assert f"{folder.folder}: 2 predicted, not yet looked at; left out: p.json, sub/q.json" in note
    assert "label.py accept" in note
    left = {reason.text: one.files for reason, one in found.account.left.items()}
    assert left["predicted, not yet looked at"] == [f"{folder.folder}/p.png", f"{folder.folder}/sub/q.png"]
    assert not found.account.warnings()


def test_accepted_and_corrected_ones_are_samples(folder: LabelmeFolder) -> None:
    folder.write("p", prediction() | {"flags": {"predicted": False}})
    changed = prediction(name="q.png")
    changed["shapes"][0]["points"][0][0] += 2
    folder.write("sub/q", changed)
    found = find_sources(DataConfig(root=str(folder.folder)))
    assert [sample.name for sample in found.samples] == ["good", "p", "second", "sub/q"]


def test_they_train_without_labels_where_that_is_asked_for(folder: LabelmeFolder) -> None:
    found = find_sources(DataConfig(root=str(folder.folder), unlabelled="auto"))
    assert {Path(one.image_file).name for one in found.unlabelled} == {"deep.png", "p.png", "q.png"}


def test_predictions_alone_are_no_data(folder: LabelmeFolder) -> None:
    for stem in ("good", "second"):
        (folder.folder / f"{stem}.json").unlink()
    with pytest.raises(InputError, match=r"no labelled picture is left; left out, .*2 predicted, not yet looked at"):
        find_sources(DataConfig(root=str(folder.folder)))


def test_the_converter_leaves_them_out_too(folder: LabelmeFolder, capsys: pytest.CaptureFixture[str]) -> None:
    assert folder.convert() == 0
    assert "2 predicted, not yet looked at; left out: p.json, sub/q.json" in capsys.readouterr().out
    assert {file.stem for file in (folder.out / "SegmentationClassPNG").rglob("*.png")} == {"good", "second"}
    for stem in ("good", "second"):
        (folder.folder / f"{stem}.json").unlink()
    words = ["labelme", str(folder.folder), str(folder.top / "other"), "--labels", str(folder.labels)]
    assert prepare(words) == 2
    assert "predicted, not yet looked at" in capsys.readouterr().err
