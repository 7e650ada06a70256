"""Cityscapes: ids of labels and of training, cities, parts, and other files beside the masks."""

from pathlib import Path

import numpy as np
import pytest

from tests.support.layouts import find_in, plan_data, refusal, save_image, split_names
from tests.support.planted import check
from tests.support.tool_layouts import save_grey
from trainer.data.layouts import detect_layout

LABEL_IDS = np.array([[0, 3, 7, 8], [26, 33, 29, 255]])
TRAIN_IDS = np.array([[255, 255, 0, 1], [13, 18, 255, 255]])
CLASSES = np.array([[255, 255, 1, 2], [14, 19, 255, 255]])
"""What both mean: road 1, sidewalk 2, car 14 and bicycle 19; caravans and others are void."""


def write(root: Path, *names: str, kinds: tuple[str, ...] = ("labelIds",)) -> Path:
    """Write images by their part, city and frame, as the archives unpack."""
    for name in names:
        part, city, frame = name.split("/")
        stem = f"{city}_{frame}"
        save_image(root / "leftImg8bit" / part / city / f"{stem}_leftImg8bit.png", np.zeros((2, 4, 3), np.uint8))
        folder = root / "gtFine" / part / city
        for kind in kinds:
            save_grey(folder / f"{stem}_gtFine_{kind}.png", LABEL_IDS if kind == "labelIds" else TRAIN_IDS)
        save_grey(folder / f"{stem}_gtFine_color.png", LABEL_IDS)
        save_grey(folder / f"{stem}_gtFine_instanceIds.png", LABEL_IDS)
        (folder / f"{stem}_gtFine_polygons.json").write_text("{}")
    return root


@pytest.mark.parametrize("kinds", [("labelIds",), ("labelTrainIds",), ("labelIds", "labelTrainIds")])
def test_both_kinds_mean_the_same(kinds: tuple[str, ...], tmp_path: Path) -> None:
    names = ("train/aachen/000000_000019", "train/zurich/000000_000019", "val/munster/000000_000019")
    root = write(tmp_path, *names, "test/bonn/000000_000019", kinds=kinds)
    assert detect_layout(root) == "cityscapes"
    sources = plan_data(root, tmp_path)
    assert sources.problems == ()
    assert sources.names is not None
    assert len(sources.names) == 20
    assert sources.names[14] == "car"
    assert split_names(sources) == (
        ["train/aachen/aachen_000000_000019", "train/zurich/zurich_000000_000019"],
        ["val/munster/munster_000000_000019"],
    )
    for sample in sources.samples:
        np.testing.assert_array_equal(sample.read_mask(sources.values), CLASSES)


def test_a_set_without_bicycles_does_not_count_from_one(tmp_path: Path) -> None:
    """Cityscapes has no background, and its values are known."""
    root = write(tmp_path, "train/aachen/0", "val/munster/0")
    for file in root.rglob("*_labelIds.png"):
        save_grey(file, np.where(LABEL_IDS == 33, 7, LABEL_IDS))
    assert not [finding for finding in check(root).findings if finding.kind == "shifted"]


def test_archives_in_folders_of_their_own(tmp_path: Path) -> None:
    root = write(tmp_path, "train/aachen/0", "val/munster/0")
    for name in ("leftImg8bit", "gtFine"):
        (root / f"{name}_trainvaltest").mkdir()
        (root / name).rename(root / f"{name}_trainvaltest" / name)
    assert detect_layout(root) == "cityscapes"
    assert len(find_in(root).samples) == 2


def test_wanted_classes(tmp_path: Path) -> None:
    """Other classes are background, what is void is ignored."""
    sources = plan_data(write(tmp_path, "train/aachen/0", "val/munster/0"), tmp_path, classes=["car"])
    expected = np.array([[255, 255, 0, 0], [1, 0, 255, 255]])
    np.testing.assert_array_equal(sources.samples[0].read_mask(sources.values), expected)
    with refusal("data.classes: cat is not a label"):
        find_in(tmp_path, classes=("_background_", "cat"))


def test_an_image_without_a_mask_is_left_out(tmp_path: Path) -> None:
    root = write(tmp_path, "train/aachen/0", "train/aachen/1")
    (root / "gtFine" / "train" / "aachen" / "aachen_1_gtFine_labelIds.png").unlink()
    found = find_in(root)
    assert [sample.name for sample in found.samples] == ["train/aachen/aachen_0"]
    assert [Path(file).name for file in found.left_out] == ["aachen_1_leftImg8bit.png"]
