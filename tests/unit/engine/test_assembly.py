"""Assembly: what a training says of itself before it begins."""

from pathlib import Path

import pytest
import torch
from accelerate import Accelerator
from PIL import Image

from tests.support.data import VocMaker
from tests.support.images import smooth_image
from tests.support.training import prepare
from trainer import InputError
from trainer.engine.assembly import build_trainer, require_values_to_normalise


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


@pytest.mark.parametrize(
    ("settings", "possible"),
    [
        ("--train.batch_size 4", False),  # 9 images train: the last batch has one
        ("--train.batch_size 3", True),
        ("--train.batch_size 1", False),
        ("--train.batch_size 3 --train.micro_batch_size 2", False),
        ("--train.batch_size 4 --data.drop_last true", True),
        ("--train.batch_size 4 --model.norm group", True),
        ("--train.batch_size 4 --model.depth 3", True),
        ("--train.batch_size 4 --data.image_size 32", True),
        ("--train.batch_size 4 --train.progressive true --data.image_size 32", True),
    ],
)
def test_batch_norm_of_one_value_is_refused_before_training(
    settings: str, possible: bool, tmp_path: Path, make_voc: VocMaker
) -> None:
    """Where it is not refused, an epoch runs; where it is, an epoch fails, and runs with what is named."""
    root = make_voc(*(f"p{number}" for number in range(12)))
    fixed = ["--data.root", str(root), "--data.image_size", "16", "--model.width", "8", "--train.epochs", "1"]
    accelerator = Accelerator(cpu=True)

    def epoch(*given: str) -> None:
        prepared = prepare([*fixed, *settings.split(), *given, "--data.workers", "0"], tmp_path)
        assert len(prepared.dataset.split.train) == 9
        if possible or given:
            require_values_to_normalise(prepared.config, accelerator, 9)
        else:
            with pytest.raises(InputError, match=r"--data\.image_size 32 or --model\.norm group"):
                require_values_to_normalise(prepared.config, accelerator, 9)
        build_trainer(prepared.config, accelerator, prepared.dataset, prepared.segmenter)[0].fit()

    if possible:
        epoch()
        return
    with pytest.raises(ValueError, match="more than 1 value per channel"):
        epoch()
    epoch("--data.image_size", "32")
    epoch("--model.norm", "group")


def test_one_unlabelled_image_alone_is_refused_too(tmp_path: Path, make_voc: VocMaker) -> None:
    root, new = make_voc(*(f"p{number}" for number in range(6))), tmp_path / "new"
    new.mkdir()
    Image.fromarray(smooth_image(20, 30, seed=99)).save(new / "alone.png")
    settings = ["--data.root", str(root), "--data.image_size", "16", "--data.unlabelled", str(new)]
    settings += ["--model.encoder", "none", "--train.epochs", "1", "--data.workers", "0"]
    prepared, accelerator = prepare(settings, tmp_path), Accelerator(cpu=True)
    require_values_to_normalise(prepared.config, accelerator, 4)
    with pytest.raises(InputError, match=r"--data\.image_size 32"):
        require_values_to_normalise(prepared.config, accelerator, 4, unlabelled=1)
    trainer, reasons = build_trainer(prepared.config, accelerator, prepared.dataset, prepared.segmenter)
    assert reasons[0] == "4 pictures at once on each process, 4 in a step and 1 without labels"
    with pytest.raises(ValueError, match="more than 1 value per channel"):
        trainer.fit()


def test_batch_norm_of_processes_without_an_image_is_refused(tmp_path: Path, make_voc: VocMaker) -> None:
    """They send one that does not count through the network; synchronised norms see those of all."""
    root = make_voc(*(f"p{number}" for number in range(6)))
    config = prepare(["--data.root", str(root), "--data.image_size", "16"], tmp_path).config

    class Several:
        def __init__(self, count: int, device: str) -> None:
            self.num_processes, self.device = count, torch.device(device)

    require_values_to_normalise(config, Several(1, "cpu"), 4)  # type: ignore[arg-type]
    require_values_to_normalise(config, Several(4, "cuda"), 4)  # type: ignore[arg-type]
    for count in (3, 4, 5):
        with pytest.raises(InputError, match=r"model\.depth 4"):
            require_values_to_normalise(config, Several(count, "cpu"), 4)  # type: ignore[arg-type]
