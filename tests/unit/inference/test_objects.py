"""Connected objects of masks, against scipy's labels of whole arrays."""

import hypothesis
import hypothesis.extra.numpy as hnp
import hypothesis.strategies as st
import numpy as np
import pytest
from scipy import ndimage

from trainer.inference import objects
from trainer.inference.objects import find_objects, keep_objects, paint_runs
from trainer.system import strips

MASKS = hnp.arrays(np.uint8, st.tuples(st.integers(1, 12), st.integers(1, 12)), elements=st.integers(0, 2))
TOUCHING = np.ones((3, 3))
"""Neighbours of a pixel, corners too."""


def labelled(mask: np.ndarray) -> list[tuple[int, np.ndarray]]:
    """Class id and pixels, bool [H, W], of each object, by scipy."""
    found = []
    for class_id in np.unique(mask[mask > 0]):
        numbers, count = ndimage.label(mask == class_id, TOUCHING)
        found += [(int(class_id), numbers == number) for number in range(1, count + 1)]
    return found


@hypothesis.given(mask=MASKS, strip=st.sampled_from([1, 20, 1 << 18]))
def test_objects_are_those_of_scipy(mask: np.ndarray, strip: int) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(strips, "STRIP_PIXELS", strip)
        found = find_objects(mask)
        levels = np.random.default_rng(0).integers(0, 256, mask.shape, np.uint8)
        assert found is not None
        means = found.mean_levels(levels)
    runs = found.runs_of_each()
    expected = {}
    for class_id, pixels in labelled(mask):
        rows, columns = np.nonzero(pixels)
        box = (columns.min(), rows.min(), np.ptp(columns) + 1, np.ptp(rows) + 1)
        first = int(np.flatnonzero(pixels)[0])
        expected[first] = (class_id, len(rows), box, (columns.mean(), rows.mean()), levels[pixels].mean(), pixels)
    assert len(found) == len(expected)
    for number, (_, (class_id, area, box, centre, level, pixels)) in enumerate(sorted(expected.items())):
        assert (found.classes[number], found.areas[number]) == (class_id, area)
        assert tuple(found.boxes[number]) == box
        np.testing.assert_allclose(found.centroids[number], centre)
        assert means[number] == pytest.approx(level)
        left, top, width, height = box
        np.testing.assert_array_equal(found.crop(number, runs[number]), pixels[top : top + height, left : left + width])
    assert found.count(3) == [0, *(sum(one[0] == class_id for one in expected.values()) for class_id in (1, 2))]


@hypothesis.given(mask=MASKS, min_area=st.integers(0, 6), largest=st.booleans(), strip=st.sampled_from([1, 1 << 18]))
def test_only_kept_objects_stay(mask: np.ndarray, min_area: int, largest: bool, strip: int) -> None:
    expected = np.zeros_like(mask)
    for class_id in (1, 2):
        own = [pixels for one, pixels in labelled(mask) if one == class_id and pixels.sum() >= min_area]
        own = sorted(own, key=np.sum, reverse=True)[:1] if largest else own  # stable: the first of equal ones
        for pixels in own:
            expected[pixels] = class_id
    found, cleaned = find_objects(mask), mask.copy()
    assert found is not None
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(strips, "STRIP_PIXELS", strip)
        changed = keep_objects(cleaned, found, min_area, largest)
    np.testing.assert_array_equal(cleaned, expected)
    assert changed == (expected != mask).any()


def test_runs_are_painted() -> None:
    runs = np.array([[0, 0, 2], [0, 2, 3], [1, 1, 4]], np.int32)
    np.testing.assert_array_equal(paint_runs(runs, (2, 4)), [[1, 1, 1, 0], [0, 1, 1, 1]])


def test_noise_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    mask = np.eye(40, dtype=np.uint8)
    monkeypatch.setattr(objects, "MOST_RUNS", 39)
    assert find_objects(mask) is None
    monkeypatch.setattr(objects, "MOST_RUNS", 40)
    found = find_objects(mask)
    assert found is not None
    assert found.areas.tolist() == [40]  # a diagonal is one object
