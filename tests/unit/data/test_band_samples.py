"""Datasets of other bands than RGB: cache, tiles, crops, digests and random changes, against plain numpy."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
import torch

from tests.support.bands import band_folder
from tests.support.data import count_nothing
from trainer.config import DataConfig
from trainer.data.augment import augment
from trainer.data.bands import BandLevels
from trainer.data.cache import RESERVE_BYTES, open_samples
from trainer.data.checks.scan import FACTS, channels_of, facts_type
from trainer.data.crops import training_pixels
from trainer.data.dataset import Dataset, open_dataset
from trainer.data.full_size import PIXELS, CachedFullSize, FullSize, UncachedFullSize
from trainer.data.image_io import read_mask
from trainer.data.resize import shrink_image
from trainer.data.sources import find_sources
from trainer.data.stored_samples import CachedSamples, UncachedSamples
from trainer.data.view import View

BANDS = 6


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return band_folder(tmp_path / "bands", count=6, bands=BANDS)


def opened(root: Path, view: View, **settings: Any) -> Dataset:
    return open_dataset(
        find_sources(DataConfig(root=str(root), **settings)), view, root.parent / "cache", count_nothing
    )


def scaled(root: Path) -> np.ndarray:
    """Images as they are to be shown, uint8 [N, H, W, C]: 12 bits are 0..255."""
    stored = np.array([tifffile.imread(file) for file in sorted((root / "images").iterdir())])
    return np.rint(stored * (255 / 4095)).astype(np.uint8)


def no_space(monkeypatch: pytest.MonkeyPatch) -> None:
    from trainer.data import cache

    usage = type("Usage", (), {"free": RESERVE_BYTES})
    monkeypatch.setattr(cache.shutil, "disk_usage", lambda folder: usage)


def test_resized(root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    view, images = View(16, channels=BANDS), scaled(root)
    dataset = opened(root, view)
    assert isinstance(dataset.stored, CachedSamples)
    found, masks = dataset.stored.read([0, 5])
    assert found.shape == (2, BANDS, 16, 16)
    for image, row in zip(found, (0, 5), strict=True):
        assert np.array_equal(image.permute(1, 2, 0).numpy(), shrink_image(images[row], 16))
        for band in range(BANDS):  # as if each were an image of three equal ones
            grey = np.repeat(images[row][..., band : band + 1], 3, axis=2)
            assert np.array_equal(image[band].numpy(), shrink_image(grey, 16)[..., 0])
    no_space(monkeypatch)
    uncached, _ = open_samples(dataset.sources, view, tmp_path / "other", count_nothing)
    assert isinstance(uncached, UncachedSamples)
    assert all(torch.equal(*pair) for pair in zip(uncached.read([0, 5]), (found, masks), strict=True))


def test_in_tiles(root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    view, images = View(16, tiles=True, channels=BANDS), scaled(root)
    dataset = opened(root, view)
    assert isinstance(dataset.stored, CachedFullSize)
    pixels = next((root.parent / "cache").glob(f"*/{PIXELS}"))
    assert pixels.stat().st_size == (BANDS + 1) * images[..., 0].size
    no_space(monkeypatch)
    uncached, _ = open_samples(dataset.sources, view, tmp_path / "other", count_nothing)
    assert isinstance(uncached, UncachedFullSize)
    for stored in (dataset.stored, uncached):
        assert isinstance(stored, FullSize)
        for row, image in enumerate(images):
            assert np.array_equal(stored.image(row), image)
            inside, labels = stored.window(row, 3, 5, 8)
            assert np.array_equal(inside, image[3:11, 5:13])
            truth = read_mask(dataset.sources.samples[row].mask)
            assert np.array_equal(labels, truth[3:11, 5:13])
            window, mask = stored.window(row, -4, 20, 16)
            assert np.array_equal(window[4:, :12], image[:12, 20:])
            assert not window[:4].any()
            assert (mask[:4] == 255).all()
            assert np.array_equal(mask[4:, :12], truth[:12, 20:])
    crops, _ = training_pixels(dataset.stored, 0, "off").read([0, 1], 0, 16)
    assert crops.shape == (2, BANDS, 16, 16)


def test_normalisation_and_levels(root: Path) -> None:
    dataset = opened(root, View(16, channels=BANDS))
    assert isinstance(dataset.levels, BandLevels)
    assert [(one.low, one.high) for one in dataset.levels.bands] == [(0, 4095)] * BANDS
    training = scaled(root)[list(dataset.split.train)]
    measured = dataset.normalisation()
    assert measured is not None
    assert np.allclose(measured[0], training.mean(axis=(0, 1, 2)))
    assert np.allclose(measured[1], training.std(axis=(0, 1, 2)))


def test_rgb_is_as_it_was(tmp_path: Path) -> None:
    """Neither the records nor the names of caches know of bands."""
    assert facts_type(3) is FACTS
    assert channels_of(np.zeros(1, FACTS)) == 3
    assert channels_of(np.zeros(1, facts_type(1))) == 1
    assert View(64).key == "64"
    assert View(64, tiles=True, scale=0.5).key == "tiles 0.5"
    root = band_folder(tmp_path / "rgb", count=4, bands=3, seen_in=0, photometric="rgb")
    dataset = opened(root, View(16))
    assert dataset.normalisation() is None
    assert dataset.stored.facts.dtype == FACTS


def test_another_number_of_bands_is_another_cache_and_digest(tmp_path: Path) -> None:
    """Four bands, which are also RGB with an opacity: the same files, read in two ways."""
    root = band_folder(tmp_path / "rgba", count=4, bands=4, photometric="rgb", extrasamples=["unassalpha"])
    three, four = opened(root, View(16)), opened(root, View(16, channels=4))
    assert three.digest != four.digest
    assert len([one for one in (tmp_path / "cache").iterdir() if (one / "images.npy").exists()]) == 2
    again = opened(root, View(16, channels=4))
    assert again.digest == four.digest
    assert again.stored.reading_seconds == 0


@pytest.mark.parametrize("bands", [1, 2, 4, 5])
@pytest.mark.parametrize("preset", ["off", "light", "strong"])
def test_random_changes_treat_all_bands_alike(bands: int, preset: str) -> None:
    """Where they are equal, they stay so; and the masks are those of an RGB image."""
    torch.manual_seed(0)
    grey = torch.randint(0, 256, (4, 1, 32, 32), dtype=torch.uint8)
    masks = torch.randint(0, 2, (4, 32, 32), dtype=torch.uint8)
    arguments = (preset, 3, 1, range(4), 24)
    images, found = augment(grey.expand(-1, bands, -1, -1), masks, *arguments)
    _, expected = augment(grey.expand(-1, 3, -1, -1), masks, *arguments)
    assert images.shape == (4, bands, 24, 24)
    assert torch.equal(found, expected)
    assert torch.allclose(images, images[:, :1].expand(-1, bands, -1, -1), atol=1e-3)
    assert preset == "off" or not torch.allclose(images[0], images[1])
    assert float(images.min()) >= 0
    assert float(images.max()) <= 255


def test_bands_keep_their_differences() -> None:
    """No hue, saturation or grey mixes them: one that is black stays black where contrast and brightness do."""
    torch.manual_seed(0)
    images = torch.randint(0, 256, (16, 5, 32, 32), dtype=torch.uint8)
    changed, _ = augment(images, torch.zeros(16, 32, 32, dtype=torch.uint8), "strong", 0, 0, range(16))
    order = torch.randperm(5)
    other, _ = augment(images[:, order], torch.zeros(16, 32, 32, dtype=torch.uint8), "strong", 0, 0, range(16))
    assert torch.allclose(changed[:, order], other, atol=1e-2)
