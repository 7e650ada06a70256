"""Training in every layout, and on masks of other tools with the option that the error message suggests."""

import json
import re
import shlex
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.support.layouts import NAMES, WRITERS, save_image, scenes, write_folders
from tests.support.program import Program
from trainer.data.image_io import write_jpeg

QUICK = ["--train.epochs", "1", "--train.threads", "1", "--tracking.enabled", "false"]
LONGER = [
    *("--train.epochs", "40", "--train.eval_every", "40", "--optim.lr", "0.01", "--data.augment", "off"),
    *("--train.mixed_precision", "no"),
]


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Program:
    return Program(tmp_path_factory.mktemp("layouts") / "program")


def train(program: Program, root: Path, *options: str) -> tuple[float, list[str]]:
    """Train for one epoch, unless `options` say otherwise; return val/miou and the class names of the model."""
    done = program.train("--data.root", str(root), *QUICK, *options, OMP_NUM_THREADS="1")
    assert (done.returncode, "Traceback" in done.stderr) == (0, False), done.stderr
    (run_folder,) = re.findall(r"run folder: (.*)", done.stdout)
    folder = program.folder / run_folder
    status = json.loads((folder / "status.json").read_text())
    assert status["state"] == "finished"
    contract = folder / "model" / "segmenter.json"
    return status["best_miou"], json.loads(contract.read_text())["class_names"]


@pytest.mark.long  # the unit tests open each layout; training is the same for all
@pytest.mark.parametrize("layout", WRITERS)
def test_every_layout_trains(layout: str, program: Program, tmp_path: Path) -> None:
    miou, names = train(program, WRITERS[layout](tmp_path / "data", scenes()))
    assert 0 <= miou <= 1
    assert names == (["_background_", "pet"] if layout == "pets" else list(NAMES))


# ------------------------------------------------------------------------------------------------ a suggested option

PALETTE = np.zeros((256, 3), np.uint8)
PALETTE[[1, 2]] = (255, 0, 0), (0, 160, 255)
SPREAD = np.zeros(256, np.uint8)
SPREAD[[1, 2]] = 255, 128


def write_grey_jpeg(file: Path, mask: np.ndarray) -> None:
    Image.fromarray(SPREAD[mask]).save(file.with_suffix(".jpg"), quality=90)


def write_colour_jpeg(file: Path, mask: np.ndarray) -> None:
    write_jpeg(file.with_suffix(".jpg"), PALETTE[mask])


def write_smooth_png(file: Path, mask: np.ndarray) -> None:
    """Write a mask as a drawing program does, with blended colours along the edges."""
    large = Image.fromarray(PALETTE[mask]).resize((mask.shape[1] * 4, mask.shape[0] * 4), Image.Resampling.BICUBIC)
    save_image(file, np.array(large.resize(mask.shape[::-1], Image.Resampling.LANCZOS)))


KINDS: dict[str, tuple[Callable[[Path, np.ndarray], None], int, float]] = {
    "grey JPEG": (write_grey_jpeg, 3, 0.2),
    "colour PNG": (lambda file, mask: save_image(file, PALETTE[mask]), 3, 0),
    "colour JPEG": (write_colour_jpeg, 3, 0.2),
    "smooth colour PNG": (write_smooth_png, 3, 0.2),
    "0 and 255": (lambda file, mask: Image.fromarray(mask * 255).save(file), 2, 0),
}
"""Function that writes a mask, K, and tolerance of val/miou compared with that of proper masks."""


def write_kind(root: Path, kind: str, classes: int) -> Path:
    """Write images with masks of another tool, without class names."""
    drawn = scenes(classes=classes, ignore=False)
    write_folders(root, drawn)
    (root / "class_names.txt").unlink()
    for scene in drawn:
        (root / "masks" / f"{scene.stem}_mask.png").unlink()
        KINDS[kind][0](root / "masks" / f"{scene.stem}_mask.png", scene.mask)
    return root


def suggested_option(program: Program, root: Path) -> list[str]:
    """Option that the error message suggests, with the true names filled in: cat 1 and dog 2."""
    refused = program.train("--data.root", str(root), *QUICK)
    assert refused.returncode == 2
    (line,) = re.findall(r"^ +(--data\.value_map .*)$", refused.stderr, re.MULTILINE)
    # Placeholders come in the order of the colours.
    return shlex.split(re.sub(r"class_\d", lambda match: true_name(line, match.start()), line))


@pytest.mark.long
def test_the_suggested_option_trains(program: Program, tmp_path: Path) -> None:
    other = write_kind(tmp_path / "other", "grey JPEG", 3)
    miou, names = train(program, other, *suggested_option(program, other), "--data.classes", "[cat, dog]")
    assert names == list(NAMES)
    assert 0 <= miou <= 1


@pytest.mark.long
@pytest.mark.parametrize("kind", KINDS)
def test_the_suggested_option_trains_as_well_as_proper_masks(kind: str, program: Program, tmp_path: Path) -> None:
    """val/miou equals that of proper masks exactly, or nearly where compression has changed the edges."""
    _, classes, tolerance = KINDS[kind]
    proper = write_folders(tmp_path / "proper", scenes(classes=classes, ignore=False))
    (proper / "class_names.txt").write_text("cat\ndog\n" if classes == 3 else "cat\n")
    other = write_kind(tmp_path / "other", kind, classes)
    expected, _ = train(program, proper, *LONGER)
    classes_named = ["--data.classes", "[cat, dog]" if classes == 3 else "[cat]"]
    miou, names = train(program, other, *LONGER, *suggested_option(program, other), *classes_named)
    assert names == list(NAMES[:classes])
    assert expected > 0.5  # a score of 0 would equal anything
    assert miou == expected if tolerance == 0 else abs(miou - expected) <= tolerance


def true_name(line: str, place: int) -> str:
    """Class name of the key before `place` in the line, as a user who knows the masks would fill it in."""
    key = re.findall(r"#[0-9a-f]{6}|\d+-\d+|\d+", line[:place])[-1]
    if key.startswith("#"):
        return "cat" if int(key[1:3], 16) > 128 else "dog"
    return "cat" if key.endswith("255") else "dog"
