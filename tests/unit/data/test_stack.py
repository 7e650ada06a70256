"""Pages of TIFF stacks and frames of animations, against Pillow's own reading."""

import struct
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.support.images import box_mask, smooth_image
from tests.support.layouts import find_in, open_data, plan_data, save_image
from trainer.data.image_io import read_image, read_mask
from trainer.data.stack import count_frames, count_pages, is_stack, page_content


def save_pages(file: Path, pages: Sequence[np.ndarray], **options: object) -> Path:
    file.parent.mkdir(parents=True, exist_ok=True)
    first, *others = map(Image.fromarray, pages)
    first.save(file, save_all=True, append_images=others, **options)  # type: ignore[arg-type]
    return file


def ids(count: int) -> list[np.ndarray]:
    return [box_mask(24, 30, seed) for seed in range(count)]


# ------------------------------------------------------------------------------------------------ pages


@pytest.mark.parametrize("options", [{}, {"compression": "tiff_lzw"}, {"big_tiff": True}], ids=str)
@pytest.mark.parametrize("kind", ["L", "RGB", "I;16", "F"])
def test_each_page_by_itself(kind: str, options: dict[str, object], tmp_path: Path) -> None:
    pages = [smooth_image(24, 30, seed) for seed in range(4)]
    if kind != "RGB":
        scales = {"L": (1.0, np.uint8), "I;16": (257.0, np.uint16), "F": (1 / 255, np.float32)}
        factor, dtype = scales[kind]
        pages = [(page[..., 0] * factor).astype(dtype) for page in pages]
    file = save_pages(tmp_path / "s.tif", pages, **options)
    assert count_pages(file) == (4, 0)
    assert is_stack(file.read_bytes())
    for number, page in enumerate(pages, start=1):
        alone = tmp_path / f"{number}.tif"
        Image.fromarray(page).save(alone)
        assert not is_stack(alone.read_bytes())
        np.testing.assert_array_equal(read_image(file, page_content(file, number)), read_image(alone))


def test_motorola_order(tmp_path: Path) -> None:
    """Two pages of 1 x 1 pixels, written by hand with the high byte first."""

    def directory(value: int, following: int) -> bytes:
        shorts = [(256, 1), (257, 1), (258, 8), (259, 1), (262, 1), (277, 1)]
        entries = [struct.pack(">HHIHH", tag, 3, 1, number, 0) for tag, number in shorts]
        entries += [struct.pack(">HHII", 273, 4, 1, value), struct.pack(">HHII", 279, 4, 1, 1)]
        entries.sort(key=lambda entry: entry[:2])
        return struct.pack(">H", len(entries)) + b"".join(entries) + struct.pack(">I", following)

    size = len(directory(0, 0))
    content = b"MM\0*" + struct.pack(">I", 10) + bytes([7, 9]) + directory(8, 10 + size) + directory(9, 0)
    (tmp_path / "m.tif").write_bytes(content)
    assert count_pages(tmp_path / "m.tif") == (2, 0)
    values = [read_mask(tmp_path / "m.tif", page_content(tmp_path / "m.tif", page)).item() for page in (1, 2)]
    assert values == [7, 9]


def test_pages_of_another_size_are_counted_apart(tmp_path: Path) -> None:
    file = save_pages(tmp_path / "s.tif", [np.zeros(size, np.uint8) for size in ((9, 8), (9, 8), (4, 4))])
    assert count_pages(file) == (2, 1)


def test_smaller_copies_are_no_pages(tmp_path: Path) -> None:
    """Overviews, as of GeoTIFF: NewSubfileType 1."""
    pages = [Image.new("L", (8, 8)), Image.new("L", (4, 4))]
    pages[1].encoderinfo = {"tiffinfo": {254: 1}}
    pages[0].save(tmp_path / "s.tif", save_all=True, append_images=pages[1:])
    assert count_pages(tmp_path / "s.tif") == (1, 0)
    assert not is_stack((tmp_path / "s.tif").read_bytes())


def test_no_tiff_and_damaged_ones_have_one_page(tmp_path: Path) -> None:
    whole = save_pages(tmp_path / "s.tif", ids(3)).read_bytes()
    loop = bytearray(whole)
    (start,) = struct.unpack_from("<I", loop, 4)
    (entries,) = struct.unpack_from("<H", loop, start)
    struct.pack_into("<I", loop, start + 2 + 12 * entries, start)
    contents = {"a.tif": b"", "b.tif": b"II", "c.tif": b"text", "d.tif": whole[:9], "e.jpg": whole, "f.tif": loop}
    for name, content in contents.items():
        (tmp_path / name).write_bytes(content)
        assert count_pages(tmp_path / name) == (1, 0), name
        assert is_stack(bytes(content)) == (content == whole), name
    assert count_pages(tmp_path / "gone.tif") == (1, 0)


# ------------------------------------------------------------------------------------------------ samples


def test_a_sample_for_each_page(tmp_path: Path) -> None:
    images, masks = [smooth_image(24, 30, seed) for seed in range(5)], ids(5)
    save_pages(tmp_path / "images" / "volume.tif", images)
    save_pages(tmp_path / "masks" / "volume.tif", masks)
    dataset = open_data(tmp_path, tmp_path.parent / "cache")
    samples = dataset.sources.samples
    assert [sample.name for sample in samples] == [f"volume#{number}" for number in range(1, 6)]
    for sample, image, mask in zip(samples, images, masks, strict=True):
        np.testing.assert_array_equal(sample.read_image(), image)
        np.testing.assert_array_equal(sample.read_mask(dataset.sources.values), mask)
    assert dataset.pixels.sum() == sum((masks[row]).size for row in dataset.split.train)
    assert len(set(dataset.stored.facts["digest"].tolist())) == 5
    again = open_data(tmp_path, tmp_path.parent / "cache")
    assert again.digest == dataset.digest


def test_other_numbers_of_pages_are_said(tmp_path: Path) -> None:
    save_pages(tmp_path / "images" / "a.tif", [smooth_image(24, 30, seed) for seed in range(3)])
    save_pages(tmp_path / "masks" / "a.tif", ids(1))
    save_image(tmp_path / "images" / "b.png", smooth_image(24, 30))
    save_pages(tmp_path / "masks" / "b.tif", ids(2))
    found = find_in(tmp_path)
    assert [sample.name for sample in found.samples] == ["a", "b"]
    (note,) = (note for note in found.notes if "pages" in note)
    assert note.startswith(f"{tmp_path / 'images' / 'a.tif'} (3 pages) and 1 more: ")
    save_image(tmp_path / "images" / "c.png", smooth_image(24, 30, 9))
    save_pages(tmp_path / "masks" / "c.tif", ids(1))
    account = plan_data(tmp_path, tmp_path).account
    (left,) = account.left.values()
    top = f"{tmp_path}/"
    assert [file.removeprefix(top) for file in left.files] == ["images/a.tif#2", "images/a.tif#3", "masks/b.tif#2"]


# ------------------------------------------------------------------------------------------------ frames


@pytest.mark.parametrize("suffix", ["gif", "png", "webp", "avif"])
def test_frames(suffix: str, tmp_path: Path) -> None:
    pages = [smooth_image(24, 30, seed) for seed in range(3)]
    assert count_frames(save_pages(tmp_path / f"a.{suffix}", pages).read_bytes()) == 3
    assert count_frames(save_pages(tmp_path / f"b.{suffix}", pages[:1]).read_bytes()) == 1


def test_frames_of_other_files() -> None:
    assert [count_frames(content) for content in (b"", b"GIF89a", b"RIFF", b"\x89PNG", b"II*\0")] == [1] * 5
