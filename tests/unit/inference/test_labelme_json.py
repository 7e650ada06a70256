"""Predictions as Labelme files: read again by this program, and of the form that Labelme's own reader takes."""

import base64
import io
import json
import os
from pathlib import Path
from typing import Any

import hypothesis
import hypothesis.extra.numpy as hnp
import hypothesis.strategies as st
import numpy as np
import pytest
from PIL import Image

from tests.support.images import smooth_image
from trainer.data.image_io import read_image, read_mask
from trainer.data.layouts.labelme_shapes import check_shapes, draw_shapes
from trainer.inference.given import InputImage
from trainer.inference.labelme_json import labelme_record, place_image
from trainer.inference.objects import find_objects
from trainer.inference.options import Options
from trainer.inference.outputs import ResultWriter
from trainer.inference.predictor import ImageResult
from trainer.label import main as label
from trainer.model.segmenter import Contract
from trainer.prepare import main as prepare

NAMES = ("_background_", "cat", "dog")
CONTRACT = Contract(NAMES, ((0, 0, 0), (0, 128, 0), (128, 0, 0)), 32)
IDS = {"__ignore__": 255} | {name: number for number, name in enumerate(NAMES)}


def hard_mask() -> np.ndarray:
    """Holes, an object in a hole, objects at the border, of one pixel and of two, classes that touch."""
    rows, columns = np.mgrid[:120, :160]
    mask = np.zeros((120, 160), np.uint8)
    distance = np.hypot(rows - 50, columns - 50)
    mask[distance < 40] = 1
    mask[distance < 25] = 0
    mask[distance < 10] = 2
    mask[80:, 100:] = 2  # at the border
    mask[60:80, 100:140] = 1  # touches it
    mask[5, 150] = 1
    mask[8, 150:152] = 2
    mask[0, :30] = 1
    mask[(rows + columns == 140) & (rows > 2) & (rows < 40)] = 1  # a diagonal, connected by corners
    inner = np.hypot(rows - 105, columns - 40)
    mask[inner < 12] = 1
    mask[inner < 5] = 2  # fills a hole
    return mask


def record_of(mask: np.ndarray, form: str) -> dict[str, Any]:
    objects = find_objects(mask)
    assert objects is not None
    return json.loads(json.dumps(labelme_record(mask, objects, NAMES, "a.png", form, "cats version 3")))


def drawn(record: dict[str, Any], size: tuple[int, int]) -> np.ndarray:
    """The mask that the reader of this program makes of a record."""
    shapes, problems = check_shapes(record["shapes"], IDS, Path("a.json"), size)
    assert problems == []
    return draw_shapes(shapes, IDS, size)


MASKS = hnp.arrays(np.uint8, st.tuples(st.integers(1, 14), st.integers(1, 14)), elements=st.integers(0, 2))


@hypothesis.settings(max_examples=40)
@hypothesis.given(MASKS)
def test_masks_come_back_to_the_pixel(mask: np.ndarray) -> None:
    np.testing.assert_array_equal(drawn(record_of(mask, "masks"), mask.shape), mask)


@hypothesis.settings(max_examples=40)
@hypothesis.given(MASKS)
def test_polygons_come_back_nearly(mask: np.ndarray) -> None:
    found = drawn(record_of(mask, "polygons"), mask.shape)
    for class_id in (1, 2):
        ours, theirs = mask == class_id, found == class_id
        assert (ours & theirs).sum() >= 0.99 * (ours | theirs).sum()


def test_polygons_are_few_and_holes_are_kept() -> None:
    mask = hard_mask()
    shapes = record_of(mask, "polygons")["shapes"]
    kinds = {(one["label"], one["shape_type"]) for one in shapes}
    assert kinds == {("cat", "polygon"), ("cat", "mask"), ("dog", "polygon")}
    assert sum(one["shape_type"] == "mask" for one in shapes) == 1  # the ring; a hole that a dog fills needs none
    rows, columns = np.mgrid[:400, :400]
    (circle,) = record_of((np.hypot(rows - 200, columns - 200) < 150).astype(np.uint8), "polygons")["shapes"]
    assert len(circle["points"]) < 60


@pytest.mark.parametrize("form", ["masks", "polygons"])
def test_the_way_through_prepare(form: str, tmp_path: Path) -> None:
    """From a prediction to a folder that trains, by the command that a person gives."""
    mask = hard_mask()
    source = tmp_path / "photo.jpg"
    image = smooth_image(*mask.shape)
    Image.fromarray(image).save(source)
    out = tmp_path / "out"
    writer = ResultWriter(CONTRACT, out, Options(labelme=form, overlay="none"), model=("digest", "cats version 3"))
    row = writer(ImageResult(InputImage(source, Path("photo")), image, mask=mask.copy())).row
    assert row["labelme"] == "labelme/photo.json"
    words = ["labelme", str(out / "labelme"), str(tmp_path / "voc"), "--labels", f"{out}/labelme/labels.txt"]
    assert prepare(words) == 2  # nobody has looked at it yet
    assert label(["accept", str(out / "labelme" / "photo.json")]) == 0
    assert prepare(words) == 0
    found = read_mask(tmp_path / "voc" / "SegmentationClassPNG" / "photo.png")
    if form == "masks":
        np.testing.assert_array_equal(found, mask)
    for class_id in (1, 2):
        ours, theirs = mask == class_id, found == class_id
        assert (ours & theirs).sum() >= 0.99 * (ours | theirs).sum()


@pytest.mark.parametrize("form", ["masks", "polygons"])
def test_the_form_is_that_of_labelme(form: str) -> None:
    """As `read_label_file` of Labelme 6 checks it, which takes less than that of 5."""
    mask = hard_mask()
    record = record_of(mask, form)
    assert record["flags"] == {"predicted": True}
    assert (record["imagePath"], record["imageData"]) == ("a.png", None)
    assert (record["imageHeight"], record["imageWidth"]) == mask.shape
    for one in record["shapes"]:
        assert set(one) == {"label", "points", "group_id", "shape_type", "flags", "description", "mask"}
        assert one["label"] in NAMES[1:]
        assert one["description"] == "cats version 3"
        assert one["group_id"] is None
        assert one["flags"] == {}
        assert all(len(point) == 2 and all(isinstance(number, float) for number in point) for point in one["points"])
        if one["shape_type"] == "polygon":
            assert len(one["points"]) >= 3
            assert one["mask"] is None
        else:
            crop = np.array(Image.open(io.BytesIO(base64.b64decode(one["mask"]))))
            (left, top), (right, bottom) = one["points"]
            assert crop.shape == (bottom - top + 1, right - left + 1)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("suffix", [".jpg", ".png"])
def test_turned_images_are_beside_as_labelme_shows_them(orientation: int, suffix: str, tmp_path: Path) -> None:
    """Labelme turns JPEG files as their EXIF says; others are written upright."""
    stored = Image.fromarray(smooth_image(20, 32))
    exif = Image.Exif()
    exif[0x0112] = orientation
    source = tmp_path / f"photo{suffix}"
    stored.save(source, exif=exif)
    upright = read_image(source)
    placed = place_image(source, tmp_path / "labelme", upright)
    assert placed.suffix == suffix
    assert placed.samefile(source) == (suffix == ".jpg" or orientation == 1)
    np.testing.assert_array_equal(read_image(placed), upright)
    if suffix == ".png" and orientation > 1:
        assert Image.open(placed).getexif().get(0x0112, 1) == 1


def test_an_image_is_copied_where_it_cannot_be_linked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    image = smooth_image(20, 32)
    source = tmp_path / "photo.png"
    Image.fromarray(image).save(source)

    def refuse(*_paths: object) -> None:
        raise OSError("another disk")

    monkeypatch.setattr(os, "link", refuse)
    placed = place_image(source, tmp_path / "labelme", image)
    assert not placed.samefile(source)
    assert placed.read_bytes() == source.read_bytes()


def test_what_labelme_may_not_open_becomes_a_png(tmp_path: Path) -> None:
    image = smooth_image(20, 32)
    Image.fromarray(image).convert("P").save(tmp_path / "photo.gif")
    Image.fromarray(image[..., 0].astype(np.uint16) * 257).save(tmp_path / "deep.png")
    Image.fromarray(image).convert("CMYK").save(tmp_path / "printed.jpg")
    for name in ("photo.gif", "deep.png", "printed.jpg"):
        placed = place_image(tmp_path / name, tmp_path / "beside", image)
        assert placed.name == "beside.png"
        np.testing.assert_array_equal(np.array(Image.open(placed)), image)
    before = (tmp_path / "deep.png").read_bytes()
    placed = place_image(tmp_path / "deep.png", tmp_path / "deep2", image)
    os.link(tmp_path / "deep.png", tmp_path / "deep3.png")
    place_image(tmp_path / "deep.png", tmp_path / "deep3", image)  # a link to the original is replaced, not written to
    assert (tmp_path / "deep.png").read_bytes() == before
