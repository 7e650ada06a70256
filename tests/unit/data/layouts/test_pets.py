"""Oxford-IIIT Pet Dataset: its own split, its lists, and missing images."""

import shutil
from pathlib import Path

from tests.support.layouts import find_in, open_data, plan_data, refusal, scenes, split_names, write_pets


def test_split_and_values(tmp_path: Path) -> None:
    root = write_pets(tmp_path / "pets", scenes(6))
    sources = plan_data(root, tmp_path / "cache")
    assert sources.names == ("_background_", "pet")
    assert split_names(sources) == ([f"scene_0{n}" for n in (0, 1, 2)], [f"scene_0{n}" for n in (3, 4, 5)])
    assert any("trainval.txt trains, test.txt validates" in note for note in sources.notes)
    assert open_data(root, tmp_path / "cache", classes=["animal"]).names == ("_background_", "animal")
    with refusal("data.classes: cat, dog", "one name or none"):
        plan_data(root, tmp_path / "cache", classes=["cat", "dog"])


def test_images_in_no_list(tmp_path: Path) -> None:
    root = write_pets(tmp_path / "pets", scenes(6))
    (root / "annotations" / "test.txt").write_text("scene_03 1 1 1\n")
    found = find_in(root)
    assert len(found.samples) == 4
    assert any("2 pictures in neither" in note for note in found.notes)
    (root / "annotations" / "test.txt").unlink()
    (root / "annotations" / "trainval.txt").unlink()
    found = find_in(root)
    assert (len(found.samples), found.parts, found.notes, found.problems) == (6, {}, [], [])


def test_missing_images(tmp_path: Path) -> None:
    root = write_pets(tmp_path / "pets", scenes(6))
    (root / "images" / "scene_03.jpg").unlink()
    assert "scene_03" in find_in(root).problems[0]
    shutil.rmtree(root / "images")
    with refusal(str(root), "prepare.py pets"):
        find_in(root, layout="pets")
