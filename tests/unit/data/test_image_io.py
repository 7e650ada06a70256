"""Decoding of image and mask files of every kind that cameras and drawing programs write, and of broken ones."""

import io
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import ExifTags, Image, ImageOps
from PIL.PngImagePlugin import PngImageFile

from tests.support.images import smooth_image
from trainer import InputError
from trainer.data import heic
from trainer.data.image_header import count_pixels, read_header
from trainer.data.image_io import read_image, read_mask, write_jpeg, write_mask
from trainer.drawing.palette import palette

IMAGE = smooth_image(40, 56)  # even sides, for JPEG's chroma of half the size


def save(path: Path, pil_image: Image.Image, **options: object) -> Path:
    pil_image.save(path, **options)  # type: ignore[arg-type]
    return path


def assert_close(found: np.ndarray, expected: np.ndarray, levels: int) -> None:
    assert found.dtype == np.uint8
    assert found.shape == expected.shape
    difference = np.abs(found.astype(int) - expected)
    assert difference.max() <= levels, difference.max()


def grey_to_rgb(grey: np.ndarray) -> np.ndarray:
    return np.repeat(grey[..., None], 3, axis=2)


def png(rows: np.ndarray, bits: int) -> bytes:
    """Encode a grey PNG of 1, 2, 4 or 8 bits; Pillow does not write these."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    packed = b""
    for row in rows:
        digits = "".join(format(value, f"0{bits}b") for value in row)
        digits += "0" * (-len(digits) % 8)
        packed += b"\0" + bytes(int(digits[start : start + 8], 2) for start in range(0, len(digits), 8))
    header = struct.pack(">IIBBBBB", rows.shape[1], rows.shape[0], bits, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(packed)) + chunk(b"IEND", b"")


# ------------------------------------------------------------------------------------------------ images


def test_rgb(tmp_path: Path) -> None:
    for name in ("a.png", "a.bmp", "a.tif"):
        assert_close(read_image(save(tmp_path / name, Image.fromarray(IMAGE))), IMAGE, 0)
    assert_close(read_image(save(tmp_path / "a.webp", Image.fromarray(IMAGE), lossless=True)), IMAGE, 0)
    assert_close(read_image(save(tmp_path / "a.jpg", Image.fromarray(IMAGE), quality=98, subsampling=0)), IMAGE, 6)


def test_grey_and_one_bit(tmp_path: Path) -> None:
    grey = IMAGE[..., 0]
    assert_close(read_image(save(tmp_path / "l.png", Image.fromarray(grey))), grey_to_rgb(grey), 0)
    bits = Image.fromarray(grey > 100)
    assert bits.mode == "1"
    assert_close(read_image(save(tmp_path / "1.png", bits)), grey_to_rgb(((grey > 100) * 255).astype(np.uint8)), 0)


def test_transparency_is_blended_over_white(tmp_path: Path) -> None:
    opacity = smooth_image(40, 56, seed=9)[..., 1]
    share = (opacity / 255)[..., None]
    expected = np.rint(IMAGE * share + 255 * (1 - share))
    assert_close(read_image(save(tmp_path / "rgba.png", Image.fromarray(np.dstack([IMAGE, opacity])))), expected, 1)
    grey = Image.fromarray(np.dstack([IMAGE[..., 0], opacity]), "LA")
    expected = np.rint(grey_to_rgb(IMAGE[..., 0]) * share + 255 * (1 - share))
    assert_close(read_image(save(tmp_path / "la.png", grey)), expected, 1)


def test_palette_with_and_without_transparency(tmp_path: Path) -> None:
    indices = (IMAGE[..., 0] // 64).astype(np.uint8)
    colours = np.array([[250, 10, 10], [10, 250, 10], [10, 10, 250], [90, 80, 70]], dtype=np.uint8)
    pil_image = Image.fromarray(indices)
    pil_image.putpalette(colours.tobytes())
    assert pil_image.mode == "P"
    assert_close(read_image(save(tmp_path / "p.png", pil_image)), colours[indices], 0)
    colours[2] = 255
    assert_close(read_image(save(tmp_path / "clear.png", pil_image, transparency=2)), colours[indices], 0)


def test_cmyk(tmp_path: Path) -> None:
    inks = Image.fromarray(np.dstack([255 - IMAGE, np.zeros_like(IMAGE[..., 0])]), "CMYK")
    assert_close(read_image(save(tmp_path / "cmyk.tif", inks)), IMAGE, 1)
    assert_close(read_image(save(tmp_path / "cmyk.jpg", inks, quality=98)), IMAGE, 12)


def test_ycbcr(tmp_path: Path) -> None:
    pil_image = Image.fromarray(IMAGE).convert("YCbCr")
    assert_close(read_image(save(tmp_path / "y.jpg", pil_image, quality=98, subsampling=0)), IMAGE, 6)


def test_sixteen_bits_and_floats_are_scaled_not_clipped(tmp_path: Path) -> None:
    deep = (IMAGE[..., 0].astype(np.uint16) << 8) | IMAGE[..., 0]
    grey = grey_to_rgb(IMAGE[..., 0])
    assert Image.fromarray(deep).mode == "I;16"
    for name in ("deep.png", "deep.tif"):
        assert_close(read_image(save(tmp_path / name, Image.fromarray(deep))), grey, 0)
    assert_close(read_image(save(tmp_path / "i.tif", Image.fromarray(deep.astype(np.int32)))), grey, 0)
    assert_close(read_image(save(tmp_path / "f.tif", Image.fromarray(deep.astype(np.float32)))), grey, 0)
    assert_close(read_image(save(tmp_path / "unit.tif", Image.fromarray(deep.astype(np.float32) / 65535))), grey, 0)


def test_first_of_several_frames(tmp_path: Path) -> None:
    frames = [Image.fromarray(smooth_image(40, 56, seed)) for seed in range(3)]
    file = save(tmp_path / "many.tif", frames[0], save_all=True, append_images=frames[1:])
    assert_close(read_image(file), IMAGE, 0)


@pytest.mark.parametrize("suffix", ["jpg", "png", "tif", "webp"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation(orientation: int, suffix: str, tmp_path: Path) -> None:
    # Pixels that a camera stores for the scene IMAGE, by the EXIF standard's table of the 0th row and column.
    stored = {
        1: lambda scene: scene,
        2: lambda scene: scene[:, ::-1],
        3: lambda scene: scene[::-1, ::-1],
        4: lambda scene: scene[::-1],
        5: lambda scene: scene.transpose(1, 0, 2),
        6: lambda scene: scene.transpose(1, 0, 2)[::-1],
        7: lambda scene: scene[::-1, ::-1].transpose(1, 0, 2),
        8: lambda scene: scene.transpose(1, 0, 2)[:, ::-1],
    }[orientation](IMAGE)
    exif = Image.Exif()
    exif[0x0112] = orientation
    options = {"quality": 98, "subsampling": 0} if suffix == "jpg" else {"lossless": True} if suffix == "webp" else {}
    file = save(tmp_path / f"a.{suffix}", Image.fromarray(np.ascontiguousarray(stored)), exif=exif, **options)
    assert_close(read_image(file), IMAGE, 6 if suffix == "jpg" else 0)
    with Image.open(file) as pil_image:
        assert np.array_equal(read_image(file), np.array(ImageOps.exif_transpose(pil_image).convert("RGB")))
    # A mask with the EXIF of its image is turned in the same way.
    if suffix == "png":
        file = save(tmp_path / "mask.png", Image.fromarray(np.ascontiguousarray(stored[..., 0] // 32)), exif=exif)
        assert np.array_equal(read_mask(file), IMAGE[..., 0] // 32)


def test_the_header_of_a_png_is_read_without_its_pixels(monkeypatch: pytest.MonkeyPatch) -> None:
    file = io.BytesIO()
    Image.fromarray(IMAGE).save(file, format="PNG")

    def decode(_image: object) -> None:
        raise AssertionError("decoded")

    monkeypatch.setattr(PngImageFile, "load", decode)
    assert read_header(Path("a.png"), file.getvalue()).size == IMAGE.shape[:2]


def test_orientation_of_modes_whose_conversion_drops_exif(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    turned = Image.fromarray(IMAGE[..., 0]).rotate(90, expand=True)
    for mode in ("P", "LA", "1"):
        assert read_image(save(tmp_path / f"{mode}.png", turned.convert(mode), exif=exif)).shape == IMAGE.shape


@pytest.mark.parametrize("mode", ["L", "P", "I;16", "RGB", "RGBA", "CMYK"])
def test_turned_tiff_of_every_mode(mode: str, tmp_path: Path) -> None:
    """Given a path instead of bytes, Pillow 13 garbles some of these."""
    exif = Image.Exif()
    exif[0x0112] = 6
    pil_image = Image.fromarray(IMAGE).convert("L" if mode == "I;16" else mode).convert(mode)
    upright = read_image(save(tmp_path / "upright.tif", pil_image))
    turned = read_image(save(tmp_path / "turned.tif", pil_image, exif=exif))
    assert np.array_equal(turned, np.rot90(upright, k=-1))


def test_broken_exif_does_not_matter(tmp_path: Path) -> None:
    """`ImageOps.exif_transpose` raises struct.error if another entry of the EXIF block is damaged."""
    exif = Image.Exif()
    exif[0x0112] = 6
    exif[0x010E] = "hello"
    file = save(tmp_path / "a.jpg", Image.fromarray(IMAGE), exif=exif)
    content = bytearray(file.read_bytes())
    entry = content.index(struct.pack(">HHI", 0x010E, 2, 6))
    content[entry + 3] = 4  # as if it held integers
    struct.pack_into(">I", content, entry + 4, 1)
    # Values of 8 bytes would reach beyond the block, and the whole block would be dropped.
    for kind in (1, 2, 3, 4, 6, 7, 8, 9, 11):
        content[entry + 3] = kind
        file.write_bytes(content)
        assert read_image(file).shape == (56, 40, 3)


# ------------------------------------------------------------------------------------------------ masks

IDS = np.array([[0, 1, 2, 3], [3, 0, 1, 255], [0, 0, 2, 2]], dtype=np.uint8)


def test_palette_mask_gives_indices(tmp_path: Path) -> None:
    pil_image = Image.fromarray(IDS)
    pil_image.putpalette(palette().tobytes())
    assert pil_image.mode == "P"
    assert np.array_equal(read_mask(save(tmp_path / "p.png", pil_image)), IDS)
    assert np.array_equal(read_mask(save(tmp_path / "clear.png", pil_image, transparency=0)), IDS)
    small = np.where(IDS == 255, 0, IDS).astype(np.uint8)
    pil_image = Image.fromarray(small)
    pil_image.putpalette([9, 9, 9, 200, 0, 0, 0, 200, 0, 0, 0, 200])  # stored with 2 bits
    assert np.array_equal(read_mask(save(tmp_path / "four.png", pil_image)), small)


def test_grey_masks(tmp_path: Path) -> None:
    assert np.array_equal(read_mask(save(tmp_path / "l.png", Image.fromarray(IDS))), IDS)
    bits = read_mask(save(tmp_path / "1.png", Image.fromarray(IDS > 0)))
    assert bits.dtype == np.uint8
    assert np.array_equal(bits, IDS > 0)
    for name, dtype in (("deep.png", np.uint16), ("deep.tif", np.uint16), ("i.tif", np.int32), ("f.tif", np.float32)):
        assert np.array_equal(read_mask(save(tmp_path / name, Image.fromarray(IDS.astype(dtype)))), IDS), name


@pytest.mark.parametrize("bits", [1, 2, 4, 8])
def test_grey_masks_of_few_bits_are_not_spread(bits: int, tmp_path: Path) -> None:
    """Pillow gives 0, 85, 170, 255 for the ids 0 to 3 of a 2-bit PNG."""
    ids = np.arange(2**bits, dtype=np.uint8).repeat(3).reshape(-1, 6)
    (tmp_path / "few.png").write_bytes(png(ids, bits))
    assert np.array_equal(read_mask(tmp_path / "few.png"), ids)


def test_masks_with_three_equal_channels_or_opacity(tmp_path: Path) -> None:
    ids = grey_to_rgb(IDS)
    opacity = np.full_like(IDS, 77)
    for name, array, mode in (
        ("rgb.png", ids, "RGB"),
        ("rgba.png", np.dstack([ids, opacity]), "RGBA"),
        ("la.png", np.dstack([IDS, opacity]), "LA"),
    ):
        assert np.array_equal(read_mask(save(tmp_path / name, Image.fromarray(array, mode))), IDS), name


def test_colour_mask_gives_rgb(tmp_path: Path) -> None:
    colour = grey_to_rgb(IDS)
    colour[2, 3, 1] += 1
    for name, array in (("rgb.png", colour), ("rgba.png", np.dstack([colour, IDS]))):
        assert np.array_equal(read_mask(save(tmp_path / name, Image.fromarray(array))), colour)


def test_header_agrees_with_decoding(tmp_path: Path) -> None:
    for orientation in range(1, 9):
        exif = Image.Exif()
        exif[ExifTags.Base.Orientation] = orientation
        file = save(tmp_path / f"{orientation}.jpg", Image.fromarray(IMAGE), exif=exif)
        header = read_header(file)
        assert header.size == read_image(file).shape[:2]
        assert (header.format, header.mode, header.orientation) == ("JPEG", "RGB", orientation)
    with pytest.raises(InputError, match=r"none\.png"):
        read_header(tmp_path / "none.png")


@pytest.mark.parametrize(
    ("values", "part"),
    [
        (np.array([[0, 300]], dtype=np.uint16), "300"),
        (np.array([[0, 256]], dtype=np.uint16), "256"),
        (np.array([[-1, 3]], dtype=np.int32), "-1"),
        (np.array([[0, 0.5]], dtype=np.float32), "0.5"),
        (np.array([[0, np.nan]], dtype=np.float32), "nan"),
    ],
    ids=str,
)
def test_values_that_are_no_class_id(values: np.ndarray, part: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=rf"mask\.tif.*{part}"):
        read_mask(save(tmp_path / "mask.tif", Image.fromarray(values)))


# ------------------------------------------------------------------------------------------------ broken files


def broken_files() -> dict[str, bytes]:
    def encoded(form: str, **options: object) -> bytes:
        buffer = io.BytesIO()
        Image.fromarray(IMAGE).save(buffer, form, **options)  # type: ignore[arg-type]
        return buffer.getvalue()

    huge = bytearray(png(IDS, 8))
    huge[16:24] = struct.pack(">II", 60_000, 60_000)
    huge[29:33] = struct.pack(">I", zlib.crc32(huge[12:29]))
    large = bytearray(huge)  # below Pillow's own limit for an error, above it for a warning
    large[16:24] = struct.pack(">II", 13_000, 13_000)
    large[29:33] = struct.pack(">I", zlib.crc32(large[12:29]))
    return {
        "truncated.jpg": encoded("JPEG")[:700],
        "truncated.png": encoded("PNG")[:700],
        "truncated.tif": encoded("TIFF")[:700],
        "truncated.webp": encoded("WEBP")[:300],
        "truncated.bmp": encoded("BMP")[:700],
        "empty.png": b"",
        "text.jpg": b"this is not a picture\n" * 9,
        "other.jpg": encoded("PCX"),
        "script.png": b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n",
        "huge.png": bytes(huge),
        "large.png": bytes(large),
    }


@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
@pytest.mark.parametrize("name", list(broken_files()))
def test_broken_file_is_named(name: str, tmp_path: Path) -> None:
    file = tmp_path / name
    file.write_bytes(broken_files()[name])
    for read in (read_image, read_mask):
        with pytest.raises(InputError, match=str(file)):
            read(file)
        with pytest.raises(InputError, match=str(file)):
            read(file, file.read_bytes())
    if name == "empty.png":
        with pytest.raises(InputError, match="an empty file"):
            read_image(file)


@pytest.mark.parametrize("name", ["a.jpg", "a.HEIC"])
def test_pictures_of_telephones_ask_for_their_package(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(heic, "INSTALLED", False)
    file = tmp_path / name
    file.write_bytes(b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + bytes(100))
    with pytest.raises(
        InputError, match=r"HEIC, which this installation does not read; pip install .*heic.*, or convert it"
    ):
        read_image(file)
    (tmp_path / "b.JP2").write_bytes(b"no picture")
    with pytest.raises(InputError, match=r"\.JP2 is not read here; convert it to PNG or JPEG"):
        read_image(tmp_path / "b.JP2")


@pytest.mark.parametrize("name", ["a.jpg", "a.HEIC"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_pictures_of_telephones_are_read(name: str, orientation: int, tmp_path: Path) -> None:
    heif = pytest.importorskip("pillow_heif", reason="needs the extra heic")
    stored, exif, file = smooth_image(48, 64), Image.Exif(), tmp_path / name
    exif[ExifTags.Base.Orientation] = orientation
    heif.from_pillow(Image.fromarray(stored)).save(file, quality=95, exif=exif.tobytes())
    Image.fromarray(stored).save(tmp_path / "b.png", exif=exif)
    same = read_image(tmp_path / "b.png")
    found, header = read_image(file), read_header(file)
    assert header.size == found.shape[:2] == same.shape[:2]
    assert (header.format, header.orientation, header.deep) == ("HEIF", 1, False)
    assert count_pixels(file) == 48 * 64
    assert np.abs(found.astype(int) - same).mean() < 3
    content = file.read_bytes()
    for cut in (12, len(content) // 2, len(content) - 20):
        file.write_bytes(content[:cut])
        with pytest.raises(InputError, match=name):
            read_image(file)


def test_missing_file_and_folder_are_named(tmp_path: Path) -> None:
    (tmp_path / "folder.png").mkdir()
    for name in ("nothing.png", "folder.png"):
        for read in (read_image, read_mask):
            with pytest.raises(InputError, match=name):
                read(tmp_path / name)


def test_content_replaces_reading(tmp_path: Path) -> None:
    file = save(tmp_path / "a.png", Image.fromarray(IMAGE))
    assert np.array_equal(read_image(Path("elsewhere"), file.read_bytes()), IMAGE)


# ------------------------------------------------------------------------------------------------ writing


@pytest.mark.parametrize("values", [[0, 1], [0, 1, 255], list(range(12)), list(range(256)), [0], [255]], ids=len)
def test_written_mask_reads_back(values: list[int], tmp_path: Path) -> None:
    mask = np.random.default_rng(0).choice(values, (13, 17)).astype(np.uint8)
    write_mask(tmp_path / "mask.png", mask)
    assert np.array_equal(read_mask(tmp_path / "mask.png"), mask)
    with Image.open(tmp_path / "mask.png") as pil_image:
        assert pil_image.mode == "P"
        assert np.array_equal(np.array(pil_image), mask)
        colours = pil_image.getpalette()
    assert colours is not None
    assert np.array_equal(np.array(colours).reshape(-1, 3), palette())


def test_written_jpeg(tmp_path: Path) -> None:
    write_jpeg(tmp_path / "a.jpg", IMAGE)
    with Image.open(tmp_path / "a.jpg") as pil_image:
        assert pil_image.format == "JPEG"
    assert_close(read_image(tmp_path / "a.jpg"), IMAGE, 24)
    write_jpeg(tmp_path / "b.jpg", IMAGE, quality=20)
    assert (tmp_path / "b.jpg").stat().st_size < (tmp_path / "a.jpg").stat().st_size
