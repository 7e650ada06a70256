"""Training straight from a folder of Labelme's files: the same as converting it first."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.support.images import smooth_picture
from tests.support.layouts import found, opened, parts_of, planned, refusal, scenes, write_labelme
from tests.unit.make.test_labelme_to_voc import HEIGHT, WIDTH, Labelled, png, record, shape, text
from trainer.data.image_io import read_image, read_mask
from trainer.data.sources import find_samples
from trainer.data.value_map import ValueMap
from trainer.prepare import main

SAME = ValueMap()


@pytest.fixture
def labelled(tmp_path: Path) -> Labelled:
    return Labelled(tmp_path / "data")


def test_same_masks_as_converting(labelled: Labelled, tmp_path: Path) -> None:
    """All shapes, an image of another name than the JSON, one within the JSON, one that EXIF turns."""
    folder = labelled.folder
    labelled.write("named", record("good.png", shape("circle", [20, 20], [25, 20], label="dog")))
    labelled.write("within", record(None, imageData=text(png(smooth_picture(HEIGHT, WIDTH, 9)))))
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(smooth_picture(WIDTH, HEIGHT, 3)).save(folder / "turned.png", exif=exif)
    labelled.write("turned", record("turned.png"))
    assert labelled.convert() == 0
    (folder / "labels.txt").write_text(labelled.labels.read_text())
    direct, converted = planned(folder, tmp_path / "cache"), planned(labelled.out, tmp_path / "cache")
    assert direct.names == converted.names == ("_background_", "cat", "dog")
    assert [sample.name for sample in direct.samples] == ["good", "named", "turned", "within"]
    for ours, theirs in zip(direct.samples, converted.samples, strict=True):
        assert ours.name == theirs.name
        np.testing.assert_array_equal(ours.read_mask(direct.values), theirs.read_mask(converted.values))
        np.testing.assert_array_equal(ours.read_image(), theirs.read_image())
    assert parts_of(direct) == parts_of(converted)


def test_classes_without_a_labels_file(labelled: Labelled) -> None:
    """The labels found, in the order of the alphabet; the reserved ones are none."""
    labelled.write("more", record("good.png", shape("point", [9, 9], label="ant")))
    inside = found(labelled.folder)
    assert inside.names == ("_background_", "ant", "cat", "dog")
    assert any("no labels.txt; the classes are the labels found: ant, cat, dog" in note for note in inside.notes)
    values = {int(value) for sample in inside.samples for value in np.unique(sample.read_mask(SAME))}
    assert values == {0, 1, 2, 3, 255}
    (labelled.folder / "labels.txt").write_text("dog\ncat\nant\n")
    inside = found(labelled.folder)
    assert inside.names == ("_background_", "dog", "cat", "ant")
    assert not any("labels.txt" in note for note in inside.notes)
    assert found(labelled.folder, classes=("_background_", "cat", "ant", "dog")).samples[1].read_mask(SAME).max() == 2


def test_images_without_a_file_are_counted(labelled: Labelled) -> None:
    def unlabelled() -> list[str]:
        return [note for note in found(labelled.folder).notes if "no JSON file yet" in note]

    (labelled.folder / "link.png").unlink()
    assert unlabelled() == []
    for name in ("new.png", "other.jpg"):
        Image.fromarray(smooth_picture(8, 9)).save(labelled.folder / name)
    assert unlabelled() == [f"{labelled.folder}: 2 images have no JSON file yet; they are left out"]
    labelled.write("other", record(None, imageData=text(png(smooth_picture(HEIGHT, WIDTH)))))
    assert "1 images" in unlabelled()[0]


def test_malformed_files_are_all_listed(labelled: Labelled, tmp_path: Path) -> None:
    """Those that are no Labelme files at once; wrong shapes with the unreadable pictures."""
    labelled.write("broken", b"{")
    labelled.write("list", [])
    labelled.write("out", record("../outside/secret.png"))
    labelled.write("gone", record("gone.png"))
    problems = found(labelled.folder).problems
    stems = [Path(problem.split(": ")[0]).stem for problem in problems]
    assert stems == ["broken", "gone", "list", "out"]
    labelled.write("bird", record("good.png", shape("point", [1, 1], label="brid")))
    labelled.write("nan", record("good.png", shape("point", [float("nan"), 1])))
    (labelled.folder / "labels.txt").write_text("cat\ndog\nbird\n")
    with refusal(*(f"{stem}.json" for stem in ("broken", "list", "out", "gone", "bird", "nan")), "did you mean bird"):
        opened(labelled.folder, tmp_path / "cache")


def test_relabelling_changes_the_digest_and_renaming_does_not(tmp_path: Path) -> None:
    root = write_labelme(tmp_path / "cats", scenes(6))
    first = opened(root, tmp_path / "cache").digest
    root = root.rename(tmp_path / "renamed")
    assert opened(root, tmp_path / "cache").digest == first
    file = root / "scene_03.json"
    content = json.loads(file.read_text())
    content["shapes"][0]["label"] = "dog"
    file.write_text(json.dumps(content))
    relabelled = opened(root, tmp_path / "cache")
    assert relabelled.digest != first
    (root / "labels.txt").write_text("dog\ncat\n")  # the same files, other ids
    swapped = opened(root, tmp_path / "cache")
    assert swapped.digest not in (first, relabelled.digest)
    rest, cat, dog = relabelled.pixels().tolist()
    assert cat != dog
    assert swapped.pixels().tolist() == [rest, dog, cat]  # not those that the cache has of the other ids


def test_image_within_the_file(labelled: Labelled, tmp_path: Path) -> None:
    pixels = smooth_picture(HEIGHT, WIDTH, 9)
    file = labelled.write("within", record("elsewhere\\gone.png", imageData=text(png(pixels))))
    (labelled.folder / "good.json").unlink()
    (sample,) = find_samples([labelled.folder]).samples
    assert sample.image == sample.mask == file
    np.testing.assert_array_equal(sample.read_image(), pixels)
    assert sample.read_mask(SAME).shape == (HEIGHT, WIDTH)
    first = sample.image_content()
    labelled.write("within", record(None, imageData=text(png(smooth_picture(HEIGHT, WIDTH, 8)))))
    assert find_samples([labelled.folder]).samples[0].image_content() != first


def test_generated_scenes_are_the_same_either_way(tmp_path: Path) -> None:
    arguments = ["--count", "6", "--size", "64", "--classes", "cat", "dog"]
    assert main(["synthetic", str(tmp_path / "json"), *arguments, "--labelme"]) == 0
    assert main(["synthetic", str(tmp_path / "voc"), *arguments]) == 0
    outlines, masks = found(tmp_path / "json").samples, found(tmp_path / "voc").samples
    for ours, theirs in zip(outlines, masks, strict=True):
        np.testing.assert_array_equal(ours.read_mask(SAME), read_mask(theirs.mask))
        np.testing.assert_array_equal(ours.read_image(), read_image(theirs.image))
