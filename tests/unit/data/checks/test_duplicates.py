"""Search for duplicate images, against the definitions in plain loops."""

import io
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageEnhance

from tests.support.data import VocMaker, count_nothing
from tests.support.images import spotted_image
from trainer.config import DataConfig
from trainer.data.checks import duplicates
from trainer.data.checks.duplicates import (
    HASH_DISTANCES,
    cached_near_pairs,
    difference_hash,
    groups,
    near_pairs,
    same_image,
)
from trainer.data.dataset import open_dataset
from trainer.data.image_io import write_mask
from trainer.data.sources import find_sources
from trainer.data.view import View


def thumbnail(pil_image: Image.Image) -> np.ndarray:
    """Thumbnail, uint8 [16, 16], by the definition in `scan`."""
    return np.array(pil_image.convert("L").resize((16, 16), Image.Resampling.BOX))


def thumbnails(count: int, seed: int = 0) -> np.ndarray:
    """Thumbnails of different images, uint8 [N, 16, 16]."""
    return np.stack([thumbnail(spotted_image(48, 64, seed + number)) for number in range(count)])


def test_groups() -> None:
    keys = np.array([5, 2, 5, 9, 2, 2, 2**63 + 1, 7], dtype=np.uint64)
    assert [group.tolist() for group in groups(keys)] == [[1, 4, 5], [0, 2]]
    assert groups(np.arange(4, dtype=np.uint64)) == []
    assert groups(np.zeros(0, dtype=np.uint64)) == []


def test_difference_hash() -> None:
    for image, found in zip(thumbnails(5), difference_hash(thumbnails(5)), strict=True):
        cells = [[int(image[2 * y : 2 * y + 2, 2 * x : 2 * x + 2].sum()) for x in range(8)] for y in range(8)]
        bits = {cells[y][x] > cells[y][(x + 1) % 8] for y in range(8) for x in range(8)}
        assert len(bits) == 2
        expected = sum(cells[y][x] > cells[y][(x + 1) % 8] for y in range(8) for x in range(8))
        assert int(found).bit_count() == expected


@pytest.mark.parametrize("tile", [(64, 4096), (3, 5), (1, 1)])
def test_near_pairs_equal_those_of_all_pairs(tile: tuple[int, int], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(duplicates, "TILE", tile)
    first, second = thumbnails(10), thumbnails(13, seed=50)
    second[[4, 12]] = first[7] // 2 + 20, first[2]
    expected = {
        (row, column)
        for row in range(10)
        for column in range(13)
        if np.corrcoef(first[row].ravel(), second[column].ravel())[0, 1] > 0.99
    }
    assert expected == {(7, 4), (2, 12)}
    assert set(near_pairs(first, second)) == expected


def save_jpeg(pil_image: Image.Image, quality: int) -> Image.Image:
    buffer = io.BytesIO()
    pil_image.save(buffer, "JPEG", quality=quality)
    return Image.open(buffer)


CHANGES: dict[str, Callable[[Image.Image], Image.Image]] = {
    "quality 20": lambda pil_image: save_jpeg(pil_image, 20),
    "half": lambda pil_image: pil_image.resize((pil_image.width // 2, pil_image.height // 2)),
    "thrice": lambda pil_image: pil_image.resize((pil_image.width * 3, pil_image.height * 3), Image.Resampling.BICUBIC),
    "darker": lambda pil_image: ImageEnhance.Brightness(pil_image).enhance(0.6),
    "less contrast": lambda pil_image: ImageEnhance.Contrast(pil_image).enhance(0.6),
    "grey": lambda pil_image: pil_image.convert("L"),
    "all": lambda pil_image: save_jpeg(ImageEnhance.Brightness(pil_image.resize((150, 100))).enhance(0.8), 40),
}


@pytest.mark.parametrize("change", CHANGES)
def test_changed_copies_are_near_pairs(change: str) -> None:
    originals = [spotted_image(120, 180, seed) for seed in range(20)]
    first = np.stack([thumbnail(original) for original in originals])
    second = np.stack([thumbnail(CHANGES[change](original)) for original in originals])
    assert set(near_pairs(first, second)) == {(row, row) for row in range(20)}
    assert (np.bitwise_count(difference_hash(first) ^ difference_hash(second)) <= HASH_DISTANCES[0]).all()


def test_different_images_are_not_the_same() -> None:
    first = thumbnails(100)
    flat = np.full((2, 16, 16), 90, np.uint8)  # of a single colour, so nothing can be compared
    assert not same_image(flat[:1], flat[1:]).any()
    specks = 90 + (first > 127).astype(np.uint8)
    assert not same_image(specks, specks).any()
    faint = 90 + first // 12
    assert same_image(faint, first).any()
    assert not same_image(faint[:-1], first[:-1] // 2 + first[1:] // 2).any()
    mirrored, negative = first[:, :, ::-1], 255 - first
    assert not same_image(first, mirrored).any()
    assert not same_image(first, negative).any()
    # Strong noise over the same pattern of brightness makes another image.
    noisy = np.clip(first + np.random.default_rng(0).normal(0, 40, first.shape), 0, 255).astype(np.uint8)
    assert not same_image(first, noisy).any()


def test_many_images_of_one_scene_take_bounded_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """If all hashes are near, smaller distances are required, and the true copy is still found."""
    compared: list[int] = []
    monkeypatch.setattr(duplicates, "same_image", lambda *pair: compared.append(len(pair[0])) or same_image(*pair))
    random = np.random.default_rng(0)
    scene = np.linspace(50, 210, 16)[None, :].repeat(16, 0)
    first = np.clip(scene + random.normal(0, 30, (300, 16, 16)), 0, 255).astype(np.uint8)
    second = np.clip(scene + random.normal(0, 30, (400, 16, 16)), 0, 255).astype(np.uint8)
    second[5] = first[9]
    assert set(near_pairs(first, second)) == {(9, 5)}
    assert sum(compared) > 1000
    compared.clear()
    monkeypatch.setattr(duplicates, "MOST_COMPARED", 500)
    assert set(near_pairs(first, second)) == {(9, 5)}
    assert 0 < sum(compared) <= 500 + 5
    compared.clear()
    second[:] = first[0]  # all pairs are the same
    assert set(near_pairs(first[:1].repeat(300, 0), second))
    assert sum(compared) <= 500 + 5


# ------------------------------------------------------------------------------------------------ cached pairs


def test_cached_pairs_equal_near_pairs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first, second = thumbnails(10), thumbnails(13, seed=50)
    second[[4, 12]] = first[7] // 2 + 20, first[2]
    expected = list(near_pairs(first, second))
    assert len(expected) == 2
    assert cached_near_pairs(first, second, 100, tmp_path).tolist() == [list(pair) for pair in expected]
    with monkeypatch.context() as patch:
        patch.setattr(duplicates, "near_pairs", None)  # nothing is compared
        assert cached_near_pairs(first, second, 100, tmp_path).tolist() == [list(pair) for pair in expected]
    assert cached_near_pairs(first, second, 1, tmp_path).tolist() == [list(expected[0])]
    for changed in (first[::-1], first[:9], np.where(first == first[2], 255 - first, first)):
        fresh_pairs = [list(pair) for pair in near_pairs(changed, second)]
        assert cached_near_pairs(changed, second, 100, tmp_path).tolist() == fresh_pairs
        assert fresh_pairs != [list(pair) for pair in expected] or len(changed) == 9
    assert cached_near_pairs(first, second[:4], 100, tmp_path).shape == (0, 2)
    assert cached_near_pairs(first, second[:4], 100, tmp_path).shape == (0, 2)
    assert cached_near_pairs(first, second, 100, None).tolist() == [list(pair) for pair in expected]


def test_later_start_gives_the_same_warnings(
    make_voc: VocMaker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = make_voc(*"abcdefghij")
    sources = find_sources(DataConfig(root=str(root)))
    val, train = (sources.samples[rows[0]] for rows in (sources.split.val, sources.split.train))
    Image.fromarray(train.read_image()).save(val.image, quality=40)
    write_mask(val.mask, train.read_mask(sources.values))

    def warnings(cache: str) -> list[str]:
        sources = find_sources(DataConfig(root=str(root)))
        report = open_dataset(sources, View(32), tmp_path / cache, count_nothing).report
        return [finding.text for finding in report.findings]

    first = warnings("cache")
    assert any(f"{val.image}, {train.image}: nearly the same" in text for text in first)
    monkeypatch.setattr(duplicates, "near_pairs", None)
    assert warnings("cache") == first
