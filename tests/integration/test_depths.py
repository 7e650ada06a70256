"""The same scenes in files of every depth: they are seen, learnt and predicted alike."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from tests.support.data import count_nothing
from tests.support.deep import png_of_16_bits, tiff_of_16_bits
from tests.support.discs import make_discs, mean_iou
from tests.support.program import Program
from tests.support.training import Prepared, Recorder, prepare
from trainer.config import DataConfig
from trainer.data.checks.report import check_folders
from trainer.data.image_io import read_image, read_mask
from trainer.data.resize import shrink_image
from trainer.engine.distributed.accelerator import join_processes
from trainer.inference.inputs import find_images
from trainer.inference.model import Model
from trainer.inference.outputs import ResultWriter
from trainer.inference.predictor import predict_files
from trainer.model.model_folder import load_segmenter, save_segmenter

Levels = np.ndarray
SIDE = 48


def save(levels: Levels) -> Callable[[Path], None]:
    return lambda path: Image.fromarray(levels).save(path)


def colours(grey: Levels) -> np.ndarray:
    return np.repeat((grey.astype(np.uint16) * 257)[..., None], 3, axis=2)


FORMS: dict[str, tuple[str, Callable[[Levels], Callable[[Path], object]]]] = {
    "10 bits PNG": (".png", lambda grey: save(grey.astype(np.uint16) * 4)),
    "12 bits PNG": (".png", lambda grey: save(grey.astype(np.uint16) * 16)),
    "12 bits TIFF": (".tif", lambda grey: save(grey.astype(np.uint16) * 16)),
    "16 bits PNG": (".png", lambda grey: save(grey.astype(np.uint16) * 257)),
    "16 bits TIFF": (".tif", lambda grey: save(grey.astype(np.uint16) * 257)),
    "8 bits in 16": (".png", lambda grey: save(grey.astype(np.uint16))),
    "float to 1": (".tif", lambda grey: save(grey.astype(np.float32) / 255)),
    "float to 255": (".tif", lambda grey: save(grey.astype(np.float32))),
    "int32": (".tif", lambda grey: save(grey.astype(np.int32) * 16)),
    "colours PNG": (".png", lambda grey: lambda path: path.write_bytes(png_of_16_bits(colours(grey)))),
    "colours TIFF": (".tif", lambda grey: lambda path: path.write_bytes(tiff_of_16_bits(colours(grey), ">", True))),
}
"""Forms that keep the range of 8 bits: suffix, and how a grey image, uint8 [H, W], is written."""

STRETCHED: dict[str, tuple[str, Callable[[Levels], Callable[[Path], object]]]] = {
    "dim 16 bits": (".tif", lambda grey: save(grey.astype(np.uint16) + 900)),
    "dim colours": (".png", lambda grey: lambda path: path.write_bytes(png_of_16_bits(colours(grey) // 257 + 900))),
    "decibels": (".tif", lambda grey: save(grey.astype(np.float32) / 10 - 30)),
    "int32 from far": (".tif", lambda grey: save(grey.astype(np.int32) * 1000 - 5_000_000)),
}
"""Forms whose own range becomes 0..255."""


def write(root: Path, suffix: str, form: Callable[[Levels], Callable[[Path], object]]) -> Path:
    """Write the discs, as grey images of 8 bits that use all levels, in a form."""
    make_discs(root, size=SIDE)
    for file in sorted((root / "JPEGImages").iterdir()):
        with Image.open(file) as pil_image:
            grey = np.array(pil_image.convert("L"))
        grey[0, :2] = 0, 255
        form(grey)(file.with_suffix(suffix))
        file.unlink()
    return root


def prepared(root: Path, *arguments: str) -> Prepared:
    small = ["--model.width", "8", "--model.depth", "2", "--data.image_size", "32", "--train.batch_size", "4"]
    settings = ["--data.root", str(root), "--train.mixed_precision", "no", "--data.workers", "0"]
    return prepare([*settings, *small, *arguments], root.parent / "cache")


def pixels(one: Prepared) -> np.ndarray:
    return one.dataset.stored.read(range(10))[0].numpy().astype(int)


@pytest.mark.parametrize("name", [*FORMS, *STRETCHED])
def test_seen_alike(name: str, tmp_path: Path) -> None:
    """Cached pixels are those of 8 bits, give or take a level; prediction reads the file in the same way."""
    plain = prepared(write(tmp_path / "plain", ".png", save))
    deep = prepared(write(tmp_path / "deep", *(FORMS | STRETCHED)[name]))
    assert plain.segmenter.contract.levels is None
    assert deep.segmenter.contract.levels is not None
    assert np.abs(pixels(deep) - pixels(plain)).max() <= 1
    save_segmenter(deep.segmenter, tmp_path / "model")
    levels = load_segmenter(tmp_path / "model").contract.range_of_levels
    for row, sample in enumerate(deep.dataset.sources.samples):
        image = shrink_image(read_image(sample.image, levels=levels), 32)
        assert np.array_equal(image.transpose(2, 0, 1), pixels(deep)[row])
    again = prepared(tmp_path / "deep")
    assert again.dataset.digest == deep.dataset.digest
    report = check_folders(DataConfig(root=str(tmp_path / "deep"), image_size=32), count_nothing)
    assert [finding.kind for finding in report.findings] == ["note"]  # the class has no name
    assert report.summary["levels"]["pictures"] == 10
    assert (report.summary["levels"]["black"], report.summary["levels"]["white"]) == deep.segmenter.contract.levels


def train(one: Prepared) -> tuple[float, list[Path]]:
    """Train briefly; return mIoU over the validation images as predict.py would have it."""
    trainer = one.trainer(join_processes("no", threads=1, timeout_minutes=10), Recorder())
    trainer.fit()
    segmenter = trainer.train_step.segmenter.eval()
    samples = one.dataset.validation.samples
    root = samples[0].image.parent
    writer = ResultWriter(segmenter.contract, root / "out")
    list(predict_files(segmenter, find_images([root], root / "out")[0], writer, 4))
    predicted = [read_mask(root / "out" / "masks" / f"{sample.name}.png") for sample in samples]
    with torch.inference_mode():
        for sample, mask in zip(samples, predicted, strict=True):
            assert np.array_equal(Model(segmenter).predict(sample.image).mask, mask)
    return mean_iou([read_mask(sample.mask) for sample in samples], predicted), [sample.image for sample in samples]


SHORT = [pytest.param(name, marks=() if name == "decibels" else pytest.mark.long) for name in [*FORMS, *STRETCHED]]
"""Forms, all but one in the long tier."""


@pytest.mark.parametrize("name", SHORT)
def test_learnt_and_predicted_alike(name: str, tmp_path: Path) -> None:
    brief = ["--train.epochs", "40", "--optim.lr", "0.01"]
    plain, _ = train(prepared(write(tmp_path / "plain", ".png", save), *brief))
    deep, _ = train(prepared(write(tmp_path / "deep", *(FORMS | STRETCHED)[name]), *brief))
    assert plain > 0.9
    assert abs(deep - plain) < 0.03


def test_pixels_without_data_are_said_and_black(tmp_path: Path) -> None:
    def with_hole(grey: Levels) -> Callable[[Path], object]:
        levels = grey.astype(np.float32) / 10 - 30
        levels[10:13, 10:14] = np.nan
        return save(levels)

    root = write(tmp_path / "deep", ".tif", with_hole)
    report = check_folders(DataConfig(root=str(root)), count_nothing)
    (found,) = [finding for finding in report.findings if finding.kind == "missing"]
    assert "disc_00.tif and 9 more: 120 pixels without data" in found.text
    assert report.summary["levels"]["black"] == -30
    file = root / "JPEGImages" / "disc_03.tif"
    image = read_image(file, levels=prepared(root).segmenter.contract.range_of_levels)
    assert not image[10:13, 10:14].any()


def test_images_beyond_the_range_are_said(tmp_path: Path) -> None:
    """In the report and on the terminal; no warning of a library is shown, of damaged files neither."""
    one = prepared(write(tmp_path / "deep", *STRETCHED["decibels"]))
    save_segmenter(one.segmenter, tmp_path / "model")
    inputs = tmp_path / "inputs"
    inputs.mkdir()
    bright = np.full((40, 40), 20, np.float32)
    bright[:30] = -10
    Image.fromarray(bright).save(inputs / "bright.tif")
    bright[:30] = np.nan
    Image.fromarray(bright).save(inputs / "holes.tif")
    Image.fromarray(np.full((40, 40), -10, np.float32)).save(inputs / "fine.tif")
    packed = tiff_of_16_bits(colours(np.resize(np.arange(251, dtype=np.uint8), (60, 60))), deflate=True)
    (inputs / "damaged.tif").write_bytes(packed[:-300] + bytes(300))
    arguments = ["--model", str(tmp_path / "model"), "--input", str(inputs), "--output", str(tmp_path / "out")]
    ended = Program(tmp_path / "program").python("predict", *arguments, code=3)
    rows = {Path(row["file"]).stem: row for row in json.loads((tmp_path / "out" / "report.json").read_text())["files"]}
    assert rows["bright"]["clipped"] == 0.25
    assert rows["holes"]["clipped"] == 1
    assert "clipped" not in rows["fine"]
    assert "bright.tif and 1 more: levels beyond the -30 to -4.5 that the model knows were clipped" in ended.output
    assert "damaged.tif: damaged image" in rows["damaged"]["error"]
    for word in ("Warning", "ZIPDecode", "scanline", "Traceback"):
        assert word not in ended.output
