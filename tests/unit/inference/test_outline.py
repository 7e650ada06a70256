"""Outlines of objects: drawn again they give the object, and simplified they stay within the tolerance."""

import hypothesis
import hypothesis.extra.numpy as hnp
import hypothesis.strategies as st
import numpy as np
import pytest
from PIL import Image, ImageDraw
from scipy import ndimage

from trainer.inference.outline import simplify, trace_outlines

SIDES = st.integers(1, 12)
OBJECTS = hnp.arrays(bool, st.tuples(SIDES, SIDES)).filter(np.any)
POINTS = hnp.arrays(np.int64, st.tuples(st.integers(1, 15), st.just(2)), elements=st.integers(0, 30))


@hypothesis.given(OBJECTS)
def test_the_outer_path_drawn_is_the_object_without_holes(pixels: np.ndarray) -> None:
    numbers, _ = ndimage.label(pixels, np.ones((3, 3)))
    pixels = numbers == 1
    paths = trace_outlines(pixels)
    for path in paths:
        assert pixels[path[:, 1], path[:, 0]].all()
        assert np.abs(np.diff(np.vstack([path, path[:1]]), axis=0)).max(initial=0) <= 1
    picture = Image.new("L", pixels.shape[::-1])
    points = [(float(x), float(y)) for x, y in paths[0]]
    ImageDraw.Draw(picture).polygon(points + points[-1:] * 2, outline=1, fill=1)
    filled = ndimage.binary_fill_holes(pixels)
    np.testing.assert_array_equal(np.array(picture) > 0, filled)
    assert len(paths) - 1 == ndimage.label(filled & ~pixels)[1]


@hypothesis.given(path=POINTS, tolerance=st.sampled_from([0.0, 0.5, 1.0, 3.0]))
def test_no_point_is_farther_away_than_the_tolerance(path: np.ndarray, tolerance: float) -> None:
    kept = simplify(path, tolerance)
    assert kept[0].tolist() == path[0].tolist()
    if len(path) >= 4:
        assert max(_nearest(point, kept) for point in path) <= tolerance + 1e-9


def _nearest(point: np.ndarray, polygon: np.ndarray) -> float:
    """Distance of a point from the lines of a closed polygon."""
    lines = zip(polygon, np.roll(polygon, -1, axis=0), strict=True)
    steps = [start + np.linspace(0, 1, 501)[:, None] * (end - start) for start, end in lines]
    return float(np.hypot(*(np.concatenate(steps) - point).T).min()) - np.hypot(30, 30) / 1000


def test_a_circle_has_far_fewer_points() -> None:
    rows, columns = np.mgrid[:201, :201]
    path = trace_outlines((rows - 100) ** 2 + (columns - 100) ** 2 <= 95**2)[0]
    assert len(path) > 500
    assert 12 <= len(simplify(path, 1.0)) <= 60


@pytest.mark.parametrize("tolerance", [0.0, 1.0])
def test_a_straight_edge_needs_its_ends_alone(tolerance: float) -> None:
    path = trace_outlines(np.ones((20, 30), bool))[0]
    assert sorted(map(tuple, simplify(path, tolerance).tolist())) == [(0, 0), (0, 19), (29, 0), (29, 19)]
