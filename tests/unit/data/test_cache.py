"""The cache of resized samples: found again, rebuilt after changes, refused as a whole for broken files."""

import os
import shutil
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from tests.support.data import SAME, VocMaker, count_nothing, sources_of
from trainer import InputError
from trainer.config import DataConfig
from trainer.data.cache import open_samples
from trainer.data.dataset import open_dataset
from trainer.data.file_index import FileIndex
from trainer.data.image_io import read_image, read_mask, write_mask
from trainer.data.resize import resize_images
from trainer.data.sample import Sample, digest
from trainer.data.sources import find_samples, find_sources
from trainer.data.stored_samples import CachedSamples, UncachedSamples
from trainer.data.value_map import ValueMap
from trainer.data.view import View


def opened(samples: list[Sample], folder: Path, size: int = 32, values: ValueMap = SAME) -> CachedSamples:
    resized, warnings = open_samples(sources_of(samples, values), View(size), folder, count_nothing)
    assert isinstance(resized, CachedSamples)
    assert not warnings
    return resized


def folders(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if path.is_dir())


def test_contents(make_voc: VocMaker, tmp_path: Path) -> None:
    samples = find_samples([make_voc("a", "b", "c", classes=3)]).samples
    cache = opened(samples, tmp_path / "cache")
    assert cache.images.shape == (3, 32, 32, 3)
    assert cache.masks.shape == (3, 32, 32)
    for row, sample in enumerate(samples):
        image = torch.from_numpy(read_image(sample.image)).permute(2, 0, 1)[None]
        expected = resize_images(image, 32)[0].permute(1, 2, 0).numpy()
        assert np.array_equal(cache.images[row], expected)
        mask = read_mask(sample.mask)
        assert set(np.unique(cache.masks[row])) <= set(np.unique(mask))
        assert cache.facts["counts"][row].tolist() == [int((mask == value).sum()) for value in range(256)]


def test_read_gives_tensors_that_can_be_changed(make_voc: VocMaker, tmp_path: Path) -> None:
    cache = opened(find_samples([make_voc("a", "b", "c")]).samples, tmp_path / "cache")
    images, masks = cache.read([2, 0, 2])
    assert images.shape == (3, 3, 32, 32)
    assert masks.shape == (3, 32, 32)
    assert images.dtype == masks.dtype == torch.uint8
    assert np.array_equal(images[0].permute(1, 2, 0).numpy(), cache.images[2])
    assert torch.equal(images[0], images[2])
    images.zero_()
    masks.zero_()
    assert cache.images[2].any()
    assert cache.read(np.array([1]))[0].shape == (1, 3, 32, 32)
    assert cache.read([])[0].shape == (0, 3, 32, 32)


def test_second_time_decodes_nothing(make_voc: VocMaker, tmp_path: Path) -> None:
    samples = find_samples([make_voc("a", "b")]).samples
    first = opened(samples, tmp_path / "cache")
    (made,) = folders(tmp_path / "cache")
    marked = np.load(made / "images.npy", mmap_mode="r+")  # not what decoding gives
    marked[1] = 77
    marked.flush()
    again = opened(samples, tmp_path / "cache")
    assert again.reading_seconds == 0 < first.reading_seconds
    assert (again.images[1] == 77).all()
    assert np.array_equal(again.facts, first.facts)
    assert folders(tmp_path / "cache") == [made]


def test_renamed_folder_is_found_again(make_voc: VocMaker, tmp_path: Path) -> None:
    root = make_voc("a", "b")
    opened(find_samples([root]).samples, tmp_path / "cache")
    samples = find_samples([root.rename(tmp_path / "other")]).samples
    bars: list[str] = []
    open_samples(
        sources_of(samples), View(32), tmp_path / "cache", lambda text, _total: bars.append(text) or (lambda: None)
    )
    assert bars == ["comparing files"]
    assert len(folders(tmp_path / "cache")) == 1


def test_a_first_start_opens_each_file_once(
    make_voc: VocMaker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    samples = find_samples([make_voc("a", "b", "c")]).samples
    opens: Counter[str] = Counter()
    real_open = os.open

    def count(path: str, *arguments: int, **named: int) -> int:
        opens[str(path)] += 1
        return real_open(path, *arguments, **named)

    monkeypatch.setattr(os, "open", count)
    opened(samples, tmp_path / "cache")
    assert [opens[file] for sample in samples for file in sample.files] == [1] * 6


def test_a_first_start_stores_the_digests(make_voc: VocMaker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("trainer.data.file_index.MIN_AGE_S", -60.0)
    samples = find_samples([make_voc("a", "b", "c")]).samples
    cache = opened(samples, tmp_path / "cache")
    expected = [digest(sample.image_content(), sample.mask_content()).encode() for sample in samples]
    assert FileIndex(samples, tmp_path / "cache").load().tolist() == expected == cache.facts["digest"].tolist()


def test_a_cache_that_was_built_in_the_meantime_is_kept(make_voc: VocMaker, tmp_path: Path) -> None:
    """The digests are known only after the build; by then another process may have built the same."""
    samples = find_samples([make_voc("a", "b")]).samples
    opened(samples, tmp_path / "cache")
    (made,) = folders(tmp_path / "cache")
    marked = np.load(made / "images.npy", mmap_mode="r+")
    marked[1] = 77
    marked.flush()
    away = made.rename(tmp_path / "away")

    def come_back(_text: str, _total: int) -> Callable[[], None]:
        return lambda: None if made.is_dir() else shutil.copytree(away, made) and None

    resized, _ = open_samples(sources_of(samples), View(32), tmp_path / "cache", come_back)
    assert isinstance(resized, CachedSamples)
    assert (resized.images[1] == 77).all()
    assert [path.name for path in (tmp_path / "cache").iterdir() if path.is_dir()] == [made.name]


@pytest.mark.parametrize("change", ["image", "mask", "size", "table", "order", "fewer"])
def test_other_contents_make_another_cache(change: str, make_voc: VocMaker, tmp_path: Path) -> None:
    samples = find_samples([make_voc("a", "b")]).samples
    opened(samples, tmp_path / "cache")
    table = SAME.table.copy()
    if change == "image":
        stamp = os.stat(samples[0].image)
        turned = read_image(samples[0].image)[::-1]
        Image.fromarray(np.ascontiguousarray(turned)).save(samples[0].image)
        os.utime(samples[0].image, ns=(stamp.st_atime_ns, stamp.st_mtime_ns))  # the time alone does not show a change
    elif change == "mask":
        write_mask(samples[1].mask, 1 - read_mask(samples[1].mask))
    elif change == "table":
        table[1] = 2
    changed = {"order": samples[::-1], "fewer": samples[:1]}.get(change, samples)
    cache = opened(changed, tmp_path / "cache", 48 if change == "size" else 32, ValueMap(table))
    assert len(folders(tmp_path / "cache")) == 2
    if change == "image":
        image = torch.from_numpy(read_image(samples[0].image)).permute(2, 0, 1)[None]
        assert np.array_equal(cache.images[0], resize_images(image, 32)[0].permute(1, 2, 0).numpy())
    elif change == "table":
        assert set(np.unique(cache.masks.take(range(2)))) == {0, 2}
        assert cache.facts["counts"][:, 1].sum() == 0


def test_all_broken_files_in_one_message(make_voc: VocMaker, tmp_path: Path) -> None:
    samples = find_samples([make_voc("a", "b", "c", "d", "e")]).samples
    samples[0].image.write_bytes(samples[0].image.read_bytes()[:200])
    samples[1].mask.write_bytes(b"")
    Image.fromarray(np.zeros((9, 7), dtype=np.uint8)).save(samples[2].mask)
    samples[3].image.write_text("no picture")
    with pytest.raises(InputError) as error:
        opened(samples, tmp_path / "cache")
    lines = str(error.value).splitlines()
    assert len(lines) == 4
    for line, file in zip(lines, [samples[0].image, samples[1].mask, samples[2].mask, samples[3].image], strict=True):
        assert str(file) in line
    assert "7x9 pixels, its image has 49x35" in lines[2]
    assert folders(tmp_path / "cache") == []


def test_mended_files_are_read_again(make_voc: VocMaker, tmp_path: Path) -> None:
    samples = find_samples([make_voc("a", "b")]).samples
    content = samples[0].image.read_bytes()
    samples[0].image.write_bytes(content[:200])
    with pytest.raises(InputError):
        opened(samples, tmp_path / "cache")
    samples[0].image.write_bytes(content)
    assert opened(samples, tmp_path / "cache").images[0].any()


def test_file_that_disappears_is_named(make_voc: VocMaker, tmp_path: Path) -> None:
    samples = find_samples([make_voc("a", "b")]).samples
    samples[1].mask.unlink()
    with pytest.raises(InputError, match=str(samples[1].mask)):
        opened(samples, tmp_path / "cache")


def test_rest_of_a_killed_build_is_removed(make_voc: VocMaker, tmp_path: Path) -> None:
    samples = find_samples([make_voc("a", "b")]).samples
    opened(samples, tmp_path / "cache")
    (made,) = folders(tmp_path / "cache")
    partial = made.rename(made.with_name(f".{made.name}.1.partial"))
    (partial / "images.npy").write_bytes(b"half a file")
    (partial / "strange").touch()
    cache = opened(samples, tmp_path / "cache")
    assert folders(tmp_path / "cache") == [made]
    assert sorted(path.name for path in made.iterdir()) == ["facts.npy", "images.npy", "masks.npy"]
    assert cache.images[0].any()


# ------------------------------------------------------------------------------------------------ no cache


def test_little_space_gives_uncached_samples(
    make_voc: VocMaker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    samples = find_samples([make_voc("a", "b", "c", classes=3)]).samples
    cached = opened(samples, tmp_path / "cache")
    monkeypatch.setattr("trainer.data.cache.RESERVE_BYTES", 1 << 62)
    resized, warnings = open_samples(sources_of(samples), View(32), tmp_path / "full", count_nothing)
    assert isinstance(resized, UncachedSamples)
    assert str(tmp_path / "full") in warnings[0]
    for found, expected in zip(resized.read([2, 0]), cached.read([2, 0]), strict=True):
        assert torch.equal(found, expected)
        assert found.stride() == expected.stride()
    assert np.array_equal(resized.facts, cached.facts)
    again, warnings = open_samples(sources_of(samples), View(32), tmp_path / "full", count_nothing)
    assert isinstance(again, UncachedSamples)
    assert len(warnings) == 1


def test_a_large_cache_is_mentioned_once(make_voc: VocMaker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sources = sources_of(find_samples([make_voc("a", "b")]).samples)
    monkeypatch.setattr("trainer.data.cache.LARGE_BYTES", 2 * 32 * 32 * 3)
    _, warnings = open_samples(sources, View(32), tmp_path / "cache", count_nothing)
    assert [text.partition(" takes ")[2] for text in warnings] == ["0.0 GB; it may be deleted at any time"]
    assert open_samples(sources, View(32), tmp_path / "cache", count_nothing)[1] == []
    monkeypatch.setattr("trainer.data.cache.LARGE_BYTES", 10**5)
    assert open_samples(sources, View(32), tmp_path / "other", count_nothing)[1] == []


def test_problems_of_folders_and_files_in_one_list(make_voc: VocMaker, tmp_path: Path) -> None:
    root = make_voc("a", "b", "c")
    (root / "SegmentationClassPNG" / "a.png").unlink()
    (root / "JPEGImages" / "b.jpg").write_bytes(b"broken")
    sources = find_sources(DataConfig(root=str(root)))
    with pytest.raises(InputError) as error:
        open_dataset(sources, View(32), tmp_path / "cache", count_nothing)
    lines = str(error.value).splitlines()
    assert ["a.jpg" in lines[0], "b.jpg" in lines[1], len(lines)] == [True, True, 2]
