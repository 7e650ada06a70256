"""Images as telephones store them: twelve megapixels, turned by EXIF."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import ExifTags, Image

from tests.support.discs import mean_iou
from tests.support.program import Program
from trainer.data.image_header import UPRIGHT

OPPOSITE = {6: Image.Transpose.ROTATE_90, 8: Image.Transpose.ROTATE_270, 3: Image.Transpose.ROTATE_180}
LONG, SHORT = 4032, 3024


@pytest.fixture(scope="module")
def telephone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Write dark images with bright discs in the upper left, which no other orientation has there."""
    root = tmp_path_factory.mktemp("data") / "DCIM"
    for part in ("JPEGImages", "SegmentationClassPNG"):
        (root / part).mkdir(parents=True)
    random = np.random.default_rng(1)
    for index in range(10):
        orientation = (6, 3, 8, 1)[index % 4]  # the two that validate are turned
        width, height = (SHORT, LONG) if orientation in (6, 8) else (LONG, SHORT)
        rows, columns = np.ogrid[:height, :width]
        y, x = random.uniform(0.2, 0.35, 2) * (height, width)
        disc = (rows - y) ** 2 + (columns - x) ** 2 < (random.uniform(0.12, 0.18) * SHORT) ** 2
        image = Image.fromarray(np.where(disc, 200, random.integers(20, 60)).astype(np.uint8)).convert("RGB")
        exif = Image.Exif()
        exif[ExifTags.Base.Orientation] = orientation
        stored = image.transpose(OPPOSITE[orientation]) if orientation in UPRIGHT else image
        assert stored.size == (LONG, SHORT)  # as the sensor has it
        stored.save(root / "JPEGImages" / f"IMG_{index}.jpg", quality=80, exif=exif)
        Image.fromarray(disc.astype(np.uint8)).save(root / "SegmentationClassPNG" / f"IMG_{index}.png")
    return root


@pytest.mark.long
def test_masks_and_images_agree(telephone: Path, tmp_path: Path) -> None:
    program = Program(tmp_path / "program")
    short = ["--train.epochs", "30", "--train.eval_every", "15", "--optim.lr", "0.01"]
    short += ["--data.augment", "off", "--train.threads", "1"]
    program.train("--data.root", str(telephone), "--data.classes", "[disc]", *short, code=0)
    run = program.run_folders()[0]
    held_out = json.loads((run / "split.json").read_text())["val"]
    images = [str(telephone / "JPEGImages" / f"{name}.jpg") for name in held_out]
    out = tmp_path / "out"
    program.python("predict", "--model", str(run / "model"), "--input", *images, "--output", str(out), code=0)
    masks = [np.array(Image.open(telephone / "SegmentationClassPNG" / f"{name}.png")) for name in held_out]
    predicted = [np.array(Image.open(out / "masks" / f"{name}.png")) for name in held_out]
    assert [one.shape for one in predicted] == [mask.shape for mask in masks]
    assert mean_iou(masks, predicted) > 0.5  # 0.9 where masks and images agree, about 0 where they do not
    for name, mask in zip(held_out, masks, strict=True):
        # The overlay has no EXIF left to turn it again, and the disc is where the mask has it.
        with Image.open(out / "overlays" / f"{name}.jpg") as opened:
            assert ExifTags.Base.Orientation not in opened.getexif()
            overlay = np.array(opened.convert("L"), dtype=float)
        assert overlay.shape == mask.shape
        assert overlay[mask == 1].mean() > overlay[mask == 0].mean() + 40
