"""Objects as polygons, drawn again by Pillow, holes included."""

import numpy as np
import pytest
from PIL import Image, ImageDraw
from scipy import ndimage

from trainer.inference.objects import find_objects
from trainer.serving.polygons import object_polygons


def draw(polygons: list[np.ndarray], size: tuple[int, int]) -> np.ndarray:
    """Each polygon filled, with its border, bool [n, H, W]."""
    drawn = []
    for polygon in polygons:
        pil_image = Image.new("1", size[::-1])
        ImageDraw.Draw(pil_image).polygon([tuple(point) for point in polygon.tolist()], fill=1, outline=1)
        drawn.append(np.array(pil_image))
    return np.array(drawn)


def blobs(seed: int) -> np.ndarray:
    """Class ids of blobs with holes, also of holes with islands, uint8 [90, 120]."""
    noise = ndimage.gaussian_filter(np.random.default_rng(seed).normal(size=(90, 120)), 3)
    noise /= noise.std()
    return np.where(noise > -0.4, 1, np.where(noise < -1, 2, 0)).astype(np.uint8)


@pytest.mark.parametrize("seed", range(8))
def test_every_pixel(seed: int) -> None:
    """Exact without holes; with holes Pillow leaves out a pixel or two where an outline meets itself."""
    mask = blobs(seed)
    objects = find_objects(mask)
    assert objects is not None
    assert any(ndimage.binary_fill_holes(mask == 1)[mask != 1])  # there are holes
    for number, drawn in enumerate(draw(object_polygons(objects), mask.shape)):
        own = np.zeros(mask.shape, bool)
        left, top, width, height = objects.boxes[number]
        own[top : top + height, left : left + width] = objects.crop(number, objects.runs_of_each()[number])
        holes = ndimage.binary_fill_holes(own) & ~own
        assert not (drawn & ~own).any()
        assert (own & ~drawn).sum() <= (10 if holes.any() else 0)


def test_a_share_of_the_outline_is_its_error() -> None:
    mask = np.zeros((400, 400), np.uint8)
    rows, columns = np.ogrid[:400, :400]
    mask[(rows - 200) ** 2 + (columns - 200) ** 2 < 150**2] = 1
    objects = find_objects(mask)
    assert objects is not None
    fine, coarse = (object_polygons(objects, share)[0] for share in (0.0005, 0.01))
    assert len(coarse) < len(fine) < 300
    length = 2 * np.pi * 150
    distances = np.hypot(*(coarse - 200).T)
    assert (np.abs(distances - 149.5) < 1).all()  # points are on the circle
    middles = np.hypot(*((coarse + np.roll(coarse, 1, axis=0)) / 2 - 200).T)
    assert 1 < 149.5 - middles.min() <= 0.01 * length + 1


def test_small_objects_have_three_points() -> None:
    mask = np.zeros((9, 9), np.uint8)
    mask[1, 1] = mask[4, 4:6] = 1
    objects = find_objects(mask)
    assert objects is not None
    assert [one.tolist() for one in object_polygons(objects)] == [[[1, 1]] * 3, [[4, 4], [5, 4], [5, 4]]]
