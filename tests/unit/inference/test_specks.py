"""Specks, against scipy's connected components, and by scenes whose areas are known."""

from dataclasses import replace
from pathlib import Path
from typing import Literal

import hypothesis
import hypothesis.extra.numpy as arrays
import hypothesis.strategies as st
import numpy as np
import pytest
from PIL import Image
from scipy import ndimage

from trainer.data.image_io import read_mask
from trainer.data.resize_mask import scale_mask, shrink_mask
from trainer.data.view import View
from trainer.inference.given import InputImage
from trainer.inference.objects import Objects, find_objects
from trainer.inference.options import Options
from trainer.inference.outputs import ResultWriter
from trainer.inference.predictor import ImageResult
from trainer.inference.specks import least_areas, remove_specks, seen_share, usual_areas
from trainer.model.segmenter import Contract

TOUCHING = np.ones((3, 3))


def contract_of(areas: tuple[int, ...], size: int = 64) -> Contract:
    names = ("background", *(f"class {number}" for number in range(1, len(areas) + 1)))
    colours = tuple((number, 0, 0) for number in range(len(names)))
    return Contract(class_names=names, colours=colours, image_size=size, width=8, object_areas=areas)


def square(mask: np.ndarray, row: int, column: int, side: int, value: int = 1) -> None:
    mask[row : row + side, column : column + side] = value


def objects_of(mask: np.ndarray) -> Objects:
    found = find_objects(mask)
    assert found is not None
    return found


def test_the_usual_area_is_not_that_of_specks_in_labels() -> None:
    one, two = np.zeros((2, 64, 64), np.uint8)
    square(one, 0, 0, 40)
    square(two, 0, 0, 30)
    two[63, 63] = one[63, 63] = 1  # one pixel beside the brush
    two[40:50, 40:50] = 255  # pixels that are not labelled are no object
    assert usual_areas([one, two], 4) == (900, 0, 0)


def test_where_small_objects_are_usual_they_are_the_measure() -> None:
    masks = np.zeros((3, 64, 64), np.uint8)
    for mask in masks:
        square(mask, 0, 0, 12)
        for number in range(6):
            square(mask, 30, 10 * number, 4, 2)
            square(mask, 50, 10 * number, 4)
    assert usual_areas(masks, 3) == (16, 16)


@hypothesis.given(st.lists(arrays.arrays(np.uint8, (9, 11), elements=st.sampled_from([0, 0, 1, 2, 255])), max_size=3))
def test_hardly_any_labelled_pixel_is_in_smaller_objects(masks: list[np.ndarray]) -> None:
    for number, area in zip((1, 2), usual_areas(masks, 3), strict=True):
        areas = []
        for mask in masks:
            labels, count = ndimage.label(mask == number, TOUCHING)
            areas += ndimage.sum_labels(mask == number, labels, range(1, count + 1)).astype(int).tolist()
        smaller, total = sum(one for one in areas if one < area), sum(areas)
        assert (area in areas) if areas else area == 0
        assert smaller <= 0.01 * total
        assert sum(one for one in areas if one <= area) > 0.01 * total or not areas


@pytest.mark.parametrize(
    ("view", "size"),
    [
        (View(32), (64, 128)),
        (View(32, keep_aspect=True), (64, 128)),
        (View(32, tiles=True, scale=0.5), (64, 128)),
        (View(32, tiles=True), (64, 128)),
    ],
)
def test_areas_are_those_that_the_network_sees(view: View, size: tuple[int, int]) -> None:
    mask = np.zeros(size, np.uint8)
    square(mask, 16, 32, 32)
    seen = scale_mask(mask, view.scaled(size)) if view.tiles else shrink_mask(mask, view.size, view.keep_aspect)
    assert int((seen == 1).sum()) == pytest.approx(seen_share(view, size) * int(mask.sum()))


def scene() -> np.ndarray:
    """Image of 128x128: an object of 40x40 with a small and a large hole, and beside it one of 12x12 and of 5x5."""
    mask = np.zeros((128, 128), np.uint8)
    square(mask, 10, 10, 40)
    square(mask, 15, 15, 5, 0)
    square(mask, 25, 25, 15, 0)
    square(mask, 80, 80, 12)
    square(mask, 100, 10, 5)
    square(mask, 0, 120, 5)
    mask[0, 122] = 0  # no hole: at the border of the image
    return mask


def test_specks_go_and_their_holes_are_filled() -> None:
    # 300 pixels as the network sees them, a quarter of the image's: less than 120 pixels are a speck.
    contract, mask, expected = contract_of((300,)), scene(), scene()
    assert least_areas(contract, (128, 128)).tolist() == [0, 120]
    square(expected, 15, 15, 5)
    square(expected, 100, 10, 5, 0)
    square(expected, 0, 120, 5, 0)
    left = remove_specks(mask, objects_of(mask), contract)
    np.testing.assert_array_equal(mask, expected)
    assert sorted(left.areas.tolist()) == [144, 1600 - 225]


def test_holes_within_two_classes_get_theirs() -> None:
    mask = np.zeros((64, 64), np.uint8)
    mask[10:40, 10:25], mask[10:40, 25:40] = 1, 2
    square(mask, 20, 15, 3, 0)
    square(mask, 20, 30, 3, 0)
    square(mask, 30, 15, 6, 0)  # 36 pixels: a speck of class 1, but not of class 2
    expected = np.zeros_like(mask)
    expected[10:40, 10:25], expected[10:40, 25:40] = 1, 2
    square(expected, 30, 15, 6, 0)
    remove_specks(mask, objects_of(mask), contract_of((500, 300)))
    np.testing.assert_array_equal(mask, expected)


def test_the_largest_object_stays_however_small() -> None:
    mask = np.zeros((64, 64), np.uint8)
    square(mask, 5, 5, 3)
    square(mask, 50, 50, 2)
    left = remove_specks(mask, objects_of(mask), contract_of((2000,)))
    assert left.areas.tolist() == [9]
    assert int(mask.sum()) == 9


@pytest.mark.parametrize("areas", [(), (0,)])
def test_nothing_is_removed_where_nothing_is_known(areas: tuple[int, ...]) -> None:
    contract = replace(contract_of((1,)), object_areas=areas)
    mask = scene()
    remove_specks(mask, objects_of(mask), contract)
    np.testing.assert_array_equal(mask, scene())


@hypothesis.given(
    mask=arrays.arrays(np.uint8, (12, 14), elements=st.sampled_from([0, 0, 0, 1, 1, 2])),
    one=st.integers(0, 90),
    two=st.integers(0, 90),
)
def test_only_specks_change(mask: np.ndarray, one: int, two: int) -> None:
    contract, before = contract_of((one, two), 8), mask.copy()
    least = least_areas(contract, (12, 14))
    left = remove_specks(mask, objects_of(mask), contract)
    assert len(left) == len(objects_of(mask))
    for number in (1, 2):
        labels, count = ndimage.label(before == number, TOUCHING)
        for label in range(1, count + 1):
            pixels = labels == label
            if pixels.sum() >= least[number]:
                assert (mask[pixels] == number).all(), "an object that is no speck has changed"
    holes, count = ndimage.label(before == 0, TOUCHING)
    limit = min((value for value in least[1:] if value), default=0)
    for label in range(1, count + 1):
        pixels = holes == label
        if pixels.sum() >= limit or pixels[[0, -1]].any() or pixels[:, [0, -1]].any():
            assert (mask[pixels] == 0).all(), "background that is no small hole has changed"


def result(tmp_path: Path) -> ImageResult:
    """Prediction of `scene` for an image file."""
    image = np.zeros((128, 128, 3), np.uint8)
    Image.fromarray(image).save(tmp_path / "x.png")
    return ImageResult(InputImage(tmp_path / "x.png", Path("x")), image, image, scene())


@pytest.mark.parametrize(("least", "left"), [("auto", [144, 1375]), (0, [24, 25, 144, 1350]), (30, [144, 1350])])
def test_masks_and_reports_are_without_specks_where_it_is_asked_for(
    least: int | Literal["auto"], left: list[int], tmp_path: Path
) -> None:
    out = tmp_path / "out"
    writer = ResultWriter(contract_of((300,)), out, Options(min_area=least, overlay="none"))
    entry = writer(result(tmp_path))
    assert entry.row["objects"] == {"class 1": len(left)}
    assert entry.row["pixels"]["class 1"] == sum(left)
    assert sorted(objects_of(read_mask(out / "masks" / "x.png")).areas.tolist()) == left
