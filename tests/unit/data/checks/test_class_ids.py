"""Check of mask values against the class names, and the options that its errors suggest."""

import re
import shlex
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.support.data import VocMaker, count_nothing
from tests.support.layouts import refusal
from trainer import InputError
from trainer.cli import parse
from trainer.config import DataConfig
from trainer.data.checks.class_ids import check_values
from trainer.data.checks.report import check_folders
from trainer.data.checks.scan import FACTS
from trainer.data.dataset import open_dataset
from trainer.data.image_io import write_mask
from trainer.data.sample import Sample
from trainer.data.sources import find_sources
from trainer.data.value_map import BACKGROUND, UNMAPPED, ValueMap
from trainer.data.view import View

STEMS = [f"image_{number}" for number in range(10)]


def check(
    pixels: list[dict[int, int]], names: tuple[str, ...] | None, mapped: bool = False
) -> tuple[tuple[str, ...], list[str]]:
    """Call `check_values` for masks with these numbers of pixels of each value."""
    facts = np.zeros(len(pixels), FACTS)
    for row, values in enumerate(pixels):
        for value, count in values.items():
            facts["counts"][row, value] = count
    samples = [Sample(f"s{row}", f"images/s{row}.jpg", f"masks/s{row}.png") for row in range(len(pixels))]
    return check_values(samples, facts, names, ValueMap(given=mapped))


CAT = (BACKGROUND, "cat")


def test_valid_values() -> None:
    assert check([{0: 5, 1: 5}], CAT) == (CAT, [])
    assert check([{0: 5}, {1: 2, 255: 3}], CAT) == (CAT, [])
    names, warnings = check([{1: 5}], (*CAT, "dog"))
    assert names == (*CAT, "dog")
    assert [("dog" in warning, "cat" in warning) for warning in warnings] == [(True, False)]
    with refusal("no mask has a pixel", "cat"):
        check([{0: 5}, {0: 9}], CAT)
    assert check([{0: 5, 255: 2}, {1: 3}], CAT, mapped=True) == (CAT, [])


def test_unnamed_classes_get_names_and_a_warning() -> None:
    names, warnings = check([{0: 5, 2: 1}, {0: 3, 1: 2, 255: 9}], None)
    assert names == (BACKGROUND, "class_1", "class_2")
    assert len(warnings) == 1
    assert "class_1, class_2" in warnings[0]
    assert "data.classes" in warnings[0]


def test_nothing_labelled() -> None:
    for pixels in ([{0: 5}], [{255: 5}]):
        with refusal("no mask has a labelled pixel"):
            check(pixels, None)


def test_value_missing_in_the_map() -> None:
    with refusal("masks/s1.png (3 pixels)", "data.value_map"):
        check([{0: 5, 1: 1}, {0: 1, UNMAPPED: 3}], CAT, mapped=True)


INVALID = {
    "7 among 0 and 1": (
        [{0: 9, 1: 4}, {0: 9, 7: 3}, {7: 5}],
        CAT,
        ["masks/s1.png (3 pixels) and 1 more", "7 is not a class", "0 _background_, 1 cat"],
        "0: background, 1: cat, 7: ignore",
    ),
    "0 and 255": ([{0: 9, 255: 4}], None, ["masks/s0.png (4 pixels)", "255"], "0: background, 255: class_1"),
    "0 and 255, named": ([{0: 9, 255: 4}], CAT, ["masks/s0.png"], "0: background, 255: cat"),
    "gap": (
        [{0: 9, 1: 4}, {0: 1, 4: 1, 255: 2}],
        None,
        ["masks/s1.png (1 pixels)", "0, 1, 4"],
        "0: background, 1: class_1, 4: class_2, 255: ignore",
    ),
    "no background": ([{1: 9, 2: 4}], None, ["1, 2"], "1: background, 2: class_1"),
    "palette as grey": ([{0: 9, 38: 4, 75: 1}], CAT, ["38, 75 are not classes"], "0: background, 38: cat, 75: ignore"),
    "one class known": (
        [{0: 9, 2: 4, 75: 1}],
        (*CAT, "dog"),
        ["75 is not a class"],
        "0: background, 2: dog, 75: cat",
    ),
}
"""Case -> pixels of each mask, class names, parts of the message, entries of the suggested data.value_map."""


@pytest.mark.parametrize("case", list(INVALID))
def test_invalid_values_are_refused_with_the_option_to_add(case: str) -> None:
    pixels, names, parts, entries = INVALID[case]
    with pytest.raises(InputError) as error:
        check(pixels, names)
    message = str(error.value)
    for part in parts:
        assert part in message
    assert re.findall(r"--data.value_map .*", message)[0] == f'--data.value_map "{{{entries}}}"'


@pytest.mark.parametrize("values", [[0, 1, 7], [0, 255], [0, 38, 75], [0, 1, 4, 255]], ids=str)
@pytest.mark.parametrize("classes", [None, ["cat"]], ids=str)
def test_the_suggested_option_works(
    values: list[int], classes: list[str] | None, make_voc: VocMaker, tmp_path: Path
) -> None:
    """With the suggested option behind the command, as a shell reads it, the data are valid."""
    root = make_voc(*STEMS)
    for number, file in enumerate(sorted((root / "SegmentationClassPNG").iterdir())):
        with Image.open(file) as pil_image:
            mask = np.full(pil_image.size[::-1], values[0], dtype=np.uint8)
        mask[:5, :5] = values[number % len(values)]
        write_mask(file, mask)
    arguments = ["--data.root", str(root)]
    if classes:
        arguments += ["--data.classes", f"[{', '.join(classes)}]"]

    def names_with(extra: list[str]) -> tuple[str, ...]:
        sources = find_sources(parse(arguments + extra).data)
        return open_dataset(sources, View(32), tmp_path / "cache", count_nothing).names

    with pytest.raises(InputError) as error:
        names_with([])
    option = re.findall(r"--data.value_map .*", str(error.value))[0]
    names = names_with(shlex.split(option))
    assert names[0] == BACKGROUND
    assert len(names) >= 2


@pytest.mark.parametrize(
    ("values", "option", "counts"),
    [
        ([0, 65535], {0: "background", 65535: "class_1"}, {0: 5, 1: 5}),
        ([0, 1, -9999], {-9999: "ignore", 0: "background", 1: "class_1"}, {0: 4, 1: 3, 255: 3}),
        ([0, 1, np.nan], {0: "background", 1: "class_1", "nan": "ignore"}, {0: 4, 1: 3, 255: 3}),
        ([-9999, np.nan, 7, 300], None, None),
        ([0, 0.5, 1], None, None),
    ],
)
def test_values_beyond_8_bits(
    values: list[float], option: dict[int | str, str] | None, counts: dict[int, int] | None, tmp_path: Path
) -> None:
    """The error names the file and the values, and the option that it offers works when it is pasted."""
    for name in ("images", "masks"):
        (tmp_path / name).mkdir()
    stored = np.resize(values, (1, 10)).astype(np.uint16 if max(values) == 65535 else np.float32)
    for number in range(2):
        Image.fromarray(np.full((1, 10, 3), number, np.uint8)).save(tmp_path / "images" / f"p{number}.png")
        Image.fromarray(stored).save(tmp_path / "masks" / f"p{number}.tif")
    report = check_folders(DataConfig(root=str(tmp_path), val_fraction=0.5), count_nothing)
    (error,) = report.of("error")
    assert str(tmp_path / "masks" / "p0.tif") in error.text
    assert all(("NaN" if np.isnan(value) else f"{value:g}") in error.text for value in values)
    if 0.5 in values:
        assert "--data.value_map" not in error.text
    if option is None or counts is None:
        return
    pasted = parse(shlex.split(error.text.splitlines()[-1])).data.value_map
    assert pasted == option
    mended = check_folders(DataConfig(root=str(tmp_path), val_fraction=0.5, value_map=pasted), count_nothing)
    assert not mended.of("error")
    assert mended.summary["values"] == {str(value): 2 * pixels for value, pixels in counts.items()}
