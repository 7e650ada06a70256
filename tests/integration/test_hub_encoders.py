"""Training with an encoder of Hugging Face in real processes: its model needs neither the folder nor, exported, us."""

import json
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.support import runs
from tests.support.backbones import save_backbone
from tests.support.discs import make_discs, mean_iou
from tests.support.program import Program

SETTINGS = ["--data.image_size", "64", "--model.width", "8", "--train.epochs", "12", "--train.eval_every", "6"]
SETTINGS += ["--optim.lr", "0.01", "--optim.encoder_lr", "0.5", "--train.mixed_precision", "no", "--train.threads", "1"]

ELSEWHERE = """
import sys
class Blocked:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in ("trainer", "transformers"):
            raise ModuleNotFoundError(name)
sys.meta_path.insert(0, Blocked())
import mlflow, numpy
images = numpy.load(sys.argv[1])
numpy.save(sys.argv[2], mlflow.pyfunc.load_model(sys.argv[3]).predict(images))
"""


@pytest.fixture
def program(tmp_path: Path) -> Program:
    return Program(tmp_path / "program")


@pytest.mark.long
@pytest.mark.timeout(600)
def test_the_model_scores_what_was_logged_without_the_folder(program: Program, tmp_path: Path) -> None:
    """predict.py and pyfunc agree with validation; the licence is said once and stays with the model."""
    data = make_discs(tmp_path / "discs")
    backbone = save_backbone(tmp_path / "backbone", "dinov2", licence="cc-by-nc-4.0")
    ended = program.train("--data.root", str(data), "--model.encoder", f"hf:{backbone}", *SETTINGS, code=0)
    assert (ended.stdout + ended.stderr).count("licence cc-by-nc-4.0, which may not allow every use") == 1
    backbone.rename(tmp_path / "gone")
    (folder,) = program.run_folders()
    contract = json.loads((folder / "model" / "segmenter.json").read_text())
    assert (contract["encoder"], contract["encoder_licence"]) == ("hf:backbone", "cc-by-nc-4.0")

    images, out = data / "JPEGImages", tmp_path / "out"
    arguments = ["--model", str(folder / "model"), "--input", str(images), "--output", str(out)]
    program.python("predict", *arguments, code=0, HF_HUB_OFFLINE="1")
    held_out = json.loads((folder / "split.json").read_text())["val"]
    masks, found = (
        [np.array(Image.open(root / f"{name}.png")) for name in held_out]
        for root in (data / "SegmentationClassPNG", out / "masks")
    )
    best = runs.status(folder)["best_miou"]
    assert mean_iou(masks, found) == pytest.approx(best, abs=1e-9)
    assert 0.05 < best < 1

    name = held_out[0]
    image = np.array(Image.open(next(images.glob(f"{name}.*"))).convert("RGB"))
    np.save(tmp_path / "images.npy", image[None])
    paths = [str(tmp_path / "images.npy"), str(tmp_path / "probabilities.npy"), str(folder / "model")]
    program.run(sys.executable, "-c", ELSEWHERE, *paths, MLFLOW_TRACKING_URI=program.store, code=0)
    probabilities = np.load(tmp_path / "probabilities.npy")
    assert ((probabilities[0, 0] > 0.5) == found[0]).mean() >= 0.999


def test_pickle_is_refused_before_anything(program: Program, tmp_path: Path) -> None:
    backbone = save_backbone(tmp_path / "backbone", "convnext")
    (backbone / "model.safetensors").rename(backbone / "pytorch_model.bin")
    data = make_discs(tmp_path / "discs")
    ended = program.train("--data.root", str(data), "--model.encoder", f"hf:{backbone}", code=2)
    text = " ".join((ended.stdout + ended.stderr).split())
    assert "pytorch_model.bin could run code and is not read" in text.replace(" ", " ")
    assert "Traceback" not in text
    assert not program.run_folders()
