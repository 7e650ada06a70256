"""TIFF files of several bands, in all forms that tifffile writes: its arrays are the oracle."""

import io
import itertools
import struct
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from PIL import Image

from trainer import InputError
from trainer.data.bands import read_bands
from trainer.data.image_header import UPRIGHT, count_held, count_pixels, read_header
from trainer.data.tiff_bands import TiffForm, decode_bands, form_of

FILE = Path("scene.tif")
RANDOM = np.random.default_rng(5)


def noise(bands: int, kind: str, height: int = 37, width: int = 53) -> np.ndarray:
    """Levels of every size and sign that the type has."""
    if kind.startswith("f"):
        return (RANDOM.normal(size=(height, width, bands)) * 1e4).astype(kind)
    limits = np.iinfo(kind)
    return RANDOM.integers(limits.min, limits.max, (height, width, bands), kind, endpoint=True)


def written(levels: np.ndarray, planes: bool = False, **options: Any) -> bytes:
    """TIFF file of levels [H, W, C]."""
    stored = levels.transpose(2, 0, 1) if planes else levels
    form = {"photometric": "minisblack", "planarconfig": "separate" if planes else "contig", "metadata": None}
    buffer = io.BytesIO()
    tifffile.imwrite(buffer, stored, **(form | options))
    return buffer.getvalue()


def form(content: bytes) -> TiffForm:
    found = form_of(io.BytesIO(content))
    assert found is not None
    return found


@pytest.mark.parametrize("planes", [False, True])
@pytest.mark.parametrize("kind", ["u1", "i1", "u2", "i2", "u4", "i4", "f4", "f8"])
def test_every_form(kind: str, planes: bool) -> None:
    shapes: list[dict[str, Any]] = [{"rowsperstrip": 7}, {"tile": (16, 32)}]
    packed: list[dict[str, Any]] = [{}, {"compression": "zlib"}, {"compression": "lzma"}]
    if not kind.startswith("f"):  # tifffile alone has none for floats
        packed.append({"compression": "zlib", "predictor": 2})
    orders: list[dict[str, Any]] = [{"byteorder": "<"}, {"byteorder": ">"}, {"bigtiff": True}]
    for bands, *options in itertools.product((2, 5, 16), shapes, packed, orders):
        levels = noise(bands, kind)
        content = written(levels, planes, **{key: value for one in options for key, value in one.items()})
        found = decode_bands(content, form(content))
        assert found.dtype == levels.dtype
        assert found.dtype.isnative
        assert np.array_equal(found, levels), (bands, options)


@pytest.mark.parametrize("compression", ["tiff_lzw", "packbits", "tiff_adobe_deflate", "zstd"])
@pytest.mark.parametrize("predictor", [1, 2])
def test_compressions_of_libtiff(compression: str, predictor: int) -> None:
    levels = np.cumsum(noise(4, "u1") % 3, axis=1, dtype=np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(levels, "RGBA").save(buffer, "TIFF", compression=compression, tiffinfo={317: predictor})
    assert np.array_equal(decode_bands(buffer.getvalue(), form(buffer.getvalue())), levels)


def test_differences_of_the_bytes_of_floats() -> None:
    """Predictor 3 (TIFF Technical Note 3), made by hand: the highest bytes of a row first, as differences."""
    levels = noise(5, "f4", 8, 16)
    by_byte = np.ascontiguousarray(levels.astype(">f4")).view(np.uint8).reshape(8, 16 * 5, 4).transpose(0, 2, 1)
    flat = by_byte.reshape(8, -1)
    differences = flat.copy()
    differences[:, 5:] -= flat[:, :-5]
    content = written(differences.view("<f4").reshape(8, 16, 5), compression="zlib")
    assert np.array_equal(decode_bands(content, TiffForm({**form(content).tags, 317: 3}, big_endian=False)), levels)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_orientations_are_those_of_pillow(orientation: int) -> None:
    levels = noise(4, "u1")
    content = written(levels, extratags=[(274, "H", 1, orientation, True)])
    expected = Image.fromarray(levels, "RGBA")
    if orientation > 1:
        expected = expected.transpose(UPRIGHT[orientation])
    found = decode_bands(content, form(content))
    assert np.array_equal(found, np.asarray(expected))
    assert read_header(FILE, content).size == found.shape[:2]
    assert read_header(FILE, content).orientation == orientation


def test_headers() -> None:
    for bands, kind, name in (
        (8, "u2", "8x16 bit"),
        (5, "i2", "5x16 int"),
        (16, "f4", "16x32 float"),
        (2, "u1", "2x8 bit"),
    ):
        content = written(noise(bands, kind))
        header = read_header(FILE, content)
        assert (header.format, header.mode, header.size) == ("TIFF", name, (37, 53))
        assert len(f"{header.format} {header.mode}") <= 16  # the field of a record
        assert header.deep == (kind != "u1")
        assert count_pixels(FILE, content) == 37 * 53
        assert header.held == count_held(FILE, content) == max(37 * 53, 37 * 53 * bands * np.dtype(kind).itemsize // 6)


def test_which_channels_are_a_picture() -> None:
    """What Pillow opens as grey, colours or inks is one; alpha makes none of two bands."""

    def picture(levels: np.ndarray, **options: Any) -> bool:
        return form(written(levels, **options)).is_picture

    assert picture(noise(3, "u1"), photometric="rgb")
    assert picture(noise(4, "u2"), photometric="rgb", extrasamples=["unassalpha"])
    assert picture(noise(4, "u1"), photometric="separated")
    assert picture(noise(5, "u1"), photometric="separated")
    assert picture(noise(2, "u1"), extrasamples=["unassalpha"])
    assert not picture(noise(2, "u1"))
    assert not picture(noise(2, "u1"), extrasamples=["unspecified"])
    assert not picture(noise(3, "u2"))
    assert not picture(noise(4, "u1"))
    assert not picture(noise(5, "u1"), photometric="rgb")
    for suffix, levels in (("PNG", noise(3, "u1")), ("TIFF", noise(1, "u1")[..., 0])):  # one channel is a picture's
        buffer = io.BytesIO()
        Image.fromarray(levels).save(buffer, suffix)
        assert form_of(buffer) is None


def test_pages_of_a_stack_and_composites_of_imagej_are_no_bands() -> None:
    levels = noise(5, "u2")
    buffer = io.BytesIO()
    tifffile.imwrite(
        buffer, levels.transpose(2, 0, 1).copy(), imagej=True, metadata={"axes": "CYX", "mode": "composite"}
    )
    assert form_of(buffer) is None
    assert read_header(FILE, buffer.getvalue()).mode.startswith("I;16")


@pytest.mark.parametrize("share", [0.1, 0.5, 0.9, 0.97])
@pytest.mark.parametrize("options", [{}, {"compression": "zlib"}, {"tile": (16, 16)}, {"planes": True}])
def test_cut_files_are_named(share: float, options: dict[str, Any]) -> None:
    content = written(noise(6, "u2", 32, 48), **options)
    with pytest.raises(InputError, match=r"^scene\.tif: .*(damaged image|not a readable image|cannot be opened)"):
        read_bands(FILE, content[: int(share * len(content))], 6)


def test_what_is_not_read_is_named() -> None:
    with pytest.raises(InputError, match=r"scene\.tif: 17 bands, more than 16"):
        read_bands(FILE, written(noise(17, "u1")), 16)
    with pytest.raises(InputError, match=r"scene\.tif: damaged image \(levels of \[64\] bits, of TIFF's kind \[6\]"):
        read_bands(FILE, written(noise(5, "f4").astype("c8")), 5)
    with pytest.raises(InputError, match=r"scene\.tif: damaged image \(compression 6"):
        read_bands(FILE, patched(written(noise(5, "u1")), 259, 6), 5)
    with pytest.raises(InputError, match=r"scene\.tif: 60000x60000 pixels, more than 200,000,000"):
        read_bands(FILE, patched(patched(written(noise(5, "u1")), 256, 60000), 257, 60000), 5)
    with pytest.raises(InputError, match=r"scene\.tif: 14000x14000 pixels of 16x16 bit, more than 2,400,000,000 bytes"):
        read_bands(FILE, patched(patched(written(noise(16, "u2")), 256, 14000), 257, 14000), 16)


def test_huge_tiles_are_refused() -> None:
    """Before memory is asked for them."""
    content = patched(written(noise(5, "u1"), tile=(16, 16)), 322, 2**31 - 16)
    with pytest.raises(InputError, match=r"damaged image \(tiles of 2147483632 pixels in 53\)"):
        read_bands(FILE, content, 5)


@pytest.mark.parametrize("tag", [256, 257, 258, 273, 277, 278, 279, 284])
@pytest.mark.parametrize("value", [0, 1, 7, 65535])
def test_hostile_tags_give_an_error_or_an_image(tag: int, value: int) -> None:
    content = patched(written(noise(5, "u2")), tag, value)
    with suppress(InputError):
        assert read_bands(FILE, content, 5).stored.shape[2] == 5


def patched(content: bytes, tag: int, value: int) -> bytes:
    """File with another value of a tag in its first directory."""
    start = struct.unpack_from("<I", content, 4)[0]
    changed = bytearray(content)
    for entry in range(struct.unpack_from("<H", content, start)[0]):
        place = start + 2 + 12 * entry
        if struct.unpack_from("<H", content, place)[0] == tag:
            kind = struct.unpack_from("<H", content, place + 2)[0]
            struct.pack_into("<HHI", changed, place, tag, kind if value < 65536 else 4, 1)
            struct.pack_into("<H" if kind == 3 and value < 65536 else "<I", changed, place + 8, value)
    return bytes(changed)
