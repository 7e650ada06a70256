"""Masks of Labelme's shapes, against plain geometry."""

import math
from pathlib import Path

import numpy as np
import pytest

from tests.support.labelme import CROP, HEIGHT, IDS, WIDTH, LabelmeFolder, base64_text, png, record, shape
from trainer.data.layouts.labelme_shapes import FARTHEST, Shape, check_shapes, draw_shapes, known_label


@pytest.fixture
def labelled(tmp_path: Path) -> LabelmeFolder:
    return LabelmeFolder(tmp_path / "data")


ROWS, COLUMNS = np.mgrid[:HEIGHT, :WIDTH].astype(float)


def from_segment(start: list[float], end: list[float]) -> np.ndarray:
    """Distance of each pixel from a line segment, float [H, W] in pixels."""
    (x0, y0), (x1, y1) = start, end
    length = max((x1 - x0) ** 2 + (y1 - y0) ** 2, 1e-9)
    along = np.clip(((COLUMNS - x0) * (x1 - x0) + (ROWS - y0) * (y1 - y0)) / length, 0, 1)
    return np.hypot(COLUMNS - x0 - along * (x1 - x0), ROWS - y0 - along * (y1 - y0))


def from_polygon(points: list[list[float]]) -> np.ndarray:
    """Signed distance of each pixel from a polygon, float [H, W]: negative inside, by the crossings of a ray."""
    inside, edge = np.zeros((HEIGHT, WIDTH), bool), np.full((HEIGHT, WIDTH), np.inf)
    for (x0, y0), (x1, y1) in zip(points, points[1:] + points[:1], strict=True):
        if y0 != y1:
            inside ^= ((y0 > ROWS) != (y1 > ROWS)) & ((x1 - x0) * (ROWS - y0) / (y1 - y0) + x0 > COLUMNS)
        edge = np.minimum(edge, from_segment([x0, y0], [x1, y1]))
    return np.where(inside, -edge, edge)


def from_bar(start: list[float], end: list[float]) -> np.ndarray:
    """Signed distance of each pixel from a bar of width 10 with straight ends, float [H, W]."""
    (x0, y0), (x1, y1) = start, end
    length = math.hypot(x1 - x0, y1 - y0)
    x, y = 5 * (y0 - y1) / length, 5 * (x1 - x0) / length
    return from_polygon([[x0 + x, y0 + y], [x1 + x, y1 + y], [x1 - x, y1 - y], [x0 - x, y0 - y]])


def from_disc(x: float, y: float, radius: float) -> np.ndarray:
    """Signed distance of each pixel from a disc, float [H, W]."""
    return np.hypot(COLUMNS - x, ROWS - y) - radius


BEND = [[5.0, 33.0], [27.0, 8.0], [50.0, 30.0]]
CONCAVE = [[4.0, 4.0], [50.5, 6.25], [30.0, 18.0], [45.0, 36.0], [8.75, 33.0]]
TURNED = [[20.0, 5.0], [44.0, 15.0], [38.0, 30.0], [14.0, 20.0]]
SHAPES: dict[str, tuple[str | None, list[list[float]], np.ndarray]] = {
    "polygon": ("polygon", CONCAVE, from_polygon(CONCAVE)),
    "no type": (None, CONCAVE, from_polygon(CONCAVE)),
    "polygon of two points": ("polygon", [[5, 5], [40, 25]], from_segment([5, 5], [40, 25])),
    "polygon past the edge": ("polygon", [[-9, 5], [30, -7], [70, 60]], from_polygon([[-9, 5], [30, -7], [70, 60]])),
    "oriented_rectangle": ("oriented_rectangle", TURNED, from_polygon(TURNED)),
    "circle": ("circle", [[26.5, 20], [32.5, 28]], from_disc(26.5, 20, 10)),
    "circle past the edge": ("circle", [[2, 3], [2, 15]], from_disc(2, 3, 12)),
    "point": ("point", [[30, 20]], from_disc(30, 20, 5)),
    "line": ("line", [[8, 8], [47, 30]], from_bar([8, 8], [47, 30])),
    "linestrip": (
        "linestrip",
        BEND,
        np.minimum(np.minimum(from_bar(BEND[0], BEND[1]), from_bar(BEND[1], BEND[2])), from_disc(27, 8, 5)),
    ),
}


@pytest.mark.parametrize(("kind", "points", "distance"), SHAPES.values(), ids=SHAPES)
def test_shape(labelled: LabelmeFolder, kind: str | None, points: list[list[float]], distance: np.ndarray) -> None:
    """Masks equal plain geometry, except for pixels on the outline, which may be covered or not."""
    labelled.write("good", record("good.png", shape(kind, *points)))
    assert labelled.convert() == 0
    mask = labelled.mask("good")
    assert mask[distance < -1.2].all()
    assert not mask[distance > 1.2].any()
    assert mask.any()
    assert set(np.unique(mask)) == {0, 1}


@pytest.mark.parametrize("corners", [[12, 8, 30, 25], [30, 25, 12, 8], [12, 25, 30, 8], [30, 8, 12, 25]])
def test_rectangle_from_any_corner(labelled: LabelmeFolder, corners: list[int]) -> None:
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
def test_mask_shape(labelled: LabelmeFolder, scale: int, x: float, y: float, left: int, top: int) -> None:
    """Only the True pixels of the crop are drawn, from its rounded corner (half to even), cut off at the border."""
    under = shape("rectangle", [0, 0], [WIDTH, HEIGHT], label="dog")
    crop = shape("mask", [x, y], [x + 6, y + 4], mask=base64_text(png(CROP.astype(np.uint8) * scale)))
    labelled.write("good", record("good.png", under, crop))
    assert labelled.convert() == 0
    expected = np.full((HEIGHT + 20, WIDTH + 20), 2, np.uint8)
    expected[10 + top : 15 + top, 10 + left : 17 + left][CROP] = 1
    np.testing.assert_array_equal(labelled.mask("good"), expected[10:-10, 10:-10])


def test_later_shapes_overwrite_and_reserved_labels(labelled: LabelmeFolder) -> None:
    boxes = [("dog", 0), ("__ignore__", 10), ("cat", 20), ("_background_", 30)]
    labelled.labels.write_text("dog\ncat\n")  # without the reserved labels, in another order
    labelled.write("good", record("good.png", *(shape("rectangle", [x, 0], [55, 39], label=name) for name, x in boxes)))
    assert labelled.convert() == 0
    expected = np.repeat([1, 255, 2, 0], [10, 10, 10, 26])
    np.testing.assert_array_equal(labelled.mask("good"), np.broadcast_to(expected, (HEIGHT, WIDTH)))
    assert (labelled.out / "class_names.txt").read_text() == "_background_\ndog\ncat\n"


def test_largest_circle_is_drawn_fast() -> None:
    """Pillow takes minutes for larger ellipses than FARTHEST allows, and overflows."""
    far = float(FARTHEST)
    assert draw_shapes([Shape("cat", "circle", ((-far, -far), (far, far)))], IDS, (8, 8)).all()


# ------------------------------------------------------------------------------------------------ X-AnyLabeling


def test_shapes_of_x_anylabeling() -> None:
    """Rectangles with all four corners, rotated boxes, and keys that Labelme does not write."""
    more = {"score": 0.9, "difficult": False, "attributes": {}, "kie_linking": [], "description": None}
    entries = [
        shape("rectangle", [3.0, 2.0], [12.0, 2.0], [12.0, 8.0], [3.0, 8.0], **more),
        shape("rotation", [20, 10], [30, 10], [30, 14], [20, 14], direction=0.0, **more),
        shape("quadrilateral", [20, 20], [30, 20], [30, 24], [20, 24], label="dog", **more),
    ]
    ids = {"cat": 1, "dog": 2}
    shapes, problems = check_shapes(entries, ids, Path("a.json"), None)
    assert problems == []
    expected = np.zeros((30, 40), np.uint8)
    expected[2:9, 3:13] = expected[10:15, 20:31] = 1
    expected[20:25, 20:31] = 2
    np.testing.assert_array_equal(draw_shapes(shapes, ids, (30, 40)), expected)


@pytest.mark.parametrize(
    ("label", "meant"),
    [("cat", "cat"), ("cat-1", "cat"), ("cat_12", "cat"), ("cat 3", "cat"), ("cat1", "cat1"), ("dog-1", "dog-1")],
)
def test_number_of_an_object_is_no_part_of_its_class(label: str, meant: str) -> None:
    assert known_label(label, {"cat": 1}) == meant
    assert known_label(label, {"cat": 1, label: 2}) == label
