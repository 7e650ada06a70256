"""Images of more than 8 bits: exact levels from every kind of file, and one range of levels for a dataset."""

import io
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from tests.support.deep import png_of_16_bits, tiff_of_16_bits
from trainer.data.image_header import read_header
from trainer.data.image_io import read_deep, read_image, read_mask, read_scaled, read_stored
from trainer.data.levels import DeepImage, Levels, fit_levels
from trainer.data.tiff_tags import Tag

FILE = Path("scan.tif")
RANDOM = np.random.default_rng(3)
NOISE = RANDOM.integers(0, 65536, (9, 14, 4), dtype=np.uint16)


def encoded(levels: np.ndarray, suffix: str = "tiff", **options: object) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(levels).save(buffer, suffix, **options)
    return buffer.getvalue()


# ------------------------------------------------------------------------------------------------ stored levels


@pytest.mark.parametrize("channels", [1, 2, 3, 4])
def test_png_of_16_bits(channels: int) -> None:
    content = png_of_16_bits(NOISE[..., :channels])
    deep = read_deep(FILE, content)
    assert read_header(FILE, content).deep
    expected = NOISE[..., 0] if channels < 3 else NOISE[..., :3]
    assert deep.stored.dtype == np.uint16
    assert np.array_equal(deep.stored, expected)
    if channels % 2:
        assert deep.alpha is None
    else:
        assert deep.alpha is not None
        assert np.array_equal(deep.alpha, NOISE[..., channels - 1] >> 8)


@pytest.mark.parametrize("deflate", [False, True])
@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("channels", [3, 4])
def test_tiff_of_16_bits(channels: int, order: str, deflate: bool) -> None:
    content = tiff_of_16_bits(NOISE[..., :channels], order, deflate)
    assert np.array_equal(read_deep(FILE, content).stored, NOISE[..., :3])
    assert read_header(FILE, content).mode == "RGB;16"


@pytest.mark.parametrize("order", ["<", ">"])
def test_tiff_with_one_channel_after_the_other(order: str) -> None:
    """Pillow gives the high byte of compressed ones, and garbage for others."""
    for deflate in (False, True):
        for channels in (3, 4):
            content = tiff_of_16_bits(NOISE[..., :channels], order, deflate, planes=True, rows=channels)
            header, deep = read_header(FILE, content), read_deep(FILE, content)
            assert (header.mode[:3], header.deep, header.size) == ("RGB", True, (9, 14))
            assert np.array_equal(deep.stored, NOISE[..., :3])
            if channels == 4:
                assert np.array_equal(deep.alpha, NOISE[..., 3] >> 8)  # type: ignore[arg-type]
            else:
                dark = Levels(0, 65535).to_uint8(deep)
                assert np.array_equal(read_image(FILE, content), dark)
                assert np.array_equal(read_image(FILE, content, Levels(0, 65535)), dark)


@pytest.mark.parametrize("levels", [None, Levels(0, 65535)])
def test_greys_whose_0_is_white(levels: Levels | None) -> None:
    """Pillow inverts those of 8 bits, not those of 16. Masks keep what is stored."""
    grey = NOISE[..., 0]
    content = encoded(grey, tiffinfo={262: 0})
    expected = read_image(FILE, encoded(65535 - grey), levels)
    assert np.array_equal(read_image(FILE, content, levels), expected)
    assert np.array_equal(read_deep(FILE, content).stored, 65535 - grey)
    assert np.array_equal(read_stored(FILE, content).values, grey)


@pytest.mark.parametrize("dtype", [np.uint16, np.int32, np.float32])
def test_greys_as_they_are_stored(dtype: type) -> None:
    levels = NOISE[..., 0].astype(dtype) - (dtype(9) if dtype != np.uint16 else dtype(0))
    deep = read_deep(FILE, encoded(levels))
    assert np.array_equal(deep.stored, levels)
    assert deep.stored.dtype == dtype


def test_turned_by_exif() -> None:
    exif = Image.Exif()
    exif[274] = 6
    content = encoded(NOISE[..., 0], "png", exif=exif)
    assert np.array_equal(read_deep(FILE, content).stored, np.rot90(NOISE[..., 0], -1))


def test_eight_bits_are_not_deep() -> None:
    levels = (NOISE[..., :3] >> 8).astype(np.uint8)
    for pixels in (levels, levels[..., 0]):
        content = encoded(pixels, "png")
        assert not read_header(FILE, content).deep
        assert np.array_equal(read_image(FILE, content, Levels(3, 40)), read_image(FILE, content))


# ------------------------------------------------------------------------------------------------ range


def fitted(*levels: np.ndarray) -> Levels | None:
    return fit_levels(np.array([DeepImage(one).range() for one in levels]).reshape(-1, 4))


def ramp(low: float, high: float, dtype: type = np.uint16) -> np.ndarray:
    return np.linspace(low, high, 10_000).astype(dtype).reshape(100, 100)


@pytest.mark.parametrize(
    ("levels", "expected"),
    [
        (ramp(0, 255), (0, 255)),
        (ramp(30, 1000), (0, 1023)),
        (ramp(32, 3645), (0, 4095)),
        (ramp(0, 15_000), (0, 16383)),
        (ramp(9, 60_000), (0, 65535)),
        (ramp(92, 269), (92, 269)),
        (ramp(30_000, 31_000), (30_000, 31_000)),
        (ramp(-1024, 3071, np.int32), (-1024, 3071)),
        (ramp(0, 1_000_000, np.int32), (0, 1_000_000)),
        (ramp(0, 1, np.float32), (0, 1)),
        (ramp(0, 0.125, np.float32), (0, 0.125)),
        (ramp(0, 255, np.float32), (0, 255)),
        (ramp(-30, -2, np.float32), (-30, -2)),
        (np.full((9, 9), 700, np.uint16), (700, 701)),
    ],
)
def test_range(levels: np.ndarray, expected: tuple[float, float]) -> None:
    assert fitted(levels) == Levels(*expected)


def test_range_of_several_images() -> None:
    assert fitted() is None
    assert fitted(ramp(90, 200), ramp(150, 269)) == fitted(ramp(150, 269), ramp(90, 200)) == Levels(90, 269)
    assert fitted(ramp(90, 200), ramp(0, 4000)) == Levels(0, 4095)


def test_a_few_faulty_pixels_do_not_count() -> None:
    levels = ramp(92, 269)
    levels[40, :3], levels[7, 7] = 65535, 0
    range_found = fitted(levels)
    assert range_found is not None
    assert 92 <= range_found.low < 94
    assert 266 < range_found.high <= 269


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 65000), st.integers(1, 500))
def test_scaling(low: int, width: int) -> None:
    levels = Levels(low, low + width)
    stored = np.arange(low - min(low, 9), low + width + 9).reshape(1, -1)
    exact = np.clip((stored - low) * 255 / width, 0, 255)
    for dtype in (np.uint16, np.int32, np.float32):
        found = levels.to_uint8(DeepImage(stored.clip(0, 65535).astype(dtype)))
        assert found.dtype == np.uint8
        assert np.abs(found - exact).max() < 0.5 + 1e-9


def test_the_levels_of_eight_bits_are_kept() -> None:
    levels = (NOISE[..., :3] >> 8).astype(np.uint16)
    range_found = fitted(levels)
    assert range_found == Levels(0, 255)
    assert np.array_equal(read_image(FILE, png_of_16_bits(levels), range_found), levels)


def test_clipped_share() -> None:
    content = encoded(ramp(0, 9999))
    assert read_scaled(FILE, content, Levels(0, 10_000))[1] == 0
    assert read_scaled(FILE, content, Levels(1000, 8999))[1] == pytest.approx(0.2, abs=0.001)
    assert read_scaled(FILE, content)[1] == 0


# ------------------------------------------------------------------------------------------------ without data


@pytest.mark.parametrize("hole", [np.nan, np.inf, -np.inf, -9999, -32768, -3.4028235e38, 1e38])
def test_pixels_without_data(hole: float) -> None:
    levels = ramp(-30, -2, np.float32)
    levels[:10] = hole
    content = encoded(levels)
    deep = read_deep(FILE, content)
    assert deep.missing()[:10].all()
    assert not deep.missing()[10:].any()
    range_found = fitted(deep.stored)
    assert range_found == Levels(float(levels[10:].min()), float(levels[10:].max()))
    image = read_image(FILE, content, range_found)
    assert not image[:10].any()
    assert image[-1, -1].tolist() == [255] * 3
    assert not read_image(FILE, content)[:10].any() or hole in (1e38,)  # as models without a range read it


@pytest.mark.parametrize(("text", "hole"), [("7", 7), ("65535", 65535), (" 0 ", 0), ("nan", None), ("junk", None)])
def test_number_that_the_file_names(text: str, hole: int | None) -> None:
    levels = ramp(100, 50_000)
    levels[:10] = 7 if hole is None else hole
    content = encoded(levels, tiffinfo={Tag.GDAL_NODATA: text})
    deep = read_deep(FILE, content)
    assert deep.missing().sum() == (0 if hole is None else 1000)
    assert deep.range()[0] == (7 if hole is None else levels[10:].min())


def test_nothing_but_missing_pixels() -> None:
    levels = np.full((9, 9), np.nan, np.float32)
    assert DeepImage(levels).range() == (0, 0, 0, 0)
    assert not read_image(FILE, encoded(levels), fitted(levels)).any()


# ------------------------------------------------------------------------------------------------ masks


def test_masks_of_16_bits_in_colour() -> None:
    """Low bytes count: ids in three equal channels of 16 bits are not all background."""
    ids = np.resize([0, 1, 2], (6, 6)).astype(np.uint16)
    spread = np.repeat(ids[..., None], 3, axis=2)
    assert np.array_equal(read_mask(FILE, png_of_16_bits(spread)), ids)
    assert np.array_equal(read_mask(FILE, png_of_16_bits(spread * 257)), ids)
    colours = np.where(spread > 0, NOISE[:6, :6, :3] | 256, 0)
    assert np.array_equal(read_mask(FILE, png_of_16_bits(colours)), (colours >> 8).astype(np.uint8))


@settings(max_examples=40, deadline=None)
@given(st.lists(st.sampled_from([0.0, 1.0, 255.0, 65535.0, -9999.0, float("nan"), 0.5]), min_size=1, max_size=9))
def test_wide_masks_are_read_as_stored(values: list[float]) -> None:
    stored = read_stored(FILE, encoded(np.array([values], np.float32))).values
    assert np.array_equal(stored.astype(np.float32), np.array([values], np.float32), equal_nan=True)
    assert (stored.dtype == np.uint8) == all(value in (0, 1, 255) for value in values)
