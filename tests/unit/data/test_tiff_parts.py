"""TIFF files read in parts: to the pixels of the whole image decoded at once, in the memory of a part."""

import io
import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from PIL import Image

from trainer import InputError
from trainer.data import image_io, tiff_parts
from trainer.data.bands import BandLevels, read_bands
from trainer.data.image_header import count_pixels, read_header
from trainer.data.image_io import AnyLevels, read_image, read_scaled
from trainer.data.levels import Levels
from trainer.data.stack import count_pages, page_content
from trainer.data.tiff_directory import Field, read_directory, tiff_of
from trainer.data.tiff_parts import parts_of

RANDOM = np.random.default_rng(7)
HEIGHT, WIDTH = 83, 61


def levels(bands: int, kind: str = "u1") -> np.ndarray:
    """Smooth levels that differ everywhere, so that a row in a wrong place is seen, [H, W] or [H, W, C]."""
    rows, columns, numbers = np.mgrid[:HEIGHT, :WIDTH, :bands]
    waves = 0.5 + 0.2 * np.sin(rows / 7 + numbers) + 0.2 * np.cos(columns / 9 - rows / 31)
    top = 1 if kind.startswith("f") else np.iinfo(kind).max
    found = ((waves + RANDOM.uniform(-0.02, 0.02, waves.shape)) * top).astype(kind)
    return found[..., 0] if bands == 1 else found


def written(stored: np.ndarray, **options: Any) -> bytes:
    buffer = io.BytesIO()
    if stored.ndim == 2:
        options["planarconfig"] = None
    tifffile.imwrite(
        buffer, stored, metadata=None, **({"photometric": "minisblack", "planarconfig": "contig"} | options)
    )
    return buffer.getvalue()


def by_pillow(stored: np.ndarray, mode: str, **options: Any) -> bytes:
    buffer = io.BytesIO()
    picture = Image.fromarray(stored)
    if len(mode) != stored[0, 0].size:
        picture = picture.convert(mode)
    else:
        picture = Image.frombytes(mode, picture.size, stored.tobytes())
    picture.save(buffer, "TIFF", **options)
    return buffer.getvalue()


def planes(stored: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(stored.transpose(2, 0, 1))


SEPARATE = {"photometric": "rgb", "planarconfig": "separate"}
RGB = {"photometric": "rgb"}
FEW_ROWS = {278: 5}
FILES = {
    "one strip": written(levels(3), **RGB),
    "one strip of each plane": written(planes(levels(3)), **SEPARATE),
    "one strip of 16 bits, big-endian": written(levels(1, "u2"), byteorder=">"),
    "strips": written(levels(3), rowsperstrip=7, **RGB),
    "packed strips": written(levels(3), rowsperstrip=7, compression="zlib", predictor=True, **RGB),
    "tiles": written(levels(3), tile=(16, 32), **RGB),
    "packed tiles": written(levels(3), tile=(32, 16), compression="zlib", **RGB),
    "tiles of planes": written(planes(levels(3)), tile=(16, 16), compression="zlib", **SEPARATE),
    "BigTIFF": written(levels(3), rowsperstrip=7, bigtiff=True, **RGB),
    "big-endian BigTIFF": written(levels(3), rowsperstrip=7, bigtiff=True, byteorder=">", **RGB),
    "deep greys": written(levels(1, "u2"), rowsperstrip=9),
    "deep greys whose 0 is white": written(levels(1, "u2"), rowsperstrip=9, photometric="miniswhite"),
    "deep colours": written(levels(3, "u2"), rowsperstrip=9, **RGB),
    "deep planes": written(planes(levels(3, "u2")), rowsperstrip=9, **SEPARATE),
    "deep opacity": written(levels(4, "u2"), rowsperstrip=9, extrasamples=["unassalpha"], **RGB),
    "three bands": written(levels(3, "u2"), rowsperstrip=9),
    "opacity": by_pillow(levels(4), "RGBA", tiffinfo=FEW_ROWS, compression="tiff_lzw"),
    "inks": by_pillow(levels(3), "CMYK", tiffinfo=FEW_ROWS, compression="packbits"),
    "palette": by_pillow(levels(3), "P", tiffinfo=FEW_ROWS, compression="tiff_lzw"),
    "two colours": by_pillow(levels(3), "1", tiffinfo=FEW_ROWS, compression="group4"),
    "JPEG": by_pillow(levels(3), "YCbCr", tiffinfo={278: 16}, compression="jpeg"),
    "JPEG of colours": by_pillow(levels(3), "RGB", tiffinfo={278: 16}, compression="jpeg"),
    **{
        f"turned {turn}": by_pillow(levels(3), "RGB", tiffinfo=FEW_ROWS | {274: turn}, compression="tiff_lzw")
        for turn in range(2, 9)
    },
}


def read_both(
    monkeypatch: pytest.MonkeyPatch, content: bytes, ranges: AnyLevels | None = None
) -> tuple[tuple[np.ndarray, float], tuple[np.ndarray, float], int]:
    """Read a file whole and in parts; and how many parts there were."""
    whole = read_scaled(Path("scene.tif"), content, ranges)
    decoded = []
    original = image_io._read_whole

    def read(path: Path, part: bytes | None, ranges: AnyLevels | None) -> tuple[np.ndarray, np.ndarray]:
        decoded.append(part)
        return original(path, part, ranges)

    with monkeypatch.context() as patch:
        patch.setattr(tiff_parts, "LARGE_BYTES", 1)
        patch.setattr(tiff_parts, "CUT_BYTES", 700)
        patch.setattr(image_io, "PART_BYTES", 400)
        patch.setattr(image_io, "_read_whole", read)
        return whole, read_scaled(Path("scene.tif"), content, ranges), len(decoded)


@pytest.mark.parametrize("name", FILES)
def test_in_parts_as_whole(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    whole, parts, count = read_both(monkeypatch, FILES[name])
    assert count >= 2
    assert parts[0].shape == whole[0].shape
    assert np.array_equal(parts[0], whole[0])
    if name in ("one strip", "packed strips", "tiles of planes", "big-endian BigTIFF"):
        assert np.ptp(parts[0]) > 100


@pytest.mark.parametrize("kind", ["u1", "u2", "f4"])
@pytest.mark.parametrize(
    "options",
    [
        {"rowsperstrip": 7, "compression": "zlib"},
        {"tile": (16, 16)},
        {"planarconfig": "separate", "tile": (16, 32), "compression": "zlib"},
        {"bigtiff": True, "byteorder": ">", "rowsperstrip": 9},
    ],
)
def test_bands(kind: str, options: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    """Their levels by the ranges of a model, and the share outside of them."""
    stored = levels(6, kind)
    content = written(planes(stored) if "planarconfig" in options else stored, **options)
    low, high = np.quantile(stored, [0.1, 0.95])
    ranges = BandLevels((Levels(float(low), float(high)),) * 6)
    whole, parts, count = read_both(monkeypatch, content, ranges)
    assert count >= 3
    assert np.array_equal(parts[0], whole[0])
    assert np.array_equal(whole[0][3, 5], ranges.to_uint8(image_io.DeepImage(stored[3:4, 5:6]))[0, 0])
    assert parts[1] == pytest.approx(whole[1], abs=1e-9)
    assert whole[1] > 0.1


def test_pixels_without_data_stay_black(monkeypatch: pytest.MonkeyPatch) -> None:
    stored = levels(5, "u2")
    stored[70:] = 60000
    content = written(stored, rowsperstrip=7, extratags=[(42113, 2, 0, "60000", True)])
    whole, parts, _ = read_both(monkeypatch, content, BandLevels((Levels(0, 65535),) * 5))
    assert not whole[0][70:].any()
    assert np.array_equal(parts[0], whole[0])


def test_what_depends_on_the_whole_is_read_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    """Floats without a range are scaled by the brightest of all."""
    grey = levels(1, "f4")
    grey[-1] *= 200
    whole, parts, count = read_both(monkeypatch, written(grey, rowsperstrip=7))
    assert count == 1
    assert np.array_equal(parts[0], whole[0])


def test_damaged_files_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tiff_parts, "LARGE_BYTES", 1)
    monkeypatch.setattr(image_io, "PART_BYTES", 3000)
    for name in ("strips", "packed strips", "packed tiles", "tiles of planes"):
        for share in (0.3, 0.9):
            with pytest.raises(InputError, match=r"^scene\.tif: "):
                read_image(Path("scene.tif"), FILES[name][: int(share * len(FILES[name]))])


def test_pieces_that_are_named_many_times_are_not_copied() -> None:
    """A small file could stand for any amount of memory."""
    content = bytearray(FILES["packed strips"])
    found = parts_of(io.BytesIO(content))
    assert found is not None
    piece = max(found.pieces, key=lambda one: one[1])
    fields = {tag: field for tag, field in found.directory.fields.items() if tag not in (273, 279)}
    bomb = tiff_of(False, fields, 273, 279, [content[piece[0] : sum(piece)]] * found.count)
    directory = read_directory(io.BytesIO(bomb))
    assert directory is not None
    assert parts_of(io.BytesIO(bomb)) is not None
    first = directory.fields[273].data[:4]
    assert parts_of(io.BytesIO(bomb.replace(directory.fields[273].data, first * found.count)[: len(bomb) // 2])) is None


def test_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The image as the network is shown it, and little more: not the file, nor all levels as they are stored."""
    stored = RANDOM.integers(0, 4000, (1200, 1000, 6), dtype=np.uint16)
    file = tmp_path / "scene.tif"
    file.write_bytes(written(stored, rowsperstrip=16))
    ranges = BandLevels((Levels(0, 4095),) * 6)
    peaks = {}
    for large in (0, 10**9):
        monkeypatch.setattr(tiff_parts, "LARGE_BYTES", large)
        monkeypatch.setattr(image_io, "PART_BYTES", 500_000)
        tracemalloc.start()
        try:
            image, _ = read_scaled(file, None, ranges)
            peaks[large] = tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
    assert peaks[0] < image.nbytes + 4_000_000
    assert peaks[10**9] > image.nbytes + stored.nbytes


def test_big_endian_bigtiff(tmp_path: Path) -> None:
    file = tmp_path / "scene.tif"
    for stored, options in ((levels(1), {}), (levels(3), RGB), (levels(1, "u2"), {"tile": (16, 16)})):
        file.write_bytes(written(stored, bigtiff=True, byteorder=">", **options))
        expected = read_image(file, written(stored, **options))
        assert np.array_equal(read_image(file), expected)
        assert count_pixels(file) == HEIGHT * WIDTH
        assert read_header(file).size == (HEIGHT, WIDTH)
    bands = levels(5, "i2")
    assert np.array_equal(read_bands(file, written(bands, bigtiff=True, byteorder=">"), 5).stored, bands)
    pages = RANDOM.integers(0, 255, (3, 40, 30), dtype=np.uint8)
    tifffile.imwrite(file, pages, photometric="minisblack", bigtiff=True, byteorder=">", metadata=None)
    assert count_pages(file) == (3, 0)
    assert np.array_equal(read_image(file, page_content(file, 2))[..., 0], pages[1])


@pytest.mark.parametrize("bands", [2, 3, 4])
def test_bands_as_jpeg(bands: int) -> None:
    """Side by side, and one after the other: as Pillow decodes the same channels as a picture."""
    mode = {2: "LA", 3: "RGB", 4: "CMYK"}[bands]
    content = by_pillow(levels(bands), mode, tiffinfo={278: 16}, compression="jpeg", quality=95)
    expected = np.array(Image.open(io.BytesIO(content)))
    directory = read_directory(io.BytesIO(content))
    assert directory is not None
    fields = {tag: field for tag, field in directory.fields.items() if tag not in (273, 279, 338)}
    fields[262] = Field(3, 1, b"\1\0")  # greys: bands without a meaning
    pieces = cut(content, directory.tags())
    found = read_bands(Path("scene.tif"), tiff_of(False, fields, 273, 279, pieces), bands).stored
    assert np.array_equal(found, expected)
    assert np.abs(found.astype(int) - levels(bands)).mean() < 12

    greys = [by_pillow(expected[..., one], "L", tiffinfo={278: 16}, compression="jpeg") for one in range(bands)]
    tags = [read.tags() for one in greys if (read := read_directory(io.BytesIO(one)))]
    fields[284] = Field(3, 1, b"\2\0")
    fields[347] = Field(7, len(tags[0][347]), tags[0][347])
    pieces = [piece for one, own in zip(greys, tags, strict=True) for piece in cut(one, own)]
    found = read_bands(Path("scene.tif"), tiff_of(False, fields, 273, 279, pieces), bands).stored
    for one in range(bands):
        assert np.array_equal(found[..., one], np.array(Image.open(io.BytesIO(greys[one]))))


def test_other_bands_as_jpeg_are_named() -> None:
    content = tiff_of(False, {256: (8,), 257: (8,), 258: (8,), 259: (7,), 262: (1,), 277: (6,)}, 273, 279, [b"0" * 90])
    with pytest.raises(InputError, match=r"JPEG compression of 6x8 bit, which is not read; save it with LZW"):
        read_bands(Path("scene.tif"), content, 6)


def cut(content: bytes, tags: dict[int, Any]) -> list[bytes]:
    """Strips of a file."""
    return [content[place : place + length] for place, length in zip(tags[273], tags[279], strict=True)]
