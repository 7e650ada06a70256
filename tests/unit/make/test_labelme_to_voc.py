"""Labelme's files: the masks they make, and that a bad one is named and opens nothing outside the folder."""

import base64
import io
import json
import math
import os
import shutil
import sys
from collections.abc import Callable
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from tests.support.images import smooth_picture
from tests.support.program import REPOSITORY, Program
from trainer import InputError
from trainer.config import DataConfig
from trainer.data.image_io import read_image, read_mask
from trainer.data.layouts.labelme_json import MAX_BYTES, read_annotation, read_labels
from trainer.data.layouts.labelme_shapes import FARTHEST, Shape, rasterise
from trainer.data.sources import find_samples, find_sources
from trainer.data.split import split_samples
from trainer.prepare import main

REFERENCE = REPOSITORY / ".." / "shared" / "data" / "labelme_voc"
HEIGHT, WIDTH = 40, 56
IDS = {"__ignore__": 255, "_background_": 0, "cat": 1, "dog": 2}


# ------------------------------------------------------------------------------------------------ a folder to break


def png(array: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(array).save(buffer, format="PNG")
    return buffer.getvalue()


def text(content: bytes) -> str:
    return base64.b64encode(content).decode()


CROP = np.arange(35).reshape(5, 7) % 3 > 0


def shape(kind: str | None, *points: list[float], label: str = "cat", **more: Any) -> dict[str, Any]:
    return {"label": label, "points": list(points), "group_id": None, "shape_type": kind, "flags": {}} | more


def record(image: str | None, *shapes: dict[str, Any], **more: Any) -> dict[str, Any]:
    """A Labelme file as it should be, unless `more` says otherwise; one shape of each type by default."""
    shapes = shapes or (
        shape("polygon", [2, 2], [20.5, 3], [9, 30.25]),
        shape("rectangle", [30, 30], [12, 8], label="dog"),
        shape("circle", [40, 20], [40, 27]),
        shape("line", [1, 1], [50, 30]),
        shape("linestrip", [1, 38], [20, 12], [50, 38], label="__ignore__"),
        shape("point", [50, 5], label="dog"),
        shape("oriented_rectangle", [10, 10], [20, 5], [25, 15], [15, 20], label="_background_"),
        shape("mask", [3, 4], [9, 8], mask=text(png(CROP.astype(np.uint8) * 255))),
    )
    size = {"imageHeight": HEIGHT, "imageWidth": WIDTH}
    whole = {"version": "5.5.0", "flags": {}, "shapes": list(shapes), "imagePath": image, "imageData": None} | size
    return whole | more


@dataclass
class Labelled:
    """A folder `annotated` with good.png, good.json and labels.txt, and beside it what must stay closed."""

    top: Path

    def __post_init__(self) -> None:
        for folder in (self.folder / "sub", self.top / "outside"):
            folder.mkdir(parents=True)
        self.labels.write_text("__ignore__\n_background_\ncat\ndog\n")
        picture = png(smooth_picture(HEIGHT, WIDTH))
        for path in (self.folder / "good.png", self.folder / "sub" / "deep.png", self.top / "outside" / "secret.png"):
            path.write_bytes(picture)
        (self.folder / "link.png").symlink_to(self.top / "outside" / "secret.png")
        (self.folder / "linked").symlink_to(self.top / "outside")
        self.write("good", record("good.png"))
        (self.top / "outside" / "other.json").write_text(json.dumps(record("good.png")))

    @property
    def folder(self) -> Path:
        return self.top / "annotated"

    @property
    def labels(self) -> Path:
        return self.top / "labels.txt"

    @property
    def out(self) -> Path:
        return self.top / "made" / "here" / "voc"

    def write(self, stem: str, content: object) -> Path:
        file = self.folder / f"{stem}.json"
        if isinstance(content, bytes):
            file.write_bytes(content)
        else:
            file.write_text(json.dumps(content))
        return file

    def convert(self, *options: str) -> int:
        return main(["labelme", str(self.folder), str(self.out), "--labels", str(self.labels), *options])

    def mask(self, stem: str) -> np.ndarray:
        return read_mask(self.out / "SegmentationClassPNG" / f"{stem}.png")


@pytest.fixture
def labelled(tmp_path: Path) -> Labelled:
    return Labelled(tmp_path / "data")


# ------------------------------------------------------------------------------------------------ masks


@pytest.mark.skipif(not REFERENCE.is_dir(), reason=f"no reference masks in {REFERENCE}")
def test_equals_the_masks_of_labelme_itself(tmp_path: Path) -> None:
    out = tmp_path / "voc"
    assert main(["labelme", str(REFERENCE / "annotated"), str(out), "--labels", str(REFERENCE / "labels.txt")]) == 0
    expected = sorted((REFERENCE / "expected" / "SegmentationClass").iterdir())
    assert len(expected) == 3
    for file in expected:
        ours = read_mask(out / "SegmentationClassPNG" / file.name)
        # Pillow 11 and newer draw one pixel of an edge differently.
        assert (ours != read_mask(file)).sum() <= 1, file.name
        image = f"{file.stem}.jpg"
        assert (out / "JPEGImages" / image).read_bytes() == (REFERENCE / "annotated" / image).read_bytes()


def test_generated_cats_come_back_pixel_for_pixel(tmp_path: Path) -> None:
    scenes = ["--count", "8", "--size", "64", "--classes", "cat", "dog"]
    made, voc, back = tmp_path / "labelme", tmp_path / "voc", tmp_path / "back"
    assert main(["synthetic", str(made), *scenes, "--labelme"]) == main(["synthetic", str(voc), *scenes]) == 0
    assert main(["labelme", str(made), str(back), "--labels", str(made / "labels.txt")]) == 0
    assert (back / "class_names.txt").read_bytes() == (voc / "class_names.txt").read_bytes()
    values = set()
    for sample in find_samples([voc]).samples:
        ours = read_mask(back / "SegmentationClassPNG" / sample.mask.name)
        np.testing.assert_array_equal(ours, read_mask(sample.mask))
        assert (back / "JPEGImages" / sample.image.name).read_bytes() == sample.image.read_bytes()
        values |= set(np.unique(ours))
    assert values == {0, 1, 2}


ROWS, COLUMNS = np.mgrid[:HEIGHT, :WIDTH].astype(float)


def to_segment(start: list[float], end: list[float]) -> np.ndarray:
    """The distance of each pixel from a line with ends, float [H, W]."""
    (x0, y0), (x1, y1) = start, end
    length = max((x1 - x0) ** 2 + (y1 - y0) ** 2, 1e-9)
    along = np.clip(((COLUMNS - x0) * (x1 - x0) + (ROWS - y0) * (y1 - y0)) / length, 0, 1)
    return np.hypot(COLUMNS - x0 - along * (x1 - x0), ROWS - y0 - along * (y1 - y0))


def within(points: list[list[float]]) -> np.ndarray:
    """Pixels inside a polygon by counting crossings of a ray to the right, as a distance: below 0 is inside."""
    inside, edge = np.zeros((HEIGHT, WIDTH), bool), np.full((HEIGHT, WIDTH), np.inf)
    for (x0, y0), (x1, y1) in zip(points, points[1:] + points[:1], strict=True):
        if y0 != y1:
            inside ^= ((y0 > ROWS) != (y1 > ROWS)) & ((x1 - x0) * (ROWS - y0) / (y1 - y0) + x0 > COLUMNS)
        edge = np.minimum(edge, to_segment([x0, y0], [x1, y1]))
    return np.where(inside, -edge, edge)


def in_bar(start: list[float], end: list[float]) -> np.ndarray:
    """As `within` for a bar of width 10 with straight ends."""
    (x0, y0), (x1, y1) = start, end
    length = math.hypot(x1 - x0, y1 - y0)
    x, y = 5 * (y0 - y1) / length, 5 * (x1 - x0) / length
    return within([[x0 + x, y0 + y], [x1 + x, y1 + y], [x1 - x, y1 - y], [x0 - x, y0 - y]])


def in_disc(x: float, y: float, radius: float) -> np.ndarray:
    return np.hypot(COLUMNS - x, ROWS - y) - radius


BEND = [[5.0, 33.0], [27.0, 8.0], [50.0, 30.0]]
CONCAVE = [[4.0, 4.0], [50.5, 6.25], [30.0, 18.0], [45.0, 36.0], [8.75, 33.0]]
TURNED = [[20.0, 5.0], [44.0, 15.0], [38.0, 30.0], [14.0, 20.0]]
OUTLINES: dict[str, tuple[str | None, list[list[float]], np.ndarray]] = {
    "polygon": ("polygon", CONCAVE, within(CONCAVE)),
    "no type": (None, CONCAVE, within(CONCAVE)),
    "polygon of two points": ("polygon", [[5, 5], [40, 25]], to_segment([5, 5], [40, 25])),
    "polygon past the edge": ("polygon", [[-9, 5], [30, -7], [70, 60]], within([[-9, 5], [30, -7], [70, 60]])),
    "oriented_rectangle": ("oriented_rectangle", TURNED, within(TURNED)),
    "circle": ("circle", [[26.5, 20], [32.5, 28]], in_disc(26.5, 20, 10)),
    "circle past the edge": ("circle", [[2, 3], [2, 15]], in_disc(2, 3, 12)),
    "point": ("point", [[30, 20]], in_disc(30, 20, 5)),
    "line": ("line", [[8, 8], [47, 30]], in_bar([8, 8], [47, 30])),
    "linestrip": (
        "linestrip",
        BEND,
        np.minimum(np.minimum(in_bar(BEND[0], BEND[1]), in_bar(BEND[1], BEND[2])), in_disc(27, 8, 5)),
    ),
}


@pytest.mark.parametrize(("kind", "points", "distance"), OUTLINES.values(), ids=OUTLINES)
def test_outline(labelled: Labelled, kind: str | None, points: list[list[float]], distance: np.ndarray) -> None:
    """Equal to plain geometry but on the outline itself, where a pixel may go either way."""
    labelled.write("good", record("good.png", shape(kind, *points)))
    assert labelled.convert() == 0
    mask = labelled.mask("good")
    assert mask[distance < -1.2].all()
    assert not mask[distance > 1.2].any()
    assert mask.any()
    assert set(np.unique(mask)) == {0, 1}


@pytest.mark.parametrize("corners", [[12, 8, 30, 25], [30, 25, 12, 8], [12, 25, 30, 8], [30, 8, 12, 25]])
def test_rectangle_from_any_corner(labelled: Labelled, corners: list[int]) -> None:
    x0, y0, x1, y1 = corners
    labelled.write("good", record("good.png", shape("rectangle", [x0, y0], [x1, y1])))
    assert labelled.convert() == 0
    expected = np.zeros((HEIGHT, WIDTH), np.uint8)
    expected[8:26, 12:31] = 1
    np.testing.assert_array_equal(labelled.mask("good"), expected)


@pytest.mark.parametrize("scale", [1, 255])
@pytest.mark.parametrize(
    ("x", "y", "left", "top"), [(3, 4, 3, 4), (3.6, 4.4, 4, 4), (2.5, 3.5, 2, 4), (-3, -2, -3, -2), (52, 37, 52, 37)]
)
def test_mask_shape(labelled: Labelled, scale: int, x: float, y: float, left: int, top: int) -> None:
    """Only the crop's own pixels are drawn, at its rounded corner (half to even), cut at the frame."""
    under = shape("rectangle", [0, 0], [WIDTH, HEIGHT], label="dog")
    crop = shape("mask", [x, y], [x + 6, y + 4], mask=text(png(CROP.astype(np.uint8) * scale)))
    labelled.write("good", record("good.png", under, crop))
    assert labelled.convert() == 0
    expected = np.full((HEIGHT + 20, WIDTH + 20), 2, np.uint8)
    expected[10 + top : 15 + top, 10 + left : 17 + left][CROP] = 1
    np.testing.assert_array_equal(labelled.mask("good"), expected[10:-10, 10:-10])


def test_later_shapes_overwrite_and_reserved_labels(labelled: Labelled) -> None:
    boxes = [("dog", 0), ("__ignore__", 10), ("cat", 20), ("_background_", 30)]
    labelled.labels.write_text("dog\ncat\n")  # without the reserved ones, in another order
    labelled.write("good", record("good.png", *(shape("rectangle", [x, 0], [55, 39], label=name) for name, x in boxes)))
    assert labelled.convert() == 0
    expected = np.repeat([1, 255, 2, 0], [10, 10, 10, 26])
    np.testing.assert_array_equal(labelled.mask("good"), np.broadcast_to(expected, (HEIGHT, WIDTH)))
    assert (labelled.out / "class_names.txt").read_text() == "_background_\ndog\ncat\n"


def test_far_circles_take_no_time() -> None:
    """Pillow's ellipse overflows, and takes minutes, for what lies beyond FARTHEST."""
    far = float(FARTHEST)
    assert rasterise([Shape("cat", "circle", ((-far, -far), (far, far)))], IDS, (8, 8)).all()


# ------------------------------------------------------------------------------------------------ images and names


def upright(orientation: int, format: str) -> tuple[bytes, np.ndarray]:
    """An image file whose EXIF turns it, and what it shows."""
    picture, exif, buffer = Image.fromarray(smooth_picture(HEIGHT, WIDTH, 3)), Image.Exif(), io.BytesIO()
    exif[0x0112] = orientation
    picture.save(buffer, format=format, exif=exif)
    return buffer.getvalue(), read_image(Path(), buffer.getvalue())


@pytest.mark.parametrize("orientation", [1, 3, 6])
@pytest.mark.parametrize(("format", "suffix"), [("JPEG", ".jpg"), ("PNG", ".png")])
def test_images_are_copied_unless_exif_turns_them(
    labelled: Labelled, orientation: int, format: str, suffix: str
) -> None:
    content, shown = upright(orientation, format)
    (labelled.folder / "photo.JPG").write_bytes(content)
    height, width = shown.shape[:2]
    labelled.write("named", record("photo.JPG", shape("point", [1, 1]), imageHeight=height, imageWidth=width))
    assert labelled.convert() == 0
    made = labelled.out / "JPEGImages" / f"named{suffix}"
    assert (made.read_bytes() == content) == (orientation == 1)
    assert labelled.mask("named").shape == shown.shape[:2]
    np.testing.assert_allclose(read_image(made).astype(int), shown, atol=0 if format == "PNG" else 12)
    with Image.open(made) as picture:  # whoever ignores EXIF sees the same
        assert picture.size == (width, height)


def test_other_formats_become_png(labelled: Labelled) -> None:
    pixels = smooth_picture(HEIGHT, WIDTH, 4)
    Image.fromarray(pixels).save(labelled.folder / "scan.bmp")
    labelled.write("scan", record("scan.bmp"))
    assert labelled.convert() == 0
    np.testing.assert_array_equal(read_image(labelled.out / "JPEGImages" / "scan.png"), pixels)


def test_images_within_the_json(labelled: Labelled) -> None:
    """imageData counts, whatever imagePath says; Python's base64 breaks lines."""
    content = png(smooth_picture(HEIGHT, WIDTH, 5))
    data = base64.encodebytes(content).decode()
    labelled.write("within", record("..\\photos\\gone.jpg", imageData=data))
    assert labelled.convert() == 0
    assert (labelled.out / "JPEGImages" / "within.png").read_bytes() == content


def test_paths_from_windows_and_names_by_the_json(labelled: Labelled) -> None:
    """Two files whose images have each other's names, one in a subfolder written with a backslash."""
    content = png(smooth_picture(HEIGHT, WIDTH, 6))
    (labelled.folder / "sub" / "good.png").write_bytes(content)
    labelled.write("deep", record("sub\\good.png", shape("point", [5, 5])))
    labelled.write("good", record("sub/deep.png", shape("point", [5, 5])))
    assert labelled.convert() == 0
    assert (labelled.out / "JPEGImages" / "deep.png").read_bytes() == content
    assert len(find_samples([labelled.out]).samples) == 2


def test_says_what_was_done_and_what_is_next(labelled: Labelled, capsys: pytest.CaptureFixture[str]) -> None:
    (labelled.folder / "link.png").unlink()
    for name in ("later.jpg", "latest.png", "sub/last.png"):
        (labelled.folder / name).write_bytes(b"never opened")
    labelled.write("deep", record("sub/deep.png", shape("point", [5, 5], label="dog")))
    (labelled.folder / "embedded.png").write_bytes(b"never opened either")
    labelled.write("other", record("embedded.png", imageData=text(png(smooth_picture(HEIGHT, WIDTH)))))
    labelled.write("again", record("good.png", shape("point", [5, 5])))
    assert labelled.convert() == 0
    said = capsys.readouterr().out
    assert f"4 pictures with masks in {labelled.out}: cat in 3, dog in 3" in said
    assert "3 images have no JSON file yet" in said
    assert "more than one JSON file for good.png" in said
    assert f"accelerate launch trainer/train.py --data.root {labelled.out}" in said


def test_lists_of_who_validates(labelled: Labelled) -> None:
    stems = [f"picture {number}" for number in range(8)] + ["good"]
    for stem in stems:
        labelled.write(stem, record("good.png"))
    assert labelled.convert("--val_fraction", "0.25") == 0
    lists = labelled.out / "ImageSets" / "Segmentation"
    train, val = ((lists / f"{part}.txt").read_text().splitlines() for part in ("train", "val"))
    assert sorted(train + val) == sorted(stems)
    assert len(val) == 3
    listed = find_sources(DataConfig(root=str(labelled.out)))
    assert [listed.samples[index].name for index in listed.split.val] == sorted(val)
    assert listed.names == ("_background_", "cat", "dog")
    shutil.rmtree(lists)
    samples = find_samples([labelled.out]).samples
    rule = split_samples(samples, {}, 0.25, fold=0)
    assert [samples[index].name for index in rule.val] == sorted(val)


# ------------------------------------------------------------------------------------------------ bad files


def without(key: str) -> dict[str, Any]:
    return {name: value for name, value in record("good.png").items() if name != key}


def drawn(kind: str | None, *points: Any, **more: Any) -> dict[str, Any]:
    return record("good.png", shape(kind, *points, **more))


NOT_AN_IMAGE = text(b"GIF89a, or so it says")
BROKEN: dict[str, tuple[object, list[str]]] = {
    "not JSON": (b"PK\x03\x04", ["no valid JSON"]),
    "empty": (b"", ["no valid JSON"]),
    "cut off": (json.dumps(record("good.png")).encode()[:-9], ["no valid JSON"]),
    "not text": (b'{"shapes": "\xff\xfe"}', ["no valid JSON"]),
    "endless number": (b"[" + b"9" * 5000 + b"]", ["no valid JSON"]),
    "nested deeply": (b"[" * 200_000, ["nested too deeply"]),
    "nested deeply in a shape": (b'{"shapes": ' + b'[{"points":' * 100_000, ["nested too deeply"]),
    "a list": ([], ["no list of shapes"]),
    "another program's": ({"annotations": []}, ["no list of shapes"]),
    "shapes of a wrong type": (record("good.png", shapes="none"), ["no list of shapes"]),
    "a shape of a wrong type": (record("good.png", shapes=[7]), ["shape 1 is 7"]),
    "imagePath missing": (without("imagePath"), ["imagePath is None"]),
    "imagePath of a wrong type": (record("good.png", imagePath=["good.png"]), ["imagePath is ['good.png']"]),
    "imagePath with a zero": (record("good\0.png"), ["imagePath is 'good\\x00.png'"]),
    "imagePath with half a character": (record("\ud800.png"), ["imagePath '\\ud800.png'"]),
    "imagePath without end": (record("x" * 5000), ["imagePath 'xxx"]),
    "up": (record("../outside/secret.png"), ["'../outside/secret.png' leads out"]),
    "up and down": (record("sub/../good.png"), ["leads out"]),
    "up in Windows": (record("..\\outside\\secret.png"), ["leads out"]),
    "absolute": (record("/etc/hostname"), ["'/etc/hostname' leads out"]),
    "absolute in Windows": (record("C:\\pictures\\good.png"), ["leads out"]),
    "another drive": (record("D:good.png"), ["leads out"]),
    "a share": (record("\\\\server\\share\\good.png"), ["leads out"]),
    "a link out": (record("link.png"), ["'link.png' is a link out of the folder"]),
    "a folder that is a link": (record("linked/secret.png"), ["'linked/secret.png' is a link out of the folder"]),
    "no such image": (record("gone.png"), ["'gone.png' is no file"]),
    "a folder": (record("sub"), ["'sub' is no file"]),
    "itself": (record("bad.json"), ["no readable image"]),
    "imageData of a wrong type": (record("good.png", imageData=7), ["imageData is no base64"]),
    "imageData bad": (record("good.png", imageData="!!!"), ["imageData is no base64"]),
    "imageData cut off": (record("good.png", imageData="abcde"), ["imageData is no base64"]),
    "imageData no image": (record("good.png", imageData=NOT_AN_IMAGE), ["imageData", "no readable image"]),
    "height": (record("good.png", imageHeight=HEIGHT + 1), ["imageHeight is 41, but the image has 40"]),
    "width": (record("good.png", imageWidth="56"), ["imageWidth is '56', but the image has 56"]),
    "size is NaN": (record("good.png", imageWidth=math.nan), ["imageWidth is nan"]),
    "turned": (record("good.png", imageHeight=WIDTH, imageWidth=HEIGHT), ["imageHeight is 56", "imageWidth is 40"]),
    "label unknown": (drawn("point", [1, 1], label="cta"), ["shape 1", "'cta' is not in", "did you mean cat?"]),
    "label missing": (record("good.png", {"points": [[1, 1], [2, 2], [3, 1]]}), ["shape 1: label is None"]),
    "label of a wrong type": (drawn("point", [1, 1], label=["cat"]), ["label is ['cat']"]),
    "type unknown": (drawn("star", [1, 1]), ["shape_type 'star' is unknown; there are polygon"]),
    "type of a wrong type": (drawn(["point"], [1, 1]), ["shape_type ['point'] is unknown"]),
    "points missing": (record("good.png", {"label": "cat"}), ["points is None"]),
    "points of a wrong type": (record("good.png", {"label": "cat", "points": "1 2"}), ["points is '1 2'"]),
    "point of three": (drawn("point", [1, 2, 3]), ["point [1, 2, 3]"]),
    "point of text": (drawn("point", ["1", "2"]), ["point ['1', '2']"]),
    "point of truths": (drawn("point", [True, False]), ["point [True, False]"]),
    "point NaN": (drawn("polygon", [1, 1], [math.nan, 2], [5, 5]), ["point [nan, 2]"]),
    "point infinite": (drawn("polygon", [1, 1], [-math.inf, 2], [5, 5]), ["point [-inf, 2]"]),
    "point too large for a float": (b'{"shapes": [{"label": "cat", "points": [[1e999, 1]]}]}', ["point [inf, 1]"]),
    "point too large": (drawn("circle", [1, 1], [10**40, 2]), ["is no place in a picture"]),
    "polygon of none": (drawn("polygon"), ["0 points; a polygon has 2 or more"]),
    "polygon of one": (drawn("polygon", [1, 1]), ["1 points; a polygon has 2 or more"]),
    "rectangle of four": (drawn("rectangle", [1, 1], [1, 9], [9, 9], [9, 1]), ["4 points; a rectangle has 2"]),
    "oriented_rectangle of two": (drawn("oriented_rectangle", [1, 1], [9, 9]), ["a oriented_rectangle has 4"]),
    "circle of one": (drawn("circle", [1, 1]), ["1 points; a circle has 2"]),
    "line of three": (drawn("line", [1, 1], [2, 2], [3, 3]), ["3 points; a line has 2"]),
    "linestrip of one": (drawn("linestrip", [1, 1]), ["1 points; a linestrip has 2 or more"]),
    "point of none": (drawn("point"), ["0 points; a point has 1"]),
    "mask missing": (drawn("mask", [1, 1], [5, 5]), ["mask is no base64"]),
    "mask bad": (drawn("mask", [1, 1], [5, 5], mask="&&&&"), ["mask is no base64"]),
    "mask no image": (drawn("mask", [1, 1], [5, 5], mask=NOT_AN_IMAGE), ["mask", "no readable image"]),
}


@pytest.mark.parametrize(("content", "parts"), BROKEN.values(), ids=BROKEN)
def test_broken_file(labelled: Labelled, capsys: pytest.CaptureFixture[str], content: object, parts: list[str]) -> None:
    """Named with the fault and a remedy, exit code 2, and nothing is left behind."""
    file = labelled.write("bad", content)
    before = sorted(labelled.top.rglob("*"))
    with Watch(labelled) as watch:
        assert labelled.convert() == 2
    assert watch.strange() == []
    said = capsys.readouterr().err
    for part in [str(file), *parts]:
        assert part in said
    assert "good.json" not in said
    assert sorted(labelled.top.rglob("*")) == before


def test_all_problems_in_one_list(labelled: Labelled, capsys: pytest.CaptureFixture[str]) -> None:
    bad = shape("star", [1, 1]), shape("point", [1, 1]), shape("circle", [1, 1])
    labelled.write("one", record("gone.png", *bad))
    labelled.write("two", b"")
    assert labelled.convert() == 2
    said = capsys.readouterr().err.splitlines()
    assert blamed(said) == ["one.json", "one.json", "one.json", "two.json"]
    for part, line in zip(("shape 1", "shape 3", "gone.png", "JSON"), said, strict=True):
        assert part in line


def blamed(lines: list[str]) -> list[str]:
    """The file that each line of a message begins with."""
    return [Path(line.removeprefix("prepare.py: ").split(": ")[0]).name for line in lines]


def test_a_file_of_200_megabytes_is_not_read(labelled: Labelled, capsys: pytest.CaptureFixture[str]) -> None:
    file = labelled.folder / "huge.json"
    with file.open("wb") as stream:
        stream.truncate(200_000_000)
    assert file.stat().st_size > MAX_BYTES
    with Watch(labelled) as watch:
        assert labelled.convert() == 2
    assert str(file.resolve()) not in watch.opened
    assert f"{file}: 200,000,000 bytes" in capsys.readouterr().err


def test_json_files_that_are_none(labelled: Labelled, capsys: pytest.CaptureFixture[str]) -> None:
    """A link out, a link to itself, a pipe that would wait for ever, a folder; hidden ones are passed over."""
    (labelled.folder / "link.json").symlink_to(labelled.top / "outside" / "other.json")
    (labelled.folder / "circle.json").symlink_to(labelled.folder / "circle.json")
    os.mkfifo(labelled.folder / "pipe.json")
    (labelled.folder / "folder.json").mkdir()
    (labelled.folder / "._good.json").write_bytes(b"\0\5\26\7")
    with Watch(labelled) as watch:
        assert labelled.convert() == 2
    assert watch.strange() == []
    said = capsys.readouterr().err.splitlines()
    assert blamed(said) == ["circle.json", "folder.json", "link.json", "pipe.json"]
    assert "link out of the folder" in said[2]


def test_names_that_clash_or_cannot_be_listed(labelled: Labelled, capsys: pytest.CaptureFixture[str]) -> None:
    shutil.copy(labelled.folder / "good.json", labelled.folder / "good.JSON")
    labelled.write("end ", record("good.png"))
    (labelled.folder / os.fsdecode(b"caf\xe9.json")).write_text(json.dumps(record("good.png")))
    assert labelled.convert() == 2
    said = capsys.readouterr().err
    assert "good.json: good.JSON has the same stem" in said
    assert "end .json': a name that" in said
    assert "caf\\udce9.json': a name that" in said


USAGE: dict[str, tuple[Callable[[Labelled], object], list[str], str]] = {
    "folder missing": (lambda labelled: shutil.rmtree(labelled.folder), [], "no such folder"),
    "no JSON": (lambda labelled: (labelled.folder / "good.json").unlink(), [], "label pictures with Labelme first"),
    "JSON one folder deeper": (
        lambda labelled: (labelled.folder / "good.json").rename(labelled.folder / "sub" / "good.json"), [],
        "sub, which has some",
    ),
    "labels missing": (lambda labelled: labelled.labels.unlink(), [], "labels.txt"),
    "labels empty": (lambda labelled: labelled.labels.write_text("_background_\n"), [], "0 classes"),
    "labels twice": (lambda labelled: labelled.labels.write_text("cat\ncat\n"), [], "cat twice"),
    "too many labels": (
        lambda labelled: labelled.labels.write_text("\n".join(map(str, range(254)))), [], "254 classes",
    ),
    "out exists": (lambda labelled: labelled.out.mkdir(parents=True), [], "exists already"),
    "out in a file": (lambda labelled: (labelled.top / "made").touch(), [], "cannot be written"),
    "share": (lambda _: None, ["--val_fraction", "0.7"], "--val_fraction: 0.7"),
    "no number": (lambda _: None, ["--val_fraction", "nan"], "--val_fraction: nan"),
    "too few to split": (lambda _: None, ["--val_fraction", "0.5"], "none for training"),
}  # fmt: skip


@pytest.mark.parametrize(("change", "options", "part"), USAGE.values(), ids=USAGE)
def test_wrong_usage(
    labelled: Labelled,
    capsys: pytest.CaptureFixture[str],
    change: Callable[[Labelled], object],
    options: list[str],
    part: str,
) -> None:
    change(labelled)
    before = sorted(labelled.top.rglob("*"))
    assert labelled.convert(*options) == 2
    assert part in capsys.readouterr().err
    assert sorted(labelled.top.rglob("*")) == before


def test_a_full_disk_leaves_nothing(
    labelled: Labelled, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("trainer.make.labelme_to_voc.write_mask", refuse)
    before = sorted(labelled.top.rglob("*"))
    assert labelled.convert() == 2
    assert "No space left" in capsys.readouterr().err
    assert sorted(labelled.top.rglob("*")) == before


def test_as_a_person_runs_it(labelled: Labelled, tmp_path: Path) -> None:
    program = Program(tmp_path / "program")
    arguments = ("labelme", str(labelled.folder), str(labelled.out), "--labels", str(labelled.labels))
    labelled.write("bad", record("../outside/secret.png"))
    refused = program.python("prepare", *arguments)
    assert (refused.returncode, "Traceback" in refused.stderr) == (2, False)
    (labelled.folder / "bad.json").unlink()
    done = program.python("prepare", *arguments)
    assert (done.returncode, done.stderr) == (0, "")
    assert labelled.mask("good").any()


# ------------------------------------------------------------------------------------------------ anything at all


class Watch:
    """Notes every path that Python opens or lists inside the `with`."""

    current: "Watch | None" = None
    installed = False

    def __init__(self, labelled: Labelled) -> None:
        self.labelled = labelled
        self.opened: list[str] = []

    def __enter__(self) -> "Watch":
        if not Watch.installed:  # it stays for the life of the process
            sys.addaudithook(Watch.hear)
            Watch.installed = True
        Watch.current = self
        return self

    def __exit__(self, *_: object) -> None:
        Watch.current = None

    @staticmethod
    def hear(event: str, arguments: tuple[Any, ...]) -> None:
        if Watch.current is not None and event in ("open", "os.listdir", "os.scandir"):
            path = arguments[0]
            # What is being made is removed through open folders: by number, and by names relative to them.
            if not isinstance(path, int) and path not in ("JPEGImages", "SegmentationClassPNG"):
                Watch.current.opened.append(os.path.realpath(os.fsdecode(path)))

    def strange(self) -> list[str]:
        """What was opened besides the annotated folder, the labels, what is being made, and Python's own modules."""
        top = self.labelled.top.resolve()
        code = (sys.prefix, sys.base_prefix, str(REPOSITORY.resolve() / "trainer"))
        return [
            path
            for path in self.opened
            if not path.startswith((*code, f"{top / 'annotated'}", f"{top / 'labels.txt'}", f"{top / '.voc.partial-'}"))
        ]


def test_the_watch_sees_what_leaves_the_folder(labelled: Labelled) -> None:
    with Watch(labelled) as watch:
        (labelled.folder / "link.png").read_bytes()
        (labelled.folder / "good.png").read_bytes()
    assert watch.strange() == [str(labelled.top.resolve() / "outside" / "secret.png")]


@pytest.fixture(scope="module")
def hostile(tmp_path_factory: pytest.TempPathFactory) -> Labelled:
    return Labelled(tmp_path_factory.mktemp("hostile") / "data")


NUMBERS = st.one_of(
    st.integers(-60, 60),
    st.floats(),
    st.sampled_from([1e5, -1e5, 10**400, -0.0, 1e308, True, 0.5]),
)
PATHS = ["../outside/secret.png", "..\\outside\\secret.png", "link.png", "linked/secret.png", "linked\\secret.png",
         "good.png", "sub\\deep.png", ".", "", "/dev/zero", "/etc/passwd", "C:\\x.png", "\\\\a\\b", "~/x.png", "a\0b",
         "\ud800", "x" * 300, "sub/../../outside/secret.png", "good.png/..", "fuzz.json", "./linked/./secret.png",
         "file:///etc/passwd"]  # fmt: skip
WORDS = st.one_of(
    st.sampled_from([*PATHS, *IDS, "polygon", "rectangle", "circle", "line", "linestrip", "point", "mask"]), st.text()
)
VALUES = st.recursive(
    st.one_of(st.none(), st.booleans(), NUMBERS, WORDS, st.lists(st.lists(NUMBERS, min_size=2, max_size=2))),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(WORDS, inner, max_size=4),
    max_leaves=8,
)


def places(value: object, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """The ways to every value within a JSON value."""
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [path, *(place for key, child in inner for place in places(child, (*path, key)))]


WITHIN = text(png(smooth_picture(HEIGHT, WIDTH)))


@st.composite
def records(draw: st.DrawFn) -> Any:
    """A good file with one to three values replaced or taken out."""
    whole: Any = deepcopy(record("good.png", imageData=draw(st.sampled_from([None, WITHIN]))))
    for _ in range(draw(st.integers(1, 3))):
        *way, last = draw(st.sampled_from([place for place in places(whole) if place] or [("shapes",)]))
        parent = whole
        for key in way:
            parent = parent[key]
        if draw(st.integers(0, 4)):
            parent[last] = draw(VALUES)
        elif isinstance(parent, dict):
            parent.pop(last, None)
        else:
            del parent[last]
    return whole


@st.composite
def damaged(draw: st.DrawFn) -> bytes:
    """The bytes of a good file, some of them changed, or cut off."""
    content = bytearray(json.dumps(record("good.png", imageData=draw(st.sampled_from([None, WITHIN])))).encode())
    for _ in range(draw(st.integers(1, 4))):
        content[draw(st.integers(0, len(content) - 1))] = draw(st.integers(0, 255))
    return bytes(content[: draw(st.sampled_from([len(content), draw(st.integers(0, len(content)))]))])


def survives(hostile: Labelled, content: object) -> None:
    """Either a mask or an InputError of which every line names a file; nothing outside is opened."""
    file = hostile.write("fuzz", content)
    complaint = ""
    with Watch(hostile) as watch:
        try:
            annotation = read_annotation(file, hostile.folder, read_labels(hostile.labels))
            mask = rasterise(annotation.shapes, IDS, annotation.pixels.shape[:2])
            assert mask.shape == (HEIGHT, WIDTH)
            assert set(np.unique(mask)) <= set(IDS.values())
        except InputError as error:
            complaint = str(error)
    assert all(line.startswith(str(hostile.folder)) for line in complaint.splitlines()), complaint
    assert watch.strange() == []


@settings(max_examples=400, deadline=None)
@given(records())
def test_records_with_wrong_values(hostile: Labelled, content: Any) -> None:
    survives(hostile, content)


@settings(max_examples=100, deadline=None)
@given(VALUES)
def test_any_json(hostile: Labelled, content: Any) -> None:
    survives(hostile, content)


@settings(max_examples=200, deadline=None)
@given(damaged() | st.binary())
def test_damaged_bytes(hostile: Labelled, content: bytes) -> None:
    survives(hostile, content)


@settings(max_examples=100, deadline=None)
@given(st.sampled_from(PATHS) | st.text())
def test_any_image_path(hostile: Labelled, path: str) -> None:
    survives(hostile, record(path))
