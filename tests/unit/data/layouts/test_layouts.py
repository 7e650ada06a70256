"""Every layout, detected or named: the same images and masks, and a digest of the contents alone."""

import importlib
import shutil
import typing
from pathlib import Path

import numpy as np
import pytest

from tests.support.data import count_nothing
from tests.support.layouts import (
    NAMES,
    WRITERS,
    Scene,
    find_in,
    open_data,
    plan_data,
    refusal,
    scenes,
    split_names,
    write_folders,
)
from tests.support.tool_layouts import EXPRESSED, TOOL_WRITERS
from trainer.config import DataConfig
from trainer.data.dataset import open_dataset
from trainer.data.layouts import LAYOUTS, detect_layout, find
from trainer.data.view import View

EVERY = WRITERS | TOOL_WRITERS
GENERAL = "folders"
"""Layout of no tool, which fits some folders of tools too, and is tried after them."""


def expected_contents(layout: str, drawn: list[Scene]) -> tuple[tuple[str, ...], list[np.ndarray]]:
    """Class names and masks that a layout can express: trimaps have one class, pets."""
    names, changed = EXPRESSED.get(layout, (NAMES, {}))
    table = np.arange(256, dtype=np.uint8)
    table[list(changed)] = list(changed.values())
    return names, [table[scene.mask] for scene in drawn]


@pytest.mark.parametrize("layout", LAYOUTS)
def test_exactly_one_layout_fits(layout: str, tmp_path: Path) -> None:
    root = EVERY[layout](tmp_path / "data", scenes(4))
    fitting = [name for name in LAYOUTS if importlib.import_module(f"trainer.data.layouts.{name}").fits(root)]
    assert fitting in ([layout], [layout, GENERAL])


FOUND_HERE = Path(__file__).parents[5] / "shared" / "data" / "found"
FOUND = {
    "F01/C1a_crowd_mixed": "coco",
    "F07/*voc*": "voc",
    "F19/*": "labelme",
    "F24/*": "labelme",
    "F25/*": "roboflow_masks",
    "F31/*": "folders",
    "F32/*": "coco_file",
    "F33/*": "coco_file",
    "F36/*": "drive",
}


@pytest.mark.skipif(not FOUND_HERE.is_dir(), reason="the reported inputs are not here")
@pytest.mark.parametrize("pattern", FOUND)
def test_layout_of_reported_inputs(pattern: str) -> None:
    for root in FOUND_HERE.glob(pattern):
        fitting = [name for name in LAYOUTS if importlib.import_module(f"trainer.data.layouts.{name}").fits(root)]
        assert fitting in ([FOUND[pattern]], [FOUND[pattern], GENERAL]), root


@pytest.mark.parametrize("named", [False, True], ids=["auto", "named"])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_every_layout_gives_the_same_images_and_masks(layout: str, named: bool, tmp_path: Path) -> None:
    drawn = scenes()
    root = EVERY[layout](tmp_path / "data", drawn)
    assert detect_layout(root) == layout
    sources = plan_data(root, tmp_path / "cache", layout=layout if named else "auto")
    assert not sources.problems
    odd = {"pets": 2}.get(layout, 0)
    assert sources.account.count == odd
    names, masks = expected_contents(layout, drawn)
    assert sources.names == names
    assert [sample.name.split("/")[-1] for sample in sources.samples] == [scene.stem for scene in drawn]
    for sample, scene, mask in zip(sources.samples, drawn, masks, strict=True):
        difference = np.abs(sample.read_image().astype(int) - scene.image)
        assert difference.mean() < (4 if layout == "pets" else 0.001)  # JPEG
        np.testing.assert_array_equal(sample.read_mask(sources.values), mask)
    dataset = open_dataset(sources, View(16), tmp_path / "cache", count_nothing)
    assert dataset.names == names
    assert dataset.pixels.sum() > 0
    _, val = split_names(sources)
    assert len(val) == (5 if layout == "pets" else 2)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_digest_depends_on_the_contents_alone(layout: str, tmp_path: Path) -> None:
    """Renaming the folder does not change the digest, another mask does."""
    drawn = scenes()
    root = EVERY[layout](tmp_path / "data", drawn)
    first = open_data(root, tmp_path / "cache").digest
    root = root.rename(tmp_path / "elsewhere")
    assert open_data(root, tmp_path / "cache").digest == first
    drawn[3].mask[2, 4] = drawn[3].mask[2, 5] = 0
    drawn[3].mask[2:14, 6] = 0
    drawn[3].mask[2:14, 4:7] = 0
    shutil.rmtree(root)
    EVERY[layout](root, drawn)
    assert open_data(root, tmp_path / "cache").digest != first


def test_layouts_are_the_values_of_the_key() -> None:
    values = typing.get_args(typing.get_type_hints(DataConfig)["layout"])
    assert sorted(values) == sorted(["auto", *LAYOUTS]) == sorted(["auto", *EVERY])


# ------------------------------------------------------------------------------------------------ folders of no layout


def test_a_missing_folder(tmp_path: Path) -> None:
    with refusal(str(tmp_path / "gone"), "no such folder"):
        find(tmp_path / "gone", "auto", None)


def test_a_folder_of_no_layout(tmp_path: Path) -> None:
    (tmp_path / "stuff").mkdir()
    with refusal(
        str(tmp_path),
        "no layout",
        "images/ and masks/",
        "it holds stuff/ (no files), no files",
        "--data.layout pets or",
    ):
        find_in(tmp_path)
    for layout in set(LAYOUTS) - {"labelme"}:
        with refusal(str(tmp_path)):
            find_in(tmp_path, layout=layout)


def test_the_error_lists_what_the_folder_holds(tmp_path: Path) -> None:
    """A folder one level too high, one without masks, one with other JSON files, and a file."""
    root = write_folders(tmp_path / "above" / "cats", scenes(3))
    with refusal("There is one within", f"--data.root {root}"):
        find_in(tmp_path / "above")
    shutil.copytree(root, tmp_path / "above" / "dogs")
    with refusal(f'"[{root}, {tmp_path / "above" / "dogs"}]"'):
        find_in(tmp_path / "above")
    shutil.rmtree(root / "masks")
    with refusal("it holds images/ (3 .png), 1 .txt"):
        find_in(root)
    (root / "images" / "scene_00.json").write_text("{")
    with refusal("it holds 3 .png, 1 .json"):
        find_in(root / "images")
    with refusal("it is a file"):
        find_in(root / "class_names.txt")
