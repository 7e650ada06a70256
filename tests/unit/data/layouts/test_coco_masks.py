"""COCO segmentations: the masks that they make, and the faults that are refused."""

import warnings
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.coco import HEIGHT, WIDTH, annotate, annotation, box, compressed_runs, plain_runs
from tests.support.layouts import find_in
from trainer import InputError
from trainer.data.layouts.coco_masks import check_segmentation, draw_instances
from trainer.data.value_map import ValueMap


def draw_first(root: Path) -> np.ndarray:
    found = find_in(root)
    assert found.problems == []
    return found.samples[0].read_mask(ValueMap())


def test_boxes_cover_their_pixels(tmp_path: Path) -> None:
    expected = np.zeros((HEIGHT, WIDTH), np.uint8)
    expected[3:9, 4:20] = 1
    expected[12:14, 1:3] = 2
    mask = draw_first(annotate(tmp_path, annotation(box(4, 3, 20, 9)), annotation(box(1, 12, 3, 14), 2)))
    np.testing.assert_array_equal(mask, expected)


def test_several_polygons_are_one_instance(tmp_path: Path) -> None:
    expected = np.zeros((HEIGHT, WIDTH), np.uint8)
    expected[3:9, 4:8] = expected[3:9, 12:20] = 1
    np.testing.assert_array_equal(
        draw_first(annotate(tmp_path, annotation(box(4, 3, 8, 9) + box(12, 3, 20, 9)))), expected
    )


@settings(max_examples=150, deadline=None)
@given(st.binary(min_size=1, max_size=40), st.integers(1, 9))
def test_run_lengths_of_any_mask(noise: bytes, height: int) -> None:
    """Compressed and plain run lengths give the mask back."""
    bits = np.unpackbits(np.frombuffer(noise, np.uint8)).astype(bool)
    mask = np.resize(np.repeat(bits, 3), (height, 17))
    for value in (compressed_runs(mask), plain_runs(mask)):
        segmentation = check_segmentation(value, mask.shape, "here")
        assert segmentation == plain_runs(mask)
        np.testing.assert_array_equal(draw_instances([(7, segmentation)], mask.shape), np.where(mask, 7, 0))


@pytest.mark.parametrize("order", [1, -1])
@pytest.mark.parametrize("area", [1, 10_000])
def test_smaller_instances_lie_over_larger_ones(order: int, area: int, tmp_path: Path) -> None:
    """The area is counted in pixels, since Roboflow states the area of the box."""
    annotations = [annotation(box(2, 2, 20, 18), 1, area=1), annotation(box(5, 5, 15, 9), 2, area=area)]
    expected = np.zeros((HEIGHT, WIDTH), np.uint8)
    expected[2:18, 2:20], expected[5:9, 5:15] = 1, 2
    np.testing.assert_array_equal(draw_first(annotate(tmp_path, *annotations[::order])), expected)


@pytest.mark.filterwarnings("error")
def test_drawing_emits_no_warning() -> None:
    """The DeprecationWarning of pycocotools under NumPy 2 is suppressed; other warnings are not."""
    mask = draw_instances([(1, check_segmentation(box(4, 3, 20, 9), (HEIGHT, WIDTH), "here"))], (HEIGHT, WIDTH))
    assert mask.sum() == 16 * 6
    with pytest.warns(DeprecationWarning, match="other"):
        warnings.warn("other", DeprecationWarning, stacklevel=1)


def test_crowds_are_ignored(tmp_path: Path) -> None:
    crowd = np.zeros((HEIGHT, WIDTH), bool)
    crowd[2:18, 2:28] = True
    expected = np.where(crowd, 255, 0)
    expected[5:9, 5:15] = 1
    mask = draw_first(annotate(tmp_path, annotation(plain_runs(crowd), iscrowd=1), annotation(box(5, 5, 15, 9))))
    np.testing.assert_array_equal(mask, expected)


# ------------------------------------------------------------------------------------------------ faults

WHOLE = np.ones((HEIGHT, WIDTH), bool)
BAD: dict[str, tuple[object, str]] = {
    "box only": ([], "no segmentation"),
    "none": (None, "no segmentation"),
    "odd": ([[1, 2, 3, 4, 5, 6, 7]], "not a list of polygons"),
    "text": ([["a", "b", "c", "d", "e", "f"]], "not a list of polygons"),
    "truths": ([[True, False, True, False, True, True]], "not a list of polygons"),
    "odd numbers": ([1, 2, 3, 4, 5], "not a list of polygons"),
    "numbers and lists": ([1, 2, [3, 4, 5, 6]], "not a list of polygons"),
    "NaN": ([[float("nan"), 1, 5, 5, 9, 1]], "far outside"),
    "infinite": ([[1, 1, 5, float("inf"), 9, 1]], "far outside"),
    "far": ([[1, 1, 5, 5, 1e9, 1]], "far outside"),
    "wrong axis": ([[1, 1, 5, 45, 9, 1]], "far outside"),
    "other size": (plain_runs(WHOLE.T), "its picture has"),
    "too short": ({"size": [HEIGHT, WIDTH], "counts": [5, 6]}, "do not add up"),
    "too long": ({"size": [HEIGHT, WIDTH], "counts": [0, HEIGHT * WIDTH + 1]}, "do not add up"),
    "negative": ({"size": [HEIGHT, WIDTH], "counts": [-1, HEIGHT * WIDTH + 1]}, "do not add up"),
    "no counts": ({"size": [HEIGHT, WIDTH]}, "do not add up"),
    "empty text": ({"size": [HEIGHT, WIDTH], "counts": ""}, "do not add up"),
    "other text": ({"size": [HEIGHT, WIDTH], "counts": "äöü"}, "do not add up"),
    "open text": ({"size": [HEIGHT, WIDTH], "counts": "oooooooooooooo"}, "do not add up"),
}


@pytest.mark.parametrize(("segmentation", "part"), BAD.values(), ids=BAD)
def test_bad_segmentation(segmentation: object, part: str, tmp_path: Path) -> None:
    found = find_in(annotate(tmp_path, annotation(segmentation), annotation(box(1, 1, 5, 5))))
    assert len(found.problems) == 1
    assert found.problems[0].startswith(f"{tmp_path / '_annotations.coco.json'}: annotation 5")
    assert part in found.problems[0]


NUMBERS = st.one_of(st.integers(-50, 50), st.floats(), st.just(10**30), st.booleans())
SEGMENTATIONS = st.one_of(
    st.lists(st.lists(NUMBERS, max_size=10), max_size=3),
    st.fixed_dictionaries(
        {"size": st.just([HEIGHT, WIDTH]), "counts": st.text(max_size=20) | st.lists(st.integers(-5, 700))}
    ),
    st.lists(st.integers(0, HEIGHT * WIDTH), min_size=1).map(
        lambda cuts: {"size": [HEIGHT, WIDTH], "counts": np.diff([0, *sorted(cuts), HEIGHT * WIDTH]).tolist()}
    ),
)


@settings(max_examples=400, deadline=None)
@given(SEGMENTATIONS)
def test_any_segmentation_is_drawn_or_refused(segmentation: object) -> None:
    try:
        checked = check_segmentation(segmentation, (HEIGHT, WIDTH), "here")
    except InputError as error:
        assert str(error).startswith("here")  # noqa: PT017
        return
    if checked is not None:
        mask = draw_instances([(1, checked)], (HEIGHT, WIDTH))
        assert mask.shape == (HEIGHT, WIDTH)
        assert set(np.unique(mask)) <= {0, 1}
