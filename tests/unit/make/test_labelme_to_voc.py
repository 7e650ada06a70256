"""Conversion of a folder of Labelme files: masks, images, lists, and errors that leave nothing behind."""

import base64
import io
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.support.images import smooth_image
from tests.support.labelme import HEIGHT, WIDTH, LabelmeFolder, base64_text, png, record, shape
from tests.support.program import REPOSITORY, Program
from trainer.config import DataConfig
from trainer.data.image_io import read_image, read_mask
from trainer.data.sources import find_samples, find_sources
from trainer.data.split import split_samples
from trainer.prepare import main

REFERENCE = REPOSITORY / ".." / "shared" / "data" / "labelme_voc"


@pytest.fixture
def labelled(tmp_path: Path) -> LabelmeFolder:
    return LabelmeFolder(tmp_path / "data")


# ------------------------------------------------------------------------------------------------ masks


@pytest.mark.skipif(not REFERENCE.is_dir(), reason=f"no reference masks in {REFERENCE}")
def test_masks_equal_those_of_labelme(tmp_path: Path) -> None:
    out = tmp_path / "voc"
    assert main(["labelme", str(REFERENCE / "annotated"), str(out), "--labels", str(REFERENCE / "labels.txt")]) == 0
    expected = sorted((REFERENCE / "expected" / "SegmentationClass").iterdir())
    assert len(expected) == 3
    for file in expected:
        ours = read_mask(out / "SegmentationClassPNG" / file.name)
        # Pillow 11 and newer draw one pixel of an edge differently.
        assert (ours != read_mask(file)).sum() <= 1, file.name
        image = f"{file.stem}.jpg"
        assert (out / "JPEGImages" / image).read_bytes() == (REFERENCE / "annotated" / image).read_bytes()


def test_generated_cats_are_converted_without_loss(tmp_path: Path) -> None:
    options = ["--count", "8", "--size", "64", "--classes", "cat", "dog"]
    labelme, voc, converted = tmp_path / "labelme", tmp_path / "voc", tmp_path / "converted"
    assert main(["synthetic", str(labelme), *options, "--labelme"]) == main(["synthetic", str(voc), *options]) == 0
    assert main(["labelme", str(labelme), str(converted), "--labels", str(labelme / "labels.txt")]) == 0
    assert (converted / "class_names.txt").read_bytes() == (voc / "class_names.txt").read_bytes()
    values = set()
    for sample in find_samples([voc]).samples:
        ours = read_mask(converted / "SegmentationClassPNG" / sample.mask.name)
        np.testing.assert_array_equal(ours, read_mask(sample.mask))
        assert (converted / "JPEGImages" / sample.image.name).read_bytes() == sample.image.read_bytes()
        values |= set(np.unique(ours))
    assert values == {0, 1, 2}


# ------------------------------------------------------------------------------------------------ images and names


def encode_turned(orientation: int, format: str) -> tuple[bytes, np.ndarray]:
    """Encode an image with an EXIF orientation; return the file and the upright image, uint8 [H, W, 3]."""
    pil_image, exif, buffer = Image.fromarray(smooth_image(HEIGHT, WIDTH, 3)), Image.Exif(), io.BytesIO()
    exif[0x0112] = orientation
    pil_image.save(buffer, format=format, exif=exif)
    return buffer.getvalue(), read_image(Path(), buffer.getvalue())


@pytest.mark.parametrize("orientation", [1, 3, 6])
@pytest.mark.parametrize(("format", "suffix"), [("JPEG", ".jpg"), ("PNG", ".png")])
def test_images_are_copied_unless_exif_turns_them(
    labelled: LabelmeFolder, orientation: int, format: str, suffix: str
) -> None:
    content, image = encode_turned(orientation, format)
    (labelled.folder / "photo.JPG").write_bytes(content)
    height, width = image.shape[:2]
    labelled.write("named", record("photo.JPG", shape("point", [1, 1]), imageHeight=height, imageWidth=width))
    assert labelled.convert() == 0
    file = labelled.out / "JPEGImages" / f"named{suffix}"
    assert (file.read_bytes() == content) == (orientation == 1)
    assert labelled.mask("named").shape == image.shape[:2]
    np.testing.assert_allclose(read_image(file).astype(int), image, atol=0 if format == "PNG" else 12)
    with Image.open(file) as opened:  # which ignores EXIF
        assert opened.size == (width, height)


def test_other_formats_become_png(labelled: LabelmeFolder) -> None:
    image = smooth_image(HEIGHT, WIDTH, 4)
    Image.fromarray(image).save(labelled.folder / "scan.bmp")
    labelled.write("scan", record("scan.bmp"))
    assert labelled.convert() == 0
    np.testing.assert_array_equal(read_image(labelled.out / "JPEGImages" / "scan.png"), image)


def test_embedded_images(labelled: LabelmeFolder) -> None:
    """imageData takes precedence over imagePath; Python's base64 breaks lines."""
    content = png(smooth_image(HEIGHT, WIDTH, 5))
    data = base64.encodebytes(content).decode()
    labelled.write("within", record("..\\photos\\gone.jpg", imageData=data))
    assert labelled.convert() == 0
    assert (labelled.out / "JPEGImages" / "within.png").read_bytes() == content


def test_paths_from_windows_and_names_by_the_json(labelled: LabelmeFolder) -> None:
    """Two files whose images have each other's names, one in a subfolder written with a backslash."""
    content = png(smooth_image(HEIGHT, WIDTH, 6))
    (labelled.folder / "sub" / "good.png").write_bytes(content)
    labelled.write("deep", record("sub\\good.png", shape("point", [5, 5])))
    labelled.write("good", record("sub/deep.png", shape("point", [5, 5])))
    assert labelled.convert() == 0
    assert (labelled.out / "JPEGImages" / "deep.png").read_bytes() == content
    assert len(find_samples([labelled.out]).samples) == 2


def test_prints_a_summary_and_the_next_command(labelled: LabelmeFolder, capsys: pytest.CaptureFixture[str]) -> None:
    (labelled.folder / "link.png").unlink()
    for name in ("later.jpg", "latest.png", "sub/last.png"):
        (labelled.folder / name).write_bytes(b"never opened")
    labelled.write("deep", record("sub/deep.png", shape("point", [5, 5], label="dog")))
    (labelled.folder / "embedded.png").write_bytes(b"never opened")
    labelled.write("other", record("embedded.png", imageData=base64_text(png(smooth_image(HEIGHT, WIDTH)))))
    labelled.write("again", record("good.png", shape("point", [5, 5])))
    assert labelled.convert() == 0
    output = capsys.readouterr().out
    assert f"4 pictures with masks in {labelled.out}: cat in 3, dog in 3" in output
    assert "3 images have no JSON file yet" in output
    assert "more than one JSON file for good.png" in output
    assert f"accelerate launch trainer/train.py --data.root {labelled.out}" in output


def test_split_lists(labelled: LabelmeFolder) -> None:
    stems = [f"image {number}" for number in range(8)] + ["good"]
    for stem in stems:
        labelled.write(stem, record("good.png"))
    assert labelled.convert("--val_fraction", "0.25") == 0
    lists = labelled.out / "ImageSets" / "Segmentation"
    train, val = ((lists / f"{part}.txt").read_text().splitlines() for part in ("train", "val"))
    assert sorted(train + val) == sorted(stems)
    assert len(val) == 3
    sources = find_sources(DataConfig(root=str(labelled.out)))
    assert [sources.samples[index].name for index in sources.split.val] == sorted(val)
    assert sources.names == ("_background_", "cat", "dog")
    shutil.rmtree(lists)
    samples = find_samples([labelled.out]).samples
    split = split_samples(samples, {}, 0.25, fold=0)
    assert [samples[index].name for index in split.val] == sorted(val)


# ------------------------------------------------------------------------------------------------ errors


def test_names_that_clash_or_cannot_be_listed(labelled: LabelmeFolder, capsys: pytest.CaptureFixture[str]) -> None:
    shutil.copy(labelled.folder / "good.json", labelled.folder / "good.JSON")
    labelled.write("end ", record("good.png"))
    (labelled.folder / os.fsdecode(b"caf\xe9.json")).write_text(json.dumps(record("good.png")))
    assert labelled.convert() == 2
    errors = capsys.readouterr().err
    assert "good.json: good.JSON has the same stem" in errors
    assert "end .json': a name that" in errors
    assert "caf\\udce9.json': a name that" in errors


USAGE: dict[str, tuple[Callable[[LabelmeFolder], object], list[str], str]] = {
    "folder missing": (lambda labelled: shutil.rmtree(labelled.folder), [], "no such folder"),
    "no JSON": (lambda labelled: (labelled.folder / "good.json").unlink(), [], "label pictures with Labelme first"),
    "JSON one folder deeper than its image": (
        lambda labelled: (labelled.folder / "good.json").rename(labelled.folder / "sub" / "good.json"),
        [],
        "put the file there or remove good.json",
    ),
    "labels missing": (lambda labelled: labelled.labels.unlink(), [], "labels.txt"),
    "labels empty": (lambda labelled: labelled.labels.write_text("_background_\n"), [], "0 classes"),
    "labels twice": (lambda labelled: labelled.labels.write_text("cat\ncat\n"), [], "cat twice"),
    "too many labels": (
        lambda labelled: labelled.labels.write_text("\n".join(map(str, range(254)))),
        [],
        "254 classes",
    ),
    "out exists": (lambda labelled: labelled.out.mkdir(parents=True), [], "exists already"),
    "out in a file": (lambda labelled: (labelled.top / "made").touch(), [], "cannot be written"),
    "share": (lambda _: None, ["--val_fraction", "0.7"], "--val_fraction: 0.7"),
    "no number": (lambda _: None, ["--val_fraction", "nan"], "--val_fraction: nan"),
    "too few to split": (lambda _: None, ["--val_fraction", "0.5"], "none for training"),
}


@pytest.mark.parametrize(("change", "options", "part"), USAGE.values(), ids=USAGE)
def test_wrong_usage(
    labelled: LabelmeFolder,
    capsys: pytest.CaptureFixture[str],
    change: Callable[[LabelmeFolder], object],
    options: list[str],
    part: str,
) -> None:
    change(labelled)
    before = sorted(labelled.top.rglob("*"))
    assert labelled.convert(*options) == 2
    assert part in capsys.readouterr().err
    assert sorted(labelled.top.rglob("*")) == before


def test_a_full_disk_leaves_nothing(
    labelled: LabelmeFolder, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("trainer.make.labelme_to_voc.write_mask", refuse)
    before = sorted(labelled.top.rglob("*"))
    assert labelled.convert() == 2
    assert "No space left" in capsys.readouterr().err
    assert sorted(labelled.top.rglob("*")) == before


def test_command_line(labelled: LabelmeFolder, tmp_path: Path) -> None:
    program = Program(tmp_path / "program")
    arguments = ("labelme", str(labelled.folder), str(labelled.out), "--labels", str(labelled.labels))
    labelled.write("bad", record("../outside/secret.png"))
    refused = program.python("prepare", *arguments)
    assert (refused.returncode, "Traceback" in refused.stderr) == (2, False)
    (labelled.folder / "bad.json").unlink()
    done = program.python("prepare", *arguments)
    assert (done.returncode, done.stderr) == (0, "")
    assert labelled.mask("good").any()


def test_folders_below_alone_are_converted(labelled: LabelmeFolder) -> None:
    labelled.write("sub/deep", record("deep.png", shape("point", [9, 9], label="dog")))
    (labelled.folder / "good.json").unlink()
    assert labelled.convert() == 0
    assert [sample.name for sample in find_samples([labelled.out]).samples] == ["sub/deep"]


def test_folders_below_are_converted(labelled: LabelmeFolder, capsys: pytest.CaptureFixture[str]) -> None:
    labelled.write("good", record("good.png", shape("point", [5, 5])))
    labelled.write("sub/good", record("deep.png", shape("point", [9, 9], label="dog")))
    labelled.write("sub/other", {"theme": "dark"})
    (labelled.folder / "sub" / "IMG_1.JP2").touch()
    assert labelled.convert("--val_fraction", "0.5") == 0
    assert set(np.unique(read_mask(labelled.out / "SegmentationClassPNG" / "sub" / "good.png"))) == {0, 2}
    assert [sample.name for sample in find_samples([labelled.out]).samples] == ["good", "sub/good"]
    lists = labelled.out / "ImageSets" / "Segmentation"
    assert sorted((lists / f"{part}.txt").read_text() for part in ("train", "val")) == ["good\n", "sub/good\n"]
    output = capsys.readouterr().out
    assert ".jp2 (1: sub/IMG_1.JP2)" in output
    assert "sub/other.json" in output
