"""Folders as people have them: each read as it lies, to the same pictures and masks."""

import json
import shutil
import typing
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.support.data import count_nothing
from tests.support.layouts import (
    NAMES,
    WRITERS,
    Scene,
    found,
    opened,
    parts_of,
    planned,
    refusal,
    save_image,
    save_mask,
    scenes,
    write_folders,
    write_pairs,
    write_voc,
)
from trainer.config import DataConfig
from trainer.data.dataset import open_dataset
from trainer.data.layouts import LAYOUTS, _module, find

# ------------------------------------------------------------------------------------------------ all of them


def told_apart(layout: str, made: list[Scene]) -> tuple[tuple[str, ...], list[np.ndarray]]:
    """The class names and masks that a layout can tell: of trimaps, pets and the rest."""
    if layout == "pets":
        return ("_background_", "pet"), [np.where(scene.mask == 2, 0, scene.mask) for scene in made]
    return NAMES, [scene.mask for scene in made]


@pytest.mark.parametrize("named", [False, True], ids=["auto", "named"])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_every_layout_gives_the_same_pictures_and_masks(layout: str, named: bool, tmp_path: Path) -> None:
    made = scenes()
    root = WRITERS[layout](tmp_path / "data", made)
    assert next(name for name in LAYOUTS if _module(name).fits(root)) == layout
    sources = planned(root, tmp_path / "cache", layout=layout if named else "auto")
    assert not sources.problems
    names, masks = told_apart(layout, made)
    assert sources.names == names
    assert [sample.name.split("/")[-1] for sample in sources.samples] == [scene.stem for scene in made]
    for sample, scene, mask in zip(sources.samples, made, masks, strict=True):
        difference = np.abs(sample.read_image().astype(int) - scene.image)
        assert difference.mean() < (4 if layout == "pets" else 0.001)  # JPEG
        np.testing.assert_array_equal(sample.read_mask(sources.values), mask)
    dataset = open_dataset(sources, 16, tmp_path / "cache", count_nothing)
    assert dataset.names == names
    assert dataset.pixels().sum() > 0
    _, val = parts_of(sources)
    assert len(val) == (5 if layout == "pets" else 2)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_digest_follows_the_contents_alone(layout: str, tmp_path: Path) -> None:
    """Renaming the folder changes nothing, another mask does; in every layout."""
    made = scenes()
    root = WRITERS[layout](tmp_path / "data", made)
    first = opened(root, tmp_path / "cache").digest
    root = root.rename(tmp_path / "elsewhere")
    assert opened(root, tmp_path / "cache").digest == first
    made[3].mask[2, 4] = made[3].mask[2, 5] = 0
    made[3].mask[2:14, 6] = 0
    made[3].mask[2:14, 4:7] = 0
    shutil.rmtree(root)
    WRITERS[layout](root, made)
    assert opened(root, tmp_path / "cache").digest != first


def test_layouts_are_the_values_of_the_key() -> None:
    values = typing.get_args(typing.get_type_hints(DataConfig)["layout"])
    assert sorted(values) == sorted(["auto", *LAYOUTS]) == sorted(["auto", *WRITERS])


def test_a_folder_of_no_layout(tmp_path: Path) -> None:
    (tmp_path / "stuff").mkdir()
    with refusal(
        str(tmp_path),
        "no layout",
        "images/ and masks/",
        "it holds stuff/ (no files), no files",
        "--data.layout pets or",
    ):
        found(tmp_path)
    for layout in set(LAYOUTS) - {"labelme"}:
        with refusal(str(tmp_path)):
            found(tmp_path, layout=layout)


def test_what_is_there_instead_is_told(tmp_path: Path) -> None:
    """Half of the folders, JSON files of something else, no folder at all; or one folder too high."""
    root = write_folders(tmp_path / "above" / "cats", scenes(3))
    with refusal("There is one within", f"--data.root {root}"):
        found(tmp_path / "above")
    shutil.copytree(root, tmp_path / "above" / "dogs")
    with refusal(f'"[{root},{tmp_path / "above" / "dogs"}]"'):
        found(tmp_path / "above")
    shutil.rmtree(root / "masks")
    with refusal("it holds images/ (3 .png), 1 .txt"):
        found(root)
    (root / "images" / "scene_00.json").write_text("{")
    with refusal("it holds 3 .png, 1 .json"):
        found(root / "images")
    with refusal("it is a file"):
        found(root / "class_names.txt")


def test_names_that_have_nothing_in_common(tmp_path: Path) -> None:
    write_pairs(tmp_path / "images", tmp_path / "masks", scenes(3))
    for number, file in enumerate(sorted((tmp_path / "masks").iterdir())):
        file.rename(file.with_name(f"m{number}.png"))
    (problem,) = found(tmp_path).problems
    assert "scene_00.png and m0.png" in problem
    with refusal(problem, f"{tmp_path}: no labelled picture is left"):
        planned(tmp_path, tmp_path / "cache")


# ------------------------------------------------------------------------------------------------ folders

ENDINGS = [("", ""), ("", "_mask"), ("", "-gt"), ("_sat", "_mask"), ("", "_seg_label"), ("_image", "")]


@pytest.mark.parametrize(("image_ending", "mask_ending"), ENDINGS)
def test_endings_of_names(image_ending: str, mask_ending: str, tmp_path: Path) -> None:
    stems = ["cat_1", "rat_1", "bat_1"]  # at_1 is shared too, and stays
    for stem in stems:
        save_image(tmp_path / "img" / f"{stem}{image_ending}.png", np.zeros((8, 9, 3), np.uint8))
        save_mask(tmp_path / "GT" / f"{stem}{mask_ending}.png", np.zeros((8, 9), np.uint8))
    inside = found(tmp_path)
    assert inside.problems == []
    assert [sample.name for sample in inside.samples] == sorted(stems)
    assert inside.samples[0].mask.name == f"bat_1{mask_ending}.png"
    assert inside.samples[0].image.name == f"bat_1{image_ending}.png"


def test_an_ending_that_not_all_masks_share_is_part_of_the_name(tmp_path: Path) -> None:
    write_pairs(tmp_path / "images", tmp_path / "masks", scenes(3), "_mask")
    (tmp_path / "masks" / "scene_01_mask.png").rename(tmp_path / "masks" / "scene_01.png")
    inside = found(tmp_path)
    assert [sample.name for sample in inside.samples] == ["scene_01"]
    assert len(inside.problems) == 4  # two images, two masks


def test_missing_halves_are_named_with_their_ending(tmp_path: Path) -> None:
    write_pairs(tmp_path / "images", tmp_path / "masks", scenes(4), "_mask")
    (tmp_path / "masks" / "scene_01_mask.png").unlink()
    (tmp_path / "images" / "scene_02.png").unlink()
    shutil.copy(tmp_path / "images" / "scene_03.png", tmp_path / "images" / "scene_03.bmp")
    inside = found(tmp_path)
    assert [sample.name for sample in inside.samples] == ["scene_00", "scene_03"]
    double, no_mask, no_image = inside.problems
    assert "same stem" in double
    assert f"no mask scene_01_mask.png in {tmp_path / 'masks'}" in no_mask
    assert str(tmp_path / "masks" / "scene_02_mask.png") in no_image


@pytest.mark.parametrize("inside", [True, False], ids=["images/train", "train/images"])
@pytest.mark.parametrize("val", ["val", "valid", "validation", "Val"])
def test_parts(inside: bool, val: str, tmp_path: Path) -> None:
    """Same stems in both parts are different pictures."""
    made = scenes(5)
    for part, members in (("train", made[:3]), (val, made[:2]), ("test", made[4:])):
        folders = (
            [Path("img_dir") / part, Path("ann_dir") / part]
            if inside
            else [Path(part) / "images", Path(part) / "masks"]
        )
        write_pairs(*(tmp_path / folder for folder in folders), members, "_gt")
    sources = planned(tmp_path, tmp_path / "cache", classes=["cat", "dog"])
    assert sources.problems == ()
    name = val.lower()
    assert parts_of(sources) == (
        ["train/scene_00", "train/scene_01", "train/scene_02"], [f"{name}/scene_00", f"{name}/scene_01"],
    )  # fmt: skip
    assert [sample.image.parts[-2 if not inside else -3] for sample in sources.samples] == [
        "img_dir" if inside else "images"
    ] * 5
    assert len(sources.notes) == 1
    assert "test (1 pictures)" in sources.notes[0]


def test_parts_without_validation_are_split_as_ever(tmp_path: Path) -> None:
    write_pairs(tmp_path / "train" / "images", tmp_path / "train" / "masks", scenes(10))
    write_pairs(tmp_path / "test" / "images", tmp_path / "test" / "masks", scenes(2))
    sources = planned(tmp_path, tmp_path / "cache", classes=["cat", "dog"])
    train, val = parts_of(sources)
    assert (len(train), len(val)) == (8, 2)
    assert all(name.startswith("train/") for name in train + val)


def test_validation_that_is_called_otherwise_beside_the_masks(tmp_path: Path) -> None:
    write_pairs(tmp_path / "images" / "train", tmp_path / "masks" / "train", scenes(3))
    write_pairs(tmp_path / "images" / "val", tmp_path / "masks" / "validation", scenes(2))
    assert len(found(tmp_path).samples) == 5


def test_a_part_without_masks_is_a_problem_unless_it_tests(tmp_path: Path) -> None:
    write_pairs(tmp_path / "images" / "train", tmp_path / "masks" / "train", scenes(3))
    for part in ("val", "test"):
        save_image(tmp_path / "images" / part / "a.png", np.zeros((8, 9, 3), np.uint8))
    inside = found(tmp_path)
    assert len(inside.problems) == 1
    assert str(tmp_path / "images" / "val") in inside.problems[0]


def test_folders_that_only_look_like_it(tmp_path: Path) -> None:
    """A VOC folder with boxes in Annotations/, a folder for YOLO with text files in labels/."""
    root = write_voc(tmp_path / "voc", scenes(3))
    (root / "Annotations").mkdir()
    (root / "Annotations" / "scene_00.xml").touch()
    assert found(root).samples[0].mask.parent.name == "SegmentationClassPNG"
    save_image(tmp_path / "yolo" / "images" / "train" / "a.png", np.zeros((8, 9, 3), np.uint8))
    (tmp_path / "yolo" / "labels" / "train").mkdir(parents=True)
    (tmp_path / "yolo" / "labels" / "train" / "a.txt").touch()
    with refusal("yolo", "no layout"):
        found(tmp_path / "yolo")


# ------------------------------------------------------------------------------------------------ nnU-Net


def test_nnunet_labels_of_either_version(tmp_path: Path) -> None:
    root = WRITERS["nnunet"](tmp_path, scenes(3))
    record = root / "dataset.json"
    record.write_text(json.dumps({"labels": {"0": "background", "2": "dog", "1": "cat", "3": "ignore"}}))
    inside = found(root)
    assert inside.names == NAMES
    assert inside.value_map == {0: "background", 1: "cat", 2: "dog", 3: "ignore", 255: "ignore"}
    (root / "imagesTs").mkdir()
    assert "imagesTs" in found(root).notes[0]
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
            found(root)
    record.write_text("{")
    with refusal(str(record)):
        found(root)


def test_nnunet_classes_that_a_person_names(tmp_path: Path) -> None:
    """Then the masks hold ids of those, whatever dataset.json says."""
    root = WRITERS["nnunet"](tmp_path / "data", scenes(3, ignore=False))
    sources = planned(root, tmp_path / "cache", classes=["kitten", "hound"])
    assert sources.names == ("_background_", "kitten", "hound")
    np.testing.assert_array_equal(sources.samples[0].read_mask(sources.values), scenes(3, ignore=False)[0].mask)


def test_nnunet_of_volumes_or_several_channels(tmp_path: Path) -> None:
    root = WRITERS["nnunet"](tmp_path, scenes(3))
    shutil.copy(root / "imagesTr" / "scene_00_0000.png", root / "imagesTr" / "scene_00_0001.png")
    with refusal("scene_00_0001.png", "first channel"):
        found(root)
    for file in (root / "imagesTr").iterdir():
        file.rename(file.with_suffix("").with_suffix(".nii.gz"))
    with refusal(str(root / "imagesTr"), ".nii.gz", "no volumes"):
        found(root)


# ------------------------------------------------------------------------------------------------ CSV


@pytest.fixture
def listed(tmp_path: Path) -> Path:
    return WRITERS["csv"](tmp_path / "data", scenes(6)) / "list.csv"


def rewrite(file: Path, *lines: str, encoding: str = "utf-8", end: str = "\n") -> Path:
    file.write_bytes("".join(line + end for line in lines).encode(encoding))
    return file


def test_csv_file_itself_and_its_folder(listed: Path, tmp_path: Path) -> None:
    assert [sample.name for sample in found(listed).samples] == [f"a/scene_0{number}" for number in range(6)]
    assert opened(listed, tmp_path / "cache").digest == opened(listed.parent, tmp_path / "cache").digest
    assert planned(listed, tmp_path / "cache").names == NAMES  # class_names.txt beside it
    shutil.copy(listed, listed.with_name("other.csv"))
    with refusal("2 CSV files"):
        found(listed.parent, layout="csv")


@pytest.mark.parametrize(
    ("mark", "quote", "encoding", "end"),
    [
        (";", "", "utf-8-sig", "\r\n"),
        (",", '"', "utf-8", "\n"),
        ("\t", "", "utf-8", "\n"),
        (", ", '"', "utf-8-sig", "\r\n"),
    ],
)
def test_csv_as_programs_write_it(mark: str, quote: str, encoding: str, end: str, listed: Path) -> None:
    rows = [("Mask", "image", "split", "remark")]
    rows += [(f"b/scene_0{n}.png", f"a/scene_0{n}.png", "val" if n == 2 else "train", "x") for n in range(4)]
    lines = [mark.join(f"{quote}{cell}{quote}" for cell in row) for row in rows]
    rewrite(listed, *lines, "", encoding=encoding, end=end)
    inside = found(listed)
    assert inside.problems == []
    assert inside.parts == {f"a/scene_0{n}": "val" if n == 2 else "train" for n in range(4)}


def test_csv_splits(listed: Path, tmp_path: Path) -> None:
    splits = ["train", "VALID", "", "test", "validation", "train"]
    lines = [f"a/scene_0{n}.png,b/scene_0{n}.png,{split}" for n, split in enumerate(splits)]
    inside = found(rewrite(listed, "image,mask,split", *lines))
    assert inside.parts == {"a/scene_00": "train", "a/scene_01": "val", "a/scene_04": "val", "a/scene_05": "train"}
    assert [sample.name for sample in inside.samples if sample.name not in inside.parts] == ["a/scene_02"]
    assert "1 pictures" in inside.notes[0]
    all_train = [line.rpartition(",")[0] + ",train" for line in lines]
    train, val = parts_of(planned(rewrite(listed, "image,mask,split", *all_train), tmp_path / "cache"))
    assert len(train) > len(val) > 0


def test_csv_paths(listed: Path, tmp_path: Path) -> None:
    """Absolute ones, ways up, Windows' strokes; the same stem in two folders stays two samples."""
    write_pairs(tmp_path / "far" / "a", tmp_path / "far" / "b", scenes(2))
    far = tmp_path / "far"
    lines = [f"{far}/a/scene_00.png,{far}/b/scene_00.png", "../far/a/scene_01.png,../far/b/scene_01.png"]
    rewrite(listed, "image,mask", *lines, "a\\scene_00.png,b\\scene_00.png", "./a/scene_01.png,b/scene_01.png")
    inside = found(listed)
    assert inside.problems == []
    names = [sample.name for sample in inside.samples]
    assert names == sorted([f"{far}/a/scene_00".lstrip("/"), "far/a/scene_01", "a/scene_00", "a/scene_01"])


def test_csv_mistakes_are_all_named_with_their_line(listed: Path) -> None:
    shutil.copy(listed.parent / "a" / "scene_04.png", listed.parent / "a" / "scene_04.bmp")
    rewrite(
        listed, "image,mask,split", "a/scene_00.png,b/scene_00.png,train", "a/gone.png,b/lost.png", "a/scene_01.png",
        "a/scene_02.png,b/scene_02.png,trian", "./a/scene_00.png,b/scene_03.png", "a/scene_04.png,b/scene_04.png",
        "a/scene_04.bmp,b/scene_04.png",
    )  # fmt: skip
    wanted = [
        (3, "a/gone.png"),
        (3, "b/lost.png"),
        (4, "no mask"),
        (5, "'trian'"),
        (6, "line 2 already"),
        (8, "suffix"),
    ]
    problems = found(listed).problems
    assert len(problems) == len(wanted)
    for problem, (line, part) in zip(problems, wanted, strict=True):
        assert problem.startswith(f"{listed}, line {line}: ")
        assert part in problem


@pytest.mark.parametrize("content", [b"", b"image;label\n", b"\n", b"picture,mask\na,b\n", b"a.png,b.png\n"])
def test_csv_without_its_columns(content: bytes, listed: Path) -> None:
    listed.write_bytes(content)
    with refusal(str(listed), "no column", "first line"):
        found(listed)


@pytest.mark.parametrize(
    "content", ["image,mask\na,b\n".encode("utf-16"), b'image,mask\n"a,b\n', b'image,mask\n"a"x,b\n']
)
def test_csv_that_is_none(content: bytes, listed: Path) -> None:
    listed.write_bytes(content)
    with refusal(str(listed)):
        found(listed)


# ------------------------------------------------------------------------------------------------ labelmap.txt

COLOURS = {0: (0, 0, 0), 1: (250, 50, 83), 2: (51, 221, 255), 255: (255, 255, 255)}
LABELMAP = (
    "# label:color_rgb:parts:actions\nbackground:0,0,0::\ndog:51,221,255::\ncat:250,50,83::\nignore:255,255,255::\n"
)


def coloured(mask: np.ndarray) -> np.ndarray:
    picture = np.zeros((*mask.shape, 3), np.uint8)
    for value, colour in COLOURS.items():
        picture[mask == value] = colour
    return picture


@pytest.mark.parametrize("layout", ["folders", "voc", "csv"])
def test_labelmap_names_the_colours(layout: str, tmp_path: Path) -> None:
    made = [*scenes(4), Scene("empty", scenes(1)[0].image, np.zeros((32, 41), np.uint8))]
    root = WRITERS[layout](tmp_path / "data", made)
    for scene in made:
        (file,) = [
            path for path in root.rglob(f"{scene.stem}*.png") if path.parent.name not in ("images", "JPEGImages", "a")
        ]
        save_image(file, coloured(scene.mask))
    (root / "labelmap.txt").write_text(LABELMAP)
    (root / "class_names.txt").unlink()
    target = root / "list.csv" if layout == "csv" else root
    sources = planned(target, tmp_path / "cache")
    assert sources.names == ("_background_", "dog", "cat")
    swapped = np.arange(256, dtype=np.uint8)
    swapped[[1, 2]] = 2, 1
    by_name = {scene.stem: swapped[scene.mask] for scene in made}
    for sample in sources.samples:
        np.testing.assert_array_equal(sample.read_mask(sources.values), by_name[Path(sample.name).name])
    cats = planned(target, tmp_path / "cache", classes=["cat"])
    mask = cats.samples[-1].read_mask(cats.values)
    np.testing.assert_array_equal(mask == 1, made[3].mask == 1)
    assert set(np.unique(mask)) == {0, 1, 255}
    assert any("dog" in note for note in cats.notes)
    with refusal("data.classes: cta", "did you mean cat"):
        planned(target, tmp_path / "cache", classes=["cta"])


def test_labelmap_and_palette_masks(tmp_path: Path) -> None:
    """Indices are places in the list, as the tools that write palette masks count them."""
    root = write_folders(tmp_path, scenes(3))
    (root / "class_names.txt").unlink()
    (root / "labelmap.txt").write_text("background:0,0,0::\ncat:128,0,0::\ndog:0,128,0::\n")
    sources = planned(root, tmp_path / "cache")
    assert sources.names == NAMES
    np.testing.assert_array_equal(sources.samples[2].read_mask(sources.values), scenes(3)[2].mask)


def test_labelmap_of_greys(tmp_path: Path) -> None:
    root = write_folders(tmp_path, scenes(3, ignore=False))
    (root / "class_names.txt").unlink()
    for scene in scenes(3, ignore=False):
        Image.fromarray(scene.mask * 120).save(root / "masks" / f"{scene.stem}_mask.png")
    (root / "labelmap.txt").write_text("cat:120,120,120\ndog:240,240,240\n")
    sources = planned(root, tmp_path / "cache")
    np.testing.assert_array_equal(sources.samples[2].read_mask(sources.values), scenes(3)[2].mask % 255)


def test_labelmap_of_greys_that_are_places_too(tmp_path: Path) -> None:
    """A grey is what the line says, not the place of another line."""
    root = write_folders(tmp_path, scenes(3))
    (root / "class_names.txt").write_text("cat\ndog\n")
    (root / "labelmap.txt").write_text("dog:2,2,2\ncat:1,1,1\n")
    sources = planned(root, tmp_path / "cache")
    np.testing.assert_array_equal(sources.samples[2].read_mask(sources.values), scenes(3)[2].mask)


def test_data_value_map_wins_over_labelmap(tmp_path: Path) -> None:
    root = write_folders(tmp_path, scenes(3))
    (root / "labelmap.txt").write_text("background:0,0,0\ncat:9,9,9\ndog:8,8,8\n")
    own = {0: "background", 1: "dog", 2: "cat", 255: "ignore"}
    sources = planned(root, tmp_path / "cache", value_map=own)
    assert set(np.unique(sources.samples[0].read_mask(sources.values))) == {0, 1, 2, 255}


@pytest.mark.parametrize(
    "text",
    [
        "cat\n",
        "cat:1,2\n",
        "cat:1,2,256::\n",
        "cat:1,2,3\ncat:3,2,1\n",
        "cat:1,2,3\ndog:1,2,3\n",
        "background:0,0,0::\n",
        "",
    ],
)
def test_labelmap_that_is_wrong(text: str, tmp_path: Path) -> None:
    root = write_folders(tmp_path, scenes(2))
    (root / "labelmap.txt").write_text(text)
    with refusal(str(root / "labelmap.txt")):
        found(root)


# ------------------------------------------------------------------------------------------------ VOC


def write_list(root: Path, part: str, *stems: str) -> None:
    folder = root / "ImageSets" / "Segmentation"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{part}.txt").write_text("".join(f"{stem}\n" for stem in stems))


@pytest.mark.parametrize(("given", "other"), [("train", "val"), ("val", "train")])
def test_voc_with_one_list_alone(given: str, other: str, tmp_path: Path) -> None:
    """The pictures that the one list leaves out are for the other part."""
    root = write_voc(tmp_path, scenes(4))
    write_list(root, given, "scene_01", "scene_03")
    inside = found(root)
    assert {name for name, part in inside.parts.items() if part == given} == {"scene_01", "scene_03"}
    assert {name for name, part in inside.parts.items() if part == other} == {"scene_00", "scene_02"}
    assert len(inside.samples) == 4


def test_voc_with_both_lists_leaves_the_rest_out(tmp_path: Path) -> None:
    root = write_voc(tmp_path, scenes(5))
    (root / "SegmentationClassPNG" / "scene_04.png").unlink()  # VOC has many images without masks
    write_list(root, "train", "scene_00")
    write_list(root, "val", "scene_02", "scene_03")
    write_list(root, "trainval", "scene_00", "scene_02", "scene_03")
    inside = found(root)
    assert inside.problems == []
    assert inside.parts == {"scene_00": "train", "scene_02": "val", "scene_03": "val"}
    assert [sample.name for sample in inside.samples] == ["scene_00", "scene_02", "scene_03"]


def test_voc_with_a_name_in_both_lists(tmp_path: Path) -> None:
    root = write_voc(tmp_path, scenes(4))
    write_list(root, "train", "scene_00", "scene_01")
    write_list(root, "val", "scene_01", "scene_02")
    with refusal(str(root / "ImageSets" / "Segmentation"), "scene_01 in both"):
        found(root)


def test_voc_with_empty_lists_is_split_as_ever(tmp_path: Path) -> None:
    root = write_voc(tmp_path, scenes(5))
    write_list(root, "train")
    assert found(root).parts == {}
    assert len(found(root).samples) == 5


def test_find_of_a_missing_root(tmp_path: Path) -> None:
    with refusal(str(tmp_path / "gone"), "no such folder"):
        find(tmp_path / "gone", "auto", None)
