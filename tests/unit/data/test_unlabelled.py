"""Images without labels: which are found, which are refused, and what the digest of the data covers."""

import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.support.data import VocMaker, count_nothing
from tests.support.deep import png_of_16_bits
from tests.support.images import smooth_image
from tests.support.layouts import refusal, scenes, write_labelme
from trainer import IGNORE
from trainer.config import DataConfig
from trainer.data.dataset import Dataset, open_dataset
from trainer.data.resize import shrink_image
from trainer.data.sources import Sources, find_sources
from trainer.data.view import View


def pictures(folder: Path, count: int = 3) -> Path:
    """Write pictures of different odd sizes."""
    (folder / "below").mkdir(parents=True)
    for number in range(count):
        image = Image.fromarray(smooth_image(30 + number, 41, seed=90 + number))
        image.save((folder / "below" if number == 1 else folder) / f"new {number}.png")
    return folder


def sources_of(root: Path, unlabelled: Path | str | None) -> Sources:
    return find_sources(DataConfig(root=str(root), unlabelled=None if unlabelled is None else str(unlabelled)))


def opened(root: Path, unlabelled: Path | str | None, cache: Path) -> Dataset:
    return open_dataset(sources_of(root, unlabelled), View(16), cache, count_nothing)


def test_images_of_a_folder_and_below_are_resized_as_labelled_ones(make_voc: VocMaker, tmp_path: Path) -> None:
    folder = pictures(tmp_path / "new")
    Image.fromarray(smooth_image(20, 30, seed=7)).save(folder / "z turned.jpg", exif=_turned())
    dataset = opened(make_voc(*"abcdef"), folder, tmp_path / "cache")
    names = ["below/new 1.png", "new 0.png", "new 2.png", "z turned.jpg"]
    assert [Path(one.image_file).relative_to(folder).as_posix() for one in dataset.sources.unlabelled] == names
    assert dataset.unlabelled is not None
    images, masks = dataset.unlabelled.read(range(4))
    assert (masks == IGNORE).all()
    for place in range(3):
        expected = shrink_image(np.array(Image.open(folder / names[place])), 16)
        assert np.array_equal(images[place].permute(1, 2, 0).numpy(), expected)
    assert dataset.unlabelled.facts["size"][3].tolist() == [30, 20]
    assert len(dataset.sources.samples) == len(dataset.stored.facts) == 6


def _turned() -> Image.Exif:
    exif = Image.Exif()
    exif[0x0112] = 6
    return exif


def test_auto_takes_what_is_not_labelled_yet(tmp_path: Path) -> None:
    root = write_labelme(tmp_path / "labelme", scenes(6))
    pictures(root / "new")
    plain, auto = (sources_of(root, setting) for setting in (None, "auto"))
    assert plain.unlabelled == ()
    assert any("3 images have no JSON file yet" in note for note in plain.notes)
    assert [Path(one.image_file).name for one in auto.unlabelled] == ["new 1.png", "new 0.png", "new 2.png"]
    assert not any("no JSON file yet" in note for note in auto.notes)
    assert plain.account.count == auto.account.count + 3
    assert auto.samples == plain.samples


def test_auto_takes_images_below_without_mask(make_voc: VocMaker, tmp_path: Path) -> None:
    root = make_voc(*"abcdef")
    pictures(root / "JPEGImages" / "day 2")
    (root / "SegmentationClassPNG" / "day 3").mkdir()
    shutil.copy(root / "SegmentationClassPNG" / "a.png", root / "SegmentationClassPNG" / "day 3" / "mask.png")
    names = [Path(one.image_file).name for one in sources_of(root, "auto").unlabelled]
    assert names == ["new 1.png", "new 0.png", "new 2.png"]


def test_auto_without_such_images_is_as_unset(make_voc: VocMaker, tmp_path: Path) -> None:
    root = make_voc(*"abcdef")
    plain, auto = (opened(root, setting, tmp_path / "cache") for setting in (None, "auto"))
    assert auto.unlabelled is None
    assert auto.content() == plain.content()
    assert plain.sources.notes == ()
    assert [note for note in auto.sources.notes if "data.unlabelled: auto" in note]


def test_a_folder_that_cannot_serve_is_named(make_voc: VocMaker, tmp_path: Path) -> None:
    root, empty = make_voc(*"abcdef"), tmp_path / "empty"
    with refusal("data.unlabelled", str(empty), "no such folder"):
        sources_of(root, empty)
    empty.mkdir()
    (empty / "notes.txt").write_text("nothing")
    with refusal("data.unlabelled", str(empty), "no pictures there", "notes.txt", "give a folder"):
        sources_of(root, empty)
    other = make_voc("g", "h", folder="other")
    with refusal("data.unlabelled", str(other), "holds labels", "auto"):
        sources_of(root, other)


@pytest.mark.parametrize("part", ["train", "val"])
def test_a_labelled_picture_is_refused_whatever_its_name(part: str, make_voc: VocMaker, tmp_path: Path) -> None:
    root, folder = make_voc(*"abcdef"), pictures(tmp_path / "new")
    dataset = opened(root, folder, tmp_path / "cache")
    sample = dataset.samples(getattr(dataset.split, part))[0]
    Image.open(sample.image).save(folder / "copy.png")  # other bytes, the same pixels
    with refusal(str(folder / "copy.png"), str(sample.image), "take it out") as error:
        opened(root, folder, tmp_path / "cache")
    assert ("validates" in str(error.value)) == (part == "val")
    assert "\n" not in str(error.value)


def test_a_damaged_picture_is_named(make_voc: VocMaker, tmp_path: Path) -> None:
    folder = pictures(tmp_path / "new")
    (folder / "new 2.png").write_bytes((folder / "new 2.png").read_bytes()[:300])
    with refusal(str(folder / "new 2.png"), "damaged"):
        opened(make_voc(*"abcdef"), folder, tmp_path / "cache")


def test_the_digest_covers_them_and_not_their_names(make_voc: VocMaker, tmp_path: Path) -> None:
    root, folder = make_voc(*"abcdef"), pictures(tmp_path / "new")
    digests = [opened(root, setting, tmp_path / "cache").digest for setting in (None, folder)]
    (folder / "new 0.png").rename(folder / "renamed.png")
    digests.append(opened(root, folder.rename(tmp_path / "moved"), tmp_path / "cache").digest)
    Image.fromarray(smooth_image(9, 9, seed=3)).save(tmp_path / "moved" / "renamed.png")
    digests.append(opened(root, tmp_path / "moved", tmp_path / "cache").digest)
    assert digests[1] == digests[2]
    assert len(set(digests)) == 3


def test_deep_images_are_scaled_as_the_labelled_ones(make_voc: VocMaker, tmp_path: Path) -> None:
    root, folder = make_voc(*"abcdef"), tmp_path / "new"
    folder.mkdir()
    for number, file in enumerate(sorted((root / "JPEGImages").iterdir())):
        height, width = np.array(Image.open(file)).shape[:2]
        file.unlink()
        levels = np.full((height, width, 1), 1000 * (number + 1), np.uint16)
        file.with_suffix(".png").write_bytes(png_of_16_bits(levels))
    (folder / "dark.png").write_bytes(png_of_16_bits(np.full((20, 20, 1), 1500, np.uint16)))
    dataset = opened(root, folder, tmp_path / "cache")
    assert dataset.levels is not None
    assert dataset.unlabelled is not None
    low, high = dataset.levels.low, dataset.levels.high
    assert (dataset.unlabelled.read([0])[0] == round(255 * (1500 - low) / (high - low))).all()
