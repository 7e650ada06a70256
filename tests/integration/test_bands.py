"""An object that one band alone shows: trained on, evaluated and predicted; with RGB of the others it is not found.

Negative control: the same program with the bands that do not show it.
"""

from pathlib import Path

import numpy as np
import pytest
import tifffile
import torch

from tests.support.bands import band_folder
from tests.support.discs import mean_iou
from tests.support.program import Program
from tests.support.training import Prepared, Recorder, prepare, same_tensors
from trainer.data.image_io import read_mask
from trainer.engine.distributed.accelerator import join_processes
from trainer.engine.reporter import augmentation_sheet, watch_image
from trainer.inference.inputs import find_images
from trainer.inference.model import Model
from trainer.inference.outputs import ResultWriter
from trainer.inference.predictor import predict_files
from trainer.model.model_folder import load_segmenter, save_segmenter
from trainer.tracking.serving_form import export

BRIEF = ["--train.epochs", "40", "--optim.lr", "0.01", "--train.batch_size", "4"]


def prepared(root: Path, *arguments: str) -> Prepared:
    small = ["--model.encoder", "none", "--model.width", "8", "--model.depth", "2", "--data.image_size", "32"]
    settings = ["--data.root", str(root), "--train.mixed_precision", "no", "--data.workers", "0"]
    return prepare([*settings, *small, *arguments], root.parent / "cache")


def train(one: Prepared) -> float:
    """Train; return mIoU over the validation images as predict.py would have it, and compare that with Python's."""
    trainer = one.trainer(join_processes("no", threads=1, timeout_minutes=10), Recorder())
    trainer.fit()
    segmenter = trainer.train_step.segmenter.eval()
    samples = one.dataset.validation.samples
    root = samples[0].image.parent
    writer = ResultWriter(segmenter.contract, root / "out")
    entries = list(predict_files(segmenter, find_images([root], root / "out")[0], writer, 4))
    assert not [entry.row for entry in entries if "error" in entry.row]
    predicted = [read_mask(root / "out" / "masks" / f"{sample.name}.png") for sample in samples]
    for sample, mask in zip(samples, predicted, strict=True):
        assert np.array_equal(Model(segmenter).predict(sample.image).mask, mask)
        assert watch_image(segmenter, Model(segmenter).predict(sample.image).image, mask).shape == (320, 1280, 3)
    assert augmentation_sheet(trainer.loader, trainer.train_step.augment).shape[2] == 3
    return mean_iou([read_mask(sample.mask) for sample in samples], predicted)


@pytest.mark.parametrize("view", ["whole", pytest.param("tiles", marks=pytest.mark.long)])
def test_what_the_fifth_band_shows_is_found(view: str, tmp_path: Path) -> None:
    one = prepared(band_folder(tmp_path / "bands", count=20), *BRIEF, "--data.view", view)
    assert one.config.data.channels == 6
    assert one.segmenter.contract.input_channels == 6
    assert train(one) > 0.8


def test_without_that_band_it_is_not(tmp_path: Path) -> None:
    """Three bands that do not show it, as RGB."""
    one = prepared(band_folder(tmp_path / "bands", count=20, bands=3, photometric="rgb"), *BRIEF)
    assert one.segmenter.contract.input_channels == 3
    assert train(one) < 0.5


def test_three_channels_are_what_auto_is_for_pictures(tmp_path: Path) -> None:
    """The same digest, the same first weights, and the same contract."""
    root = band_folder(tmp_path / "rgb", count=8, bands=3, photometric="rgb")
    one, other = prepared(root), prepared(root, "--data.channels", "3")
    assert one.dataset.digest == other.dataset.digest
    assert one.segmenter.contract == other.segmenter.contract
    assert same_tensors(one.segmenter.state_dict(), other.segmenter.state_dict())


def test_the_exported_model_takes_all_bands(tmp_path: Path) -> None:
    """With the numbers of the one that it was made of, for images of another size and number than the example."""
    segmenter = prepared(band_folder(tmp_path / "bands", count=4)).segmenter.eval()
    folder = tmp_path / "model"
    save_segmenter(segmenter, folder)
    export(load_segmenter(folder), folder)
    program = torch.export.load(next(folder.rglob("*.pt2"))).module()
    images = torch.randint(0, 256, (3, 40, 56, 6), dtype=torch.uint8)
    with torch.no_grad():
        assert torch.allclose(program(images), segmenter(images), atol=1e-5)


def test_commands(tmp_path: Path) -> None:
    """Mixed numbers of bands end check and training with exit code 2, before anything is made of them."""
    root = band_folder(tmp_path / "mixed", count=6, bands=5)
    odd = np.zeros((32, 32, 7), np.uint16)
    for name in ("s002", "s004"):
        tifffile.imwrite(root / "images" / f"{name}.tif", odd, photometric="minisblack", planarconfig="contig")
    program = Program(tmp_path / "program")
    checked = program.python("prepare", "check", str(root), code=2)
    trained = program.python("train", "--data.root", str(root), "--tracking.enabled", "false", code=2)
    for ended in (checked, trained):
        assert all(f"{name}.tif: 7 bands instead of 5" in ended.output for name in ("s002", "s004"))
        assert "s001.tif" not in ended.output
        assert "Traceback" not in ended.output
    refused = program.python("train", "--data.root", str(root), "--data.channels", "17", code=2)
    assert "data.channels: 17 is not possible; give 1 to 16, or auto" in refused.output
