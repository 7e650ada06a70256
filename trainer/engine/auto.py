"""Whether compiling the network pays, decided from what a run will compute, so that every start decides alike."""

import gc
import os
import shutil
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from trainer.config import Config
from trainer.data.dataset import Dataset
from trainer.data.loader import SMALL_SHARE
from trainer.data.sampler import Sampler
from trainer.engine.memory import ran_out
from trainer.model.loss import image_losses, loss_terms, resolve_class_weights
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


STEPS, FEWEST_EPOCHS = 3000, 30
"""That a training should have at least. The steps come from k-fold trials with 38 pictures, see the README."""

NARROW, WIDE, FEW_PICTURES = 16, 32, 200
"""The network's width for fewer training pictures than that, and for more."""


def resolve(config: Config, dataset: Dataset, width: int | None = None) -> tuple[Config, list[str]]:
    """`config` with everything decided that the data decides, and a line for people about each decision.

    `width`: of the model that training starts from, where there is one. Raises InputError where the settings do not fit
    the data.
    """
    train, pictures = config.train, len(dataset.split.train)
    config = replace(config, loss=resolve_class_weights(config.loss, dataset.pixels().tolist()))
    lines = []
    if config.model.width == "auto":
        reason = "as model.init has it" if width else f"for {pictures} training pictures"
        width = width or (NARROW if pictures < FEW_PICTURES else WIDE)
        config = replace(config, model=replace(config.model, width=width))
        lines.append(f"model.width {width}, {reason}")
    if train.epochs == "auto":
        epochs = recommended_epochs(pictures, train.batch_size, config.data.drop_last)
        config = replace(config, train=replace(train, epochs=epochs))
        lines.append(f"train.epochs {epochs}, for {pictures} training pictures")
    return config, lines


def recommended_epochs(pictures: int, batch_size: int, drop_last: bool = False) -> int:
    """Few pictures are seen often and many rarely: what counts is the number of steps."""
    steps_per_epoch = Sampler(pictures, batch_size, 0, drop_last).steps_per_epoch
    return max(FEWEST_EPOCHS, round(STEPS / steps_per_epoch))


def steps_that_fit(seconds: float, small_s: float, full_s: float, around_s: float) -> int:
    """How many steps take `seconds`, where one of the first half takes `small_s`, one of the rest `full_s`.

    `around_s`: what evaluations add to each step, on average. At least 1.
    """
    return max(1, int(seconds / (SMALL_SHARE * small_s + (1 - SMALL_SHARE) * full_s + around_s)))


def can_be_tried(device: torch.device) -> bool:
    """A GPU refuses what does not fit. A CPU's system promises it, and ends the process later."""
    return device.type == "cuda"


def largest_micro_batch(largest: int, attempt: Callable[[int], None]) -> int:
    """`largest`, or the first of its halves that `attempt` does not run out of memory with; 0 where not even 1 fits."""
    size = largest
    while size:
        if _fits(size, attempt):
            return size
        size = (size + 1) // 2 if size > 1 else 0
    return 0


def _fits(size: int, attempt: Callable[[int], None]) -> bool:
    try:
        attempt(size)
    except Exception as error:
        if not ran_out(error):
            raise
        fits = False
    else:
        fits = True
    # Outside the handler: its traceback holds on to the tensors.
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
    return fits


def attempt_step(view: nn.Module, side: int, autocast: Callable[[], AbstractContextManager], size: int) -> None:
    """The memory of one training step: forward and backward of `size` dummy pictures of `side` x `side` pixels.

    `view` maps RGB levels to logits. Weights, buffers, gradients and random numbers are afterwards as before. Holds
    no collective, so that a process for which it is too much leaves nobody waiting.
    """
    weights = list(view.parameters())
    buffers = [buffer.clone() for buffer in view.buffers()]
    device = weights[0].device
    try:
        with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
            # AdamW's two moments, which come with the first step.
            moments = [torch.empty_like(weight) for weight in weights for _ in range(2)]
            images = torch.zeros(size, 3, side, side, device=device)
            masks = torch.zeros(size, side, side, dtype=torch.uint8, device=device)
            view.train()
            with autocast():
                logits = view(images)
            image_losses(loss_terms(logits, masks), 1.0, 0.5).sum().backward()
            del moments
    finally:
        for weight in weights:
            weight.grad = None
        with torch.no_grad():
            for buffer, before in zip(view.buffers(), buffers, strict=True):
                buffer.copy_(before)
