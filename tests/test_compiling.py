"""Whether to compile: the work is counted right, and the decision follows from it."""

import pytest
from torch import nn

from trainer.engine import auto
from trainer.engine.auto import decide, training_flop
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
