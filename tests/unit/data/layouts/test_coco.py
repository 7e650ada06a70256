"""COCO folders: where files and images lie, classes, and what changes a sample's content."""

import dataclasses
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tests.support.coco import HEIGHT, WIDTH, annotate, annotation, box, plain_runs
from tests.support.layouts import (
    NAMES,
    coco_record,
    find_in,
    open_data,
    plan_data,
    refusal,
    save_image,
    scenes,
    split_names,
)
from tests.support.program import REPOSITORY
from trainer.data.sample import Sample
from trainer.data.value_map import ValueMap


def write_json(path: Path, record: object) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(record))


def test_roboflow_export(tmp_path: Path) -> None:
    """An export in parts, with a heading above the categories."""
    drawn = scenes(5)
    for part, members in (("train", drawn[:3]), ("valid", drawn[3:4]), ("test", drawn[4:])):
        for scene in members:
            save_image(tmp_path / part / f"{scene.stem}.png", scene.image)
        record = coco_record(members)
        for category in record["categories"]:
            category["supercategory"] = "animals"
        record["categories"].append({"id": 0, "name": "animals", "supercategory": "none"})
        write_json(tmp_path / part / "_annotations.coco.json", record)
    sources = plan_data(tmp_path, tmp_path / "cache")
    assert sources.names == NAMES
    assert split_names(sources) == (["train/scene_00", "train/scene_01", "train/scene_02"], ["valid/scene_03"])
    assert any("test (1 picture)" in note for note in sources.notes)
    for sample, scene in zip(sources.samples, drawn, strict=False):
        np.testing.assert_array_equal(sample.read_mask(sources.values), scene.mask)


@pytest.mark.parametrize("folder", ["{}", "images/{}", "images"])
def test_folders_of_the_original_coco(folder: str, tmp_path: Path) -> None:
    drawn = scenes(5)
    for part, members in (("train2017", drawn[:3]), ("val2017", drawn[3:])):
        for scene in members:
            save_image(tmp_path / folder.format(part) / f"{scene.stem}.png", scene.image)
        write_json(tmp_path / "annotations" / f"instances_{part}.json", coco_record(members))
    write_json(tmp_path / "annotations" / "captions_train2017.json", {})
    sources = plan_data(tmp_path, tmp_path / "cache")
    assert split_names(sources) == (
        ["train2017/scene_00", "train2017/scene_01", "train2017/scene_02"],
        ["val2017/scene_03", "val2017/scene_04"],
    )
    assert sources.problems == ()
    assert open_data(tmp_path, tmp_path / "cache").names == NAMES


def test_the_image_folder_is_found_although_an_image_is_missing(tmp_path: Path) -> None:
    drawn = scenes(3)
    for scene in drawn:
        save_image(tmp_path / "images" / f"{scene.stem}.png", scene.image)
    write_json(tmp_path / "annotations" / "instances_default.json", coco_record(drawn))
    (tmp_path / "images" / "scene_00.png").unlink()
    (tmp_path / "default").mkdir()  # tried earlier, and empty
    found = find_in(tmp_path)
    assert [sample.name for sample in found.samples] == ["default/scene_01", "default/scene_02"]
    assert len(found.problems) == 1
    assert f"no image 'scene_00.png' in {tmp_path / 'images'}" in found.problems[0]


def test_a_file_of_another_name(tmp_path: Path) -> None:
    root = annotate(tmp_path, annotation(box(1, 1, 5, 5)))
    (root / "_annotations.coco.json").rename(root / "labels.json")
    assert len(find_in(root, layout="coco").samples) == 1


def test_parts_with_different_categories(tmp_path: Path) -> None:
    for part in ("train", "valid"):
        annotate(tmp_path / part, annotation(box(1, 1, 5, 5)))
    record = json.loads((tmp_path / "valid" / "_annotations.coco.json").read_text())
    record["categories"].reverse()
    write_json(tmp_path / "valid" / "_annotations.coco.json", record)
    assert len(find_in(tmp_path).samples) == 2
    record["categories"][0]["name"] = "cow"
    write_json(tmp_path / "valid" / "_annotations.coco.json", record)
    with refusal("valid", "train", "different categories"):
        find_in(tmp_path)


def test_without_pycocotools_the_error_has_the_install_command(tmp_path: Path) -> None:
    root = annotate(tmp_path / "data", annotation(box(1, 1, 5, 5)))
    code = (
        "import importlib.util as util, sys; real = util.find_spec;"
        "util.find_spec = lambda name, *more: None if name == 'pycocotools' else real(name, *more);"
        f"sys.argv = ['train.py', '--data.root', {str(root)!r}, '--tracking.enabled', 'false'];"
        "from trainer.train import main; sys.exit(main())"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=REPOSITORY, capture_output=True, text=True, timeout=120)
    assert done.returncode == 2
    assert "pip install -c launch/constraints.txt -e '.[coco]'" in done.stderr
    assert "Traceback" not in done.stderr


# ------------------------------------------------------------------------------------------------ samples


def test_classes_select_and_order(tmp_path: Path) -> None:
    crowd = np.zeros((HEIGHT, WIDTH), bool)
    crowd[:, 25:] = True
    root = annotate(
        tmp_path / "data",
        annotation(box(2, 2, 20, 18), 2),
        annotation(box(5, 5, 15, 9), 1),
        annotation(plain_runs(crowd), 1, iscrowd=1),
        annotation(box(22, 2, 24, 4), 2, iscrowd=1),
    )
    expected = np.zeros((HEIGHT, WIDTH), np.uint8)
    expected[2:18, 2:20], expected[5:9, 5:15], expected[:, 25:], expected[2:4, 22:24] = 1, 2, 255, 255
    both = find_in(root, classes=("_background_", "dog", "cat"))
    np.testing.assert_array_equal(both.samples[0].read_mask(ValueMap()), expected)
    (note,) = both.notes
    assert '2 outlines (100 pixels) are marked as crowds and ignored; write "iscrowd": 0' in note
    # The cat lies on the dog: its pixels are not dog, although cat is not a class. Crowds of cats are background.
    expected[5:9, 5:15] = expected[:, 25:] = 0
    dogs = find_in(root, classes=("_background_", "dog"))
    np.testing.assert_array_equal(dogs.samples[0].read_mask(ValueMap()), expected)
    assert dogs.names == ("_background_", "dog")
    assert any("cat not among the classes" in note for note in dogs.notes)
    with refusal("data.classes: dgo", "did you mean dog"):
        find_in(root, classes=("_background_", "dgo", "cat"))


def test_images_without_annotations_are_background(tmp_path: Path) -> None:
    found = find_in(annotate(tmp_path))
    assert not found.samples[0].read_mask(ValueMap()).any()
    assert "1 images have no outlines" in found.notes[0]
    degenerate = find_in(annotate(tmp_path, annotation([[1, 1, 5, 5]]), annotation([[1, 1, 5, 5], *box(1, 1, 3, 3)])))
    assert degenerate.samples[0].read_mask(ValueMap()).sum() == 4
    assert any("1 outlines have fewer than three points" in note for note in degenerate.notes)


def test_content_changes_with_the_annotations_alone(tmp_path: Path) -> None:
    root, drawn = tmp_path, scenes(3)
    for scene in drawn:
        save_image(root / f"{scene.stem}.png", scene.image)

    def contents(change: Callable[[dict[str, Any]], object] = lambda record: None) -> list[bytes]:
        record = coco_record(drawn)
        change(record)
        (root / "_annotations.coco.json").write_text(json.dumps(record, indent=2))
        return [sample.mask_content() for sample in find_in(root).samples]

    def renumber(record: dict[str, Any]) -> None:
        for entry in record["images"]:
            entry["id"] += 100
        for number, entry in enumerate(record["annotations"]):
            entry |= {"id": 900 - number, "image_id": entry["image_id"] + 100, "area": 3.5, "note": "x"}

    def move(record: dict[str, Any]) -> None:
        record["annotations"][-1]["segmentation"][0][0] += 1

    first = contents()
    assert contents(lambda record: record["annotations"].reverse()) == first
    assert contents(renumber) == first
    assert contents(lambda record: record["categories"].append({"id": 9, "name": "cow"})) == first
    assert [new == old for new, old in zip(contents(move), first, strict=True)] == [True, True, False]
    for change in (
        lambda record: record["annotations"].pop(),
        lambda record: record["annotations"][-1].update(iscrowd=0),
        lambda record: record["annotations"][-2].update(category_id=3),
    ):
        assert [new == old for new, old in zip(contents(change), first, strict=True)] == [True, True, False]


def test_samples_hold_no_decoded_mask(tmp_path: Path) -> None:
    save_image(tmp_path / "a.png", np.zeros((2000, 2000, 3), np.uint8))
    entry = {"id": 1, "file_name": "a.png", "height": 2000, "width": 2000}
    sample = find_in(annotate(tmp_path, annotation(box(10, 10, 1900, 1900)), images=[entry])).samples[0]
    size = sum(sys.getsizeof(getattr(sample, field.name)) for field in dataclasses.fields(sample))
    assert size < 10_000  # bytes


def test_image_of_another_size(tmp_path: Path) -> None:
    root = annotate(tmp_path, annotation(box(1, 1, 5, 5)))
    save_image(root / "a.png", np.zeros((HEIGHT + 1, WIDTH, 3), np.uint8))
    with refusal(str(root / "a.png"), "30x21", "30x20"):
        find_in(root).samples[0].read_mask(ValueMap())


def test_samples_are_read_like_any_other(tmp_path: Path) -> None:
    sample = find_in(annotate(tmp_path, annotation(box(1, 1, 5, 5)))).samples[0]
    assert isinstance(sample, Sample)
    assert sample.mask == tmp_path / "_annotations.coco.json"
    assert not sample.lossy
    with Image.open(sample.image) as opened:
        np.testing.assert_array_equal(sample.read_image(), np.array(opened))
