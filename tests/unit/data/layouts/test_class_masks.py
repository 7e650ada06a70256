"""One mask file for each class, by folder or by the ending of its name."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.support.layouts import find_in, refusal, save_image
from tests.support.tool_layouts import save_grey
from trainer.data.layouts import class_masks, detect_layout
from trainer.data.layouts.class_masks import label_of, read_cover
from trainer.data.value_map import ValueMap

SAME = ValueMap()


def area(top: int, left: int, bottom: int, right: int) -> np.ndarray:
    """Mask of a box, bool [20, 30]."""
    pixels = np.zeros((20, 30), bool)
    pixels[top:bottom, left:right] = True
    return pixels


def write(root: Path, form: str, *stems: str) -> Path:
    """Write images with a large wall and a small door on it; `form`: path of a mask, with STEM and CLASS."""
    for stem in stems:
        save_image(root / "images" / f"{stem}.jpg", np.zeros((20, 30, 3), np.uint8))
        for label, pixels in (("door", area(5, 5, 15, 10)), ("wall", area(2, 2, 18, 20))):
            save_grey(root / form.replace("STEM", stem).replace("CLASS", label), pixels)
    return root


FORMS = [
    *("masks/CLASS/STEM.png", "masks/STEM_CLASS.png", "labels/STEM-CLASS.png", "masks/CLASS/STEM_mask.png"),
    *("masks/STEM_mask_CLASS.png", "gt/STEM_CLASS_mask.png", "masks/STEM_CLASS_0.png", "masks/STEM.CLASS.png"),
]


@pytest.mark.parametrize("form", FORMS)
def test_files_are_put_together(form: str, tmp_path: Path) -> None:
    """Smaller objects lie over larger ones; a separator within an image's name is part of it."""
    root = write(tmp_path, form, "a_1", "a_2", "b.c")
    assert detect_layout(root) == "class_masks"
    found = find_in(root)
    assert found.problems == []
    assert found.names == ("_background_", "door", "wall")
    assert [sample.name for sample in found.samples] == ["a_1", "a_2", "b.c"]
    expected = np.where(area(5, 5, 15, 10), 1, np.where(area(2, 2, 18, 20), 2, 0))
    for sample in found.samples:
        np.testing.assert_array_equal(sample.read_mask(SAME), expected)
    doors = find_in(root, classes=("_background_", "door"))
    assert any("wall not among the classes" in note for note in doors.notes)
    np.testing.assert_array_equal(doors.samples[0].read_mask(SAME), area(5, 5, 15, 10))
    assert len(doors.left_out) == 3


def test_parts(tmp_path: Path) -> None:
    for part in ("train", "val", "test"):
        write(tmp_path / part, "masks/CLASS/STEM.png", "a", "b")
    found = find_in(tmp_path)
    assert found.parts == {"train/a": "train", "train/b": "train", "val/a": "val", "val/b": "val"}
    assert len(found.left_out) == 6  # of test


def test_a_class_that_an_image_lacks(tmp_path: Path) -> None:
    """An image without any mask is left out, since nobody has said that it shows nothing."""
    root = write(tmp_path, "masks/CLASS/STEM.png", "a", "b", "c")
    (root / "masks" / "wall" / "a.png").unlink()
    for label in ("wall", "door"):
        (root / "masks" / label / "b.png").unlink()
    found = find_in(root)
    assert [sample.name for sample in found.samples] == ["a", "c"]
    assert found.samples[0].read_mask(SAME).max() == 1
    assert list(found.left_out) == [str(root / "images" / "b.jpg")]


OTHERS = {
    "one mask": ["masks/STEM.png"],
    "one ending": ["masks/STEM_mask.png"],
    "several objects": ["masks/STEM_mask.png", "masks/STEM_mask_1.png", "masks/STEM_mask_2.png"],
    "numbers": ["masks/STEM_1.png", "masks/STEM_2.png"],
    "colours too": ["masks/STEM_labelIds.png", "masks/STEM_color.png"],
    "folders of images": ["images/city/STEM.png", "masks/city/STEM.png", "masks/other/STEM.png", "masks/STEM.png"],
    "parts": ["masks/train/STEM.png", "masks/val/STEM.png"],
    "one folder": ["masks/v2/STEM.png"],
}


@pytest.mark.parametrize("forms", OTHERS.values(), ids=OTHERS)
def test_other_folders_do_not_fit(forms: list[str], tmp_path: Path) -> None:
    for stem in ("a", "b", "c"):
        save_image(tmp_path / "images" / f"{stem}.jpg", np.zeros((20, 30, 3), np.uint8))
        for form in forms:
            save_grey(tmp_path / form.replace("STEM", stem), area(5, 5, 15, 10))
    assert not class_masks.fits(tmp_path)


def test_endings_that_differ_from_image_to_image(tmp_path: Path) -> None:
    for stem, date in (("a", "jan"), ("b", "feb"), ("c", "mar")):
        save_image(tmp_path / "images" / f"{stem}.jpg", np.zeros((20, 30, 3), np.uint8))
        save_grey(tmp_path / "masks" / f"{stem}_{date}.png", area(5, 5, 15, 10))
    assert not class_masks.fits(tmp_path)


@pytest.mark.parametrize(
    ("ending", "label"),
    [
        *(("_cat", "cat"), ("_cat_mask_3", "cat"), ("_a_b", "a_b")),
        *(("", None), ("_mask", None), ("_mask_1", None), ("-GT", None), ("_7", None), ("_instanceIds", None)),
    ],
)
def test_label_of_an_ending(ending: str, label: str | None) -> None:
    assert label_of(ending) == label


# ------------------------------------------------------------------------------------------------ values

VALUES = {
    "0 and 1": ([0, 0, 1], [0, 0, 1]),
    "0 and 255": ([0, 255, 0], [0, 1, 0]),
    "smooth edges": ([0, 100, 150, 255], [0, 0, 1, 1]),
    "0 alone": ([0, 0], [0, 0]),
    "0 and 3": ([3, 0], [1, 0]),
}


@pytest.mark.parametrize(("stored", "covered"), VALUES.values(), ids=VALUES)
def test_values_of_one_class(stored: list[int], covered: list[int], tmp_path: Path) -> None:
    save_grey(tmp_path / "a.png", np.array([stored]))
    assert read_cover(tmp_path / "a.png").tolist() == [[bool(one) for one in covered]]


def test_colours_of_palettes_count(tmp_path: Path) -> None:
    """White is the class, whatever its index is; without two colours the larger index is."""
    stored = Image.fromarray(np.array([[0, 1, 1]], np.uint8), mode=None).convert("L")
    for colours, covered in (([0] * 3 + [255] * 3, [0, 1, 1]), ([255] * 3 + [0] * 3, [1, 0, 0]), ([9] * 6, [0, 1, 1])):
        stored.putpalette(colours)
        stored.save(tmp_path / "a.png")
        assert read_cover(tmp_path / "a.png").tolist() == [[bool(one) for one in covered]]
    Image.fromarray(np.array([[0, 65535]], np.uint16)).save(tmp_path / "a.png")
    assert read_cover(tmp_path / "a.png").tolist() == [[False, True]]


def test_ids_of_several_classes_are_refused(tmp_path: Path) -> None:
    save_grey(tmp_path / "a.png", np.array([[0, 1, 2]]))
    with refusal("a.png: values [0, 1, 2]", "mask of one class has two"):
        read_cover(tmp_path / "a.png")


def test_masks_of_different_sizes(tmp_path: Path) -> None:
    root = write(tmp_path, "masks/CLASS/STEM.png", "a", "b")
    save_grey(root / "masks" / "wall" / "a.png", np.ones((8, 9), bool))
    with refusal("wall/a.png: not of the size of", "door/a.png"):
        find_in(root).samples[0].read_mask(SAME)


@pytest.mark.parametrize("form", ["masks/CLASS/STEM.png", "masks/STEM_CLASS.png"])
def test_unicode_forms_of_a_name(form: str, tmp_path: Path) -> None:
    """Masks with \u00e4 as one character, images with two: the sample is named as its image."""
    root = write(tmp_path, form, "B\u00e4r 1", "B\u00e4r 2")
    for number in (1, 2):
        (root / "images" / f"B\u00e4r {number}.jpg").rename(root / "images" / f"Ba\u0308r {number}.jpg")
    assert detect_layout(root) == "class_masks"
    found = find_in(root)
    assert [sample.name for sample in found.samples] == ["Ba\u0308r 1", "Ba\u0308r 2"]
    assert np.bincount(found.samples[0].read_mask(SAME).ravel()).tolist() == [600 - 16 * 18, 50, 16 * 18 - 50]


def test_unicode_forms_of_a_class(tmp_path: Path) -> None:
    root = write(tmp_path, "masks/CLASS/STEM.png", "a", "b")
    (root / "masks" / "door").rename(root / "masks" / "Tu\u0308r")
    assert find_in(root, classes=("_background_", "T\u00fcr")).names == ("_background_", "T\u00fcr")


@pytest.mark.parametrize("colours", [(90, 200), (130, 255)])
def test_background_that_is_not_black(colours: tuple[int, int], tmp_path: Path) -> None:
    """Of two values the brighter one covers, in greys and in palettes of greys."""
    pixels = area(2, 3, 9, 10)
    save_image(tmp_path / "grey.png", np.where(pixels, colours[1], colours[0]).astype(np.uint8))
    np.testing.assert_array_equal(read_cover(tmp_path / "grey.png"), pixels)
    image = Image.fromarray(pixels.astype(np.uint8)).convert("L")
    image.putpalette([value for colour in colours for value in (colour, 0, 0)])
    image.save(tmp_path / "palette.png")
    np.testing.assert_array_equal(read_cover(tmp_path / "palette.png"), pixels)
