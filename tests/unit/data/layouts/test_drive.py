"""DRIVE and its like: the manual segmentation is taken, and what lies outside the field of view is ignored."""

from pathlib import Path

import numpy as np
import pytest

from tests.support.layouts import find_in, plan_data, refusal, save_image
from tests.support.tool_layouts import save_grey
from trainer.data.layouts import detect_layout
from trainer.data.layouts.drive import FieldSample

VESSEL, FIELD = np.zeros((20, 30), bool), np.zeros((20, 30), bool)
VESSEL[8:12, :] = True
FIELD[4:16, 5:25] = True


def write(root: Path, *stems: str, ending: str = "_training", manual: str = "1st_manual/{}_manual1.gif") -> Path:
    for stem in stems:
        save_image(root / "images" / f"{stem}{ending}.tif", np.zeros((20, 30, 3), np.uint8))
        save_grey(root / manual.format(stem), VESSEL)
        save_grey(root / "mask" / f"{stem}{ending}_mask.gif", FIELD)
    return root


def test_training_and_test(tmp_path: Path) -> None:
    write(tmp_path / "training", "21", "22", "23", "24")
    write(tmp_path / "test", "01", "02", ending="_test")
    assert detect_layout(tmp_path) == "drive"
    sources = plan_data(tmp_path, tmp_path)
    assert sources.names == ("_background_", "vessel")
    assert [sample.name for sample in sources.samples] == [f"training/{stem}" for stem in ("21", "22", "23", "24")]
    expected = np.where(FIELD, VESSEL, 255)
    for sample in sources.samples:
        np.testing.assert_array_equal(sample.read_mask(sources.values), expected)
    assert sources.account.count == 6  # image, vessels and field of view of the two in test


def test_a_part_by_itself_and_hrf(tmp_path: Path) -> None:
    root = write(tmp_path / "drive", "21", "22")
    assert detect_layout(root) == "drive"
    assert [sample.mask.parent.name for sample in find_in(root).samples] == ["1st_manual"] * 2
    assert find_in(root, classes=("_background_", "vein")).names == ("_background_", "vein")
    with refusal("data.classes: a, b", "one class"):
        find_in(root, classes=("_background_", "a", "b"))
    hrf = write(tmp_path / "hrf", "01_dr", "02_h", ending="", manual="manual1/{}.png")
    assert detect_layout(hrf) == "drive"
    assert all(isinstance(sample, FieldSample) for sample in find_in(hrf).samples)


def test_a_missing_field_of_view_is_named(tmp_path: Path) -> None:
    root = write(tmp_path, "21", "22", "23")
    (root / "mask" / "22_training_mask.gif").unlink()
    found = find_in(root)
    assert [sample.name for sample in found.samples] == ["21", "23"]
    (problem,) = found.problems
    assert "22_training.tif: no field of view" in problem
    for file in (root / "mask").iterdir():
        file.unlink()
    found = find_in(root)
    assert found.problems == []
    assert len(found.samples) == 3


def test_content_changes_with_the_field(tmp_path: Path) -> None:
    root = write(tmp_path, "21", "22")
    before = [sample.mask_content() for sample in find_in(root).samples]
    save_grey(root / "mask" / "22_training_mask.gif", ~FIELD)
    after = [sample.mask_content() for sample in find_in(root).samples]
    assert [new == old for new, old in zip(after, before, strict=True)] == [True, False]


def test_a_field_of_another_size(tmp_path: Path) -> None:
    root = write(tmp_path, "21", "22")
    save_grey(root / "mask" / "21_training_mask.gif", FIELD[1:])
    sources = plan_data(root, tmp_path)
    with pytest.raises(Exception, match="not of the size of") as error:
        sources.samples[0].read_mask(sources.values)
    assert "21_training_mask.gif" in str(error.value)
