"""Carvana: folders, GIF masks of cars, and the same folders with masks of other things."""

from pathlib import Path

import numpy as np

from tests.support.layouts import find_in, plan_data, save_image, save_mask
from tests.support.tool_layouts import save_grey
from trainer.data.layouts import detect_layout

CAR = np.zeros((20, 30), bool)
CAR[5:12, 8:20] = True


def write(root: Path, *stems: str, part: str = "train", suffix: str = ".gif") -> Path:
    for stem in stems:
        save_image(root / part / f"{stem}.jpg", np.zeros((20, 30, 3), np.uint8))
        save_grey(root / f"{part}_masks" / f"{stem}_mask{suffix}", CAR)
    return root


def test_the_original(tmp_path: Path) -> None:
    root = write(tmp_path, "0cdf5b5d0ce1_01", "0cdf5b5d0ce1_02", "fff9b3a5373f_01")
    save_image(root / "test" / "x_01.jpg", np.zeros((20, 30, 3), np.uint8))
    (root / "train_masks.csv").write_text("img,rle_mask\n0cdf5b5d0ce1_01.jpg,1 2\n")
    (root / "metadata.csv").write_text("id,year\n")
    assert detect_layout(root) == "carvana"
    sources = plan_data(root, tmp_path)
    assert sources.problems == ()
    assert sources.names == ("_background_", "car")
    assert sources.samples[0].name == "train/0cdf5b5d0ce1_01"
    np.testing.assert_array_equal(sources.samples[0].read_mask(sources.values), CAR)
    assert sources.account.count == 3  # the image of test, and two lists


def test_masks_of_other_things(tmp_path: Path) -> None:
    """PNG masks hold class ids, as elsewhere; val/ and val_masks/ validate."""
    for part, stems in (("train", ("a", "b")), ("val", ("c",))):
        write(tmp_path, *stems, part=part, suffix=".png")
        for stem in stems:
            save_mask(tmp_path / f"{part}_masks" / f"{stem}_mask.png", CAR.astype(np.uint8) * 2)
    found = find_in(tmp_path)
    assert found.names is None
    assert found.value_map is None
    assert found.parts == {"train/a": "train", "train/b": "train", "val/c": "val"}


def test_one_list_beside_the_folders(tmp_path: Path) -> None:
    """A CSV list of another kind does not make the folder a list."""
    root = write(tmp_path, "a_01", "b_01")
    (root / "train_masks.csv").write_text("img,rle_mask\na_01.jpg,1 2\n")
    assert detect_layout(root) == "carvana"
