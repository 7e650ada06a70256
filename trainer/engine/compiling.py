"""Whether compiling the network pays, decided from what a run will compute, so that every start decides alike."""

import os
import shutil
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from trainer.model.unet import UNet


@dataclass(frozen=True)
class Expectation:
    """What is expected of a kind of hardware: guesses on the careful side, which no GPU has confirmed yet."""

    flop_per_s: float
    """Of training without compiling."""

    saves: float
    """Share of the training time that compiling saves."""

    compile_s: float
    """Seconds until a network for squares of one size is compiled."""


EXPECTED = {
    ("cuda", "no"): Expectation(20e12, saves=0.15, compile_s=60),
    ("cuda", "bf16"): Expectation(100e12, saves=0.30, compile_s=60),
    ("cuda", "fp16"): Expectation(100e12, saves=0.30, compile_s=60),
}


@torch.no_grad()
def training_flop(network: UNet, side: int) -> int:
    """Floating point operations of the forward and backward pass of one picture of side x side pixels.

    Counted on the smallest picture that the network takes, for they grow with the number of pixels: torch's own counter
    needs a second before it counts anything.
    """
    counted = 0

    def count(layer: nn.Module, given: tuple[Tensor, ...], result: Tensor) -> None:
        nonlocal counted
        assert isinstance(layer.weight, Tensor)
        # Each weight meets each pixel of the result once, or of what is given where that is spread out.
        pixels = (given[0] if isinstance(layer, nn.ConvTranspose2d) else result)[0, 0].numel()
        counted += 2 * layer.weight.numel() * pixels  # a multiplication and an addition

    layers = [layer for layer in network.modules() if isinstance(layer, nn.Conv2d | nn.ConvTranspose2d)]
    hooks = [layer.register_forward_hook(count) for layer in layers]
    training, smallest = network.training, 2 ** len(network.down)
    network.eval()(torch.zeros(1, 3, smallest, smallest, device=layers[0].weight.device))
    network.train(training)
    for hook in hooks:
        hook.remove()
    return 3 * counted * (side // smallest) ** 2  # the backward pass is two products where the forward pass is one


def has_compiler() -> bool:
    return shutil.which(os.environ.get("CXX", "g++")) is not None


def decide(device: str, precision: str, flop: float, sizes: int, minutes: float) -> tuple[bool, str]:
    """Whether to compile for a training of `flop` operations on each process, and why, for people.

    `sizes`: how many sizes of squares there are to compile for; `minutes`: that training may take, 0 for no limit.
    """
    if device == "cpu":  # measured by tests/benchmarks/throughput.py, which times the plain loop with and without it
        return False, "train.compile off: on a CPU it wins nothing"
    expected = EXPECTED.get((device, precision))
    if expected is None:
        return False, f"train.compile off: nothing is known of {precision} on {device}"
    if not has_compiler():
        return False, "train.compile off: there is no C++ compiler (g++)"
    training_s = flop / expected.flop_per_s
    training_s = min(training_s, 60 * minutes) if minutes else training_s
    saved_s, spent_s = expected.saves * training_s, expected.compile_s * sizes
    pays = saved_s > 1.5 * spent_s  # an estimate: it must win clearly
    would = "saves" if pays else "would save"
    figures = f"{would} some {saved_s / 60:.1f} minutes of {training_s / 60:.1f}, and {'takes' if pays else 'take'}"
    return pays, f"train.compile {'on' if pays else 'off'}: it {figures} {spent_s / 60:.1f}"
