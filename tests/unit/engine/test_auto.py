"""Whether to compile: the work is counted right, and the decision follows from it."""

from collections.abc import Callable
from pathlib import Path

import pytest
from torch import nn

from tests.support.data import count_nothing
from trainer import InputError
from trainer.cli import parse
from trainer.config import Config
from trainer.data.dataset import open_dataset
from trainer.data.sources import plan
from trainer.engine import auto
from trainer.engine.auto import decide, recommended_epochs, resolve, training_flop
from trainer.model.unet import UNet

YEAR_FLOP = 1e20


def by_hand(width: int, side: int) -> int:
    """Multiplications and additions of a UNet of depth 1 with one output: forward, and twice that backward."""
    full, half, wide = side * side, side * side // 4, 2 * width
    inside = full * (3 * width + width * width) * 9 + half * (width * wide + wide * wide) * 9
    back_up = half * wide * width * 4 + full * (wide * width + width * width) * 9 + full * width
    return 3 * 2 * (inside + back_up)


def test_operations_by_hand() -> None:
    assert training_flop(UNet(1, 8, depth=1), 32) == by_hand(8, 32)
    assert training_flop(UNet(1, 16, depth=1), 48) == by_hand(16, 48)


def test_counting_leaves_the_network_alone() -> None:
    network = UNet(1, 8, 2)
    before = network.first[1].num_batches_tracked.clone()
    training_flop(network, 32)
    assert network.first[1].num_batches_tracked == before
    assert all(weight.device.type == "cpu" for weight in network.parameters())
    assert isinstance(network, nn.Module)


@pytest.mark.parametrize("kind", list(auto.EXPECTED))
def test_long_runs_are_compiled_and_short_ones_not(kind: tuple[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(auto, "has_compiler", lambda: True)
    decisions = [decide(*kind, 10.0**power, 2, 0)[0] for power in range(8, 21)]
    assert decisions == sorted(decisions)
    assert not decisions[0]
    assert decisions[-1]
    assert not decide(*kind, YEAR_FLOP, 2, minutes=1)[0]  # it will not be a year
    assert decide(*kind, YEAR_FLOP, 2, minutes=600)[0]
    sizes = [decide(*kind, YEAR_FLOP, sizes, minutes=60)[0] for sizes in range(1, 60)]
    assert sizes == sorted(sizes, reverse=True)


def test_never_without_a_compiler(monkeypatch: pytest.MonkeyPatch, tmp_path: object) -> None:
    assert decide("cuda", "bf16", YEAR_FLOP, 1, 0)[0] == auto.has_compiler()
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("CXX", raising=False)
    compiled, why = decide("cuda", "bf16", YEAR_FLOP, 1, 0)
    assert not compiled
    assert "g++" in why


def test_where_it_wins_nothing_or_nothing_is_known() -> None:
    assert decide("cpu", "bf16", YEAR_FLOP, 1, 0) == (False, "train.compile off: on a CPU it wins nothing")
    assert not decide("mps", "no", YEAR_FLOP, 1, 0)[0]


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
