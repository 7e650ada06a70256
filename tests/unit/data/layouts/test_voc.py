"""Pascal VOC: the lists that select and split the samples."""

from pathlib import Path

import pytest

from tests.support.layouts import find_in, refusal, scenes, write_voc


def write_list(root: Path, part: str, *stems: str) -> None:
    """Write a list of a part to ImageSets/Segmentation/."""
    folder = root / "ImageSets" / "Segmentation"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{part}.txt").write_text("".join(f"{stem}\n" for stem in stems))


@pytest.mark.parametrize(("given", "other"), [("train", "val"), ("val", "train")])
def test_one_list_alone(given: str, other: str, tmp_path: Path) -> None:
    """Images that the list leaves out belong to the other part."""
    root = write_voc(tmp_path, scenes(4))
    write_list(root, given, "scene_01", "scene_03")
    found = find_in(root)
    assert {name for name, part in found.parts.items() if part == given} == {"scene_01", "scene_03"}
    assert {name for name, part in found.parts.items() if part == other} == {"scene_00", "scene_02"}
    assert len(found.samples) == 4


def test_both_lists_leave_other_images_out(tmp_path: Path) -> None:
    root = write_voc(tmp_path, scenes(5))
    (root / "SegmentationClassPNG" / "scene_04.png").unlink()  # VOC has many images without masks
    write_list(root, "train", "scene_00")
    write_list(root, "val", "scene_02", "scene_03")
    write_list(root, "trainval", "scene_00", "scene_02", "scene_03")
    found = find_in(root)
    assert found.problems == []
    assert found.parts == {"scene_00": "train", "scene_02": "val", "scene_03": "val"}
    assert [sample.name for sample in found.samples] == ["scene_00", "scene_02", "scene_03"]


def test_a_name_in_both_lists(tmp_path: Path) -> None:
    root = write_voc(tmp_path, scenes(4))
    write_list(root, "train", "scene_00", "scene_01")
    write_list(root, "val", "scene_01", "scene_02")
    with refusal(str(root / "ImageSets" / "Segmentation"), "scene_01 in both"):
        find_in(root)


def test_empty_lists_are_no_lists(tmp_path: Path) -> None:
    root = write_voc(tmp_path, scenes(5))
    write_list(root, "train")
    assert find_in(root).parts == {}
    assert len(find_in(root).samples) == 5
