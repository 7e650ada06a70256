"""Images of other bands than RGB: their levels from files of all kinds, their ranges, and the number auto chooses."""

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from PIL import Image

from tests.support.bands import band_folder
from tests.support.data import count_nothing
from tests.support.deep import png_of_16_bits
from trainer import InputError
from trainer.config import DataConfig
from trainer.data.bands import BandLevels, band_moments, band_ranges, fit_band_levels, normalisation, read_bands
from trainer.data.choose_channels import choose_channels
from trainer.data.image_io import read_image, read_scaled
from trainer.data.levels import DeepImage, Levels
from trainer.data.sample import Sample
from trainer.data.sources import find_sources
from trainer.data.stack import count_pages, page_content
from trainer.drawing.bands import to_rgb

FILE = Path("scene.tif")
RANDOM = np.random.default_rng(6)


def saved(levels: np.ndarray, suffix: str, mode: str | None = None) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(levels, mode).save(buffer, suffix)
    return buffer.getvalue()


def tiff(levels: np.ndarray, **options: Any) -> bytes:
    buffer = io.BytesIO()
    plain = {"photometric": "minisblack", "planarconfig": "contig", "metadata": None}
    tifffile.imwrite(buffer, levels, **(plain | options))
    return buffer.getvalue()


# ------------------------------------------------------------------------------------------------ reading


def test_pictures_are_bands_where_asked_for() -> None:
    levels = RANDOM.integers(0, 256, (9, 14, 4), np.uint8)
    deep = RANDOM.integers(0, 65536, (9, 14, 4), np.uint16)
    for content, expected in (
        (saved(levels[..., 0], "PNG"), levels[..., :1]),
        (saved(levels[..., 0] > 127, "PNG"), 255 * (levels[..., :1] > 127)),
        (saved(deep[..., 0], "PNG"), deep[..., :1]),
        (saved(deep[..., 0].astype(np.float32), "TIFF"), deep[..., :1]),
        (saved(levels[..., :2], "PNG", "LA"), levels[..., :2]),
        (saved(levels, "PNG"), levels),
        (saved(levels, "TIFF", "CMYK"), levels),
        (png_of_16_bits(deep[..., :2]), np.dstack([deep[..., 0], (deep[..., 1] >> 8) * 257])),
        (png_of_16_bits(deep), np.dstack([deep[..., :3], (deep[..., 3] >> 8) * 257])),
    ):
        assert np.array_equal(read_bands(FILE, content, expected.shape[2]).stored, expected)


def test_another_number_of_bands_is_refused_with_both() -> None:
    levels = RANDOM.integers(0, 256, (9, 14, 8), np.uint8)
    for content, found, wanted in (
        (saved(levels[..., :3], "PNG"), "3 bands", 4),
        (saved(levels[..., 0], "PNG"), "1 band", 2),
        (saved(levels[..., :4], "PNG"), "4 bands", 1),
        (tiff(levels), "8 bands", 5),
        (tiff(levels[..., :5]), "5 bands", 8),
    ):
        with pytest.raises(InputError, match=rf"^scene\.tif: {found} instead of {wanted}; "):
            read_bands(FILE, content, wanted)
    with pytest.raises(InputError, match=r"^scene\.tif: 8 bands instead of 3 \(RGB\); .*--data\.channels 8"):
        read_image(FILE, tiff(levels))


@pytest.mark.parametrize("kind", ["u1", "u2", "i2", "f4"])
def test_three_bands_that_are_not_called_colours_are_rgb(kind: str) -> None:
    """As Pillow reads the same numbers where the file calls them so."""
    levels = RANDOM.integers(0, 256 if kind == "u1" else 4096, (9, 14, 3)).astype(kind)
    chosen = None if kind == "u1" else Levels(0, 4095)
    image = read_image(FILE, tiff(levels), chosen)
    expected = levels if kind == "u1" else np.rint(levels * (255 / 4095))
    assert np.array_equal(image, expected)
    if kind in ("u1", "u2"):
        assert np.array_equal(image, read_image(FILE, tiff(levels, photometric="rgb"), chosen))


def test_pages_of_bands() -> None:
    stack = RANDOM.integers(0, 4096, (3, 9, 14, 6), np.uint16)
    content = tiff(stack)
    path = Path("stack.tif")
    for page, levels in enumerate(stack, start=1):
        assert np.array_equal(read_bands(path, _page(content, page), 6).stored, levels)


def _page(content: bytes, page: int) -> bytes:
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "stack.tif"
        file.write_bytes(content)
        assert count_pages(file) == (3, 0)
        return page_content(file, page)


# ------------------------------------------------------------------------------------------------ ranges


def test_each_band_has_its_own_range() -> None:
    """As if each were an image of greys."""
    images = RANDOM.normal(size=(3, 20, 30, 4)) * [1, 100, 1000, 0] + [0, 500, 9000, 7]
    stored = images.astype(np.int16)
    deep = [DeepImage(one) for one in stored]
    levels = fit_band_levels(np.array([band_ranges(one) for one in deep]))
    assert levels is not None
    assert levels.channels == 4
    for number, band in enumerate(levels.bands):
        greys = [DeepImage(one[..., number]) for one in stored]
        expected = np.clip((stored[..., number].astype(float) - band.low) / (band.high - band.low) * 255, 0, 255)
        for image, grey, wanted in zip(deep, greys, expected, strict=True):
            assert np.array_equal(levels.to_uint8(image)[..., number], band.to_uint8(grey))
            assert np.abs(band.to_uint8(grey) - wanted).max() <= 0.5
    assert levels.bands[3] == Levels(7, 8)  # the same everywhere
    assert fit_band_levels(np.zeros((0, 4, 4))) is None


def test_nodata_and_clipping() -> None:
    levels = np.full((4, 5, 5), 100, np.int16)
    levels[0, 0, 2], levels[1, 1, 4], levels[2, :, 3] = -32768, -1, 300
    content = tiff(levels, extratags=[(42113, "s", 0, "-1", True)])
    ranges = BandLevels(tuple(Levels(0, 255) for _ in range(5)))
    image, clipped = read_scaled(FILE, content, ranges)
    assert image[0, 0, 2] == image[1, 1, 4] == 0
    assert image[3, 3].tolist() == [100] * 5
    assert image[2, 0, 3] == 255
    assert clipped == 5 / 20  # of the band with most
    assert band_ranges(read_bands(FILE, content, 5))[:, 0].tolist() == [100] * 5


def test_moments_are_those_of_numpy() -> None:
    images = RANDOM.integers(0, 256, (3, 8, 9, 5), np.uint8)
    means, squares = (np.array(part) for part in zip(*(band_moments(one) for one in images), strict=True))
    mean, std = normalisation(means, squares)
    assert np.allclose(mean, images.mean(axis=(0, 1, 2)))
    assert np.allclose(std, images.std(axis=(0, 1, 2)))
    flat = normalisation(np.full((2, 1), 7.0), np.full((2, 1), 49.0))
    assert flat == ((7.0,), (1.0,))


def test_pictures_of_bands() -> None:
    image = RANDOM.integers(0, 256, (4, 5, 6), np.uint8)
    assert np.array_equal(to_rgb(image), image[..., :3])
    for bands in (1, 2):
        assert np.array_equal(to_rgb(image[..., :bands]), np.repeat(image[..., :1], 3, axis=2))
    rgb = np.ascontiguousarray(image[..., :3])
    assert to_rgb(rgb) is rgb


# ------------------------------------------------------------------------------------------------ data.channels


def sample_of(tmp_path: Path, name: str, content: bytes) -> Sample:
    (tmp_path / name).write_bytes(content)
    return Sample(name, str(tmp_path / name), str(tmp_path / name))


def test_auto_is_rgb_but_for_tiffs_of_other_bands(tmp_path: Path) -> None:
    levels = RANDOM.integers(0, 256, (6, 7, 17), np.uint8)

    def chosen(*contents: bytes, setting: Any = "auto") -> tuple[Any, bool]:
        samples = [sample_of(tmp_path, f"{number}.tif", content) for number, content in enumerate(contents)]
        config, reason = choose_channels(DataConfig(channels=setting), samples)
        return config.channels, reason != ""

    for bands in (2, 4, 5, 16):
        assert chosen(*[tiff(levels[..., :bands])] * 3) == (bands, True)
    for content in (saved(levels[..., :3], "JPEG"), saved(levels[..., 0], "PNG"), saved(levels[..., :4], "PNG")):
        assert chosen(content, content) == (3, False)
    assert chosen(tiff(levels[..., :4], photometric="rgb", extrasamples=["unassalpha"])) == (3, False)
    assert chosen(tiff(levels[..., :3])) == (3, False)
    assert chosen(saved(levels[..., :3], "PNG"), tiff(levels[..., :5])) == (3, False)
    assert chosen(*[tiff(levels[..., :5])] * 2, tiff(levels[..., :8])) == (5, True)
    assert chosen(b"", tiff(levels[..., :5])) == (3, False)  # said where all are read
    assert chosen(tiff(levels[..., :5]), setting=3) == (3, False)
    assert chosen(tiff(levels)) == (16, True)  # more than can be read
    assert chosen() == (3, False)


@pytest.mark.parametrize("value", [0, 17, -1, 3.5, True, "rgb"])
def test_other_numbers_are_refused(value: Any) -> None:
    from trainer.cli import parse

    with pytest.raises((InputError, SystemExit)):
        parse(["--data.channels", str(value)])


def test_every_file_of_another_number_is_named(tmp_path: Path) -> None:
    from trainer.data.checks.report import check_folders

    root = band_folder(tmp_path / "mixed", count=6, bands=5)
    for name in ("s001", "s004"):
        (root / "images" / f"{name}.tif").write_bytes(tiff(np.zeros((32, 32, 8), "u2")))
    report = check_folders(DataConfig(root=str(root)), count_nothing)
    found = [error.text for error in report.of("error")]
    assert len(found) == 2
    assert all(f"{name}.tif: 8 bands instead of 5" in text for name, text in zip(("s001", "s004"), found, strict=True))


def test_the_report_shows_bands(tmp_path: Path) -> None:
    from trainer.data.checks.report import check_folders

    root = band_folder(tmp_path / "bands", count=6, bands=5)
    report = check_folders(DataConfig(root=str(root)), count_nothing)
    assert not report.of("error")
    assert report.summary["kinds"] == {"TIFF 5x16 bit": 6}
    assert "levels" not in report.summary
    arrays = np.array([tifffile.imread(file) for file in sorted((root / "images").iterdir())])
    for number, band in enumerate(report.summary["bands"]):
        assert (band["lowest"], band["highest"]) == (arrays[..., number].min(), arrays[..., number].max())
        assert (band["black"], band["white"]) == (0, 4095)
    assert find_sources(DataConfig(root=str(root))).title == "bands"
