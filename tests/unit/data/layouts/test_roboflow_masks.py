"""Roboflow's semantic segmentation masks: names from _classes.csv, parts, and faults of the list."""

from pathlib import Path

import numpy as np
import pytest

from tests.support.layouts import find_in, plan_data, refusal, save_image, split_names
from tests.support.tool_layouts import save_grey
from trainer.data.layouts import detect_layout

CLASSES = "Pixel Value, Class\n0, background\n1, door\n2, chair"
MASK = np.array([[0, 0, 1, 1], [0, 2, 2, 2]])


def write(root: Path, **lists: str) -> Path:
    """Write two images in each part, which is named by the keyword; its value is the list of classes."""
    for part, text in lists.items():
        for number in range(2):
            stem = f"frame_{part}{number}_jpg.rf.0123456789abcdef"
            save_image(root / part / f"{stem}.jpg", np.full((2, 4, 3), 40 * number, np.uint8))
            save_grey(root / part / f"{stem}_mask.png", MASK)
        (root / part / "_classes.csv").write_text(text)
    return root


def test_parts_and_names(tmp_path: Path) -> None:
    root = write(tmp_path, train=CLASSES, valid=CLASSES, test=CLASSES)
    assert detect_layout(root) == "roboflow_masks"
    sources = plan_data(root, tmp_path)
    assert sources.problems == ()
    assert sources.names == ("_background_", "door", "chair")
    assert [len(names) for names in split_names(sources)] == [2, 2]
    for sample in sources.samples:
        np.testing.assert_array_equal(sample.read_mask(sources.values), MASK)
    assert len(find_in(root).left_out) >= 4  # test


def test_one_part_by_itself(tmp_path: Path) -> None:
    root = write(tmp_path, test=CLASSES) / "test"
    assert detect_layout(root) == "roboflow_masks"
    found = find_in(root, classes=("_background_", "chair"))
    assert found.value_map == {0: "background", 1: "background", 2: "chair"}
    assert any("door not among the classes" in note for note in found.notes)


def test_value_0_that_is_a_class(tmp_path: Path) -> None:
    found = find_in(write(tmp_path, train="Pixel Value, Class\n0, wall\n1, door"))
    assert found.names == ("_background_", "wall", "door")
    assert found.value_map == {0: "wall", 1: "door"}
    found = find_in(write(tmp_path, train="Pixel Value, Class\n0, Unlabeled\n1, door\n2, chair"))
    assert found.names == ("_background_", "door", "chair")


def test_a_missing_mask_is_named(tmp_path: Path) -> None:
    root = write(tmp_path, train=CLASSES)
    next((root / "train").glob("*0_jpg*_mask.png")).unlink()
    (problem,) = find_in(root).problems
    assert "frame_train0_jpg" in problem
    assert "no mask" in problem


@pytest.mark.parametrize(
    "text", ["", "Pixel Value, Class", "a, b\n1", "a, b\nx, y", "a, b\n1, y\n1, z", "a, b\n300, y"]
)
def test_faults_of_the_list(text: str, tmp_path: Path) -> None:
    with refusal("_classes.csv"):
        find_in(write(tmp_path, train=text))


def test_parts_with_different_classes(tmp_path: Path) -> None:
    with refusal("valid", "train", "different classes"):
        find_in(write(tmp_path, train=CLASSES, valid=CLASSES.replace("door", "gate")))
