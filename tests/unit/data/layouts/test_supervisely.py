"""Supervisely: polygons with holes, bitmaps, where files are, and faults of the annotations."""

import json
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tests.support.labelme import base64_text
from tests.support.layouts import find_in, refusal, save_image
from tests.support.tool_layouts import png_bytes, supervisely_bitmap
from trainer.data.layouts import detect_layout
from trainer.data.layouts.supervisely import draw_objects
from trainer.data.value_map import ValueMap

HEIGHT, WIDTH = 20, 30
IDS = {"cat": 1, "dog": 2}


def ring(left: int, top: int, right: int, bottom: int) -> list[list[int]]:
    return [[left, top], [right, top], [right, bottom], [left, bottom]]


def polygon(exterior: object, *interior: object, label: object = "cat") -> dict[str, Any]:
    points = {"exterior": exterior, "interior": list(interior)}
    return {"classTitle": label, "geometryType": "polygon", "points": points, "tags": []}


def bitmap(label: str = "cat", **content: Any) -> dict[str, Any]:
    return {"classTitle": label, "geometryType": "bitmap", "bitmap": content}


def annotation(path: Path, *objects: object, **more: object) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    size = {"height": HEIGHT, "width": WIDTH}
    path.write_text(json.dumps({"description": "", "tags": [], "size": size, "objects": list(objects)} | more))
    return path


def drawn(tmp_path: Path, *objects: object) -> np.ndarray:
    return draw_objects(annotation(tmp_path / "a.json", *objects), IDS, (HEIGHT, WIDTH))


def test_polygons_with_holes(tmp_path: Path) -> None:
    """What lies under a hole stays; later objects lie over earlier ones."""
    expected = np.zeros((HEIGHT, WIDTH), np.uint8)
    expected[2:18, 2:12] = 2
    expected[4:16, 4:25] = 1
    expected[8:11, 6:10] = 2
    expected[8:11, 10:21] = 0
    expected[8:11, 10:12] = 2
    hole = ring(6, 8, 20, 10)
    mask = drawn(tmp_path, polygon(ring(2, 2, 11, 17), label="dog"), polygon(ring(4, 4, 24, 15), hole))
    np.testing.assert_array_equal(mask, expected)


def test_bitmaps(tmp_path: Path) -> None:
    """A palette with a transparent colour, an alpha channel, and grey values; parts outside are cut off."""
    pixels = np.zeros((HEIGHT, WIDTH), bool)
    pixels[3:9, 5:14] = True
    pixels[5, 7] = False
    np.testing.assert_array_equal(drawn(tmp_path, bitmap(**supervisely_bitmap(pixels))), pixels)
    crop = pixels[3:9, 5:14]
    rgba = np.zeros((*crop.shape, 4), np.uint8)
    rgba[..., 3] = crop * 255
    for stored in (rgba, crop.astype(np.uint8)):
        data = base64_text(zlib.compress(png_bytes(Image.fromarray(stored))))
        np.testing.assert_array_equal(drawn(tmp_path, bitmap(data=data, origin=[5, 3])), pixels)
    outside = drawn(tmp_path, bitmap(data=data, origin=[-2, 17]))
    np.testing.assert_array_equal(outside[17:, :7], crop[:3, 2:])
    assert outside.sum() == crop[:3, 2:].sum()


def test_other_geometries(tmp_path: Path) -> None:
    rectangle = polygon([[3, 4], [9, 8]]) | {"geometryType": "rectangle"}
    assert drawn(tmp_path, rectangle)[4:9, 3:10].all()
    line = polygon([[3, 10], [20, 10]]) | {"geometryType": "line"}
    assert drawn(tmp_path, line)[10, 10] == 1


def project(root: Path, *names: str, annotations: str = "{}.jpg.json") -> Path:
    """Write images by their dataset and stem, each with a cat."""
    for name in names:
        folder, stem = name.split("/")
        save_image(root / folder / "img" / f"{stem}.jpg", np.zeros((HEIGHT, WIDTH, 3), np.uint8))
        annotation(root / folder / "ann" / annotations.format(stem), polygon(ring(2, 2, 5, 5)))
    (root / "meta.json").write_text(json.dumps({"classes": [{"title": "dog"}, {"title": "cat"}], "tags": []}))
    return root


@pytest.mark.parametrize("annotations", ["{}.jpg.json", "{}.json"])
def test_folders(annotations: str, tmp_path: Path) -> None:
    """Several datasets; without meta.json the classes are those of the objects."""
    root = project(tmp_path, "ds0/a", "ds0/b", "ds1/a", annotations=annotations)
    save_image(root / "ds0" / "img" / "new.jpg", np.zeros((HEIGHT, WIDTH, 3), np.uint8))
    assert detect_layout(root) == "supervisely"
    found = find_in(root)
    assert found.names == ("_background_", "dog", "cat")
    assert [sample.name for sample in found.samples] == ["ds0/a", "ds0/b", "ds1/a"]
    assert found.samples[0].read_mask(ValueMap()).max() == 2
    assert list(found.left_out) == [str(root / "ds0" / "img" / "new.jpg")]
    assert detect_layout(root / "ds0") == "supervisely"
    assert find_in(root / "ds0").names == ("_background_", "dog", "cat")
    (root / "meta.json").unlink()
    assert find_in(root).names == ("_background_", "cat")


def test_parts(tmp_path: Path) -> None:
    found = find_in(project(tmp_path, "train/a", "val/b", "test/c"))
    assert found.parts == {"train/a": "train", "val/b": "val"}


def test_wanted_classes(tmp_path: Path) -> None:
    found = find_in(project(tmp_path, "ds0/a"), classes=("_background_", "dog"))
    assert any("cat not among the classes" in note for note in found.notes)
    assert not found.samples[0].read_mask(ValueMap()).any()


BOMB = base64_text(zlib.compress(b"\0" * 70_000_000))
WIDE = base64_text(zlib.compress(png_bytes(Image.new("L", (WIDTH + 1, 2)))))
BAD: dict[str, tuple[Any, str]] = {
    "number": (5, "is 5"),
    "unknown class": (polygon(ring(1, 1, 5, 5), label="cow"), "class 'cow' is not in meta.json"),
    "class of no text": (polygon(ring(1, 1, 5, 5), label=["cat"]), "is not in meta.json"),
    "geometry": (polygon([]) | {"geometryType": "cuboid"}, "Convert it to a bitmap"),
    "geometry of no text": (polygon([]) | {"geometryType": []}, "Convert it to a bitmap"),
    "no points": (polygon(None), "points is None"),
    "one point": (polygon([[1, 1]]), "1 points"),
    "NaN": (polygon([[1, float("nan")], [2, 2], [3, 3]]), "is not a position"),
    "bad hole": (polygon(ring(1, 1, 9, 9), [[1]]), "is not a position"),
    "no bitmap": (bitmap(), "is not a position"),
    "no data": (bitmap(origin=[1, 1]), "not base64"),
    "no zlib": (bitmap(origin=[1, 1], data=base64_text(b"abc")), "damaged bitmap"),
    "no image": (bitmap(origin=[1, 1], data=base64_text(zlib.compress(b"abc"))), "not a readable image"),
    "bomb": (bitmap(origin=[1, 1], data=BOMB), "more than 64,000,000 bytes"),
    "too wide": (bitmap(origin=[1, 1], data=WIDE), "larger than its image"),
}


@pytest.mark.parametrize(("entry", "part"), BAD.values(), ids=BAD)
def test_bad_objects_are_named(entry: Any, part: str, tmp_path: Path) -> None:
    with refusal(f"{tmp_path / 'a.json'}: object 2", part):
        drawn(tmp_path, polygon(ring(2, 2, 5, 5)), entry)


def test_bad_files(tmp_path: Path) -> None:
    for content, part in (([], "no list of objects"), ({"objects": 5}, "no list of objects")):
        (tmp_path / "a.json").write_text(json.dumps(content))
        with refusal("a.json", part):
            draw_objects(tmp_path / "a.json", IDS, (HEIGHT, WIDTH))
    with refusal("a.json", "but its image has height 20 and width 31"):
        draw_objects(annotation(tmp_path / "a.json"), IDS, (HEIGHT, WIDTH + 1))
    root = project(tmp_path / "data", "ds0/a")
    (root / "meta.json").write_text('{"classes": 5}')
    with refusal("meta.json", "no list of classes"):
        find_in(root)


def test_unicode_forms_and_annotations_without_an_image(tmp_path: Path) -> None:
    for name in ("Ba\u0308r.png", "b.png"):
        save_image(tmp_path / "ds" / "img" / name, np.zeros((HEIGHT, WIDTH, 3), np.uint8))
    annotation(tmp_path / "ds" / "ann" / "B\u00e4r.png.json", polygon(ring(2, 2, 11, 11), label="Lo\u0308we"))
    annotation(tmp_path / "ds" / "ann" / "b.json")
    gone = annotation(tmp_path / "ds" / "ann" / "gone.png.json")
    (tmp_path / "meta.json").write_text(json.dumps({"classes": [{"title": "L\u00f6we"}]}))
    found = find_in(tmp_path)
    assert sorted(sample.name for sample in found.samples) == ["ds/Ba\u0308r", "ds/b"]
    assert [str(gone)] == list(found.left_out)
    named = next(sample for sample in found.samples if sample.name != "ds/b")
    assert np.count_nonzero(named.read_mask(ValueMap()) == 1) == 100
