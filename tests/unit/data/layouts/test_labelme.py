"""Training straight from a folder of Labelme files: the same as converting it first."""

import json
import shlex
from pathlib import Path

import numpy as np
import pytest
import yaml
from PIL import Image

from tests.support.images import smooth_image
from tests.support.labelme import HEIGHT, WIDTH, LabelmeFolder, base64_text, png, record, shape
from tests.support.layouts import find_in, open_data, plan_data, refusal, save_image, scenes, split_names, write_labelme
from trainer.data.image_io import read_image, read_mask
from trainer.data.sources import find_samples
from trainer.data.value_map import ValueMap
from trainer.prepare import main

SAME = ValueMap()


@pytest.fixture
def labelled(tmp_path: Path) -> LabelmeFolder:
    return LabelmeFolder(tmp_path / "data")


def test_same_masks_as_converting(labelled: LabelmeFolder, tmp_path: Path) -> None:
    """All shape types; an image of another name than its JSON file, an embedded image, an image turned by EXIF."""
    folder = labelled.folder
    labelled.write("named", record("good.png", shape("circle", [20, 20], [25, 20], label="dog")))
    labelled.write("within", record(None, imageData=base64_text(png(smooth_image(HEIGHT, WIDTH, 9)))))
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(smooth_image(WIDTH, HEIGHT, 3)).save(folder / "turned.png", exif=exif)
    labelled.write("turned", record("turned.png"))
    assert labelled.convert() == 0
    (folder / "labels.txt").write_text(labelled.labels.read_text())
    direct, converted = plan_data(folder, tmp_path / "cache"), plan_data(labelled.out, tmp_path / "cache")
    assert direct.names == converted.names == ("_background_", "cat", "dog")
    assert [sample.name for sample in direct.samples] == ["good", "named", "turned", "within"]
    for ours, theirs in zip(direct.samples, converted.samples, strict=True):
        assert ours.name == theirs.name
        np.testing.assert_array_equal(ours.read_mask(direct.values), theirs.read_mask(converted.values))
        np.testing.assert_array_equal(ours.read_image(), theirs.read_image())
    assert split_names(direct) == split_names(converted)


def test_classes_with_and_without_a_labels_file(labelled: LabelmeFolder) -> None:
    """Without labels.txt the classes are the labels in the files, sorted, without the reserved ones."""
    labelled.write("more", record("good.png", shape("point", [9, 9], label="ant")))
    found = find_in(labelled.folder)
    assert found.names == ("_background_", "ant", "cat", "dog")
    assert any("no labels.txt; the classes are the labels found: ant, cat, dog" in note for note in found.notes)
    values = {int(value) for sample in found.samples for value in np.unique(sample.read_mask(SAME))}
    assert values == {0, 1, 2, 3, 255}
    (labelled.folder / "labels.txt").write_text("dog\ncat\nant\n")
    found = find_in(labelled.folder)
    assert found.names == ("_background_", "dog", "cat", "ant")
    assert not any("labels.txt" in note for note in found.notes)
    assert find_in(labelled.folder, classes=("_background_", "cat", "ant", "dog")).samples[1].read_mask(SAME).max() == 2


def test_an_empty_label_is_no_class(labelled: LabelmeFolder, tmp_path: Path) -> None:
    labelled.write("more", record("good.png", shape("point", [9, 9], label=" ")))
    assert find_in(labelled.folder).names == ("_background_", "cat", "dog")
    with refusal("more.json: shape 1: label is ''; give it a name with Labelme"):
        open_data(labelled.folder, tmp_path / "cache")


def test_a_picture_whose_json_file_cannot_be_used(labelled: LabelmeFolder) -> None:
    image = png(smooth_image(HEIGHT, WIDTH))
    contents = {"damaged": b"{", "no shapes": record("good.png", shapes=None), "out": record("..\\pics\\out.png")}
    for stem, content in contents.items():
        labelled.write(stem, content)
        (labelled.folder / f"{stem}.png").write_bytes(image)
    labelled.write("another", record("good.png"))
    (labelled.folder / "another.png").write_bytes(image)
    found = find_in(labelled.folder)
    reasons = {Path(file).name: reason.text for file, reason in found.left_out.items()}
    for stem in contents:
        assert reasons[f"{stem}.png"] == "whose JSON file cannot be used"
    assert reasons["another.png"] == "whose JSON file holds or names another picture"
    assert any("leads out of the folder; write 'out.png' there" in problem for problem in found.problems)


def test_images_without_a_json_file_are_counted(labelled: LabelmeFolder) -> None:
    def unlabelled() -> list[str]:
        return find_in(labelled.folder).unlabelled_notes

    (labelled.folder / "link.png").unlink()
    (labelled.folder / "sub" / "deep.png").unlink()
    assert unlabelled() == []
    for name in ("new.png", "other.jpg"):
        Image.fromarray(smooth_image(8, 9)).save(labelled.folder / name)
    assert unlabelled() == [f"{labelled.folder}: 2 images have no JSON file yet; left out: new.png, other.jpg"]
    labelled.write("other", record(None, imageData=base64_text(png(smooth_image(HEIGHT, WIDTH)))))
    assert "1 image has no JSON file yet; left out: new.png" in unlabelled()[0]


def test_malformed_files_are_all_listed(labelled: LabelmeFolder, tmp_path: Path) -> None:
    """Files that are not Labelme's are listed when the folder is read, faulty shapes when the masks are."""
    labelled.write("broken", b"{")
    labelled.write("list", [])
    labelled.write("out", record("../outside/secret.png"))
    labelled.write("gone", record("gone.png"))
    problems = find_in(labelled.folder).problems
    stems = [Path(problem.split(": ")[0]).stem for problem in problems]
    assert stems == ["broken", "gone", "list", "out"]
    labelled.write("bird", record("good.png", shape("point", [1, 1], label="brid")))
    labelled.write("nan", record("good.png", shape("point", [float("nan"), 1])))
    (labelled.folder / "labels.txt").write_text("cat\ndog\nbird\n")
    with refusal(*(f"{stem}.json" for stem in ("broken", "list", "out", "gone", "bird", "nan")), "did you mean bird"):
        open_data(labelled.folder, tmp_path / "cache")


def test_relabelling_changes_the_digest_and_renaming_does_not(tmp_path: Path) -> None:
    root = write_labelme(tmp_path / "cats", scenes(6))
    first = open_data(root, tmp_path / "cache").digest
    root = root.rename(tmp_path / "renamed")
    assert open_data(root, tmp_path / "cache").digest == first
    file = root / "scene_03.json"
    content = json.loads(file.read_text())
    content["shapes"][0]["label"] = "dog"
    file.write_text(json.dumps(content))
    relabelled = open_data(root, tmp_path / "cache")
    assert relabelled.digest != first
    (root / "labels.txt").write_text("dog\ncat\n")  # the same files, other ids
    swapped = open_data(root, tmp_path / "cache")
    assert swapped.digest not in (first, relabelled.digest)
    rest, cat, dog = relabelled.pixels.tolist()
    assert cat != dog
    assert swapped.pixels.tolist() == [rest, dog, cat]  # not the masks that were cached with the other ids


def test_embedded_image(labelled: LabelmeFolder, tmp_path: Path) -> None:
    image = smooth_image(HEIGHT, WIDTH, 9)
    file = labelled.write("within", record("elsewhere\\gone.png", imageData=base64_text(png(image))))
    (labelled.folder / "good.json").unlink()
    (sample,) = find_samples([labelled.folder]).samples
    assert sample.image == sample.mask == file
    np.testing.assert_array_equal(sample.read_image(), image)
    assert sample.read_mask(SAME).shape == (HEIGHT, WIDTH)
    first = sample.image_content()
    labelled.write("within", record(None, imageData=base64_text(png(smooth_image(HEIGHT, WIDTH, 8)))))
    assert find_samples([labelled.folder]).samples[0].image_content() != first


def test_generated_scenes_equal_their_masks(tmp_path: Path) -> None:
    arguments = ["--count", "6", "--size", "64", "--classes", "cat", "dog"]
    assert main(["synthetic", str(tmp_path / "json"), *arguments, "--labelme"]) == 0
    assert main(["synthetic", str(tmp_path / "voc"), *arguments]) == 0
    drawn, stored = find_in(tmp_path / "json").samples, find_in(tmp_path / "voc").samples
    for ours, theirs in zip(drawn, stored, strict=True):
        np.testing.assert_array_equal(ours.read_mask(SAME), read_mask(theirs.mask))
        np.testing.assert_array_equal(ours.read_image(), read_image(theirs.image))


# ------------------------------------------------------------------------------------------------ labels and classes


def objects(labelled: LabelmeFolder) -> Path:
    """Write two objects of a cat, told apart by a number, and a dog."""
    shapes = [
        shape("rectangle", [2, 2], [9, 9], label="cat-1"),
        shape("rectangle", [20, 2], [29, 9], label="cat-2"),
        shape("rectangle", [20, 20], [29, 29], label="dog"),
    ]
    labelled.write("good", record("good.png", *shapes))
    return labelled.folder


def test_labels_that_differ_by_a_number(labelled: LabelmeFolder, tmp_path: Path) -> None:
    """A hint has the option that makes them one class; with it they are."""
    found = find_in(objects(labelled))
    assert found.names == ("_background_", "cat-1", "cat-2", "dog")
    (hint,) = (note for note in found.notes if "look like single objects" in note)
    assert hint.startswith(f"{labelled.folder}: cat-1, cat-2 look")
    command, option, value = shlex.split(hint.rpartition("add\n")[2] + " end")
    assert (command, value) == ("--data.classes", "end")
    classes = yaml.safe_load(option)
    assert classes == ["cat", "dog"]
    joined = find_in(labelled.folder, classes=("_background_", *classes))
    assert any("cat-1, cat-2 count as cat" in note for note in joined.notes)
    mask = joined.samples[0].read_mask(SAME)
    assert np.bincount(mask.ravel()).tolist() == [HEIGHT * WIDTH - 244, 64 + 80, 100]


def test_no_hint_for_other_numbers(labelled: LabelmeFolder) -> None:
    labels = ["grade-1", "stage_2", "t1", "t2"]
    labelled.write("good", record("good.png", *(shape("point", [9, 9], label=label) for label in labels)))
    assert not any("single objects" in note for note in find_in(labelled.folder).notes)


def test_some_classes_of_a_folder(labelled: LabelmeFolder, tmp_path: Path) -> None:
    """Other labels are background, and a note says so; a class that nothing has is named with what was meant."""
    found = find_in(objects(labelled), classes=("_background_", "cat-1"))
    assert any("cat-2, dog not among the classes; taken as background" in note for note in found.notes)
    expected = np.zeros((HEIGHT, WIDTH), np.uint8)
    expected[2:10, 2:10] = 1
    np.testing.assert_array_equal(found.samples[0].read_mask(SAME), expected)
    with refusal("data.classes: dgo is not a label", "did you mean dog"):
        find_in(labelled.folder, classes=("_background_", "dgo"))
    labelled.write("typo", record("good.png", shape("point", [9, 9], label="catt")))
    (labelled.folder / "labels.txt").write_text("cat\ndog\n")  # a list of all labels: others are faults
    with refusal("typo.json", "label 'catt' is not in the labels file; did you mean cat"):
        open_data(labelled.folder, tmp_path)


# ------------------------------------------------------------------------------------------------ folders below


def test_folders_below_are_taken_along(tmp_path: Path) -> None:
    """JSON files of other tools, and a test part, are left out there."""
    drawn = scenes(6)
    root = write_labelme(tmp_path / "cats", drawn[:3])
    write_labelme(root / "day 2", drawn[2:4])
    write_labelme(root / "test", drawn[4:5])
    (root / "day 2" / "settings.json").write_text('{"theme": "dark"}')
    save_image(root / "day 2" / "new.png", drawn[5].image)
    sources = plan_data(root, tmp_path / "cache")
    assert sources.problems == ()
    names = ["day 2/scene_02", "day 2/scene_03", "scene_00", "scene_01", "scene_02"]
    assert [sample.name for sample in sources.samples] == names
    for sample in sources.samples:
        np.testing.assert_array_equal(sample.read_mask(SAME), drawn[int(sample.name[-1])].mask)
    assert any("test (1 picture) neither trains nor validates" in note for note in sources.notes)
    assert any("1 image has no JSON file yet; left out: day 2/new.png" in note for note in sources.notes)


def test_pictures_beside_the_json_files_that_hold_them_are_not_left_out(labelled: LabelmeFolder) -> None:
    """Labelme's default: the image is embedded, and lies beside."""
    for path in ("link.png", "sub/deep.png"):
        (labelled.folder / path).unlink()
    embedded = base64_text((labelled.folder / "good.png").read_bytes())
    labelled.write("good", record("good.png", imageData=embedded))
    labelled.write("again", record("good.png", imageData=embedded))
    sources = plan_data(labelled.folder, labelled.folder)
    assert [sample.name for sample in sources.samples] == ["again", "good"]
    Image.fromarray(smooth_image(8, 9)).save(labelled.folder / "good.jpg")
    account = plan_data(labelled.folder, labelled.folder).account
    assert {Path(file).name for one in account.left.values() for file in one.files} == {"good.jpg", "linked"}


def test_parts_below_split(tmp_path: Path) -> None:
    drawn = scenes(7)
    root = write_labelme(tmp_path / "cats", drawn[:2])
    write_labelme(root / "train", drawn[2:4])
    write_labelme(root / "Val", drawn[4:])
    parts = find_in(root).parts
    assert parts == {
        "train/scene_02": "train",
        "train/scene_03": "train",
        **{f"Val/scene_0{number}": "val" for number in (4, 5, 6)},
    }
