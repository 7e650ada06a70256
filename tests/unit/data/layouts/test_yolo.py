"""YOLO segmentation: where files and names are, polygons, and every fault of a text file."""

from pathlib import Path

import numpy as np
import pytest

from tests.support.layouts import find_in, plan_data, refusal, save_image, split_names
from trainer.data.layouts import detect_layout
from trainer.data.layouts.yolo import read_polygons
from trainer.data.value_map import ValueMap

SAME = ValueMap()
HEIGHT, WIDTH = 20, 40
SQUARE = "0 0.25 0.1 0.5 0.1 0.5 0.6 0.25 0.6"
"""Rows 2 to 11 and columns 10 to 19."""

YAML = "names: [cat, dog]\n"


def write(root: Path, *places: str, text: str = SQUARE, yaml: str = YAML) -> Path:
    """Write an image and its text file in each place: a path in which KIND stands for images or labels."""
    for place in places:
        save_image(root / f"{place.replace('KIND', 'images')}.jpg", np.zeros((HEIGHT, WIDTH, 3), np.uint8))
        file = root / f"{place.replace('KIND', 'labels')}.txt"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
    (root / "data.yaml").write_text(yaml)
    return root


def mask_of(root: Path) -> np.ndarray:
    found = find_in(root)
    assert found.problems == []
    return found.samples[0].read_mask(SAME)


FORMS = {
    "KIND/train": "path: ../datasets/x\ntrain: images/train\nval: images/val\ntest:\nnames:\n  0: cat\n  1: dog\n",
    "KIND/train ": "names: ['cat', 'dog']\nnc: 2\ntrain: /somewhere/images/train\nval: images/val\n",
    "train/KIND": "train: ../train/images\nval: ../val/images\ntest: ../test/images\nnc: 2\nnames: ['cat', 'dog']\n",
}


@pytest.mark.parametrize(("form", "yaml"), FORMS.items(), ids=["Ultralytics", "elsewhere", "Roboflow"])
def test_folders(form: str, yaml: str, tmp_path: Path) -> None:
    form = form.strip()
    root = write(tmp_path, f"{form}/a", f"{form.replace('train', 'val')}/a", yaml=yaml)
    assert detect_layout(root) == "yolo"
    sources = plan_data(root, tmp_path)
    assert sources.problems == ()
    assert sources.names == ("_background_", "cat", "dog")
    assert split_names(sources) == (["train/a"], ["val/a"])
    assert sources.account.count == 0


def test_parts_that_the_yaml_file_names(tmp_path: Path) -> None:
    yaml = f"{YAML}train: images/first\nval: images/second\n"
    sources = plan_data(write(tmp_path, "KIND/first/a", "KIND/second/b", yaml=yaml), tmp_path)
    assert split_names(sources) == (["train/a"], ["val/b"])


def test_names_without_a_yaml_file(tmp_path: Path) -> None:
    """Label Studio's export has classes.txt."""
    root = write(tmp_path, "KIND/a")
    (root / "data.yaml").unlink()
    with refusal("no names of the classes", "data.yaml"):
        find_in(root)
    (root / "classes.txt").write_text("cat\ndog\n")
    assert find_in(root).names == ("_background_", "cat", "dog")


NAMES = {
    "texts": ("names: [no, 'on', 007]", ["no", "on", "007"]),
    "quoted keys": ("names: {'0': cat, '1': dog}", ["cat", "dog"]),
    "block": ("names:\n- cat\n- a: b\n", None),
    "gap": ("names: {0: cat, 2: dog}", None),
    "mixed": ("names: {0: cat, x: dog}", None),
    "twice": ("names: [cat, cat]", None),
    "empty": ("names: []", None),
    "number": ("names: 3", None),
    "no YAML": ("names: [cat", None),
}


@pytest.mark.parametrize(("yaml", "names"), NAMES.values(), ids=NAMES)
def test_names(yaml: str, names: list[str] | None, tmp_path: Path) -> None:
    """Names are texts as they are written, though YAML takes `no` for a truth value."""
    root = write(tmp_path, "KIND/a", yaml=yaml)
    if names is None:
        with refusal("data.yaml"):
            find_in(root)
    else:
        assert find_in(root).names == ("_background_", *names)


def test_polygons(tmp_path: Path) -> None:
    """Smaller ones lie over larger ones, in any order of the lines; parts outside the picture are cut off."""
    expected = np.zeros((HEIGHT, WIDTH), np.uint8)
    expected[:, 20:] = 2
    expected[2:12, 10:20] = 1
    expected[4:8, 12:16] = 2
    small, large = "1 0.3 0.2 0.4 0.2 0.4 0.4 0.3 0.4", "1 0.5 -0.1 1.2 -0.1 1.2 1 0.5 1"
    for number, text in enumerate((f"{small}\n{SQUARE}\n{large}\n", f"{large}\n\n{SQUARE}\n{small}")):
        np.testing.assert_array_equal(mask_of(write(tmp_path / str(number), "KIND/a", text=text)), expected)


def test_images_without_labels_are_background(tmp_path: Path) -> None:
    root = write(tmp_path, "KIND/a", "KIND/b", "KIND/c")
    (root / "labels" / "b.txt").unlink()
    (root / "labels" / "c.txt").write_text("")
    (root / "images" / "a.jpg").unlink()
    found = find_in(root)
    assert [sample.read_mask(SAME).any() for sample in found.samples] == [False, False]
    assert any("1 image without a text file; taken as background" in note for note in found.notes)
    assert list(found.left_out) == [str(root / "labels" / "a.txt")]


def test_wanted_classes(tmp_path: Path) -> None:
    root = write(tmp_path, "KIND/a", text=f"{SQUARE}\n{SQUARE.replace('0 ', '1 ', 1)}")
    found = find_in(root, classes=("_background_", "dog"))
    assert any("cat not among the classes" in note for note in found.notes)
    assert found.samples[0].read_mask(SAME).sum() == 100


BAD = {
    "box": ("0 0.5 0.5 0.2 0.2", "a box, no outline"),
    "box with its confidence": ("0 0.5 0.5 0.2 0.2 0.9", "a box, no outline"),
    "two corners": ("0 0.5 0.5", "2 numbers after the class"),
    "odd": (f"{SQUARE} 0.5", "9 numbers"),
    "pixels": ("0 10 2 20 2 20 12 10 12", "not shares"),
    "NaN": (SQUARE.replace("0.25", "nan"), "not shares"),
    "infinite": (SQUARE.replace("0.25", "inf"), "not shares"),
    "words": ("cat 1 2 3 4 5 6", "not a line of numbers"),
    "class beyond": (SQUARE.replace("0 ", "2 ", 1), "class 2; there are 0 to 1"),
    "negative class": (f"-{SQUARE}".replace("-0", "-1", 1), "class -1"),
    "half a class": (SQUARE.replace("0 ", "0.5 ", 1), "class 0.5"),
    "infinite class": (SQUARE.replace("0 ", "inf ", 1), "class inf"),
}


@pytest.mark.parametrize(("line", "part"), BAD.values(), ids=BAD)
def test_bad_lines_are_named(line: str, part: str, tmp_path: Path) -> None:
    file = tmp_path / "a.txt"
    file.write_text(f"{SQUARE}\n{line}\n")
    with refusal(f"{file}, line 2: ", part):
        read_polygons(file, (HEIGHT, WIDTH), (1, 2))


def test_unicode_forms_of_a_name(tmp_path: Path) -> None:
    """An image with \u00e4 as two characters is not taken for one without a text file, which is background."""
    root = write(tmp_path, "KIND/B\u00e4r", yaml="names: [Ba\u0308r, dog]\n")
    (root / "images" / "B\u00e4r.jpg").rename(root / "images" / "Ba\u0308r.jpg")
    found = find_in(root)
    assert (found.names, found.notes, found.left_out) == (("_background_", "B\u00e4r", "dog"), [], {})
    assert np.count_nonzero(found.samples[0].read_mask(SAME)) == 100


def test_names_among_the_labels(tmp_path: Path) -> None:
    """LabelImg writes classes.txt there; it is not a label without an image."""
    root = write(tmp_path, "KIND/a")
    (root / "data.yaml").unlink()
    (root / "labels" / "classes.txt").write_text("cat\ndog\n")
    found = find_in(root)
    assert (found.names, found.left_out) == (("_background_", "cat", "dog"), {})
