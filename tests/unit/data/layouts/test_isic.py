"""ISIC: the folders of each year, and both kinds of files in one folder."""

from pathlib import Path

import numpy as np
import pytest

from tests.support.layouts import find_in, plan_data, refusal, save_image, split_names
from tests.support.tool_layouts import save_grey
from trainer.data.layouts import detect_layout

LESION = np.zeros((20, 30), bool)
LESION[5:12, 8:20] = True

YEARS = {
    "2016": ("ISBI2016_ISIC_Part1_{}_Data", "ISBI2016_ISIC_Part1_{}_GroundTruth", "_Segmentation"),
    "2017": ("ISIC-2017_{}_Data", "ISIC-2017_{}_Part1_GroundTruth", "_segmentation"),
    "2018": ("ISIC2018_Task1-2_{}_Input", "ISIC2018_Task1_{}_GroundTruth", "_segmentation"),
}


def write(images: Path, masks: Path, ending: str, *numbers: int) -> None:
    for number in numbers:
        save_image(images / f"ISIC_{number:07}.jpg", np.zeros((20, 30, 3), np.uint8))
        save_grey(masks / f"ISIC_{number:07}{ending}.png", LESION)


@pytest.mark.parametrize("year", YEARS)
def test_folders_of_each_year(year: str, tmp_path: Path) -> None:
    image_folder, mask_folder, ending = YEARS[year]
    for part, numbers in (("Training", (1, 2, 3)), ("Validation", (4,)), ("Test", (5,))):
        write(tmp_path / image_folder.format(part), tmp_path / mask_folder.format(part), ending, *numbers)
    training = tmp_path / image_folder.format("Training")
    (training / "ATTRIBUTION.txt").touch()
    save_grey(training / "ISIC_0000001_superpixels.png", LESION)
    save_grey(tmp_path / "ISIC2018_Task2_Training_GroundTruth_v3" / "ISIC_0000001_attribute_globules.png", LESION)
    assert detect_layout(tmp_path) == "isic"
    sources = plan_data(tmp_path, tmp_path)
    assert sources.problems == ()
    assert sources.names == ("_background_", "lesion")
    assert split_names(sources) == (
        [f"training/ISIC_{number:07}" for number in (1, 2, 3)],
        ["validation/ISIC_0000004"],
    )
    np.testing.assert_array_equal(sources.samples[0].read_mask(sources.values), LESION)
    assert sources.account.count == 5  # text, superpixels, attributes, and two files of the test part


def test_one_folder(tmp_path: Path) -> None:
    write(tmp_path, tmp_path, "_segmentation", 1, 2)
    assert detect_layout(tmp_path) == "isic"
    found = find_in(tmp_path, classes=("_background_", "mole"))
    assert found.names == ("_background_", "mole")
    assert [sample.name for sample in found.samples] == ["ISIC_0000001", "ISIC_0000002"]
    with refusal("data.classes: a, b", "one class"):
        find_in(tmp_path, classes=("_background_", "a", "b"))


def test_a_list_of_metadata_is_no_list_of_pairs(tmp_path: Path) -> None:
    write(tmp_path, tmp_path, "_segmentation", 1, 2)
    (tmp_path / "ISIC_metadata.csv").write_text("image,age\nISIC_0000001,50\n")
    assert detect_layout(tmp_path) == "isic"
