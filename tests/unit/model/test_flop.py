"""Floating point operations of a UNet, compared with a count by hand."""

from torch import nn

from trainer.model.flop import training_flop
from trainer.model.unet import UNet


def by_hand(width: int, side: int) -> int:
    """Multiplications and additions of a UNet of depth 1 with one output: forward, and twice that backward."""
    full, half, wide = side * side, side * side // 4, 2 * width
    inside = full * (3 * width + width * width) * 9 + half * (width * wide + wide * wide) * 9
    back_up = half * wide * width * 4 + full * (wide * width + width * width) * 9 + full * width
    return 3 * 2 * (inside + back_up)


def test_operations_equal_the_count_by_hand() -> None:
    assert training_flop(UNet(1, 8, depth=1), 32) == by_hand(8, 32)
    assert training_flop(UNet(1, 16, depth=1), 48) == by_hand(16, 48)


def test_counting_does_not_change_the_network() -> None:
    network = UNet(1, 8, 2)
    before = network.first[1].num_batches_tracked.clone()
    training_flop(network, 32)
    assert network.first[1].num_batches_tracked == before
    assert all(weight.device.type == "cpu" for weight in network.parameters())
    assert isinstance(network, nn.Module)
