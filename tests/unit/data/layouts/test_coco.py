"""COCO's JSON files: the masks that they make, and that a bad one is named and leads nowhere."""

import dataclasses
import json
import subprocess
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from pycocotools import mask as coco

from tests.support.layouts import NAMES, coco_record, found, opened, parts_of, planned, refusal, save_image, scenes
from tests.support.program import REPOSITORY
from trainer import InputError
from trainer.data.layouts.base import Found
from trainer.data.layouts.coco_masks import check_segmentation, draw_instances
from trainer.data.sample import Sample
from trainer.data.value_map import ValueMap

HEIGHT, WIDTH = 20, 30


def box(left: int, top: int, right: int, bottom: int) -> list[list[int]]:
    """The outline of a box of pixels, without its right and bottom edge."""
    return [[left, top, right, top, right, bottom, left, bottom]]


def compressed(mask: np.ndarray) -> dict[str, Any]:
    runs = coco.encode(np.asfortranarray(mask.astype(np.uint8)))
    return {"size": list(mask.shape), "counts": runs["counts"].decode()}


def plain(mask: np.ndarray) -> dict[str, Any]:
    """Run lengths by columns, the first of them of zeros; in plain numpy."""
    flat = np.concatenate([[False], mask.T.ravel(), [not mask.T.ravel()[-1]]])
    edges = np.flatnonzero(flat[1:] != flat[:-1])
    return {"size": list(mask.shape), "counts": [int(run) for run in np.diff([0, *edges])]}


def annotation(segmentation: object, category: int = 1, **more: Any) -> dict[str, Any]:
    return {
        "id": 5,
        "image_id": 1,
        "category_id": category,
        "segmentation": segmentation,
        "iscrowd": 0,
        "area": 1,
    } | more


def write(root: Path, *annotations: object, **more: Any) -> Path:
    """A folder with one picture a.png and the annotations of it."""
    save_image(root / "a.png", np.zeros((HEIGHT, WIDTH, 3), np.uint8))
    record = {
        "images": [{"id": 1, "file_name": "a.png", "height": HEIGHT, "width": WIDTH}],
        "annotations": list(annotations),
        "categories": [{"id": 1, "name": "cat"}, {"id": 2, "name": "dog"}],
    } | more
    (root / "_annotations.coco.json").write_text(json.dumps(record))
    return root


def drawn(root: Path) -> np.ndarray:
    inside = found(root)
    assert inside.problems == []
    return inside.samples[0].read_mask(ValueMap())


# ------------------------------------------------------------------------------------------------ masks


def test_boxes_cover_their_pixels(tmp_path: Path) -> None:
    expected = np.zeros((HEIGHT, WIDTH), np.uint8)
    expected[3:9, 4:20] = 1
    expected[12:14, 1:3] = 2
    mask = drawn(write(tmp_path, annotation(box(4, 3, 20, 9)), annotation(box(1, 12, 3, 14), 2)))
    np.testing.assert_array_equal(mask, expected)


def test_several_polygons_are_one_instance(tmp_path: Path) -> None:
    expected = np.zeros((HEIGHT, WIDTH), np.uint8)
    expected[3:9, 4:8] = expected[3:9, 12:20] = 1
    np.testing.assert_array_equal(drawn(write(tmp_path, annotation(box(4, 3, 8, 9) + box(12, 3, 20, 9)))), expected)


@settings(max_examples=150, deadline=None)
@given(st.binary(min_size=1, max_size=40), st.integers(1, 9))
def test_run_lengths_of_any_mask(noise: bytes, height: int) -> None:
    """Compressed and plain, against the mask itself."""
    bits = np.unpackbits(np.frombuffer(noise, np.uint8)).astype(bool)
    mask = np.resize(np.repeat(bits, 3), (height, 17))
    for value in (compressed(mask), plain(mask)):
        outline = check_segmentation(value, mask.shape, "here")
        assert outline == plain(mask)
        np.testing.assert_array_equal(draw_instances([(7, outline)], mask.shape), np.where(mask, 7, 0))


@pytest.mark.parametrize("order", [1, -1])
@pytest.mark.parametrize("area", [1, 10_000])
def test_smaller_ones_lie_over_larger_ones(order: int, area: int, tmp_path: Path) -> None:
    """By the pixels themselves: Roboflow states the area of the box."""
    annotations = [annotation(box(2, 2, 20, 18), 1, area=1), annotation(box(5, 5, 15, 9), 2, area=area)]
    expected = np.zeros((HEIGHT, WIDTH), np.uint8)
    expected[2:18, 2:20], expected[5:9, 5:15] = 1, 2
    np.testing.assert_array_equal(drawn(write(tmp_path, *annotations[::order])), expected)


@pytest.mark.filterwarnings("error")
def test_drawing_warns_of_nothing() -> None:
    """pycocotools is older than NumPy 2 and says so; other warnings are left alone."""
    mask = draw_instances([(1, check_segmentation(box(4, 3, 20, 9), (HEIGHT, WIDTH), "here"))], (HEIGHT, WIDTH))
    assert mask.sum() == 16 * 6
    with pytest.warns(DeprecationWarning, match="other"):
        warnings.warn("other", DeprecationWarning, stacklevel=1)


def test_crowds_are_ignored(tmp_path: Path) -> None:
    crowd = np.zeros((HEIGHT, WIDTH), bool)
    crowd[2:18, 2:28] = True
    expected = np.where(crowd, 255, 0)
    expected[5:9, 5:15] = 1
    mask = drawn(write(tmp_path, annotation(plain(crowd), iscrowd=1), annotation(box(5, 5, 15, 9))))
    np.testing.assert_array_equal(mask, expected)


def test_classes_select_and_order(tmp_path: Path) -> None:
    crowd = np.zeros((HEIGHT, WIDTH), bool)
    crowd[:, 25:] = True
    root = write(tmp_path / "data", annotation(box(2, 2, 20, 18), 2), annotation(box(5, 5, 15, 9), 1),
                 annotation(plain(crowd), 1, iscrowd=1), annotation(box(22, 2, 24, 4), 2, iscrowd=1))  # fmt: skip
    expected = np.zeros((HEIGHT, WIDTH), np.uint8)
    expected[2:18, 2:20], expected[5:9, 5:15], expected[:, 25:], expected[2:4, 22:24] = 1, 2, 255, 255
    both = found(root, classes=("_background_", "dog", "cat"))
    np.testing.assert_array_equal(both.samples[0].read_mask(ValueMap()), expected)
    assert both.notes == []
    # A cat lies on the dog: not dog, whether or not somebody asks for cats. Crowds of others are background.
    expected[5:9, 5:15] = expected[:, 25:] = 0
    dogs = found(root, classes=("_background_", "dog"))
    np.testing.assert_array_equal(dogs.samples[0].read_mask(ValueMap()), expected)
    assert dogs.names == ("_background_", "dog")
    assert "cat not among the classes" in dogs.notes[0]
    with refusal("data.classes: dgo", "did you mean dog"):
        found(root, classes=("_background_", "dgo", "cat"))


def test_images_without_outlines_are_background(tmp_path: Path) -> None:
    inside = found(write(tmp_path))
    assert not inside.samples[0].read_mask(ValueMap()).any()
    assert "1 images have no outlines" in inside.notes[0]
    degenerate = found(write(tmp_path, annotation([[1, 1, 5, 5]]), annotation([[1, 1, 5, 5], *box(1, 1, 3, 3)])))
    assert degenerate.samples[0].read_mask(ValueMap()).sum() == 4
    assert any("1 outlines have fewer than three points" in note for note in degenerate.notes)


# ------------------------------------------------------------------------------------------------ contents


def content(inside: Found) -> list[bytes]:
    return [sample.mask_content() for sample in inside.samples]


def test_contents_change_with_the_annotations_and_only_then(tmp_path: Path) -> None:
    root, made = tmp_path, scenes(3)
    for scene in made:
        save_image(root / f"{scene.stem}.png", scene.image)

    def contents(change: Callable[[dict[str, Any]], object] = lambda record: None) -> list[bytes]:
        record = coco_record(made)
        change(record)
        (root / "_annotations.coco.json").write_text(json.dumps(record, indent=2))
        return content(found(root))

    def renumber(record: dict[str, Any]) -> None:
        for one in record["images"]:
            one["id"] += 100
        for number, one in enumerate(record["annotations"]):
            one |= {"id": 900 - number, "image_id": one["image_id"] + 100, "area": 3.5, "note": "x"}

    def move(record: dict[str, Any]) -> None:
        record["annotations"][-1]["segmentation"][0][0] += 1

    first = contents()
    assert contents(lambda record: record["annotations"].reverse()) == first
    assert contents(renumber) == first
    assert contents(lambda record: record["categories"].append({"id": 9, "name": "cow"})) == first
    assert [one == other for one, other in zip(contents(move), first, strict=True)] == [True, True, False]
    for change in (
        lambda record: record["annotations"].pop(),
        lambda record: record["annotations"][-1].update(iscrowd=0),
        lambda record: record["annotations"][-2].update(category_id=3),
    ):
        assert [one == other for one, other in zip(contents(change), first, strict=True)] == [True, True, False]


def test_no_decoded_mask_is_kept(tmp_path: Path) -> None:
    save_image(tmp_path / "a.png", np.zeros((2000, 2000, 3), np.uint8))
    entry = {"id": 1, "file_name": "a.png", "height": 2000, "width": 2000}
    sample = found(write(tmp_path, annotation(box(10, 10, 1900, 1900)), images=[entry])).samples[0]
    held = sum(sys.getsizeof(getattr(sample, field.name)) for field in dataclasses.fields(sample))
    assert held < 10_000


# ------------------------------------------------------------------------------------------------ forms


def write_json(path: Path, record: object) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(record))


def test_roboflow_export(tmp_path: Path) -> None:
    """Its parts, and the heading that it puts above the categories."""
    made = scenes(5)
    for part, members in (("train", made[:3]), ("valid", made[3:4]), ("test", made[4:])):
        for scene in members:
            save_image(tmp_path / part / f"{scene.stem}.png", scene.image)
        record = coco_record(members)
        for category in record["categories"]:
            category["supercategory"] = "animals"
        record["categories"].append({"id": 0, "name": "animals", "supercategory": "none"})
        write_json(tmp_path / part / "_annotations.coco.json", record)
    sources = planned(tmp_path, tmp_path / "cache")
    assert sources.names == NAMES
    assert parts_of(sources) == (["train/scene_00", "train/scene_01", "train/scene_02"], ["valid/scene_03"])
    assert any("test (1 pictures)" in note for note in sources.notes)
    for sample, scene in zip(sources.samples, made, strict=False):
        np.testing.assert_array_equal(sample.read_mask(sources.values), scene.mask)


@pytest.mark.parametrize("folder", ["{}", "images/{}", "images"])
def test_cocos_own_folders(folder: str, tmp_path: Path) -> None:
    made = scenes(5)
    for part, members in (("train2017", made[:3]), ("val2017", made[3:])):
        for scene in members:
            save_image(tmp_path / folder.format(part) / f"{scene.stem}.png", scene.image)
        write_json(tmp_path / "annotations" / f"instances_{part}.json", coco_record(members))
    write_json(tmp_path / "annotations" / "captions_train2017.json", {})
    sources = planned(tmp_path, tmp_path / "cache")
    assert parts_of(sources) == (
        ["train2017/scene_00", "train2017/scene_01", "train2017/scene_02"], ["val2017/scene_03", "val2017/scene_04"],
    )  # fmt: skip
    assert sources.problems == ()
    assert opened(tmp_path, tmp_path / "cache").names == NAMES


def test_the_folder_is_found_though_an_image_is_missing(tmp_path: Path) -> None:
    made = scenes(3)
    for scene in made:
        save_image(tmp_path / "images" / f"{scene.stem}.png", scene.image)
    write_json(tmp_path / "annotations" / "instances_default.json", coco_record(made))
    (tmp_path / "images" / "scene_00.png").unlink()
    (tmp_path / "default").mkdir()  # tried earlier, and empty
    inside = found(tmp_path)
    assert [sample.name for sample in inside.samples] == ["default/scene_01", "default/scene_02"]
    assert len(inside.problems) == 1
    assert f"no image 'scene_00.png' in {tmp_path / 'images'}" in inside.problems[0]


HEADINGS: dict[str, tuple[list[tuple[str, str | None]], list[int], list[str]]] = {
    "unused heading": ([("pets", "none"), ("cat", "pets"), ("dog", "pets")], [1], ["cat", "dog"]),
    "heading without its own": ([("pets", None), ("cat", "pets")], [1], ["cat"]),
    "used heading": ([("pets", "none"), ("cat", "pets")], [0, 1], ["pets", "cat"]),
    "COCO's person": ([("person", "person"), ("cat", "animal")], [1], ["person", "cat"]),
    "no headings": ([("cat", None), ("cow", "none")], [0], ["cat", "cow"]),
    "background": ([("background", None), ("cat", None)], [0, 1], ["cat"]),
}


@pytest.mark.parametrize(("categories", "used", "classes"), HEADINGS.values(), ids=HEADINGS)
def test_which_categories_are_classes(
    categories: list[tuple[str, str | None]], used: list[int], classes: list[str], tmp_path: Path
) -> None:
    """Only a heading that nothing is labelled with is none; what merely lacks pixels stays."""
    entries: list[dict[str, Any]] = [{"id": key, "name": name} for key, (name, _) in enumerate(categories)]
    for entry, (_, above) in zip(entries, categories, strict=True):
        entry |= {} if above is None else {"supercategory": above}
    annotations = [annotation(box(1, 1, 5, 5), key) for key in used]
    assert found(write(tmp_path, *annotations, categories=entries)).names == ("_background_", *classes)


def test_a_file_of_another_name(tmp_path: Path) -> None:
    root = write(tmp_path, annotation(box(1, 1, 5, 5)))
    (root / "_annotations.coco.json").rename(root / "labels.json")
    assert len(found(root, layout="coco").samples) == 1


def test_parts_with_other_categories(tmp_path: Path) -> None:
    for part in ("train", "valid"):
        write(tmp_path / part, annotation(box(1, 1, 5, 5)))
    record = json.loads((tmp_path / "valid" / "_annotations.coco.json").read_text())
    record["categories"].reverse()
    write_json(tmp_path / "valid" / "_annotations.coco.json", record)
    assert len(found(tmp_path).samples) == 2
    record["categories"][0]["name"] = "cow"
    write_json(tmp_path / "valid" / "_annotations.coco.json", record)
    with refusal("valid", "train", "different categories"):
        found(tmp_path)


def test_picture_of_another_size(tmp_path: Path) -> None:
    root = write(tmp_path, annotation(box(1, 1, 5, 5)))
    save_image(root / "a.png", np.zeros((HEIGHT + 1, WIDTH, 3), np.uint8))
    with refusal(str(root / "a.png"), "30x21", "30x20"):
        found(root).samples[0].read_mask(ValueMap())


# ------------------------------------------------------------------------------------------------ mistakes

WHOLE = np.ones((HEIGHT, WIDTH), bool)
BAD: dict[str, tuple[object, str]] = {
    "box only": ([], "no segmentation"),
    "none": (None, "no segmentation"),
    "odd": ([[1, 2, 3, 4, 5, 6, 7]], "no list of polygons"),
    "text": ([["a", "b", "c", "d", "e", "f"]], "no list of polygons"),
    "truths": ([[True, False, True, False, True, True]], "no list of polygons"),
    "numbers": ([1, 2, 3, 4, 5, 6], "no list of polygons"),
    "NaN": ([[float("nan"), 1, 5, 5, 9, 1]], "far outside"),
    "infinite": ([[1, 1, 5, float("inf"), 9, 1]], "far outside"),
    "far": ([[1, 1, 5, 5, 1e9, 1]], "far outside"),
    "wrong axis": ([[1, 1, 5, 45, 9, 1]], "far outside"),
    "other size": (plain(WHOLE.T), "its picture has"),
    "too short": ({"size": [HEIGHT, WIDTH], "counts": [5, 6]}, "do not add up"),
    "too long": ({"size": [HEIGHT, WIDTH], "counts": [0, HEIGHT * WIDTH + 1]}, "do not add up"),
    "negative": ({"size": [HEIGHT, WIDTH], "counts": [-1, HEIGHT * WIDTH + 1]}, "do not add up"),
    "no counts": ({"size": [HEIGHT, WIDTH]}, "do not add up"),
    "empty text": ({"size": [HEIGHT, WIDTH], "counts": ""}, "do not add up"),
    "other text": ({"size": [HEIGHT, WIDTH], "counts": "äöü"}, "do not add up"),
    "open text": ({"size": [HEIGHT, WIDTH], "counts": "oooooooooooooo"}, "do not add up"),
}


@pytest.mark.parametrize(("segmentation", "part"), BAD.values(), ids=BAD)
def test_bad_outline(segmentation: object, part: str, tmp_path: Path) -> None:
    inside = found(write(tmp_path, annotation(segmentation), annotation(box(1, 1, 5, 5))))
    assert len(inside.problems) == 1
    assert inside.problems[0].startswith(f"{tmp_path / '_annotations.coco.json'}: annotation 5")
    assert part in inside.problems[0]


def test_a_category_of_another_kind(tmp_path: Path) -> None:
    """Where categories have a heading, what is used is looked up."""
    categories = [{"id": 0, "name": "pets", "supercategory": "none"}, {"id": 1, "name": "cat", "supercategory": "pets"}]
    root = write(tmp_path, annotation(box(1, 1, 5, 5), [1]), categories=categories)
    assert "category_id [1] is no category" in found(root).problems[0]


def test_all_mistakes_in_one_list(tmp_path: Path) -> None:
    bad = (
        annotation([]),
        annotation(box(1, 1, 5, 5), 9),
        annotation(box(1, 1, 5, 5), image_id=77),
        annotation(None, "1"),
    )
    problems = found(write(tmp_path, *bad, {})).problems
    assert [
        part in problem
        for part, problem in zip(("no segm", "category_id 9", "image_id 77", "'1'", "None"), problems, strict=True)
    ] == [True] * 5


PATHS = ["../b.png", "..\\b.png", "/etc/passwd", "C:\\b.png", "\\\\a\\b", "linked/b.png", "link.png", "", ".",
         "a\0b", "x" * 300, "\ud800", None, 5, "sub/../../b.png", "sub/../c.png", "sub\\..\\c.png",
         "gone.png"]  # fmt: skip


@pytest.mark.parametrize("name", PATHS, ids=[repr(path)[:20] for path in PATHS])
def test_names_that_lead_out_or_nowhere(name: object, tmp_path: Path) -> None:
    root = tmp_path / "data"
    for file in (tmp_path / "b.png", root / "sub" / "c.png", root / "c.png"):
        save_image(file, np.zeros((HEIGHT, WIDTH, 3), np.uint8))
    (root / "link.png").symlink_to(tmp_path / "b.png")
    (root / "linked").symlink_to(tmp_path)
    for place, files in enumerate([(name, "a.png"), ("a.png", name)]):
        images = [{"id": key, "file_name": file, "height": HEIGHT, "width": WIDTH} for key, file in enumerate(files)]
        inside = found(write(root, images=images))
        assert [sample.name for sample in inside.samples] == ["a"]
        assert len(inside.problems) == 1
        assert f"image {place + 1}" in inside.problems[0]


def test_an_absolute_name_of_an_image_within(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Good on one machine alone."""
    entry = {"id": 1, "file_name": str(tmp_path / "data" / "a.png"), "height": HEIGHT, "width": WIDTH}
    write(tmp_path / "data", images=[entry])
    monkeypatch.chdir(tmp_path)
    for root in (tmp_path / "data", Path("data")):
        assert "no plain path" in found(root).problems[0]


def test_folders_below_and_doubles(tmp_path: Path) -> None:
    for file in ("sub/b.png", "b.png", "b.bmp"):
        save_image(tmp_path / file, np.zeros((HEIGHT, WIDTH, 3), np.uint8))
    files = ["sub\\b.png", "b.png", "b.bmp"]
    images = [{"id": key, "file_name": file, "height": HEIGHT, "width": WIDTH} for key, file in enumerate(files)]
    images.append({"id": 0, "file_name": "a.png", "height": HEIGHT, "width": WIDTH})
    inside = found(write(tmp_path, images=images))
    assert [sample.name for sample in inside.samples] == ["b", "sub/b"]
    assert ["same stem" in problem or "needs its own" in problem for problem in inside.problems] == [True, True]


@pytest.mark.parametrize("size", [(0, 5), (-3, 5), (5.5, 5), ("5", 5), (None, None), (100_000, 100_000), (True, 5)])
def test_bad_sizes(size: tuple[object, object], tmp_path: Path) -> None:
    inside = found(write(tmp_path, images=[{"id": 1, "file_name": "a.png", "height": size[0], "width": size[1]}]))
    assert "height and width" in inside.problems[0]


CATEGORIES = [[], [{"id": 1}], [{"id": 1, "name": "cat"}] * 2, [{"id": 1, "name": "cat"}, {"id": 2, "name": "cat"}],
              [{"id": "1", "name": "cat"}], [{"id": 1, "name": " "}]]  # fmt: skip


@pytest.mark.parametrize(
    "more",
    [{"categories": one} for one in CATEGORIES]
    + [{"images": {}}, {"images": []}, {"annotations": [5]}, {"categories": None}],
)
def test_bad_files(more: dict[str, Any], tmp_path: Path) -> None:
    with refusal("_annotations.coco.json"):
        found(write(tmp_path, **more))


@pytest.mark.parametrize("text", [b"", b"{", b"[]", b"\xff", b"5", b"[" * 100_000])
def test_files_that_are_none(text: bytes, tmp_path: Path) -> None:
    root = write(tmp_path)
    (root / "_annotations.coco.json").write_bytes(text)
    with refusal("_annotations.coco.json"):
        found(root)


NUMBERS = st.one_of(st.integers(-50, 50), st.floats(), st.just(10**30), st.booleans())
SEGMENTATIONS = st.one_of(
    st.lists(st.lists(NUMBERS, max_size=10), max_size=3),
    st.fixed_dictionaries(
        {"size": st.just([HEIGHT, WIDTH]), "counts": st.text(max_size=20) | st.lists(st.integers(-5, 700))}
    ),
    st.lists(st.integers(0, HEIGHT * WIDTH), min_size=1).map(
        lambda cuts: {"size": [HEIGHT, WIDTH], "counts": np.diff([0, *sorted(cuts), HEIGHT * WIDTH]).tolist()}
    ),
)


@settings(max_examples=400, deadline=None)
@given(SEGMENTATIONS)
def test_any_outline_is_drawn_or_refused(segmentation: object) -> None:
    try:
        outline = check_segmentation(segmentation, (HEIGHT, WIDTH), "here")
    except InputError as error:
        assert str(error).startswith("here")  # noqa: PT017
        return
    if outline is not None:
        mask = draw_instances([(1, outline)], (HEIGHT, WIDTH))
        assert mask.shape == (HEIGHT, WIDTH)
        assert set(np.unique(mask)) <= {0, 1}


def test_without_pycocotools_the_command_to_install_it_is_told(tmp_path: Path) -> None:
    root = write(tmp_path / "data", annotation(box(1, 1, 5, 5)))
    code = (
        "import importlib.util as util, sys; real = util.find_spec;"
        "util.find_spec = lambda name, *more: None if name == 'pycocotools' else real(name, *more);"
        f"sys.argv = ['train.py', '--data.root', {str(root)!r}, '--tracking.enabled', 'false'];"
        "from trainer.train import main; sys.exit(main())"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=REPOSITORY, capture_output=True, text=True, timeout=120)
    assert done.returncode == 2
    assert "pip install -c launch/constraints.txt -e .[coco]" in done.stderr
    assert "Traceback" not in done.stderr


def test_reading_like_any_sample(tmp_path: Path) -> None:
    sample = found(write(tmp_path, annotation(box(1, 1, 5, 5)))).samples[0]
    assert isinstance(sample, Sample)
    assert sample.mask == tmp_path / "_annotations.coco.json"
    assert not sample.lossy
    with Image.open(sample.image) as picture:
        np.testing.assert_array_equal(sample.read_image(), np.array(picture))
