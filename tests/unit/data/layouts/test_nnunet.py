"""nnU-Net's raw folders: labels of both versions, and folders that are refused."""

import json
import shutil
from pathlib import Path

import numpy as np

from tests.support.layouts import NAMES, find_in, plan_data, refusal, scenes, write_nnunet


def test_labels_of_both_versions(tmp_path: Path) -> None:
    root = write_nnunet(tmp_path, scenes(3))
    record = root / "dataset.json"
    record.write_text(json.dumps({"labels": {"0": "background", "2": "dog", "1": "cat", "3": "ignore"}}))
    found = find_in(root)
    assert found.names == NAMES
    assert found.value_map == {0: "background", 1: "cat", 2: "dog", 3: "ignore", 255: "ignore"}
    (root / "imagesTs").mkdir()
    assert "imagesTs" in find_in(root).notes[0]
    for labels in (
        {"cat": [1, 2], "dog": 2},
        {"cat": 1, "dog": 1},
        {"cat": 300},
        {"background": 0},
        {"cat": 1, "dog": None},
        ["cat"],
        5,
        None,
    ):
        record.write_text(json.dumps({"labels": labels}))
        with refusal(str(record)):
            find_in(root)
    record.write_text("{")
    with refusal(str(record)):
        find_in(root)


def test_classes_from_the_user_win(tmp_path: Path) -> None:
    """With data.classes, mask values are ids of those classes, and dataset.json is not read."""
    root = write_nnunet(tmp_path / "data", scenes(3, ignore=False))
    sources = plan_data(root, tmp_path / "cache", classes=["kitten", "hound"])
    assert sources.names == ("_background_", "kitten", "hound")
    np.testing.assert_array_equal(sources.samples[0].read_mask(sources.values), scenes(3, ignore=False)[0].mask)


def test_volumes_and_several_channels_are_refused(tmp_path: Path) -> None:
    root = write_nnunet(tmp_path, scenes(3))
    shutil.copy(root / "imagesTr" / "scene_00_0000.png", root / "imagesTr" / "scene_00_0001.png")
    with refusal("scene_00_0001.png", "first channel"):
        find_in(root)
    for file in (root / "imagesTr").iterdir():
        file.rename(file.with_suffix("").with_suffix(".nii.gz"))
    with refusal(str(root / "imagesTr"), ".nii.gz", "no volumes"):
        find_in(root)
