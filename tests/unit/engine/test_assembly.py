"""Assembly: what a training says of itself before it begins."""

from pathlib import Path

import pytest
from accelerate import Accelerator

from tests.support.data import VocMaker
from tests.support.training import prepare
from trainer.engine.assembly import build_trainer


@pytest.mark.parametrize(
    ("images", "settings", "said"),
    [
        (20, "--train.batch_size 8", "8 pictures at once on each process, 8 in a step"),
        (20, "--train.batch_size 8 --train.micro_batch_size 3", "3 pictures at once on each process, 8 in a step"),
        (6, "--train.batch_size 8", "4 pictures at once on each process, 4 in a step"),
        (6, "--train.batch_size 8 --train.micro_batch_size 5", "4 pictures at once on each process, 4 in a step"),
    ],
)
def test_the_numbers_of_pictures_are_true(
    images: int, settings: str, said: str, tmp_path: Path, make_voc: VocMaker
) -> None:
    """Of 6 pictures 4 train, so that no step has 8."""
    root = make_voc(*(f"p{number}" for number in range(images)))
    prepared = prepare(["--data.root", str(root), "--data.image_size", "32", *settings.split()], tmp_path)
    trainer, reasons = build_trainer(prepared.config, Accelerator(cpu=True), prepared.dataset, prepared.segmenter)
    assert reasons[0] == said
    step = next(trainer.loader.batches(0, 100))
    assert said == f"{len(step.micro[0].rows)} pictures at once on each process, {step.samples} in a step"
