"""What is kept for the next start: the same as worked out anew, and never taken for something that has changed."""

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
from trainer.data.file_index import digests_of, load_array, save_array
from trainer.data.sample import Sample, digest
from trainer.data.sources import find_samples
from trainer.system.parallel import on_all_cores


class Reads:
    """A `Progress` that knows how many files were read."""

    def __init__(self) -> None:
        self.total = 0

    def __call__(self, _what: str, total: int) -> Callable[[], None]:
        self.total += total
        return lambda: None


@pytest.fixture
def settled(monkeypatch: pytest.MonkeyPatch) -> None:
    """Files count as old as soon as they are there."""
    monkeypatch.setattr(file_index, "MIN_AGE_S", -60.0)


def fresh(samples: list[Sample]) -> list[bytes]:
    """The definition."""
    return [digest(sample.image_content(), sample.mask_content()).encode() for sample in samples]


def asked(samples: list[Sample], folder: Path) -> tuple[list[bytes], int]:
    """The digests, and how many samples were read for them."""
    reads = Reads()
    return digests_of(samples, folder, reads).tolist(), reads.total


# ------------------------------------------------------------------------------------------------ files


@pytest.mark.usefixtures("settled")
def test_what_has_not_changed_is_not_read(make_voc: VocMaker, tmp_path: Path) -> None:
    samples = find_samples([make_voc("a", "b", "c")]).samples
    assert asked(samples, tmp_path) == (fresh(samples), 3)
    assert asked(samples, tmp_path) == (fresh(samples), 0)
    assert asked(samples[::-1], tmp_path) == (fresh(samples)[::-1], 0)
    more = find_samples([make_voc("aa", "d")]).samples
    assert [sample.name for sample in more] == ["a", "aa", "b", "c", "d"]
    assert asked(more, tmp_path)[0] == fresh(more)
    assert asked(more, tmp_path) == (fresh(more), 0)


def test_what_has_just_changed_is_always_read(make_voc: VocMaker, tmp_path: Path) -> None:
    samples = find_samples([make_voc("a", "b")]).samples
    for _ in range(2):
        assert asked(samples, tmp_path) == (fresh(samples), 2)


def invert(file: str) -> None:
    """Other contents of the same length, in place."""
    content = Path(file).read_bytes()
    with open(file, "r+b") as target:
        target.write(bytes(255 - value for value in content))


def invert_and_put_time_back(file: str) -> None:
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


def link_elsewhere(file: str) -> None:
    """A link to a file that was there before, and looks the same but for what is in it."""
    Path(file).unlink()
    Path(file).symlink_to(f"{file}.other")


@pytest.mark.usefixtures("settled")
@pytest.mark.parametrize("part", ["image_file", "mask_file"])
@pytest.mark.parametrize("change", [invert, invert_and_put_time_back, replace, link_elsewhere])
def test_a_change_is_noticed(change: Callable[[str], None], part: str, make_voc: VocMaker, tmp_path: Path) -> None:
    samples = find_samples([make_voc("a", "b", "c")]).samples
    file = getattr(samples[1], part)
    Path(f"{file}.other").write_bytes(bytes(255 - value for value in Path(file).read_bytes()))
    before = asked(samples, tmp_path)[0]
    time.sleep(0.02)  # the clock of a filesystem goes in steps of up to 10 ms; MIN_AGE_S is for that
    change(file)
    after = asked(samples, tmp_path)
    assert after == (fresh(samples), 1)
    assert [one != other for one, other in zip(before, after[0], strict=True)] == [False, True, False]


@pytest.mark.usefixtures("settled")
def test_a_mask_that_is_drawn_changes_with_what_draws_it(tmp_path: Path) -> None:
    """COCO's outlines, and the ids of Labelme's labels, are in no file that is watched."""
    write_coco(tmp_path / "coco", scenes(3))
    write_labelme(tmp_path / "labelme", scenes(3))
    for root, change in ((tmp_path / "coco", move_outline), (tmp_path / "labelme", swap_labels)):
        samples = find_samples([root]).samples
        before = asked(samples, tmp_path)[0]
        assert asked(samples, tmp_path) == (before, 0)
        change(root)
        changed = find_samples([root]).samples
        digests, reads = asked(changed, tmp_path)
        assert digests == fresh(changed)
        assert reads == sum(one != other for one, other in zip(before, digests, strict=True)) > 0


def move_outline(root: Path) -> None:
    file = root / "annotations" / "instances_default.json"
    record = json.loads(file.read_text())
    record["annotations"][0]["segmentation"][0][0] += 1
    file.write_text(json.dumps(record))


def swap_labels(root: Path) -> None:
    (root / "labels.txt").write_text("__ignore__\n_background_\ndog\ncat\n")


@pytest.mark.usefixtures("settled")
def test_a_file_that_is_gone(make_voc: VocMaker, tmp_path: Path) -> None:
    samples = find_samples([make_voc("a", "b")]).samples
    expected = fresh(samples)
    asked(samples, tmp_path)
    samples[0].mask.unlink()
    assert asked(samples, tmp_path) == ([b"", expected[1]], 1)


@pytest.mark.usefixtures("settled")
@pytest.mark.parametrize("content", [b"", b"no array", None])
def test_a_damaged_list_is_made_again(content: bytes | None, make_voc: VocMaker, tmp_path: Path) -> None:
    samples = find_samples([make_voc("a", "b")]).samples
    asked(samples, tmp_path)
    (file,) = tmp_path.glob("files-*.npy")
    file.write_bytes(file.read_bytes()[:-9] if content is None else content)
    assert asked(samples, tmp_path) == (fresh(samples), 2)
    assert asked(samples, tmp_path) == (fresh(samples), 0)


@pytest.mark.usefixtures("settled")
def test_of_several_at_once_one_reads(make_voc: VocMaker, tmp_path: Path) -> None:
    samples = find_samples([make_voc("a", "b", "c")]).samples
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda _: asked(samples, tmp_path), range(4)))
    assert [digests for digests, _ in found] == 4 * [fresh(samples)]
    assert sum(reads for _, reads in found) == 3


def test_a_full_disk_costs_nothing_but_time(
    make_voc: VocMaker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(np, "save", lambda *_: (_ for _ in ()).throw(OSError(28, "no space")))
    samples = find_samples([make_voc("a")]).samples
    assert asked(samples, tmp_path)[0] == fresh(samples)
    assert not [path for path in tmp_path.iterdir() if path.suffix in (".npy", ".partial")]


# ------------------------------------------------------------------------------------------------ what both need


def test_kept_and_recalled(tmp_path: Path) -> None:
    values = np.arange(6).reshape(3, 2)
    assert load_array(tmp_path / "a.npy", values.dtype) is None
    save_array(tmp_path / "a.npy", values)
    again = load_array(tmp_path / "a.npy", values.dtype)
    assert again is not None
    assert np.array_equal(again, values)
    assert load_array(tmp_path / "a.npy", np.dtype(np.uint8)) is None
    assert [path.name for path in tmp_path.iterdir()] == ["a.npy"]


@pytest.mark.parametrize("count", [0, 1, 7, 8, 9, 1500])
def test_results_come_in_the_order_of_the_arguments(count: int) -> None:
    assert on_all_cores(lambda number: number * number, range(count)) == [number * number for number in range(count)]
    with pytest.raises(ZeroDivisionError):
        on_all_cores(lambda number: 1 // (number - count), range(count + 1))
