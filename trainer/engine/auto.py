"""Settings left to `auto`: one function each, which returns the value and the reason as text.

The reason is empty where the setting is explicit. data.layout auto is resolved in `trainer.data.layouts`, and
registry.promote auto in `trainer.tracking.promotion`, where the evidence is.
"""

import functools
import math
import os
import shutil
from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from accelerate import Accelerator
from torch import nn

from trainer import InputError
from trainer.config import Config, ModelConfig
from trainer.data.loader import SMALL_SHARE
from trainer.data.sampler import Sampler
from trainer.engine.distributed.collectives import all_reduce_min
from trainer.engine.memory import StepSize, allocation_can_fail, attempt_step, largest_micro_batch
from trainer.model.encoders import EfficientNetLite
from trainer.model.segmenter import Contract
from trainer.tracking.names import model_name

STEPS, FEWEST_EPOCHS = 3000, 30
"""Least number of optimizer steps, from k-fold trials with 38 images (.github/RESULTS.md), and of epochs."""

NARROW, WIDE, FEW_IMAGES = 16, 32, 200
"""Width of the network below FEW_IMAGES training images, and from there on."""

ENCODER = "efficientnet-lite0"
"""Encoder of auto: better than none on each kind of data that was tried (.github/RESULTS.md)."""

STEPS_BETWEEN_EVALUATIONS = 50
"""Fewest steps between two evaluations, where epochs are shorter than that."""


def resolve(config: Config, images: int, pixels: Sequence[int], init: Contract | None) -> tuple[Config, list[str]]:
    """Resolve what the data decides; return the settings, and a line for people about each decision.

    `images` train, with `pixels` of each of the K classes; `init`: contract of the model of model.init. Raises
    InputError where the settings do not fit the data.
    """
    train = config.train
    weights, weights_reason = class_weights(config.loss.class_weights, pixels)
    encoder, encoder_reason = model_encoder(config.model, config.data.image_size, init)
    width, width_reason = model_width(config.model.width, images, encoder, init)
    count, epochs_reason = epochs(train.epochs, images, train.batch_size, config.data.drop_last)
    config = replace(
        config,
        loss=replace(config.loss, class_weights=weights),
        model=replace(config.model, encoder=encoder, width=width),
        train=replace(train, epochs=count),
    )
    return config, [reason for reason in (weights_reason, encoder_reason, width_reason, epochs_reason) if reason]


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


def model_encoder(model: ModelConfig, image_size: int, init: Contract | None) -> tuple[str, str]:
    """Pretrained encoder: that of model.init, or else the one that scores best for its cost, where it fits."""
    if model.encoder != "auto":
        return model.encoder, ""
    if init:
        return init.encoder, f"model.encoder {init.encoder}, as model.init has it"
    multiple = EfficientNetLite.stride
    if image_size % multiple:
        near = max(2, round(image_size / multiple)) * multiple
        return "none", f"model.encoder none: data.image_size {image_size} is no multiple of {multiple}, as {near} is"
    if image_size < 2 * multiple:
        return "none", f"model.encoder none: data.image_size {image_size} would be one pixel at its bottom"
    if model.depth != ModelConfig.depth:
        return "none", f"model.encoder none: model.depth {model.depth} is for the plain UNet"
    return ENCODER, f"model.encoder {ENCODER}, pretrained on ImageNet"


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


def epochs(setting: int | str, images: int, batch_size: int, drop_last: bool = False) -> tuple[int, str]:
    """Epochs that make STEPS steps: few images are seen often and many rarely, since the number of steps counts."""
    if setting != "auto":
        return int(setting), ""
    count = max(FEWEST_EPOCHS, round(STEPS / Sampler(images, batch_size, 0, drop_last).steps_per_epoch))
    return count, f"train.epochs {count}, for {images} training pictures"


def class_weights(setting: list[float] | str | None, pixels: Sequence[int]) -> tuple[list[float] | None, str]:
    """Weights of the K classes in the cross-entropy, from their `pixels`; None where all are alike."""
    if setting == "auto":
        weights = balancing_weights(pixels)
        return weights, f"loss.class_weights {weights}, 1 / sqrt(share of the pixels)"
    assert not isinstance(setting, str)
    if setting is not None and len(setting) != len(pixels):
        raise InputError(
            f"loss.class_weights: {len(setting)} weights, but there are {len(pixels)} classes with the background; "
            "give one for each"
        )
    return setting, ""


def balancing_weights(pixels: Sequence[int]) -> list[float]:
    """Weight of each of K classes from its number of pixels: 1 / sqrt(share), scaled so that the mean pixel has 1.

    The square root keeps a class of a few pixels from drowning all others. A class without a pixel gets 0.
    """
    total = sum(pixels)
    raw = [(total / count) ** 0.5 if count else 0.0 for count in pixels]
    mean = sum(weight * count for weight, count in zip(raw, pixels, strict=True)) / max(1, total)
    return [round(weight / mean, 4) if mean else 1.0 for weight in raw]


def evaluation_interval(setting: int | str, epoch_steps: int) -> tuple[int, str]:
    """Steps between evaluations, a multiple of the `epoch_steps` of one epoch."""
    if setting != "auto":
        return epoch_steps * int(setting), ""
    count = max(1, round(STEPS_BETWEEN_EVALUATIONS / epoch_steps))
    return epoch_steps * count, f"train.eval_every {count}, so that evaluations are {epoch_steps * count} steps apart"


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
    setting: int | str, accelerator: Accelerator, network: nn.Module, images: int, size: StepSize
) -> tuple[int, str]:
    """Images that every process can send through `network` at once, of a share of `size.batch_size`. A collective.

    `images` train. Raises OutOfMemory where not even one fits.
    """
    if setting != "auto":
        return int(setting), ""
    largest_share = math.ceil(min(size.batch_size, images) / accelerator.num_processes)
    if not allocation_can_fail(accelerator.device):
        return largest_share, ""
    attempt = functools.partial(attempt_step, network, size.image_size, accelerator.autocast)
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
