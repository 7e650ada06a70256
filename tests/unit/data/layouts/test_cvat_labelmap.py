"""CVAT's labelmap.txt: colours, palette indices and greys."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.support.layouts import (
    NAMES,
    WRITERS,
    Scene,
    find_in,
    plan_data,
    refusal,
    save_image,
    scenes,
    write_folders,
)

COLOURS = {0: (0, 0, 0), 1: (250, 50, 83), 2: (51, 221, 255), 255: (255, 255, 255)}
LABELMAP = (
    "# label:color_rgb:parts:actions\nbackground:0,0,0::\ndog:51,221,255::\ncat:250,50,83::\nignore:255,255,255::\n"
)


def to_colours(mask: np.ndarray) -> np.ndarray:
    """Replace the values of a mask by COLOURS: uint8 [H, W, 3]."""
    colours = np.zeros((*mask.shape, 3), np.uint8)
    for value, colour in COLOURS.items():
        colours[mask == value] = colour
    return colours


@pytest.mark.parametrize("layout", ["folders", "voc", "csv"])
def test_colours(layout: str, tmp_path: Path) -> None:
    drawn = [*scenes(4), Scene("empty", scenes(1)[0].image, np.zeros((32, 41), np.uint8))]
    root = WRITERS[layout](tmp_path / "data", drawn)
    for scene in drawn:
        (file,) = [
            path for path in root.rglob(f"{scene.stem}*.png") if path.parent.name not in ("images", "JPEGImages", "a")
        ]
        save_image(file, to_colours(scene.mask))
    (root / "labelmap.txt").write_text(LABELMAP)
    (root / "class_names.txt").unlink()
    target = root / "list.csv" if layout == "csv" else root
    sources = plan_data(target, tmp_path / "cache")
    assert sources.names == ("_background_", "dog", "cat")
    swapped = np.arange(256, dtype=np.uint8)
    swapped[[1, 2]] = 2, 1
    by_name = {scene.stem: swapped[scene.mask] for scene in drawn}
    for sample in sources.samples:
        np.testing.assert_array_equal(sample.read_mask(sources.values), by_name[Path(sample.name).name])
    cats = plan_data(target, tmp_path / "cache", classes=["cat"])
    mask = cats.samples[-1].read_mask(cats.values)
    np.testing.assert_array_equal(mask == 1, drawn[3].mask == 1)
    assert set(np.unique(mask)) == {0, 1, 255}
    assert any("dog" in note for note in cats.notes)
    with refusal("data.classes: cta", "did you mean cat"):
        plan_data(target, tmp_path / "cache", classes=["cta"])


def test_palette_masks(tmp_path: Path) -> None:
    """Palette indices are line numbers from 0, as in the tools that write palette masks."""
    root = write_folders(tmp_path, scenes(3))
    (root / "class_names.txt").unlink()
    (root / "labelmap.txt").write_text("background:0,0,0::\ncat:128,0,0::\ndog:0,128,0::\n")
    sources = plan_data(root, tmp_path / "cache")
    assert sources.names == NAMES
    np.testing.assert_array_equal(sources.samples[2].read_mask(sources.values), scenes(3)[2].mask)


def test_greys(tmp_path: Path) -> None:
    root = write_folders(tmp_path, scenes(3, ignore=False))
    (root / "class_names.txt").unlink()
    for scene in scenes(3, ignore=False):
        Image.fromarray(scene.mask * 120).save(root / "masks" / f"{scene.stem}_mask.png")
    (root / "labelmap.txt").write_text("cat:120,120,120\ndog:240,240,240\n")
    sources = plan_data(root, tmp_path / "cache")
    np.testing.assert_array_equal(sources.samples[2].read_mask(sources.values), scenes(3)[2].mask % 255)


def test_greys_that_equal_the_index_of_another_line(tmp_path: Path) -> None:
    """A grey value stands for the line with that colour, not for the line with that number."""
    root = write_folders(tmp_path, scenes(3))
    (root / "class_names.txt").write_text("cat\ndog\n")
    (root / "labelmap.txt").write_text("dog:2,2,2\ncat:1,1,1\n")
    sources = plan_data(root, tmp_path / "cache")
    np.testing.assert_array_equal(sources.samples[2].read_mask(sources.values), scenes(3)[2].mask)


def test_data_value_map_wins_over_labelmap(tmp_path: Path) -> None:
    root = write_folders(tmp_path, scenes(3))
    (root / "labelmap.txt").write_text("background:0,0,0\ncat:9,9,9\ndog:8,8,8\n")
    value_map = {0: "background", 1: "dog", 2: "cat", 255: "ignore"}
    sources = plan_data(root, tmp_path / "cache", value_map=value_map)
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
def test_malformed_labelmap(text: str, tmp_path: Path) -> None:
    root = write_folders(tmp_path, scenes(2))
    (root / "labelmap.txt").write_text(text)
    with refusal(str(root / "labelmap.txt")):
        find_in(root)
