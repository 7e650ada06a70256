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


LISTS = {
    ("trainval", "test"): (None, ["0", "1", "2"]),
    ("test",): (None, ["0", "1", "2", "3", "5"]),
    ("train", "test"): ({"0": "train", "1": "train", "2": "val", "3": "val", "5": "val"}, None),
    ("train", "trainval"): ({"0": "train", "1": "train", "2": "val"}, None),
    ("val", "trainval", "test"): ({"3": "val", "0": "train", "1": "train", "2": "train"}, None),
    ("train", "val", "test"): ({"0": "train", "1": "train", "3": "val"}, None),
}
"""Lists that a folder has -> parts of the samples, or their names where no part is assigned. Scene 5 is in no list."""

LISTED = {"train": "01", "val": "3", "trainval": "012", "test": "4"}


@pytest.mark.parametrize("given", LISTS, ids="+".join)
def test_lists_of_test_pictures_leave_them_out(given: tuple[str, ...], tmp_path: Path) -> None:
    root = write_voc(tmp_path, scenes(6))
    for name in given:
        write_list(root, name, *(f"scene_0{number}" for number in LISTED[name]))
    found = find_in(root)
    parts, names = LISTS[given]
    assert found.problems == []
    assert {sample.name[-1] for sample in found.samples} == set(parts or names or ())
    assert {name[-1]: part for name, part in found.parts.items()} == (parts or {})
    said = [note for note in found.notes if "test (1 picture) neither trains nor validates; left out" in note]
    assert len(said) == ("test" in given)


def test_lists_name_pictures_in_folders_below(tmp_path: Path) -> None:
    root = write_voc(tmp_path, scenes(4))
    for folder in ("JPEGImages", "SegmentationClassPNG"):
        (root / folder / "day 2").mkdir()
        for number in (2, 3):
            (root / folder / f"scene_0{number}.png").rename(root / folder / "day 2" / f"scene_0{number}.png")
    write_list(root, "train", "scene_00", "scene_02")  # by its stem alone
    write_list(root, "val", "scene_01", "day 2/scene_03")
    assert find_in(root).parts == {
        "scene_00": "train",
        "scene_01": "val",
        "day 2/scene_02": "train",
        "day 2/scene_03": "val",
    }
