"""The same picture found again, against the definitions in plain loops."""

import io
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageEnhance

from tests.support.data import VocMaker, count_nothing
from tests.support.planted import picture as drawn
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


def thumbnail(picture: Image.Image) -> np.ndarray:
    return np.array(picture.convert("L").resize((16, 16), Image.Resampling.BOX))


def thumbnails(count: int, seed: int = 0) -> np.ndarray:
    return np.stack([thumbnail(drawn(48, 64, seed + number)) for number in range(count)])


def test_groups() -> None:
    keys = np.array([5, 2, 5, 9, 2, 2, 2**63 + 1, 7], dtype=np.uint64)
    assert [group.tolist() for group in groups(keys)] == [[1, 4, 5], [0, 2]]
    assert groups(np.arange(4, dtype=np.uint64)) == []
    assert groups(np.zeros(0, dtype=np.uint64)) == []


def test_hash_is_what_it_says() -> None:
    for picture, found in zip(thumbnails(5), difference_hash(thumbnails(5)), strict=True):
        cells = [[int(picture[2 * y : 2 * y + 2, 2 * x : 2 * x + 2].sum()) for x in range(8)] for y in range(8)]
        bits = {cells[y][x] > cells[y][(x + 1) % 8] for y in range(8) for x in range(8)}
        assert len(bits) == 2
        expected = sum(cells[y][x] > cells[y][(x + 1) % 8] for y in range(8) for x in range(8))
        assert int(found).bit_count() == expected


@pytest.mark.parametrize("tile", [(64, 4096), (3, 5), (1, 1)])
def test_pairs_as_in_a_loop_over_all(tile: tuple[int, int], monkeypatch: pytest.MonkeyPatch) -> None:
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


def saved(picture: Image.Image, quality: int) -> Image.Image:
    buffer = io.BytesIO()
    picture.save(buffer, "JPEG", quality=quality)
    return Image.open(buffer)


CHANGES: dict[str, Callable[[Image.Image], Image.Image]] = {
    "quality 20": lambda picture: saved(picture, 20),
    "half": lambda picture: picture.resize((picture.width // 2, picture.height // 2)),
    "thrice": lambda picture: picture.resize((picture.width * 3, picture.height * 3), Image.Resampling.BICUBIC),
    "darker": lambda picture: ImageEnhance.Brightness(picture).enhance(0.6),
    "less contrast": lambda picture: ImageEnhance.Contrast(picture).enhance(0.6),
    "grey": lambda picture: picture.convert("L"),
    "all": lambda picture: saved(ImageEnhance.Brightness(picture.resize((150, 100))).enhance(0.8), 40),
}


@pytest.mark.parametrize("change", CHANGES)
def test_changes_that_leave_the_picture_the_same(change: str) -> None:
    pictures = [drawn(120, 180, seed) for seed in range(20)]
    first = np.stack([thumbnail(picture) for picture in pictures])
    second = np.stack([thumbnail(CHANGES[change](picture)) for picture in pictures])
    assert set(near_pairs(first, second)) == {(row, row) for row in range(20)}
    assert (np.bitwise_count(difference_hash(first) ^ difference_hash(second)) <= HASH_DISTANCES[0]).all()


def test_other_pictures_are_not_the_same() -> None:
    first = thumbnails(100)
    flat = np.full((2, 16, 16), 90, np.uint8)  # of one colour: alike, and nothing to tell them apart by
    assert not same_image(flat[:1], flat[1:]).any()
    specks = 90 + (first > 127).astype(np.uint8)
    assert not same_image(specks, specks).any()
    faint = 90 + first // 12
    assert same_image(faint, first).any()
    assert not same_image(faint[:-1], first[:-1] // 2 + first[1:] // 2).any()
    mirrored, negative = first[:, :, ::-1], 255 - first
    assert not same_image(first, mirrored).any()
    assert not same_image(first, negative).any()
    # Noise of the same overall brightness pattern is another picture where it is strong.
    noisy = np.clip(first + np.random.default_rng(0).normal(0, 40, first.shape), 0, 255).astype(np.uint8)
    assert not same_image(first, noisy).any()


def test_a_set_of_one_scene_is_compared_in_bounded_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """Hashes all alike: closer ones are asked for, and the one true copy is still found."""
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
    second[:] = first[0]  # nothing tells these apart
    assert set(near_pairs(first[:1].repeat(300, 0), second))
    assert sum(compared) <= 500 + 5


# ------------------------------------------------------------------------------------------------ cached pairs


def test_pairs_are_those_of_a_search(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
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


def test_a_later_start_finds_the_same(make_voc: VocMaker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = make_voc(*"abcdefghij")
    sources = find_sources(DataConfig(root=str(root)))
    val, train = (sources.samples[rows[0]] for rows in (sources.split.val, sources.split.train))
    Image.fromarray(train.read_image()).save(val.image, quality=40)
    write_mask(val.mask, train.read_mask(sources.values))

    def warned(cache: str) -> list[str]:
        sources = find_sources(DataConfig(root=str(root)))
        report = open_dataset(sources, 32, tmp_path / cache, count_nothing).report
        return [finding.text for finding in report.findings]

    first = warned("cache")
    assert any(f"{val.image}, {train.image}: nearly the same" in text for text in first)
    monkeypatch.setattr(duplicates, "near_pairs", None)
    assert warned("cache") == first
