"""Label Studio's brush export: names of masks, and how their images are found."""

import json
from pathlib import Path

import numpy as np
import pytest

from tests.support.layouts import find_in, refusal, save_image
from tests.support.tool_layouts import save_grey
from trainer.data.layouts import detect_layout
from trainer.data.layouts.label_studio import NAME
from trainer.data.value_map import ValueMap

CAT = np.zeros((20, 30), bool)
CAT[2:8, 3:9] = True


def write(root: Path, *masks: str, images: tuple[str, ...] = ("1.jpg", "2.jpg")) -> Path:
    for name in images:
        save_image(root / name, np.zeros((20, 30, 3), np.uint8))
    for name in masks:
        save_grey(root / name, CAT)
    return root


@pytest.mark.parametrize(
    ("name", "label"),
    [
        ("task-1-annotation-2-by-1-tag-Cat-0.png", "Cat"),
        ("task-12-annotation-3-by-me@my-site.org-tag-Cat-10.png", "Cat"),
        ("task-1-annotation-2-by-1-tag-Fire-truck-0.png", "Fire-truck"),
        ("task-1-annotation-2-by--tag-Cat-0.png", "Cat"),
        ("task-1-annotation-2.png", None),
        ("mask-1.png", None),
    ],
)
def test_names_of_masks(name: str, label: str | None) -> None:
    match = NAME.fullmatch(Path(name).stem)
    assert (match["label"] if match else None) == label


def test_images_named_as_their_task(tmp_path: Path) -> None:
    """Without the JSON export: 1.jpg or task-1.jpg; a task whose image is not there is left out with a word."""
    masks = [f"masks/task-{task}-annotation-9-by-1-tag-Cat-0.png" for task in (1, 2, 3)]
    root = write(tmp_path, *masks, images=("images/1.jpg", "images/task-2.jpg"))
    assert detect_layout(root) == "label_studio"
    found = find_in(root)
    assert [sample.image.name for sample in found.samples] == ["1.jpg", "task-2.jpg"]
    np.testing.assert_array_equal(found.samples[0].read_mask(ValueMap()), CAT)
    assert list(found.left_out) == [str(root / masks[2])]


@pytest.mark.parametrize("minimal", [False, True], ids=["JSON", "JSON-MIN"])
def test_images_by_the_export(minimal: bool, tmp_path: Path) -> None:
    masks = [f"task-{task}-annotation-9-by-1-tag-Cat-0.png" for task in (41, 42)]
    root = write(tmp_path, *masks, images=("x.jpg", "y.jpg"))
    addresses = {41: "/data/upload/1/0badcafe-y.jpg", 42: "/data/local-files/?d=some/x.jpg"}
    tasks = [
        {"id": key, "image": text} if minimal else {"id": key, "data": {"photo": text}, "annotations": []}
        for key, text in addresses.items()
    ]
    (root / "export.json").write_text(json.dumps(tasks))
    found = find_in(root)
    assert {sample.image.name: sample.mask.name for sample in found.samples} == {"y.jpg": masks[0], "x.jpg": masks[1]}
    assert found.records == [root / "export.json"]


def test_images_that_nothing_names(tmp_path: Path) -> None:
    """Nothing is guessed from the order."""
    root = write(tmp_path, "task-41-annotation-9-by-1-tag-Cat-0.png", images=("x.jpg",))
    with refusal(str(root), "the masks are of 1 tasks", "JSON export"):
        find_in(root)


def test_the_latest_annotation_counts(tmp_path: Path) -> None:
    masks = [f"task-1-annotation-{key}-by-1-tag-{label}-0.png" for key, label in ((9, "Cat"), (10, "Dog"), (8, "Cat"))]
    root = write(tmp_path, *masks)
    found = find_in(root)
    assert found.samples[0].read_mask(ValueMap()).max() == found.names.index("Dog")
    assert sorted(found.left_out) == sorted(str(root / name) for name in (masks[0], masks[2]))
