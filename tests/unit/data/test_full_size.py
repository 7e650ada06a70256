"""Windows of images in their own pixels: those of plain numpy, from the cache and from the files alike."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.support.data import SAME, count_nothing, sources_of
from trainer import IGNORE
from trainer.data.cache import RESERVE_BYTES, open_samples
from trainer.data.full_size import POINTS_PER_CLASS, CachedFullSize, FullSize, UncachedFullSize, choose_points
from trainer.data.image_io import read_image, read_mask, write_mask
from trainer.data.resize import scale_image
from trainer.data.resize_mask import scale_mask
from trainer.data.sample import Sample
from trainer.data.view import View

SIZES = ((40, 70), (7, 5), (120, 33), (1, 1))
"""Height and width of the images, all different."""

WINDOWS = ((0, 0, 16), (-5, 3, 16), (30, 60, 16), (-20, -20, 90), (200, 0, 8), (0, -50, 8), (3, 2, 1))
"""Top, left and side; some beyond the image."""


@pytest.fixture
def samples(tmp_path: Path) -> list[Sample]:
    random, made = np.random.default_rng(3), []
    for number, (height, width) in enumerate(SIZES):
        image, mask = tmp_path / f"{number}.png", tmp_path / f"{number}_mask.png"
        Image.fromarray(random.integers(0, 256, (height, width, 3), dtype=np.uint8)).save(image)
        write_mask(mask, random.choice([0, 0, 1, 2, IGNORE], (height, width)).astype(np.uint8))
        made.append(Sample(f"{number}", str(image), str(mask)))
    return made


def opened(samples: list[Sample], folder: Path, scale: float = 1.0) -> FullSize:
    found, _ = open_samples(sources_of(samples), View(16, tiles=True, scale=scale), folder, count_nothing)
    assert isinstance(found, FullSize)
    return found


def expected(sample: Sample, scale: float) -> tuple[np.ndarray, np.ndarray]:
    image, mask = read_image(sample.image), read_mask(sample.mask)
    size = View(16, tiles=True, scale=scale).scaled(mask.shape)
    return scale_image(image, size), scale_mask(mask, size)


@pytest.mark.parametrize("scale", [1.0, 0.5, 0.333])
@pytest.mark.parametrize("cached", [True, False])
def test_windows(
    cached: bool, scale: float, samples: list[Sample], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not cached:
        monkeypatch.setattr("trainer.data.cache.RESERVE_BYTES", 1 << 60)
    found = opened(samples, tmp_path / "cache", scale)
    assert isinstance(found, CachedFullSize if cached else UncachedFullSize)
    for row, sample in enumerate(samples):
        image, mask = expected(sample, scale)
        assert found.size(row) == mask.shape
        assert np.array_equal(found.image(row), image)
        assert np.array_equal(found.mask(row), mask)
        border = 300
        framed = np.pad(image, ((border, border), (border, border), (0, 0)))
        framed_mask = np.pad(mask, border, constant_values=IGNORE)
        for top, left, side in WINDOWS:
            part = slice(border + top, border + top + side), slice(border + left, border + left + side)
            pixels = found.window(row, top, left, side)
            assert np.array_equal(pixels[0], framed[part])
            assert np.array_equal(pixels[1], framed_mask[part])
            pixels[0][:], pixels[1][:] = 1, 1  # they are the caller's own
        assert np.array_equal(found.image(row), image)


def test_points_are_labelled_pixels(samples: list[Sample], tmp_path: Path) -> None:
    found = opened(samples, tmp_path / "cache")
    for row, sample in enumerate(samples):
        mask, points = read_mask(sample.mask), found.points(row)
        assert set(points[:, 0]) == set(np.unique(mask)) - {0, IGNORE}
        assert (mask[points[:, 1], points[:, 2]] == points[:, 0]).all()
        for number in set(points[:, 0]):
            assert 1 <= (points[:, 0] == number).sum() <= POINTS_PER_CLASS


def test_points_lie_everywhere() -> None:
    mask = np.ones((100, 100), np.uint8)
    points = choose_points(mask, 0)
    assert len(points) > POINTS_PER_CLASS / 2
    assert (points[:, 1:].min(axis=0) < 15).all()
    assert (points[:, 1:].max(axis=0) > 85).all()
    assert not np.array_equal(points, choose_points(mask, 1))


def test_the_cache_is_found_again_for_any_size_of_crops(samples: list[Sample], tmp_path: Path) -> None:
    first = opened(samples, tmp_path / "cache")
    other, _ = open_samples(sources_of(samples), View(32, tiles=True), tmp_path / "cache", count_nothing)
    scaled = opened(samples, tmp_path / "cache", 0.5)
    assert isinstance(other, FullSize)
    assert first.reading_seconds > 0
    assert other.reading_seconds == 0
    assert scaled.reading_seconds > 0
    assert other.view.size == 32


def test_what_does_not_fit_on_the_disk_is_decoded(samples: list[Sample], tmp_path: Path) -> None:
    """The room that is asked for is that of the pixels: four bytes each."""
    from trainer.data.cache import _bytes_needed

    pixels = sum(height * width for height, width in SIZES)
    assert _bytes_needed(sources_of(samples, SAME), View(16, tiles=True)) == 4 * pixels
    assert _bytes_needed(sources_of(samples, SAME), View(16, tiles=True, scale=0.5)) == pixels
    assert RESERVE_BYTES > 0
