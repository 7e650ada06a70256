"""Two parallel folders: endings of names, parts, and missing files."""

import shutil
from pathlib import Path

import numpy as np
import pytest

from tests.support.data import SAME
from tests.support.layouts import (
    find_in,
    open_data,
    plan_data,
    refusal,
    save_image,
    save_mask,
    scenes,
    split_names,
    write_pairs,
    write_voc,
)

# ------------------------------------------------------------------------------------------------ names

ENDINGS = [("", ""), ("", "_mask"), ("", "-gt"), ("_sat", "_mask"), ("", "_seg_label"), ("_image", "")]


@pytest.mark.parametrize(("image_ending", "mask_ending"), ENDINGS)
def test_endings_of_names(image_ending: str, mask_ending: str, tmp_path: Path) -> None:
    stems = ["cat_1", "rat_1", "bat_1"]  # at_1 is shared too, but is part of the stem
    for stem in stems:
        save_image(tmp_path / "img" / f"{stem}{image_ending}.png", np.zeros((8, 9, 3), np.uint8))
        save_mask(tmp_path / "GT" / f"{stem}{mask_ending}.png", np.zeros((8, 9), np.uint8))
    found = find_in(tmp_path)
    assert found.problems == []
    assert [sample.name for sample in found.samples] == sorted(stems)
    assert found.samples[0].mask.name == f"bat_1{mask_ending}.png"
    assert found.samples[0].image.name == f"bat_1{image_ending}.png"


def test_a_mask_without_the_ending_that_most_have(tmp_path: Path) -> None:
    write_pairs(tmp_path / "images", tmp_path / "masks", scenes(3), "_mask")
    (tmp_path / "masks" / "scene_01_mask.png").rename(tmp_path / "masks" / "scene_01.png")
    found = find_in(tmp_path)
    assert found.problems == []
    assert [sample.mask.name for sample in found.samples] == ["scene_00_mask.png", "scene_01.png", "scene_02_mask.png"]
    assert any("scene_01.png" in note for note in found.notes)


def test_a_stray_mask_is_named_and_the_pairs_are_not(tmp_path: Path) -> None:
    write_pairs(tmp_path / "images", tmp_path / "masks", scenes(3), "_mask")
    save_mask(tmp_path / "masks" / "overview.png", np.zeros((8, 9), np.uint8))
    found = find_in(tmp_path)
    assert len(found.samples) == 3
    (problem,) = found.problems
    assert problem.startswith(f"{tmp_path / 'masks' / 'overview.png'}: no image")


def test_missing_files_are_named_with_their_ending(tmp_path: Path) -> None:
    write_pairs(tmp_path / "images", tmp_path / "masks", scenes(4), "_mask")
    (tmp_path / "masks" / "scene_01_mask.png").unlink()
    (tmp_path / "images" / "scene_02.png").unlink()
    shutil.copy(tmp_path / "images" / "scene_03.png", tmp_path / "images" / "scene_03.bmp")
    found = find_in(tmp_path)
    assert [sample.name for sample in found.samples] == ["scene_00", "scene_03"]
    duplicate, no_mask, no_image = found.problems
    assert "same stem" in duplicate
    assert f"no mask scene_01_mask.png in {tmp_path / 'masks'}" in no_mask
    assert str(tmp_path / "masks" / "scene_02_mask.png") in no_image


def test_images_and_masks_without_a_common_name(tmp_path: Path) -> None:
    write_pairs(tmp_path / "images", tmp_path / "masks", scenes(3))
    for number, file in enumerate(sorted((tmp_path / "masks").iterdir())):
        file.rename(file.with_name(f"m{number}.png"))
    (problem,) = find_in(tmp_path).problems
    assert "scene_00.png and m0.png" in problem
    with refusal(problem, f"{tmp_path}: no labelled picture is left"):
        plan_data(tmp_path, tmp_path / "cache")


# ------------------------------------------------------------------------------------------------ parts


@pytest.mark.parametrize("images_first", [True, False], ids=["images/train", "train/images"])
@pytest.mark.parametrize("val", ["val", "valid", "validation", "Val"])
def test_parts(images_first: bool, val: str, tmp_path: Path) -> None:
    """Equal stems in different parts are different samples."""
    drawn = scenes(5)
    for part, members in (("train", drawn[:3]), (val, drawn[:2]), ("test", drawn[4:])):
        folders = (f"img_dir/{part}", f"ann_dir/{part}") if images_first else (f"{part}/images", f"{part}/masks")
        write_pairs(*(tmp_path / folder for folder in folders), members, "_gt")
    sources = plan_data(tmp_path, tmp_path / "cache", classes=["cat", "dog"])
    assert sources.problems == ()
    name = val.lower()
    assert split_names(sources) == (
        ["train/scene_00", "train/scene_01", "train/scene_02"],
        [f"{name}/scene_00", f"{name}/scene_01"],
    )
    level, folder = (-3, "img_dir") if images_first else (-2, "images")
    assert [sample.image.parts[level] for sample in sources.samples] == [folder] * 5
    assert len(sources.notes) == 1
    assert "test (1 picture)" in sources.notes[0]


def test_parts_without_validation_are_split_like_one_folder(tmp_path: Path) -> None:
    write_pairs(tmp_path / "train" / "images", tmp_path / "train" / "masks", scenes(10))
    write_pairs(tmp_path / "test" / "images", tmp_path / "test" / "masks", scenes(2))
    sources = plan_data(tmp_path, tmp_path / "cache", classes=["cat", "dog"])
    train, val = split_names(sources)
    assert (len(train), len(val)) == (8, 2)
    assert all(name.startswith("train/") for name in train + val)


def test_validation_folders_of_different_names(tmp_path: Path) -> None:
    write_pairs(tmp_path / "images" / "train", tmp_path / "masks" / "train", scenes(3))
    write_pairs(tmp_path / "images" / "val", tmp_path / "masks" / "validation", scenes(2))
    assert len(find_in(tmp_path).samples) == 5


def test_a_part_without_masks_is_a_problem_except_for_test(tmp_path: Path) -> None:
    write_pairs(tmp_path / "images" / "train", tmp_path / "masks" / "train", scenes(3))
    for part in ("val", "test"):
        save_image(tmp_path / "images" / part / "a.png", np.zeros((8, 9, 3), np.uint8))
    found = find_in(tmp_path)
    assert len(found.problems) == 1
    assert str(tmp_path / "images" / "val") in found.problems[0]


def test_similar_folders_of_other_layouts(tmp_path: Path) -> None:
    """A VOC folder with boxes in Annotations/, and a YOLO folder with text files in labels/, but without names."""
    root = write_voc(tmp_path / "voc", scenes(3))
    (root / "Annotations").mkdir()
    (root / "Annotations" / "scene_00.xml").touch()
    assert find_in(root).samples[0].mask.parent.name == "SegmentationClassPNG"
    save_image(tmp_path / "yolo" / "images" / "train" / "a.png", np.zeros((8, 9, 3), np.uint8))
    (tmp_path / "yolo" / "labels" / "train").mkdir(parents=True)
    (tmp_path / "yolo" / "labels" / "train" / "a.txt").touch()
    with refusal("yolo", "no names of the classes"):
        find_in(tmp_path / "yolo")


# ------------------------------------------------------------------------------------------------ several masks


def write_two_masks(root: Path, second: np.ndarray) -> tuple[np.ndarray, Path]:
    """Write four scenes, the first with a further mask; return its first mask and the further file."""
    drawn = scenes(4, classes=2, ignore=False)
    write_pairs(root / "images", root / "masks", drawn, "_mask")
    save_mask(root / "masks" / f"{drawn[0].stem}_mask_1.png", second)
    return drawn[0].mask, root / "masks" / f"{drawn[0].stem}_mask_1.png"


def test_several_masks_of_an_image_are_joined(tmp_path: Path) -> None:
    second = np.zeros(scenes(1)[0].mask.shape, np.uint8)
    second[-6:, -6:] = 1
    first, file = write_two_masks(tmp_path, second)
    dataset = open_data(tmp_path, tmp_path / "cache")
    np.testing.assert_array_equal(dataset.sources.samples[0].read_mask(SAME), first | second)
    assert sum(dataset.stored.facts["counts"][0, :2]) == first.size
    assert dataset.stored.facts["counts"][0, 1] == (first | second).sum()
    assert any(str(file) in note and "joined" in note for note in dataset.sources.notes)
    save_mask(file, np.zeros_like(second))
    assert open_data(tmp_path, tmp_path / "cache").digest != dataset.digest


@pytest.mark.parametrize(("second", "fault"), [(2, "of another class"), (None, "another size")])
def test_masks_that_contradict_are_named(second: int | None, fault: str, tmp_path: Path) -> None:
    first = scenes(1)[0].mask
    other = np.zeros((3, 3), np.uint8) if second is None else np.full(first.shape, second, np.uint8)
    _, file = write_two_masks(tmp_path, other)
    with refusal(str(file), fault):
        open_data(tmp_path, tmp_path / "cache", classes=["cat", "dog"])


def test_an_image_of_its_own_is_no_further_mask(tmp_path: Path) -> None:
    """x_1 has an image, so x_mask_1 is no second mask of x; an ending of digits alone joins nothing."""
    for stem in ("x", "x_1"):
        save_image(tmp_path / "images" / f"{stem}.png", np.zeros((8, 9, 3), np.uint8))
        save_mask(tmp_path / "masks" / f"{stem}.png", np.zeros((8, 9), np.uint8))
    save_mask(tmp_path / "masks" / "x_2.png", np.zeros((8, 9), np.uint8))
    found = find_in(tmp_path)
    assert [sample.name for sample in found.samples] == ["x", "x_1"]
    assert len(found.problems) == 1
    assert "x_2.png" in found.problems[0]


def test_a_partner_in_a_format_that_is_not_read_is_named(tmp_path: Path) -> None:
    write_pairs(tmp_path / "images", tmp_path / "masks", scenes(3))
    (tmp_path / "images" / "scene_01.png").rename(tmp_path / "images" / "scene_01.jp2")
    (tmp_path / "masks" / "scene_02.png").rename(tmp_path / "masks" / "scene_02.npy")
    no_image, no_mask = find_in(tmp_path).problems
    assert "masks/scene_01.png: its image scene_01.jp2 is in a format that is not read here" in no_image
    assert "images/scene_02.png: its mask scene_02.npy is in a format that is not read here" in no_mask


def test_every_image_has_further_masks(tmp_path: Path) -> None:
    """Then no ending is that of most masks."""
    for stem in ("cat_1", "rat_1", "bat_1"):
        save_image(tmp_path / "images" / f"{stem}.png", np.zeros((8, 9, 3), np.uint8))
        for ending, row in (("_mask", 1), ("_mask_1", 3), ("_mask_2", 5)):
            mask = np.zeros((8, 9), np.uint8)
            mask[row] = 1
            save_mask(tmp_path / "masks" / f"{stem}{ending}.png", mask)
    found = find_in(tmp_path)
    assert found.problems == []
    assert [sample.name for sample in found.samples] == ["bat_1", "cat_1", "rat_1"]
    assert [np.count_nonzero(sample.read_mask(SAME)) for sample in found.samples] == [27, 27, 27]


def test_a_test_part_beside_folders_of_other_names(tmp_path: Path) -> None:
    for folder in ("day 1", "day 2"):
        write_pairs(tmp_path / "images" / folder, tmp_path / "masks" / folder, scenes(3))
    save_image(tmp_path / "images" / "test" / "x.png", np.zeros((8, 9, 3), np.uint8))
    found = find_in(tmp_path)
    assert found.problems == []
    assert len(found.samples) == 6
    assert list(found.left_out) == [str(tmp_path / "images" / "test" / "x.png")]


def test_names_without_a_pair_are_shown_with_their_folders(tmp_path: Path) -> None:
    save_image(tmp_path / "images" / "day" / "a.png", np.zeros((8, 9, 3), np.uint8))
    for folder in ("cat", "dog"):
        save_mask(tmp_path / "masks" / "day" / folder / "a.png", np.zeros((8, 9), np.uint8))
    (problem,) = find_in(tmp_path, layout="folders").problems
    assert "such as day/a.png and day/cat/a.png" in problem
