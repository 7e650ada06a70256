"""Settings left to `auto`: one function each, which returns the value and the reason as text.

The reason is empty where the setting is explicit. data.layout auto is resolved in `trainer.data.layouts`, and
registry.promote auto in `trainer.tracking.promotion`, where the evidence is.
"""

import functools
import math
import os
import shutil
from dataclasses import dataclass, replace
from typing import Literal

import torch
from accelerate import Accelerator
from torch import nn

from trainer import InputError
from trainer.config import Config, TrainConfig
from trainer.data.loader import SMALL_SHARE
from trainer.data.sampler import Sampler
from trainer.engine.distributed.collectives import all_reduce_min
from trainer.engine.memory import StepSize, allocation_can_fail, attempt_step, largest_micro_batch
from trainer.engine.rare_classes import ClassCounts, class_weights, sampling
from trainer.model.pretrained import choose_encoder
from trainer.model.segmenter import Contract
from trainer.tracking.names import model_name

STEPS, PRETRAINED_STEPS, PRETRAINED_STEPS_OF_SEVERAL, FEWEST_EPOCHS = 3000, 1000, 1500, 30
"""Least number of optimizer steps, without and with pretrained weights, there with one class and with several, from
k-fold trials with 38 images (.github/RESULTS.md); and of epochs."""

NARROW, WIDE, FEW_IMAGES = 16, 32, 200
"""Width of the network below FEW_IMAGES training images, and from there on."""

STEPS_BETWEEN_EVALUATIONS, STEPS_BETWEEN_POINTS = 50, 25
"""Fewest steps between two evaluations, where epochs are shorter than that; and where each is a point of the curve that
ends the training."""

EVALUATION_SHARE = 0.25
"""Time of evaluations over that of the steps between them, where validation images are gone over tile by tile."""


def resolve(config: Config, counts: ClassCounts, init: Contract | None) -> tuple[Config, list[str]]:
    """Resolve what the data decides; return the settings, and a line for people about each decision.

    `counts`: what the training data hold; `init`: contract of the model of model.init. Raises InputError where the
    settings do not fit the data.
    """
    train, images = config.train, counts.of
    weights, weights_reason = class_weights(config.loss.class_weights, counts)
    kind, sampling_reason = sampling(config.data.sampling, counts)
    encoder, encoder_reason = choose_encoder(config.model, config.data.image_size)
    if init and config.model.encoder == "auto":
        encoder, encoder_reason = init.encoder, f"model.encoder {init.encoder}, as model.init has it"
    width, width_reason = model_width(config.model.width, images, encoder, init)
    plain = init is None and encoder == "none"
    end, patience_reason = patience(train, pretrained=not plain)
    pretrained = PRETRAINED_STEPS if len(counts.names) == 2 else PRETRAINED_STEPS_OF_SEVERAL
    count, epochs_reason = epochs(
        train.epochs, images, train.batch_size, config.data.drop_last, STEPS if plain else pretrained
    )
    config = replace(
        config,
        data=replace(config.data, sampling=kind),
        loss=replace(config.loss, class_weights=weights),
        model=replace(config.model, encoder=encoder, width=width),
        train=replace(train, epochs=count, patience=end),
    )
    reasons = weights_reason, sampling_reason, encoder_reason, width_reason, epochs_reason, patience_reason
    return config, list(filter(None, reasons))


def resolve_names(config: Config, title: str) -> tuple[Config, str]:
    """Name experiment and registered model after the data, of which `title` is the folder's name."""
    name = model_name(title)
    tracking, registry = config.tracking, config.registry
    given = {"tracking.experiment": tracking.experiment, "registry.name": registry.name}
    named = [key for key, value in given.items() if value == "auto"]
    config = replace(
        config,
        tracking=replace(tracking, experiment=name) if tracking.experiment == "auto" else tracking,
        registry=replace(registry, name=name) if registry.name == "auto" else registry,
    )
    return config, f"{' and '.join(named)} {name}, after the data folder" if named else ""


def model_width(setting: int | str, images: int, encoder: str, init: Contract | None) -> tuple[int, str]:
    """Channels of the first level: that of model.init, or else narrow where few images train or the encoder helps."""
    if setting != "auto":
        return int(setting), ""
    if init:
        return init.width, f"model.width {init.width}, as model.init has it"
    if encoder != "none":
        return NARROW, f"model.width {NARROW}, above a pretrained encoder"
    width = NARROW if images < FEW_IMAGES else WIDE
    return width, f"model.width {width}, for {images} training pictures"


def epochs(
    setting: int | str, images: int, batch_size: int, drop_last: bool = False, steps: int = STEPS
) -> tuple[int, str]:
    """Epochs that make so many steps: few images are seen often and many rarely, since the number of steps counts."""
    if setting != "auto":
        return int(setting), ""
    count = max(FEWEST_EPOCHS, round(steps / Sampler(images, batch_size, 0, drop_last).steps_per_epoch))
    return count, f"train.epochs {count}, for {images} training pictures"


def patience(train: TrainConfig, pretrained: bool) -> tuple[int | Literal["curve"], str]:
    """End by the curve of val/miou, where weights are pretrained and nobody has said how long the training is to be.

    From random weights all steps pay: 48 photographs gained 0.046 by the second half of 3000 (.github/RESULTS.md).
    """
    if train.patience != "auto":
        return train.patience, ""
    if not pretrained or train.epochs != "auto" or train.minutes > 0:
        return 0, ""
    return "curve", "train.patience curve: it ends once val/miou levels off"


def evaluation_interval(
    setting: int | str, epoch_steps: int, by_curve: bool = False, least: int = 0
) -> tuple[int, str]:
    """Steps between evaluations, a multiple of the `epoch_steps` of one epoch.

    `by_curve`: they end the training. `least`: number of steps that pay for one.
    """
    if setting != "auto":
        return epoch_steps * int(setting), ""
    apart = max(STEPS_BETWEEN_POINTS if by_curve else STEPS_BETWEEN_EVALUATIONS, least)
    count = max(1, round(apart / epoch_steps))
    return epoch_steps * count, f"train.eval_every {count}, so that evaluations are {epoch_steps * count} steps apart"


def affordable_interval(pixels: float, batch_size: int, image_size: int) -> int:
    """Steps between evaluations of `pixels` pixels that leave EVALUATION_SHARE of the time to them.

    A step goes over its pixels forwards and backwards, which takes three times as long as forwards alone.
    """
    return math.ceil(pixels / EVALUATION_SHARE / (3 * batch_size * image_size**2))


def mixed_precision(setting: str, accelerated: bool) -> tuple[str, str]:
    """Number format inside the network; bf16 where `auto` finds hardware that computes in it.

    `accelerated`: whether there is a GPU. Raises InputError where the format needs one.
    """
    if setting == "fp16" and not accelerated:
        raise InputError("train.mixed_precision: 'fp16' needs a GPU; give auto, bf16 or no")
    if setting != "auto":
        return setting, ""
    if accelerated:
        bf16 = torch.cuda.is_available() and torch.cuda.is_bf16_supported(including_emulation=False)
    else:
        # Measured: 2 to 3 times as fast with AMX, 1.4 times as slow with avx512_bf16 alone (UNet-16, 128 pixels).
        bf16 = bool(torch.cpu.get_capabilities().get("amx_bf16"))
    chosen = "bf16" if bf16 else "no"
    return chosen, f"train.mixed_precision {chosen}: the hardware {'is' if bf16 else 'is not'} fast in bf16"


def micro_batch_size(
    setting: int | str, accelerator: Accelerator, network: nn.Module, images: int, size: StepSize, channels: int = 3
) -> tuple[int, str]:
    """Images that every process can send through `network` at once, of a share of `size.batch_size`. A collective.

    `images` of so many `channels` train. Raises OutOfMemory where not even one fits.
    """
    if setting != "auto":
        return int(setting), ""
    largest_share = math.ceil(min(size.batch_size, images) / accelerator.num_processes)
    if not allocation_can_fail(accelerator.device):
        return largest_share, ""
    attempt = functools.partial(attempt_step, network, size.image_size, accelerator.autocast, channels=channels)
    found = all_reduce_min(accelerator, largest_micro_batch(largest_share, attempt))
    if not found:
        raise replace(size, micro_batch_size=1).out_of_memory("before the first step")
    return found, f"train.micro_batch_size {found}, the most that fits"


@dataclass(frozen=True)
class Expectation:
    """Expected speed of a kind of hardware: guesses on the careful side, which no GPU has confirmed yet."""

    flop_per_s: float
    """Floating point operations per second of training without compiling."""

    saves: float
    """Share of the training time that compiling saves."""

    compile_s: float
    """Seconds to compile a network for images of one size."""


EXPECTED = {
    ("cuda", "no"): Expectation(20e12, saves=0.15, compile_s=60),
    ("cuda", "bf16"): Expectation(100e12, saves=0.30, compile_s=60),
    ("cuda", "fp16"): Expectation(100e12, saves=0.30, compile_s=60),
}


def compile_network(
    setting: str, device: str, precision: str, flop: float, sizes: int, minutes: float
) -> tuple[bool, str]:
    """Decide on torch.compile for a training of `flop` operations on each process.

    Decided from what the run will compute, so that every start of it decides alike. `sizes`: number of image sizes to
    compile for; `minutes`: limit of the training, 0 for none.
    """
    if setting != "auto":
        return setting == "on", f"train.compile {setting}"
    if device == "cpu":  # measured by tests/benchmarks/throughput.py, which times the plain loop with and without it
        return False, "train.compile off: on a CPU it gains nothing"
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


def has_compiler() -> bool:
    """Check that torch.compile finds a C++ compiler."""
    return shutil.which(os.environ.get("CXX", "g++")) is not None


def steps_that_fit(
    seconds: float, small_s: float, full_s: float, around_s: float, small_share: float = SMALL_SHARE
) -> int:
    """Number of steps that take `seconds`, at least 1.

    One of the first `small_share` takes `small_s`, one of the rest `full_s`; evaluations add `around_s` to each on
    average.
    """
    return max(1, int(seconds / (small_share * small_s + (1 - small_share) * full_s + around_s)))
