"""LoveDA: no data is ignored, 1 is the background; towns and land, parts without masks."""

from pathlib import Path

import numpy as np

from tests.support.layouts import find_in, plan_data, save_image, split_names
from tests.support.tool_layouts import save_grey
from trainer.data.layouts import detect_layout

MASK = np.array([[0, 1, 2, 3], [4, 5, 6, 7]])


def write(root: Path, *names: str) -> Path:
    """Write images by part, area and number; those of Test without masks."""
    for name in names:
        part, area, number = name.split("/")
        save_image(root / part / area / "images_png" / f"{number}.png", np.zeros((2, 4, 3), np.uint8))
        if part != "Test":
            save_grey(root / part / area / "masks_png" / f"{number}.png", MASK)
    return root


def test_parts_and_values(tmp_path: Path) -> None:
    root = write(tmp_path, "Train/Rural/0", "Train/Urban/0", "Val/Rural/2", "Test/Urban/5")
    assert detect_layout(root) == "loveda"
    sources = plan_data(root, tmp_path)
    assert sources.problems == ()
    assert sources.names is not None
    assert sources.names[1:] == ("building", "road", "water", "barren", "forest", "agriculture")
    assert split_names(sources) == (["Train/Rural/0", "Train/Urban/0"], ["Val/Rural/2"])
    expected = [[255, 0, 1, 2], [3, 4, 5, 6]]
    np.testing.assert_array_equal(sources.samples[0].read_mask(sources.values), expected)
    assert sources.account.count == 1  # the image of Test


def test_one_part_or_area_by_itself(tmp_path: Path) -> None:
    root = write(tmp_path, "Train/Rural/0", "Train/Urban/0")
    assert [sample.name for sample in find_in(root / "Train").samples] == ["Rural/0", "Urban/0"]
    assert detect_layout(root / "Train" / "Rural") == "loveda"
    assert [sample.name for sample in find_in(root / "Train" / "Rural").samples] == ["0"]


def test_wanted_classes(tmp_path: Path) -> None:
    sources = plan_data(write(tmp_path, "Train/Rural/0", "Val/Rural/2"), tmp_path, classes=["water"])
    expected = [[255, 0, 0, 0], [1, 0, 0, 0]]
    np.testing.assert_array_equal(sources.samples[0].read_mask(sources.values), expected)


def test_pictures_without_masks_are_accounted_for(tmp_path: Path) -> None:
    rural = write(tmp_path, "Train/Rural/0", "Train/Rural/1") / "Train" / "Rural"
    (rural / "masks_png" / "1.png").unlink()
    found = find_in(tmp_path)
    assert len(found.problems) == 1
    assert list(found.left_out) == [str(rural / "images_png" / "1.png")]
