"""Contact sheet of a dataset: what is drawn where, in bounded memory."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.support.data import SAME, count_nothing
from tests.support.layouts import refusal, save_image, save_mask
from trainer.data.checks.sheet import (
    CAPTION,
    FAINT,
    LEGEND,
    MOST_SAMPLES,
    SIDE,
    check_sheet_file,
    draw_tile,
    write_sheet,
)
from trainer.data.sample import Sample
from trainer.drawing.palette import palette
from trainer.prepare import main


def make_sample(root: Path, name: str, size: tuple[int, int] = (80, 160)) -> Sample:
    """A grey image whose right half is of class 1, with one pixel of class 2."""
    mask = np.zeros(size, np.uint8)
    mask[:, size[1] // 2 :] = 1
    mask[0, 0] = 2
    save_image(root / "images" / f"{name}.png", np.full((*size, 3), 100, np.uint8))
    save_mask(root / "masks" / f"{name}.png", mask)
    return Sample(name, str(root / "images" / f"{name}.png"), str(root / "masks" / f"{name}.png"))


def has(area: np.ndarray, colour: object) -> bool:
    return bool((area == np.asarray(colour)).all(axis=2).any())


def test_tile(tmp_path: Path) -> None:
    tile = draw_tile(make_sample(tmp_path, "a"), SAME)
    assert tile.shape == (SIDE + CAPTION, SIDE, 3)
    middle = SIDE // 2
    np.testing.assert_array_equal(tile[middle, 20], (100, 100, 100))  # background as it is
    np.testing.assert_array_equal(tile[middle, 140], np.rint(0.75 * 100 + 0.25 * palette()[1]))  # class 1, lightly
    assert has(tile[middle : middle + 1, middle - 3 : middle + 3], palette()[1])  # its border
    caption = tile[SIDE:]
    assert has(caption, palette()[1])
    assert has(caption, palette()[2])  # one pixel, which the small image may not show
    assert not has(caption, palette()[3])


def test_what_cannot_be_read_is_a_grey_square(tmp_path: Path) -> None:
    sample = make_sample(tmp_path, "a")
    sample.mask.write_bytes(b"no picture")
    np.testing.assert_array_equal(draw_tile(sample, SAME)[10, 10], FAINT)


@pytest.mark.parametrize("name", ["x" * 255, "裂缝", "a\nb\x1b[31m", "\udcff", "day 2/[bold]é"])
def test_any_name_is_drawn(name: str, tmp_path: Path) -> None:
    sample = make_sample(tmp_path, "a")
    tile = draw_tile(Sample(name, sample.image_file, sample.mask_file), SAME)
    assert tile.shape == (SIDE + CAPTION, SIDE, 3)


def test_each_sample_is_at_its_place(tmp_path: Path) -> None:
    samples = [make_sample(tmp_path, f"{number}", (40 + 5 * number, 60)) for number in range(7)]
    names = ("_background_", "cat", "dog")
    assert write_sheet(samples, SAME, names, tmp_path / "sheet.png", count_nothing) == 7
    sheet = np.array(Image.open(tmp_path / "sheet.png"))
    columns = sheet.shape[1] // SIDE
    height = sheet.shape[0] % (SIDE + CAPTION)
    assert height == LEGEND * -(-3 // columns)
    assert has(sheet[:height], palette()[2])
    for place, sample in enumerate(samples):
        top, left = height + place // columns * (SIDE + CAPTION), place % columns * SIDE
        found = sheet[top : top + SIDE + CAPTION, left : left + SIDE]
        np.testing.assert_array_equal(found, draw_tile(sample, SAME))


def test_many_samples_are_evenly_chosen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert MOST_SAMPLES * SIDE * (SIDE + CAPTION) * 3 < 100_000_000
    monkeypatch.setattr("trainer.data.checks.sheet.MOST_SAMPLES", 4)
    samples = [make_sample(tmp_path, f"{number}", (8, 8 + number)) for number in range(10)]
    assert write_sheet(samples, SAME, ("_background_", "cat"), tmp_path / "s.jpg", count_nothing) == 4
    with Image.open(tmp_path / "s.jpg") as sheet:
        assert (sheet.format, sheet.size[0] % SIDE) == ("JPEG", 0)


def test_a_file_that_is_no_picture_is_refused_before_any_work(tmp_path: Path) -> None:
    for file in (tmp_path / "x.txt", tmp_path, tmp_path / "gone" / "x.png"):
        with refusal("--sheet", str(file)):
            check_sheet_file(file)


def test_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for number in range(5):
        make_sample(tmp_path / "data", f"{number}")
    code = main(["check", str(tmp_path / "data"), "--sheet", str(tmp_path / "x.png")])
    assert code == 0
    assert f"5 pictures with their masks are in {tmp_path / 'x.png'}" in capsys.readouterr().out
    assert Image.open(tmp_path / "x.png").format == "PNG"
