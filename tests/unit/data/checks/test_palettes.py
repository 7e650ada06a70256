"""Palettes of mask files: class ids follow colours, or an error names the files, however the palettes are sorted."""

import re
import shlex
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from tests.support.data import count_nothing
from tests.support.images import smooth_image
from tests.support.layouts import refusal
from trainer.cli import parse
from trainer.config import REPOSITORY, DataConfig
from trainer.data.checks.report import Report, check_folders
from trainer.data.image_io import write_mask
from trainer.data.sample import JoinedSample
from trainer.data.value_map import ValueMap, value_map
from trainer.drawing.palette import palette

SIDE = 12
COLOURS = (0x000000, 0xFF0000, 0x00FF00, 0x3070B0)
"""Colour of the background, and of the classes."""

Entries = dict[int | str, str]
NAMES = ("background", "cat", "dog", "cow")
BY_COLOUR: Entries = {f"#{colour:06x}": name for colour, name in zip(COLOURS, NAMES, strict=True)}


def put(root: Path, number: int, mask: Image.Image, suffix: str = ".png") -> Path:
    """Write an image and its mask; return the mask's file."""
    for name in ("images", "masks"):
        (root / name).mkdir(parents=True, exist_ok=True)
    Image.fromarray(smooth_image(*mask.size[::-1], seed=number)).save(root / "images" / f"p{number}.png")
    mask.save(root / "masks" / f"p{number}{suffix}")
    return root / "masks" / f"p{number}{suffix}"


def painted(classes: np.ndarray, order: Sequence[int], unused: Sequence[int] = ()) -> Image.Image:
    """Palette image of `classes`, uint8 [H, W], where the class order[i] is stored as i."""
    table = np.argsort(order).astype(np.uint8)
    pil_image = Image.fromarray(table[classes])
    colours = [COLOURS[class_id] for class_id in order] + list(unused)
    pil_image.putpalette(b"".join(colour.to_bytes(3, "big") for colour in colours))
    assert pil_image.mode == "P"
    return pil_image


def check(root: Path, **keys: object) -> Report:
    return check_folders(DataConfig(root=str(root), val_fraction=0.5, **keys), count_nothing)  # type: ignore[arg-type]


def counts(report: Report) -> dict[int, int]:
    return {int(value): pixels for value, pixels in report.summary["values"].items()}


def pasted(report: Report) -> list[Entries]:
    """Value maps of the options that the errors offer, as the shell and the program read them."""
    options = [line.strip() for one in report.of("error") for line in one.text.splitlines() if "--data." in line]
    maps = [parse(shlex.split(option)).data.value_map for option in options]
    return [entries for entries in maps if entries]


CLASSES = st.lists(
    st.lists(st.integers(0, 3), min_size=4, max_size=4).map(lambda few: np.resize(few, (SIDE, SIDE)).astype(np.uint8)),
    min_size=2,
    max_size=4,
)


@settings(max_examples=40, deadline=None)
@given(st.data(), CLASSES, st.sampled_from([".png", ".bmp", ".tif"]))
def test_random_palettes(data: st.DataObject, masks: list[np.ndarray], suffix: str) -> None:
    """With colours named, the counts are those that were put in; without, values are never of two colours unsaid."""
    orders = [data.draw(st.permutations(range(4))) for _ in masks]
    total = Counter(np.concatenate(masks).ravel().tolist())
    with TemporaryDirectory() as name:
        root = Path(name)
        stored: dict[int, set[int]] = {}
        for number, (mask, order) in enumerate(zip(masks, orders, strict=True)):
            unused = data.draw(st.lists(st.integers(1, 0xFFFFFE), max_size=3))
            put(root, number, painted(mask, order, unused), suffix)
            for value, class_id in enumerate(order):
                if (mask == class_id).any():
                    stored.setdefault(value, set()).add(class_id)
        named = check(root, value_map=BY_COLOUR)
        assert counts(named) == total
        (root / "labelmap.txt").write_text(
            "".join(f"{name}:{c >> 16},{c >> 8 & 255},{c & 255}::\n" for c, name in zip(COLOURS, NAMES, strict=True))
        )
        assert counts(check(root)) == total
        (root / "labelmap.txt").unlink()
        bare = check(root)
    used = [class_id for classes in stored.values() for class_id in classes]
    if max(map(len, stored.values())) > 1 or len(used) > len(set(used)) or (0 in used and stored.get(0) != {0}):
        assert any("palette" in one.text and one.files for one in bare.of("error"))
    else:
        assert not any("palette" in one.text for one in bare.of("error"))
        assert counts(bare) == {value: total[classes.pop()] for value, classes in stored.items()}


def test_black_and_white_swapped(tmp_path: Path) -> None:
    """The option that is offered, pasted, gives the mask of each file, whatever its palette and kind."""
    cells = np.zeros((SIDE, SIDE), np.uint8)
    cells[2:5, 3:9] = 1
    for number in range(2):
        mask = Image.fromarray(cells ^ number)
        mask.putpalette(bytes([*[255 * number] * 3, *[255 - 255 * number] * 3]))
        put(tmp_path, number, mask)
    put(tmp_path, 2, Image.fromarray(cells > 0))  # a grey PNG of one bit
    put(tmp_path, 3, Image.fromarray(cells * 255))
    put(tmp_path, 4, Image.fromarray(np.repeat(cells[..., None] * 255, 3, axis=2)))
    report = check(tmp_path)
    (error,) = report.of("error")
    assert str(tmp_path / "masks" / "p1.png") in error.text
    assert pasted(report)[0] == {"#000000": "background", "#ffffff": "class_1"}
    mended = check(tmp_path, value_map=pasted(report)[0])
    assert not mended.of("error")
    assert counts(mended) == {0: 5 * (SIDE**2 - 18), 1: 5 * 18}


def test_background_that_is_not_first(tmp_path: Path) -> None:
    """One palette in all files, which begins with a class: nothing is guessed; both options that are offered work."""
    classes = np.arange(SIDE**2).reshape(SIDE, SIDE) % 5 == 0
    for number in range(2):
        put(tmp_path, number, painted(classes.astype(np.uint8), [1, 0, 2, 3]))
    report = check(tmp_path)
    assert re.search(r"p0.png and 1 more: .*does not begin with the background: black is 1", report.of("error")[0].text)
    by_colour, by_value = pasted(report)
    marked = 2 * int(classes.sum())
    assert counts(check(tmp_path, value_map=by_colour)) == {0: 2 * SIDE**2 - marked, 1: marked}
    assert counts(check(tmp_path, value_map=by_value)) == {0: marked, 1: 2 * SIDE**2 - marked}


def test_masks_that_agree_as_before(tmp_path: Path) -> None:
    """Ids are the values where colours agree: own and VOC palettes, greys, and unused entries that differ."""
    classes = np.resize([0, 1, 2, 255], (SIDE, SIDE)).astype(np.uint8)
    voc, unused = palette()[[0, 2, 1, *range(3, 256)]], palette()
    unused[7:200] = 9
    for number, colours in enumerate((palette(), voc, unused)):
        mask = Image.fromarray(classes)
        mask.putpalette(colours.tobytes())
        put(tmp_path / ("a" if number < 2 else "b"), number, mask)
        put(tmp_path / ("a" if number < 2 else "b"), number + 5, Image.fromarray(classes))
    write_mask(put(tmp_path / "b", 9, Image.fromarray(classes)), classes)
    for folder, pixels in (("a", SIDE**2), ("b", 3 * SIDE**2 // 4)):
        report = check(tmp_path / folder)
        assert not report.of("error")
        assert counts(report) == dict.fromkeys((0, 1, 2, 255), pixels)


def test_another_class_of_the_same_value(tmp_path: Path) -> None:
    """Two palettes of their own colours alone: 1 is one class here and another one there."""
    classes = np.resize([0, 0, 1], (SIDE, SIDE)).astype(np.uint8)
    put(tmp_path, 0, painted(classes, [0, 1, 2, 3]))
    file = put(tmp_path, 1, painted(classes * 2, [0, 2, 1, 3]))
    error = check(tmp_path).of("error")[0]
    assert str(file) in error.text
    assert "1 is #00ff00 here and #ff0000" in error.text


@pytest.mark.parametrize("folder", ["F02/M1d_bw_palette_named", "F02/M1e_bmp_palette", "F06/C2d_optipng_bare"])
def test_reported_masks(folder: str) -> None:
    root = REPOSITORY / ".." / "shared" / "data" / "found" / folder
    if not root.is_dir():
        pytest.skip("the files that were reported are not here")
    report = check(root)
    assert any("palette" in one.text for one in report.of("error"))
    mended = check(root, value_map=pasted(report)[0])
    assert not mended.of("error")
    assert counts(mended)[0] > sum(pixels for value, pixels in counts(mended).items() if value)


def test_several_masks_of_one_image(tmp_path: Path) -> None:
    """Where they are joined, their palettes are compared too."""
    cells = np.zeros((SIDE, SIDE), np.uint8)
    cells[2:5, 3:9] = 1
    put(tmp_path, 0, painted(cells, [0, 1, 2, 3]))
    image, mask, second = (str(tmp_path / name) for name in ("images/p0.png", "masks/p0.png", "second.png"))
    painted(cells.T.copy(), [1, 0, 2, 3]).save(second)
    sample = JoinedSample("p0", image, mask, (second,))
    with refusal(second, "palette"):
        sample.read_mask(ValueMap())
    assert np.array_equal(sample.read_mask(value_map(BY_COLOUR, None)[0]), cells | cells.T)
    painted(cells.T.copy(), [0, 1, 3, 2]).save(second)  # the entries that differ are not used
    assert np.array_equal(sample.read_mask(ValueMap()), cells | cells.T)
