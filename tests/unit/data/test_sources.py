"""Samples found in one or several root folders."""

import gc
import shutil
import sys
import tracemalloc
from pathlib import Path

import pytest

from tests.support.data import VocMaker
from tests.support.layouts import WRITERS, plan_data, refusal, scenes
from tests.support.tool_layouts import TOOL_WRITERS
from trainer.config import DataConfig
from trainer.data import sources as sources_module
from trainer.data.sample import Sample
from trainer.data.sources import find_samples, find_sources, raise_all

# ------------------------------------------------------------------------------------------------ pairs


def test_pairs_by_stem_sorted(make_voc: VocMaker) -> None:
    root = make_voc("b", "a", "c.d", "a b")
    (root / "JPEGImages" / "notes.txt").touch()
    (root / "JPEGImages" / "c.d.jpg").rename(root / "JPEGImages" / "c.d.JPEG")
    samples = find_samples([root]).samples
    assert [sample.name for sample in samples] == ["a", "a b", "b", "c.d"]
    assert samples[3] == Sample(
        "c.d", str(root / "JPEGImages" / "c.d.JPEG"), str(root / "SegmentationClassPNG" / "c.d.png")
    )


def test_both_names_of_the_mask_folder(make_voc: VocMaker) -> None:
    old, new = make_voc("a", folder="old"), make_voc("a", folder="new", masks="SegmentationClass")
    assert find_samples([old]).samples[0].mask == old / "SegmentationClassPNG" / "a.png"
    assert find_samples([new]).samples[0].mask == new / "SegmentationClass" / "a.png"


def test_several_roots(make_voc: VocMaker) -> None:
    roots = [make_voc("a", "b", folder="zoo"), make_voc("a", folder="home")]
    samples = find_samples(roots).samples
    assert [sample.name for sample in samples] == ["home/a", "zoo/a", "zoo/b"]
    assert samples[0].image == roots[1] / "JPEGImages" / "a.jpg"


def test_several_roots_of_one_name(make_voc: VocMaker) -> None:
    roots = [make_voc("a", folder="one/cats"), make_voc("a", folder="two/cats")]
    assert [sample.name for sample in find_samples(roots).samples] == ["one/cats/a", "two/cats/a"]


def test_one_root_named_twice(make_voc: VocMaker) -> None:
    root = make_voc("a")
    with refusal("data.root", "twice"):
        find_samples([root, root / ".." / root.name])


def test_all_problems_in_one_message(make_voc: VocMaker) -> None:
    root, other = make_voc("a", "b", "c", "d"), make_voc("e", "f", folder="other")
    images, masks = root / "JPEGImages", root / "SegmentationClassPNG"
    shutil.copy(images / "a.jpg", images / "a.png")
    shutil.copy(masks / "d.png", masks / "d.bmp")
    (masks / "b.png").unlink()
    (images / "c.jpg").unlink()
    (other / "JPEGImages" / "e.jpg").unlink()
    lines = find_samples([root, other]).problems
    assert len(lines) == 5
    assert str(images / "a.png") in lines[0]
    assert "a.jpg" in lines[0]
    assert "same stem" in lines[0]
    assert str(masks / "d.png") in lines[1]
    assert str(images / "b.jpg") in lines[2]
    assert "no mask b.png" in lines[2]
    assert str(masks / "c.png") in lines[3]
    assert "no image" in lines[3]
    assert str(other / "SegmentationClassPNG" / "e.png") in lines[4]


def test_missing_folders(make_voc: VocMaker, tmp_path: Path) -> None:
    with refusal(str(tmp_path / "nowhere"), "no such folder"):
        find_samples([tmp_path / "nowhere"])
    with refusal(str(tmp_path), "JPEGImages"):
        find_samples([tmp_path])
    root = make_voc("a")
    shutil.rmtree(root / "SegmentationClassPNG")
    with refusal(str(root), "SegmentationClassPNG"):
        find_samples([root])
    with refusal("no images there"):
        find_samples([make_voc(folder="empty")])


def test_many_problems_are_counted() -> None:
    raise_all([])
    with refusal("problem 19", "and 5 more") as error:
        raise_all([f"problem {number}" for number in range(25)])
    assert "problem 20" not in str(error.value)


# ------------------------------------------------------------------------------------------------ plan


def test_plan(make_voc: VocMaker, tmp_path: Path) -> None:
    roots = [make_voc(*"bcdefghijk", folder="one"), make_voc("a", folder="two")]
    (roots[0] / "class_names.txt").write_text("cat\n")
    sources = find_sources(DataConfig(root=[str(root) for root in roots]))
    assert sources.title == "one+two"
    assert sources.names == ("_background_", "cat")
    assert len(sources.samples) == 11
    assert not sources.values.given
    mapped = find_sources(DataConfig(root=str(roots[0]), value_map={0: "background", 1: "cat"}))
    assert mapped.values.given
    assert mapped.title == "one"


def test_memory_of_a_sample(tmp_path: Path) -> None:
    """A sample takes the memory of its name, two paths as text, and one index of the split."""
    count, names = 2000, []  # names of paths are interned; with these kept, that table does not grow below
    for folder, suffix in (("JPEGImages", "jpg"), ("SegmentationClassPNG", "png")):
        (tmp_path / folder).mkdir()
        for number in range(count):
            names.append(sys.intern(f"{number:06}.{suffix}"))
            (tmp_path / folder / names[-1]).touch()
    find_sources(DataConfig(root=str(tmp_path)))  # imports and compiles on the first call
    tracemalloc.start(25)
    try:
        sources = find_sources(DataConfig(root=str(tmp_path)))
        gc.collect()
        # That of this room alone: threads that earlier tests have left may allocate meanwhile.
        within = tracemalloc.Filter(True, str(Path(sources_module.__file__).parent / "*"), all_frames=True)
        own = tracemalloc.take_snapshot().filter_traces([within])
        used_bytes = sum(trace.size for trace in own.traces)
    finally:
        tracemalloc.stop()
    texts = sum(sys.getsizeof(text) for sample in sources.samples for text in (sample.name, *sample.files))
    assert texts / 2 < used_bytes < texts + 200 * count


@pytest.mark.parametrize("layout", ["coco", "labelme", "class_masks"])
def test_a_value_map_for_drawn_masks_is_refused(layout: str, tmp_path: Path) -> None:
    """There are no stored values in outlines, so it would change nothing."""
    root = (WRITERS | TOOL_WRITERS)[layout](tmp_path / "data", scenes(4))
    with refusal("data.value_map: the masks are made from", "leave it out"):
        plan_data(root, tmp_path, value_map={1: "cat", 2: "dog"})
