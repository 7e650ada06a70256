"""Label Studio's JSON export: shapes, brushes, both forms, several annotations, and faults."""

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.support.layouts import find_in, refusal, save_image
from tests.support.tool_layouts import brush_bytes, studio_region
from trainer.data.layouts import detect_layout
from trainer.data.layouts.brush_rle import decode_brush
from trainer.data.value_map import ValueMap

SAME = ValueMap()
HEIGHT, WIDTH = SIZE = (40, 80)
ROWS, COLUMNS = np.mgrid[:HEIGHT, :WIDTH]
BLOB = (ROWS - 18) ** 2 + (COLUMNS - 33) ** 2 < 90
BOX: dict[str, Any] = {"x": 10, "y": 10, "width": 20, "height": 50, "rotation": 0}
"""Rows 4 to 23 and columns 8 to 23."""

IN_BOX = (ROWS >= 4) & (ROWS < 24) & (COLUMNS >= 8) & (COLUMNS < 24)


def annotation(*regions: dict[str, Any], number: int = 1, **more: Any) -> dict[str, Any]:
    return {"id": number, "result": list(regions), "was_cancelled": False} | more


def write(root: Path, *tasks: object, stems: tuple[str, ...] = ("a",)) -> Path:
    """Write an image for each of `stems`, and an export; a task may be a list of annotations of a.png."""
    for stem in stems:
        save_image(root / f"{stem}.png", np.zeros((*SIZE, 3), np.uint8))
    made = [
        {"id": number, "annotations": task, "data": {"image": "/data/upload/1/0a1b2c3d-a.png"}}
        if isinstance(task, list)
        else task
        for number, task in enumerate(tasks, start=1)
    ]
    (root / "export.json").write_text(json.dumps(made))
    return root


def box(label: str = "cat", **changes: Any) -> dict[str, Any]:
    return studio_region("rectangle", label, SIZE, **BOX | changes)


def brush(label: str = "cat", pixels: np.ndarray = BLOB, **more: Any) -> dict[str, Any]:
    return studio_region("brush", label, SIZE, format="rle", rle=brush_bytes(pixels)) | more


def mask_of(root: Path, **settings: object) -> np.ndarray:
    assert detect_layout(root) == "label_studio_json"
    found = find_in(root, **settings)
    assert found.problems == []
    return found.samples[0].read_mask(SAME)


@pytest.mark.parametrize("literal", [False, True], ids=["runs", "literal"])
def test_brushes(literal: bool, tmp_path: Path) -> None:
    region = studio_region("brush", "cat", SIZE, format="rle", rle=brush_bytes(BLOB, literal))
    np.testing.assert_array_equal(mask_of(write(tmp_path, [annotation(region)])), BLOB)


def test_brushes_at_every_bit() -> None:
    """Literal values begin at any place within a byte, after runs of other widths."""
    random = np.random.default_rng(0)
    for count in range(1, 40):
        values = random.integers(0, 2, 4 * count) * 255
        bits = f"{4 * count:032b}{7:05b}{2:04b}{3:04b}{7:04b}{15:04b}"
        place = 0
        while place < 4 * count:
            length = min(int(random.integers(1, 9)), 4 * count - place)
            part = values[place : place + length]
            if random.random() < 0.5 and len(set(part)) == 1:
                bits += f"100{length - 1:03b}{part[0]:08b}"
            else:
                bits += f"000{length - 1:03b}" + "".join(f"{value:08b}" for value in part)
            place += length
        bits += "0" * (-len(bits) % 8)
        stream = bytes(int(bits[start : start + 8], 2) for start in range(0, len(bits), 8))
        np.testing.assert_array_equal(decode_brush(stream, (1, count))[0], values[3::4] > 0)


def test_shapes(tmp_path: Path) -> None:
    np.testing.assert_array_equal(mask_of(write(tmp_path / "box", [annotation(box())])), IN_BOX)
    corners = [[10, 10], [30, 10], [30, 60], [10, 60]]
    polygon = studio_region("polygon", "cat", SIZE, points=corners, closed=True)
    assert np.count_nonzero((mask_of(write(tmp_path / "polygon", [annotation(polygon)])) > 0) != IN_BOX) < 50
    ellipse = studio_region("ellipse", "cat", SIZE, x=50, y=50, radiusX=20, radiusY=30, rotation=0)
    expected = ((COLUMNS + 0.5 - 40) / 16) ** 2 + ((ROWS + 0.5 - 20) / 12) ** 2 <= 1
    assert np.count_nonzero((mask_of(write(tmp_path / "ellipse", [annotation(ellipse)])) > 0) != expected) < 50


def test_turns_are_of_pixels(tmp_path: Path) -> None:
    """A quarter turn about the upper left corner, clockwise: width and height change places."""
    turned = box(x=60, y=10, width=25, height=20, rotation=90)  # from (48, 4): 20 wide and 8 high
    expected = (ROWS >= 4) & (ROWS < 24) & (COLUMNS >= 40) & (COLUMNS < 48)
    assert np.count_nonzero((mask_of(write(tmp_path, [annotation(turned)])) > 0) != expected) <= 1
    slanted = box(x=60, y=10, width=25, height=20, rotation=45)
    mask = mask_of(write(tmp_path / "slanted", [annotation(slanted)]))
    assert mask.sum() == pytest.approx(20 * 8, rel=0.1)
    centre = (48 + (10 - 4) * math.sqrt(0.5), 4 + (10 + 4) * math.sqrt(0.5))
    assert np.argwhere(mask)[:, ::-1].mean(axis=0) == pytest.approx([centre[0] - 0.5, centre[1] - 0.5], abs=0.5)


def test_later_regions_lie_over_earlier_ones(tmp_path: Path) -> None:
    mask = mask_of(write(tmp_path, [annotation(box("dog"), brush("cat"))]))
    assert set(np.unique(mask)) == {0, 1, 2}
    assert (mask[BLOB] == 1).all()


def test_the_minimal_export(tmp_path: Path) -> None:
    region = box()
    small = region["value"] | {"original_width": WIDTH, "original_height": HEIGHT}
    task = {"id": 1, "annotation_id": 5, "image": "/data/local-files/?d=pets/a.png", "tag": [small], "annotator": 1}
    np.testing.assert_array_equal(mask_of(write(tmp_path, task)), IN_BOX)


def test_tools_and_labels_apart(tmp_path: Path) -> None:
    """The same region twice: as it is drawn, and with its label."""
    entry = box()
    drawn = entry | {"type": "rectangle", "value": BOX}
    named = entry | {"type": "labels", "from_name": "label", "value": {**BOX, "labels": ["cat"]}}
    np.testing.assert_array_equal(mask_of(write(tmp_path, [annotation(drawn, named)])), IN_BOX)


def test_the_annotation_that_counts(tmp_path: Path) -> None:
    first, second = annotation(box(), number=7), annotation(brush(), number=9)
    skipped = annotation(box("cat", width=90), number=11, was_cancelled=True)
    np.testing.assert_array_equal(mask_of(write(tmp_path / "latest", [second, first, skipped])), BLOB)
    truth = write(tmp_path / "truth", [first | {"ground_truth": True}, second])
    np.testing.assert_array_equal(mask_of(truth), IN_BOX)
    assert any("1 task with several annotations" in note for note in find_in(truth).notes)


def test_images_without_annotation_or_regions(tmp_path: Path) -> None:
    tasks = [
        {"id": number, "annotations": one, "data": {"image": f"s3://bucket/{stem}.png"}}
        for number, (stem, one) in enumerate(
            {
                "a": [annotation(box())],
                "b": [],
                "c": [annotation()],
                "d": [annotation(box(), was_cancelled=True)],
            }.items()
        )
    ]
    found = find_in(write(tmp_path, *tasks, stems=("a", "b", "c", "d")))
    assert [sample.name for sample in found.samples] == ["a", "c"]
    assert found.samples[1].read_mask(SAME).max() == 0
    assert {Path(path).name for path, reason in found.left_out.items() if reason.unlabelled} == {"b.png", "d.png"}


def test_classes_that_are_wanted(tmp_path: Path) -> None:
    root = write(tmp_path, [annotation(box("dog"), brush("cat"))])
    np.testing.assert_array_equal(mask_of(root, classes=["_background_", "cat"]), BLOB)
    with refusal("data.classes", "cart", "did you mean cat"):
        find_in(root, classes=["_background_", "cart"])


FAULTS: dict[str, tuple[dict[str, Any], str]] = {
    "turned image": (box() | {"image_rotation": 90}, "turned by 90 degrees"),
    "no size": (box() | {"original_width": None}, "original size"),
    "points": (studio_region("polygon", "cat", SIZE, points=[[1, 2], ["a", 3]]), "cannot be drawn"),
    "brush": (studio_region("brush", "cat", SIZE, rle=[1, 999]), "cannot be drawn"),
}


@pytest.mark.parametrize(("region", "text"), FAULTS.values(), ids=FAULTS)
def test_regions_that_cannot_be_drawn(region: dict[str, Any], text: str, tmp_path: Path) -> None:
    root = write(tmp_path, [annotation(box(), region)])
    assert len([problem for problem in find_in(root).problems if text in problem and "a.png" in problem]) == 1


@pytest.mark.parametrize(
    ("region", "text"),
    [
        (brush("cat") | {"original_width": WIDTH + 1}, "drawn on an image of 81x40 pixels, the file has 80x40"),
        (box() | {"original_width": HEIGHT, "original_height": WIDTH}, "drawn on an image of 40x80 pixels"),
        (studio_region("brush", "cat", SIZE, rle=brush_bytes(BLOB)[:40]), "its brush is damaged (it ends too early)"),
        (studio_region("brush", "cat", SIZE, rle=brush_bytes(BLOB[:-1])), "which are not 4 for each pixel"),
    ],
    ids=["width", "upright", "cut off", "other size"],
)
def test_regions_of_another_image(region: dict[str, Any], text: str, tmp_path: Path) -> None:
    sample = find_in(write(tmp_path, [annotation(region)])).samples[0]
    with refusal("a.png", text):
        sample.read_mask(SAME)


def test_a_scaled_copy_of_the_image_is_no_other_image(tmp_path: Path) -> None:
    region = box() | {"original_width": 2 * WIDTH, "original_height": 2 * HEIGHT}
    assert np.count_nonzero((mask_of(write(tmp_path, [annotation(region)])) > 0) != IN_BOX) <= 40


def test_missing_images_are_problems(tmp_path: Path) -> None:
    other = {"id": 2, "annotations": [annotation(box())], "data": {"image": "/data/upload/1/0a1b2c3d-b.png"}}
    found = find_in(write(tmp_path, [annotation(box())], other))
    assert len(found.problems) == 1
    assert "b.png" in found.problems[0]


def test_a_folder_without_labels_is_refused(tmp_path: Path) -> None:
    with refusal("export.json", "0 classes"):
        find_in(write(tmp_path, [annotation(box() | {"value": BOX})]))
