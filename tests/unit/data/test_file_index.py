"""Digests stored for the next start: equal to fresh ones, and never used for files that have changed."""

import json
import os
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from tests.support.data import VocMaker
from tests.support.layouts import scenes, write_coco, write_labelme
from trainer.data import file_index
from trainer.data.file_index import FileIndex, digests_of, load_array, save_array
from trainer.data.sample import Sample, digest
from trainer.data.sources import find_samples
from trainer.system.parallel import on_all_cores


class Reads:
    """A `Progress` that counts the samples that are read."""

    def __init__(self) -> None:
        self.total = 0

    def __call__(self, _description: str, total: int) -> Callable[[], None]:
        self.total += total
        return lambda: None


@pytest.fixture
def no_min_age(monkeypatch: pytest.MonkeyPatch) -> None:
    """Trust the times of files from the moment they are written."""
    monkeypatch.setattr(file_index, "MIN_AGE_S", -60.0)


def fresh(samples: list[Sample]) -> list[bytes]:
    """Digests by their definition."""
    return [digest(sample.image_content(), sample.mask_content()).encode() for sample in samples]


def stored(samples: list[Sample], folder: Path) -> tuple[list[bytes], int]:
    """Digests, and the number of samples that were read for them."""
    reads = Reads()
    return digests_of(samples, FileIndex(samples, folder), reads).tolist(), reads.total


# ------------------------------------------------------------------------------------------------ files


@pytest.mark.usefixtures("no_min_age")
def test_unchanged_files_are_not_read(make_voc: VocMaker, tmp_path: Path) -> None:
    samples = find_samples([make_voc("a", "b", "c")]).samples
    assert stored(samples, tmp_path) == (fresh(samples), 3)
    assert stored(samples, tmp_path) == (fresh(samples), 0)
    assert stored(samples[::-1], tmp_path) == (fresh(samples)[::-1], 0)
    more = find_samples([make_voc("aa", "d")]).samples
    assert [sample.name for sample in more] == ["a", "aa", "b", "c", "d"]
    assert stored(more, tmp_path)[0] == fresh(more)
    assert stored(more, tmp_path) == (fresh(more), 0)


def test_recently_changed_files_are_always_read(make_voc: VocMaker, tmp_path: Path) -> None:
    samples = find_samples([make_voc("a", "b")]).samples
    for _ in range(2):
        assert stored(samples, tmp_path) == (fresh(samples), 2)


def invert(file: str) -> None:
    """Overwrite a file in place with other contents of the same length."""
    content = Path(file).read_bytes()
    with open(file, "r+b") as target:
        target.write(bytes(255 - value for value in content))


def invert_and_restore_time(file: str) -> None:
    before = os.stat(file)
    invert(file)
    os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))
    after = os.stat(file)
    assert (after.st_size, after.st_mtime_ns, after.st_ino) == (before.st_size, before.st_mtime_ns, before.st_ino)


def replace(file: str) -> None:
    before = os.stat(file)
    Path(f"{file}.new").write_bytes(bytes(255 - value for value in Path(file).read_bytes()))
    os.utime(f"{file}.new", ns=(before.st_atime_ns, before.st_mtime_ns))
    os.replace(f"{file}.new", file)


def link_to_other(file: str) -> None:
    """Replace a file by a link to an older one of the same size and other contents."""
    Path(file).unlink()
    Path(file).symlink_to(f"{file}.other")


@pytest.mark.usefixtures("no_min_age")
@pytest.mark.parametrize("part", ["image_file", "mask_file"])
@pytest.mark.parametrize("change", [invert, invert_and_restore_time, replace, link_to_other])
def test_a_change_is_noticed(change: Callable[[str], None], part: str, make_voc: VocMaker, tmp_path: Path) -> None:
    samples = find_samples([make_voc("a", "b", "c")]).samples
    file = getattr(samples[1], part)
    Path(f"{file}.other").write_bytes(bytes(255 - value for value in Path(file).read_bytes()))
    before = stored(samples, tmp_path)[0]
    time.sleep(0.02)  # filesystem clocks have steps of up to 10 ms, one reason for MIN_AGE_S
    change(file)
    after = stored(samples, tmp_path)
    assert after == (fresh(samples), 1)
    assert [one != other for one, other in zip(before, after[0], strict=True)] == [False, True, False]


@pytest.mark.usefixtures("no_min_age")
def test_change_of_a_polygon_mask_is_noticed(tmp_path: Path) -> None:
    """COCO's polygons, and the ids of Labelme's labels, are stored in none of a sample's files."""
    write_coco(tmp_path / "coco", scenes(3))
    write_labelme(tmp_path / "labelme", scenes(3))
    for root, change in ((tmp_path / "coco", move_polygon), (tmp_path / "labelme", swap_labels)):
        samples = find_samples([root]).samples
        before = stored(samples, tmp_path)[0]
        assert stored(samples, tmp_path) == (before, 0)
        change(root)
        changed = find_samples([root]).samples
        digests, reads = stored(changed, tmp_path)
        assert digests == fresh(changed)
        assert reads == sum(one != other for one, other in zip(before, digests, strict=True)) > 0


def move_polygon(root: Path) -> None:
    file = root / "annotations" / "instances_default.json"
    record = json.loads(file.read_text())
    record["annotations"][0]["segmentation"][0][0] += 1
    file.write_text(json.dumps(record))


def swap_labels(root: Path) -> None:
    (root / "labels.txt").write_text("__ignore__\n_background_\ndog\ncat\n")


@pytest.mark.usefixtures("no_min_age")
def test_missing_file(make_voc: VocMaker, tmp_path: Path) -> None:
    samples = find_samples([make_voc("a", "b")]).samples
    expected = fresh(samples)
    stored(samples, tmp_path)
    samples[0].mask.unlink()
    assert stored(samples, tmp_path) == ([b"", expected[1]], 1)


@pytest.mark.usefixtures("no_min_age")
@pytest.mark.parametrize("content", [b"", b"no array", None])
def test_damaged_index_is_made_again(content: bytes | None, make_voc: VocMaker, tmp_path: Path) -> None:
    samples = find_samples([make_voc("a", "b")]).samples
    stored(samples, tmp_path)
    (file,) = tmp_path.glob("files-*.npy")
    file.write_bytes(file.read_bytes()[:-9] if content is None else content)
    assert stored(samples, tmp_path) == (fresh(samples), 2)
    assert stored(samples, tmp_path) == (fresh(samples), 0)


@pytest.mark.usefixtures("no_min_age")
def test_one_of_several_processes_reads(make_voc: VocMaker, tmp_path: Path) -> None:
    samples = find_samples([make_voc("a", "b", "c")]).samples
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda _: stored(samples, tmp_path), range(4)))
    assert [digests for digests, _ in found] == 4 * [fresh(samples)]
    assert sum(reads for _, reads in found) == 3


def test_full_disk_is_no_error(make_voc: VocMaker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(np, "save", lambda *_: (_ for _ in ()).throw(OSError(28, "no space")))
    samples = find_samples([make_voc("a")]).samples
    assert stored(samples, tmp_path)[0] == fresh(samples)
    assert not [path for path in tmp_path.iterdir() if path.suffix in (".npy", ".partial")]


# ------------------------------------------------------------------------------------------------ arrays and threads


def test_saved_array_is_loaded(tmp_path: Path) -> None:
    values = np.arange(6).reshape(3, 2)
    assert load_array(tmp_path / "a.npy", values.dtype) is None
    save_array(tmp_path / "a.npy", values)
    loaded = load_array(tmp_path / "a.npy", values.dtype)
    assert loaded is not None
    assert np.array_equal(loaded, values)
    assert load_array(tmp_path / "a.npy", np.dtype(np.uint8)) is None
    assert [path.name for path in tmp_path.iterdir()] == ["a.npy"]


@pytest.mark.parametrize("count", [0, 1, 7, 8, 9, 1500])
def test_results_come_in_the_order_of_the_arguments(count: int) -> None:
    assert on_all_cores(lambda number: number * number, range(count)) == [number * number for number in range(count)]
    with pytest.raises(ZeroDivisionError):
        on_all_cores(lambda number: 1 // (number - count), range(count + 1))
