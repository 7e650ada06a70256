"""VGG Image Annotator: shapes, both versions, attributes that hold the class, parts and faults."""

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.support.layouts import find_in, plan_data, refusal, save_image, split_names
from trainer import InputError
from trainer.data.layouts import detect_layout, labelme_shapes
from trainer.data.value_map import ValueMap

SAME = ValueMap()
ROWS, COLUMNS = np.mgrid[:40, :60]
BOX = {"name": "rect", "x": 5, "y": 4, "width": 10, "height": 6}


def region(attributes: object, **shape: Any) -> dict[str, Any]:
    return {"shape_attributes": shape or BOX, "region_attributes": attributes}


def write(root: Path, regions: object, name: str = "via_region_data.json", **more: object) -> Path:
    """Write an image a.png with these regions as VIA exports annotations; `more`: further images with their regions."""
    images = {"a": regions} | more
    for stem in images:
        save_image(root / f"{stem}.png", np.zeros((40, 60, 3), np.uint8))
    entries = {
        f"{stem}.png7": {"filename": f"{stem}.png", "size": 7, "regions": one, "file_attributes": {}}
        for stem, one in images.items()
    }
    (root / name).write_text(json.dumps(entries))
    return root


def mask_of(root: Path, **settings: object) -> np.ndarray:
    found = find_in(root, **settings)
    assert found.problems == []
    return found.samples[0].read_mask(SAME)


SHAPES: dict[str, tuple[dict[str, Any], np.ndarray]] = {
    "rect": (BOX, (ROWS >= 4) & (ROWS < 10) & (COLUMNS >= 5) & (COLUMNS < 15)),
    "polygon": (
        {"name": "polygon", "all_points_x": [5, 25, 25, 5], "all_points_y": [4, 4, 20, 20]},
        (ROWS >= 4) & (ROWS <= 20) & (COLUMNS >= 5) & (COLUMNS <= 25),
    ),
    "circle": ({"name": "circle", "cx": 30, "cy": 20, "r": 12.5}, (ROWS - 20) ** 2 + (COLUMNS - 30) ** 2 <= 12.5**2),
    "ellipse": (
        {"name": "ellipse", "cx": 30, "cy": 20, "rx": 18, "ry": 9, "theta": 0},
        ((ROWS - 20) / 9) ** 2 + ((COLUMNS - 30) / 18) ** 2 <= 1,
    ),
    "turned ellipse": (
        {"name": "ellipse", "cx": 30, "cy": 20, "rx": 18, "ry": 9, "theta": math.pi / 2},
        ((ROWS - 20) / 18) ** 2 + ((COLUMNS - 30) / 9) ** 2 <= 1,
    ),
}


@pytest.mark.parametrize(("shape", "expected"), SHAPES.values(), ids=SHAPES)
def test_shapes(shape: dict[str, Any], expected: np.ndarray, tmp_path: Path) -> None:
    """Rectangles and polygons are exact, curves to less than a pixel along their outline."""
    mask = mask_of(write(tmp_path, [region({"type": "cat"}, **shape)]))
    exact = shape["name"] in ("rect", "polygon")
    assert np.count_nonzero((mask == 1) != expected) <= (0 if exact else 60)
    assert mask.max() == 1


def test_lines_and_points_are_drawn(tmp_path: Path) -> None:
    line = region({"type": "cat"}, name="polyline", all_points_x=[5, 30], all_points_y=[20, 20])
    point = region({"type": "dog"}, name="point", cx=50, cy=20)
    mask = mask_of(write(tmp_path, [line, point]))
    assert mask[20, 10] == 1
    assert mask[20, 50] == 2


def test_the_first_version(tmp_path: Path) -> None:
    """Regions are numbered in an object, and may have no attributes: the balloons, in train and val."""
    for part in ("train", "val"):
        write(tmp_path / part, {"0": region({}), "1": region({}, name="rect", x=30, y=4, width=2, height=2)})
    assert detect_layout(tmp_path) == "via"
    sources = plan_data(tmp_path, tmp_path)
    assert sources.names == ("_background_", "object")
    assert split_names(sources) == (["train/a"], ["val/a"])
    assert sources.samples[0].read_mask(SAME).sum() == 64
    assert plan_data(tmp_path, tmp_path, classes=["balloon"]).samples[0].read_mask(SAME).sum() == 64


ATTRIBUTES: dict[str, tuple[list[Any], dict[str, int]]] = {
    "text": ([{"kind": "dog"}, {"kind": "cat"}], {"cat": 2, "dog": 1}),
    "number": ([{"kind": 3}, {"kind": 1}], {"1": 2, "3": 1}),
    "checkboxes": ([{"kind": {"dog": True}}, {"kind": {"cat": True, "dog": False}}], {"cat": 2, "dog": 1}),
    "class among others": ([{"id": "1", "Class": "dog"}, {"id": "2", "Class": "cat"}], {"cat": 2, "dog": 1}),
    "background": ([{"kind": "background"}, {"kind": "cat"}], {"cat": 2}),
}


@pytest.mark.parametrize(("attributes", "places"), ATTRIBUTES.values(), ids=ATTRIBUTES)
def test_attributes(attributes: list[Any], places: dict[str, int], tmp_path: Path) -> None:
    """`places`: class -> the region that is of it, the first or the second."""
    regions = [region(one, name="rect", x=10 * key, y=4, width=5, height=5) for key, one in enumerate(attributes)]
    found = find_in(write(tmp_path, regions))
    assert found.names == ("_background_", *places)
    mask = found.samples[0].read_mask(SAME)
    for class_id, place in enumerate(places.values(), start=1):
        assert (mask[5, 10 * (place - 1) + 1], int((mask == class_id).sum())) == (class_id, 25)


def test_an_attribute_that_is_not_clear(tmp_path: Path) -> None:
    root = write(tmp_path, [region({"colour": "red", "sort": "cat"})])
    with refusal("the attributes colour, sort", "call the one with the class `class`"):
        find_in(root)
    assert find_in(root, classes=("_background_", "cat")).samples[0].read_mask(SAME).sum() == 60


def test_regions_and_images_without_a_class_are_counted(tmp_path: Path) -> None:
    root = write(tmp_path, [region({"type": "cat"}), region({}), region({"type": ""}), 5], b=[])
    found = find_in(root)
    assert found.problems == []
    assert any("3 regions without type; left out" in note for note in found.notes)
    assert any("1 image without regions; taken as background" in note for note in found.notes)


def test_a_project_beside_its_export(tmp_path: Path) -> None:
    root = write(tmp_path, [region({"type": "cat"})])
    content = json.loads((root / "via_region_data.json").read_text())
    project = {"_via_settings": {}, "_via_img_metadata": content}
    content["a.png7"]["regions"].append(region({"type": "dog"}))
    (root / "via_project_1.json").write_text(json.dumps(project))
    assert find_in(root).names == ("_background_", "cat", "dog")


BAD: dict[str, tuple[Any, str]] = {
    "no shape": ({}, "shape_type 'None' is unknown"),
    "unknown": ({"name": "cuboid"}, "shape_type 'cuboid' is unknown"),
    "text": ({"name": "circle", "cx": "a", "cy": 2, "r": 3}, "0 points; a circle has 2"),
    "NaN": ({"name": "rect", "x": float("nan"), "y": 2, "width": 3, "height": 3}, "is not a position"),
    "far": ({"name": "point", "cx": 1e300, "cy": 2}, "is not a position"),
    "lists of two lengths": ({"name": "polygon", "all_points_x": [1, 2, 3], "all_points_y": [1, 2]}, "0 points"),
}


@pytest.mark.parametrize(("shape", "part"), BAD.values(), ids=BAD)
def test_bad_shapes_are_named(shape: Any, part: str, tmp_path: Path) -> None:
    bad = {"shape_attributes": shape, "region_attributes": {"type": "cat"}}
    (problem,) = find_in(write(tmp_path, [region({"type": "cat"}), bad])).problems
    assert problem.startswith(f"{tmp_path / 'via_region_data.json'} (a.png): shape 2")
    assert part in problem


def test_images_that_are_missing(tmp_path: Path) -> None:
    """A path leads to the only file of its last part, and never out of the folder."""
    save_image(tmp_path / "b.png", np.zeros((40, 60, 3), np.uint8))
    root = write(tmp_path / "data", [region({"type": "cat"})])
    content = json.loads((root / "via_region_data.json").read_text())
    entry = content["a.png7"]
    names = ["../b.png", "/etc/passwd", None, 5, "", "a\0.png", "http://example.org/a.png"]
    entries = {str(key): entry | {"filename": name} for key, name in enumerate(names)}
    (root / "via_region_data.json").write_text(json.dumps(entries))
    found = find_in(root)
    assert [sample.name for sample in found.samples] == ["a"]
    assert len(found.problems) == 6


@pytest.mark.parametrize("content", [{"_via_img_metadata": 5, "_via_settings": {}}, {"_via_settings": {}}])
def test_damaged_files(content: object, tmp_path: Path) -> None:
    (tmp_path / "via.json").write_text(json.dumps(content))
    with refusal("via.json", "export the annotations again"):
        find_in(tmp_path)


def test_unicode_forms(tmp_path: Path) -> None:
    root = write(tmp_path, [], Bär=[region({"class": "Lo\u0308we"})])
    (root / "B\u00e4r.png").rename(root / "Ba\u0308r.png")
    found = find_in(root, classes=("_background_", "L\u00f6we"))
    assert found.problems == []
    assert [np.count_nonzero(sample.read_mask(SAME)) for sample in found.samples] == [60, 0]


def test_work_on_one_image_is_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A polygon that crosses all rows with each of its corners; the size of the image is known when it is drawn."""
    zigzag = {"name": "polygon", "all_points_x": [*range(50)], "all_points_y": [0, 39] * 25}
    root = write(tmp_path / "data", [region({"class": "cat"}, **zigzag)])
    assert mask_of(root).any()
    monkeypatch.setattr(labelme_shapes, "MOST_WORK", 100_000)
    with pytest.raises(InputError, match=r"json \(a\.png\): shape 1: the shapes up to here are too much to draw"):
        mask_of(root)
