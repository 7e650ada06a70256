"""Classes, class shares and memory of an opened dataset."""

from pathlib import Path

import numpy as np
import pytest

from tests.support.data import VocMaker, count_nothing
from trainer.config import DataConfig
from trainer.data.dataset import open_dataset
from trainer.data.image_io import read_mask, write_mask
from trainer.data.sources import find_sources
from trainer.data.view import View


def test_dataset(make_voc: VocMaker, tmp_path: Path) -> None:
    root = make_voc(*"abcdefghij", classes=3)
    sources = find_sources(DataConfig(root=str(root)))
    dataset = open_dataset(sources, View(32), tmp_path / "cache", count_nothing)
    assert dataset.names == ("_background_", "class_1", "class_2")
    assert len(dataset.inspection.notes) == 1
    assert dataset.title == "voc"
    masks = np.concatenate([read_mask(sample.mask).ravel() for sample in dataset.samples(dataset.split.train)])
    assert dataset.shares() == pytest.approx([float((masks == number).mean()) for number in range(3)])
    content = dataset.content()
    assert content["digest"] == dataset.digest
    assert sorted(content["train"] + content["val"]) == list("abcdefghij")


def test_shares_leave_ignored_pixels_out(make_voc: VocMaker, tmp_path: Path) -> None:
    root = make_voc("a", "b")
    for file in (root / "SegmentationClassPNG").iterdir():
        mask = read_mask(file)
        mask[:] = 255
        mask[0, :4] = [0, 0, 0, 1]
        write_mask(file, mask)
    sources = find_sources(DataConfig(root=str(root), classes=["cat"]))
    assert open_dataset(sources, View(16), tmp_path / "cache", count_nothing).shares() == [0.75, 0.25]


def test_facts_take_no_memory_after_use(make_voc: VocMaker, tmp_path: Path) -> None:
    """Their pages are mapped, and would count as memory of the process: 1.4 KB an image."""
    root = make_voc(*"abcdefghij")
    dataset = open_dataset(find_sources(DataConfig(root=str(root))), View(32), tmp_path / "cache", count_nothing)
    file = next((tmp_path / "cache").glob("*/facts.npy"))  # other tests' may still be mapped
    expected = np.load(file)
    for use in (lambda: None, lambda: dataset.report, lambda: dataset.pixels):
        use()
        assert resident_kb(file) == 0
        assert np.array_equal(dataset.stored.facts, expected)
        assert resident_kb(file) > 0


def resident_kb(file: Path) -> int:
    """Memory of this process that maps a file, in kilobytes."""
    lines = Path("/proc/self/smaps").read_text().splitlines()
    starts = [row for row, line in enumerate(lines) if line.endswith(f" {file}")]
    sizes = [next(line for line in lines[row:] if line.startswith("Rss:")) for row in starts]
    return sum(int(size.split()[1]) for size in sizes)
