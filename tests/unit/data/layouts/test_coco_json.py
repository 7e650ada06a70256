"""COCO's JSON file: categories that are classes, and every fault reported with its entry."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.support.coco import HEIGHT, WIDTH, annotate, annotation, box, plain_runs
from tests.support.layouts import find_in, open_data, refusal, save_image
from trainer.data.layouts.coco_json import are_objects
from trainer.data.value_map import ValueMap

HEADINGS: dict[str, tuple[list[tuple[str, str | None]], list[int], list[str]]] = {
    "unused heading": ([("pets", "none"), ("cat", "pets"), ("dog", "pets")], [1], ["cat", "dog"]),
    "heading without its own": ([("pets", None), ("cat", "pets")], [1], ["cat"]),
    "used heading": ([("pets", "none"), ("cat", "pets")], [0, 1], ["pets", "cat"]),
    "COCO's person": ([("person", "person"), ("cat", "animal")], [1], ["person", "cat"]),
    "no headings": ([("cat", None), ("cow", "none")], [0], ["cat", "cow"]),
    "background": ([("background", None), ("cat", None)], [0, 1], ["cat"]),
}


@pytest.mark.parametrize(("categories", "used", "classes"), HEADINGS.values(), ids=HEADINGS)
def test_unused_headings_are_not_classes(
    categories: list[tuple[str, str | None]], used: list[int], classes: list[str], tmp_path: Path
) -> None:
    """Other categories stay classes, even those without annotations."""
    entries: list[dict[str, Any]] = [{"id": key, "name": name} for key, (name, _) in enumerate(categories)]
    for entry, (_, above) in zip(entries, categories, strict=True):
        entry |= {} if above is None else {"supercategory": above}
    annotations = [annotation(box(1, 1, 5, 5), key) for key in used]
    assert find_in(annotate(tmp_path, *annotations, categories=entries)).names == ("_background_", *classes)


# ------------------------------------------------------------------------------------------------ faults of entries


def test_category_id_of_a_wrong_type(tmp_path: Path) -> None:
    """An unhashable id does not break the search for unused headings."""
    categories = [{"id": 0, "name": "pets", "supercategory": "none"}, {"id": 1, "name": "cat", "supercategory": "pets"}]
    root = annotate(tmp_path, annotation(box(1, 1, 5, 5), [1]), categories=categories)
    assert "category_id [1] is not a category" in find_in(root).problems[0]


def test_all_faults_in_one_list(tmp_path: Path) -> None:
    bad = (
        annotation([]),
        annotation(box(1, 1, 5, 5), 9),
        annotation(box(1, 1, 5, 5), image_id=77),
        annotation(None, "1"),
    )
    problems = find_in(annotate(tmp_path, *bad, {})).problems
    for part, problem in zip(("no segm", "category_id 9", "image_id 77", "'1'", "None"), problems, strict=True):
        assert part in problem


PATHS = [
    *("../b.png", "..\\b.png", "/etc/passwd", "C:\\b.png", "\\\\a\\b", "linked/b.png", "link.png", "", ".", "a\0b"),
    *("x" * 300, "\ud800", None, 5, "sub/../../b.png", "sub/../c.png", "sub\\..\\c.png", "gone.png"),
]


@pytest.mark.parametrize("name", PATHS, ids=[repr(path)[:20] for path in PATHS])
def test_file_names_that_lead_out_or_nowhere(name: object, tmp_path: Path) -> None:
    root = tmp_path / "data"
    for file in (tmp_path / "b.png", root / "sub" / "c.png", root / "c.png"):
        save_image(file, np.zeros((HEIGHT, WIDTH, 3), np.uint8))
    (root / "link.png").symlink_to(tmp_path / "b.png")
    (root / "linked").symlink_to(tmp_path)
    for number, files in enumerate([(name, "a.png"), ("a.png", name)], start=1):
        images = [{"id": key, "file_name": file, "height": HEIGHT, "width": WIDTH} for key, file in enumerate(files)]
        found = find_in(annotate(root, images=images))
        assert [sample.name for sample in found.samples] == ["a"]
        assert len(found.problems) == 1
        assert f"image {number}" in found.problems[0]


def test_absolute_file_name_within_the_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Valid on one machine only, so it is its last part that counts; where two files have it, it is refused."""
    entry = {"id": 1, "file_name": str(tmp_path / "data" / "a.png"), "height": HEIGHT, "width": WIDTH}
    annotate(tmp_path / "data", images=[entry])
    monkeypatch.chdir(tmp_path)
    for root in (tmp_path / "data", Path("data")):
        assert [sample.image for sample in find_in(root).samples] == [root / "a.png"]
    save_image(tmp_path / "data" / "sub" / "a.png", np.zeros((HEIGHT, WIDTH, 3), np.uint8))
    for root in (tmp_path / "data", Path("data")):
        assert "not a plain path" in find_in(root).problems[0]


def test_subfolders_and_duplicates(tmp_path: Path) -> None:
    for file in ("sub/b.png", "b.png", "b.bmp"):
        save_image(tmp_path / file, np.zeros((HEIGHT, WIDTH, 3), np.uint8))
    files = ["sub\\b.png", "b.png", "b.bmp"]
    images = [{"id": key, "file_name": file, "height": HEIGHT, "width": WIDTH} for key, file in enumerate(files)]
    images.append({"id": 0, "file_name": "a.png", "height": HEIGHT, "width": WIDTH})
    found = find_in(annotate(tmp_path, images=images))
    assert [sample.name for sample in found.samples] == ["b", "sub/b"]
    assert len(found.problems) == 2
    assert all("same stem" in problem or "needs its own" in problem for problem in found.problems)


@pytest.mark.parametrize("size", [(0, 5), (-3, 5), (5.5, 5), ("5", 5), (None, None), (100_000, 100_000), (True, 5)])
def test_bad_sizes(size: tuple[object, object], tmp_path: Path) -> None:
    found = find_in(annotate(tmp_path, images=[{"id": 1, "file_name": "a.png", "height": size[0], "width": size[1]}]))
    assert "height and width" in found.problems[0]


# ------------------------------------------------------------------------------------------------ faults of the file

CATEGORIES = [
    [],
    [{"id": 1}],
    [{"id": 1, "name": "cat"}] * 2,
    [{"id": 1, "name": "cat"}, {"id": 2, "name": "cat"}],
    [{"id": "1", "name": "cat"}],
    [{"id": 1, "name": " "}],
]


@pytest.mark.parametrize(
    "more",
    [{"categories": categories} for categories in CATEGORIES]
    + [{"images": {}}, {"images": []}, {"annotations": [5]}, {"categories": None}],
)
def test_bad_files(more: dict[str, Any], tmp_path: Path) -> None:
    with refusal("_annotations.coco.json"):
        find_in(annotate(tmp_path, **more))


@pytest.mark.parametrize("text", [b"", b"{", b"[]", b"\xff", b"5", b"[" * 100_000])
def test_malformed_files(text: bytes, tmp_path: Path) -> None:
    root = annotate(tmp_path)
    (root / "_annotations.coco.json").write_bytes(text)
    with refusal("_annotations.coco.json"):
        find_in(root)


# ------------------------------------------------------------------------------------------------ crowds


def runs(iscrowd: int = 1, **more: Any) -> dict[str, Any]:
    """A mask of a brush, 4 by 6 pixels at the left edge."""
    pixels = np.zeros((HEIGHT, WIDTH), bool)
    pixels[2:6, :6] = True
    return annotation(plain_runs(pixels), iscrowd=iscrowd, **more)


def outline(**more: Any) -> dict[str, Any]:
    return annotation(box(10, 10, 15, 15), **more)


OBJECTS: dict[str, tuple[list[dict[str, Any]], bool]] = {
    "masks alone": ([runs()], True),
    "half of the images": ([runs(image_id=1), outline(image_id=2), outline(image_id=3)], True),
    "two of one kind": ([runs(), runs(), outline()], True),
    "two kinds": ([runs(), runs(category_id=2), outline(), outline(category_id=2)], False),
    "CVAT's attributes": ([runs(attributes={"occluded": False}), outline()], True),
    "what is left of a group": ([runs(), *[outline()] * 10], False),
    "most beside outlines": (
        [runs(image_id=key) for key in (1, 2, 3)] + [outline(image_id=key) for key in (1, 2)],
        False,
    ),
    "no crowd": ([runs(0)], False),
    "polygons": ([outline(iscrowd=1)], False),
}


@pytest.mark.parametrize(("annotations", "objects"), OBJECTS.values(), ids=OBJECTS)
def test_masks_that_are_marked_as_crowds(annotations: list[dict[str, Any]], objects: bool) -> None:
    assert are_objects(annotations) == objects


def test_masks_of_a_brush_count_as_their_class(tmp_path: Path) -> None:
    found = find_in(annotate(tmp_path, runs(), outline(category_id=2)))
    mask = found.samples[0].read_mask(ValueMap())
    assert [int((mask == value).sum()) for value in (1, 2, 255)] == [24, 25, 0]
    assert any("1 masks are marked iscrowd, as CVAT" in note for note in found.notes)


def test_masks_that_are_all_ignored(tmp_path: Path) -> None:
    """No option is offered that cannot help, and the pixels are counted."""
    root = annotate(tmp_path / "data", outline(iscrowd=1))
    (root / "b.png").write_bytes((root / "a.png").read_bytes())
    images = [{"id": key, "file_name": f"{key}.png", "height": HEIGHT, "width": WIDTH} for key in "ab"]
    annotate(root, outline(iscrowd=1, image_id="a"), images=images)
    with refusal("no mask has a pixel of a class; 25 pixels are marked to be ignored") as error:
        open_data(root, tmp_path)
    assert "value_map" not in str(error.value)


# ------------------------------------------------------------------------------------------------ VIA


def test_flat_lists_and_ids_as_text(tmp_path: Path) -> None:
    flat = annotation(box(3, 2, 9, 8)[0], image_id="1")
    mask = find_in(annotate(tmp_path, flat)).samples[0].read_mask(ValueMap())
    assert mask.sum() == mask[2:8, 3:9].sum() == 36
