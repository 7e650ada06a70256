"""What is decided from the data: width, epochs, class weights."""

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.conftest import count_nothing
from trainer import InputError
from trainer.cli import parse
from trainer.config import Config
from trainer.data.dataset import open_dataset
from trainer.data.sources import plan
from trainer.engine import auto
from trainer.engine.auto import recommended_epochs, resolve


@pytest.mark.parametrize(
    ("pictures", "batch_size", "epochs"), [(8, 8, 3000), (38, 8, 600), (200, 8, 120), (201, 8, 115), (10**6, 8, 30)]
)
def test_epochs_for_some_3000_steps(pictures: int, batch_size: int, epochs: int) -> None:
    assert recommended_epochs(pictures, batch_size) == epochs


def test_a_dropped_batch_is_no_step() -> None:
    assert recommended_epochs(23, 8) == recommended_epochs(24, 8)
    assert recommended_epochs(223, 8, drop_last=True) > recommended_epochs(223, 8)


def test_what_is_given_stays_and_what_is_decided_is_said(
    tmp_path: Path, make_voc: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    root = make_voc(*(f"p{number}" for number in range(10)))

    def settled(*arguments: str, width: int | None = None) -> tuple[Config, list[str]]:
        config = parse(["--data.root", str(root), "--data.image_size", "32", *arguments])
        dataset = open_dataset(plan(config.data, tmp_path, count_nothing), 32, tmp_path, count_nothing)
        found, lines = resolve(config, dataset, width)
        assert found.data == config.data
        return found, lines

    config, lines = settled()
    assert (config.model.width, config.train.epochs, config.loss.class_weights) == (16, 3000, None)
    assert lines == ["model.width 16, for 8 training pictures", "train.epochs 3000, for 8 training pictures"]
    config, lines = settled("--train.epochs", "7", width=24)
    assert (config.model.width, lines) == (24, ["model.width 24, as model.init has it"])
    config, lines = settled("--train.epochs", "7", "--model.width", "8", "--loss.class_weights", "auto", width=24)
    assert (config.model.width, config.train.epochs, lines) == (8, 7, [])
    assert isinstance(config.loss.class_weights, list)
    assert len(config.loss.class_weights) == 2
    monkeypatch.setattr(auto, "FEW_PICTURES", 8)
    assert settled()[0].model.width == 32
    with pytest.raises(InputError, match="3 weights"):
        settled("--loss.class_weights", "[1, 1, 1]")
