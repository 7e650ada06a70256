"""COCO's file under any name, as Label Studio and FiftyOne export it, and beside other layouts."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from tests.support.layouts import (
    NAMES,
    coco_record,
    find_in,
    plan_data,
    save_image,
    scenes,
    split_names,
    write_folders,
    write_labelme,
)
from trainer.data.layouts import coco_file, detect_layout

NAMED = [
    *("..\\..\\label-studio\\media\\upload\\4\\{}", "images\\1/{}", "/data/local-files/?d=folder/{}", "{}"),
    *("/data/upload/1/0badcafe-{}", "http://localhost:8080/data/upload/1/{}", "C:\\me\\{}", "s3://bucket/x/{}"),
]


@pytest.mark.parametrize("name", NAMED)
def test_paths_of_a_server(name: str, tmp_path: Path) -> None:
    """Found by the last part of the path, which may be quoted."""
    drawn, record = scenes(3), coco_record(scenes(3))
    for scene, entry in zip(drawn, record["images"], strict=True):
        save_image(tmp_path / "images" / f"my {scene.stem}.png", scene.image)
        quoted = "my%20" if "?d=" in name else "my "
        entry["file_name"] = name.format(f"{quoted}{scene.stem}.png")
    (tmp_path / "result.json").write_text(json.dumps(record))
    assert detect_layout(tmp_path) == "coco_file"
    found = find_in(tmp_path)
    assert found.problems == []
    assert any("found by their name alone" in note for note in found.notes) == (name != "{}")
    for sample, scene in zip(found.samples, drawn, strict=True):
        np.testing.assert_array_equal(sample.read_mask(plan_data(tmp_path, tmp_path).values), scene.mask)


def test_a_name_that_two_files_have(tmp_path: Path) -> None:
    drawn = scenes(3)
    for scene in drawn:
        save_image(tmp_path / "images" / f"{scene.stem}.png", scene.image)
    (tmp_path / "other").mkdir()
    shutil.copy(tmp_path / "images" / "scene_01.png", tmp_path / "other")
    (tmp_path / "result.json").write_text(json.dumps(coco_record(drawn, "../upload/")))
    found = find_in(tmp_path)
    assert [sample.name for sample in found.samples] == ["images/scene_00", "images/scene_02"]
    (problem,) = found.problems
    assert "scene_01" in problem


def test_parts_and_other_folders(tmp_path: Path) -> None:
    drawn = scenes(5)
    for part, members in (("train", drawn[:3]), ("val", drawn[3:])):
        for scene in members:
            save_image(tmp_path / "images" / part / f"{scene.stem}.png", scene.image)
        (tmp_path / f"{part}.json").write_text(json.dumps(coco_record(members)))
    sources = plan_data(tmp_path, tmp_path)
    assert sources.names == NAMES
    assert [len(names) for names in split_names(sources)] == [3, 2]
    one = tmp_path / "fiftyone"
    for scene in drawn:
        save_image(one / "data" / f"{scene.stem}.png", scene.image)
    (one / "labels.json").write_text(json.dumps({"info": {}} | coco_record(drawn)))
    assert len(find_in(one).samples) == 5


def test_folders_that_were_read_before_still_are(tmp_path: Path) -> None:
    drawn = scenes(3)
    for layout, write in (("folders", write_folders), ("labelme", write_labelme)):
        root = write(tmp_path / layout, drawn)
        (root / "export.json").write_text(json.dumps(coco_record(drawn)))
        assert detect_layout(root) == layout


OTHERS = {
    "Labelme": {"shapes": [], "imagePath": "a.png"},
    "tasks": [{"id": 1, "annotations": [], "data": {"image": "a.png"}}],
    "nnU-Net": {"labels": {"a": 1}, "training": []},
    "file names": {"images": [{"file_name": "a.png"}]},
    "Supervisely": {"classes": [{"title": "cat"}]},
}


@pytest.mark.parametrize("content", OTHERS.values(), ids=OTHERS)
def test_other_json_files(content: object, tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text(json.dumps(content))
    assert not coco_file.fits(tmp_path)


def test_long_files_are_told_by_their_ends(tmp_path: Path) -> None:
    record = coco_record(scenes(2))
    record["images"] *= 2000
    record["annotations"] *= 2000
    for keys in (["images", "annotations", "categories"], ["images", "categories", "annotations"]):
        (tmp_path / "a.json").write_text(json.dumps({key: record[key] for key in keys} | {"info": {"year": 2024}}))
        assert coco_file.fits(tmp_path)
