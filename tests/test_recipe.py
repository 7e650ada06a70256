"""What is decided from the data: epochs, class weights."""

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.conftest import count_nothing
from trainer import InputError
from trainer.arguments import parse
from trainer.data.cache import open_dataset
from trainer.data.dataset import plan
from trainer.engine.recipe import recommended_epochs, settle


@pytest.mark.parametrize(
    ("pictures", "batch_size", "epochs"), [(38, 8, 300), (200, 8, 160), (201, 8, 154), (1000, 8, 32), (10**6, 8, 30)]
)
def test_epochs_for_some_4000_steps(pictures: int, batch_size: int, epochs: int) -> None:
    assert recommended_epochs(pictures, batch_size) == epochs


def test_a_dropped_batch_is_no_step() -> None:
    assert recommended_epochs(23, 8) == recommended_epochs(24, 8)
    assert recommended_epochs(223, 8, drop_last=True) > recommended_epochs(223, 8)


def test_what_is_given_stays_and_what_is_decided_is_said(tmp_path: Path, make_voc: Callable[..., Path]) -> None:
    root = make_voc(*(f"p{number}" for number in range(10)))

    def settled(*arguments: str) -> tuple[object, object, list[str]]:
        config = parse(["--data.root", str(root), "--data.image_size", "32", *arguments])
        dataset = open_dataset(plan(config.data, tmp_path, count_nothing), 32, tmp_path, count_nothing)
        found, lines = settle(config, dataset)
        assert found.data == config.data
        return found.train.epochs, found.loss.class_weights, lines

    assert settled() == (300, None, ["train.epochs 300, for 8 training pictures"])
    epochs, weights, lines = settled("--train.epochs", "7", "--loss.class_weights", "auto")
    assert (epochs, lines) == (7, [])
    assert isinstance(weights, list)
    assert len(weights) == 2
    with pytest.raises(InputError, match="3 weights"):
        settled("--loss.class_weights", "[1, 1, 1]")
