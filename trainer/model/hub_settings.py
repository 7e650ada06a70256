"""Networks of the package `transformers`, built from a closed list of settings.

Only families that are part of the package are built; no code of a model is run, and no setting reaches a file or the
network. `transformers` is imported inside functions: it takes seconds, and only models with such an encoder need it.
"""

import importlib.util
import json
import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import fields
from reprlib import repr as abbreviate
from typing import TYPE_CHECKING, Any

from torch import Tensor, nn
from torch.nn.modules import module as registration

from trainer import InputError
from trainer.config import MOST_CHANNELS, install_command

if TYPE_CHECKING:
    from transformers import PreTrainedConfig, PreTrainedModel

FAMILIES = (
    *("beit", "bit", "convnext", "convnextv2", "dinov2", "dinov2_with_registers", "dinov3_convnext", "dinov3_vit"),
    *("hgnet_v2", "pvt_v2", "resnet", "swin", "swinv2"),
)
"""Values of model_type whose networks take pictures of any size."""

STRIDES = (2, 4, 8, 16, 32)
"""Strides of the features that a UNet reads."""

MOST_CONFIG_CHARACTERS = 10_000
"""Length of a configuration, as JSON."""

MOST_NUMBER, MOST_ENTRIES = 100_000, 200
"""Largest number and longest list in a configuration."""

MOST_TENSORS, MOST_BYTES = 4000, 2**31
"""Limits of a network while it is built: tensors, and their bytes."""


def bands_of(settings: str) -> int:
    """Bands of the images that the network of a text of `encoder_settings` takes."""
    channels = json.loads(settings).get("num_channels", 3)
    if type(channels) is not int or not 1 <= channels <= MOST_CHANNELS:
        raise InputError(f"num_channels: {abbreviate(channels)} is not possible; it may be 1 to {MOST_CHANNELS}")
    return channels


def with_bands(settings: str, channels: int) -> str:
    """Text of `encoder_settings` of the same network for images of so many bands."""
    if not settings or bands_of(settings) == channels:
        return settings
    return as_text(set_bands(json.loads(settings), channels))


def set_bands(settings: Mapping[str, Any], channels: int) -> dict[str, Any]:
    changed: dict[str, Any] = {"num_channels": channels}
    if "stem_channels" in settings:  # of hgnet_v2, which states the first of them twice
        changed["stem_channels"] = [channels, *settings["stem_channels"][1:]]
    return {**settings, **changed}


def build_network(settings: str) -> "PreTrainedModel":
    """Make the network of a text of `encoder_settings`. Raises InputError where it is none, or too large."""
    if len(settings) > MOST_CONFIG_CHARACTERS:
        raise InputError(f"{len(settings):,} characters; it may have {MOST_CONFIG_CHARACTERS:,}")
    try:
        content = json.loads(settings)
    except (ValueError, RecursionError) as error:
        raise InputError(f"not JSON ({error})") from error
    kind = config_class(content)
    check_values(content, kind)
    from transformers.models.auto.modeling_auto import MODEL_FOR_BACKBONE_MAPPING

    with _bounded(), refusing():
        config, network_class = kind(**arguments(content)), MODEL_FOR_BACKBONE_MAPPING[kind]
        # Any other value may be the name of a kernel on the hub, which would be downloaded and run.
        config._attn_implementation = "sdpa" if network_class._supports_sdpa else "eager"
        network: PreTrainedModel = network_class(config).eval()
    return network


def config_class(content: object) -> "type[PreTrainedConfig]":
    """Class of the settings of a family."""
    family = content.get("model_type") if isinstance(content, dict) else None
    if family not in FAMILIES:
        raise InputError(f"model_type: {abbreviate(family)} is not possible; it may be one of {', '.join(FAMILIES)}")
    if importlib.util.find_spec("transformers") is None:
        raise InputError(
            f"an encoder of the family {family} needs the package transformers; install it with\n"
            f"  {install_command('hf')}"
        )
    from transformers import CONFIG_MAPPING

    if family not in CONFIG_MAPPING:
        raise InputError(f"model_type: {family} is unknown to this version of transformers; install a later one")
    return CONFIG_MAPPING[family]


def own_fields(kind: "type[PreTrainedConfig]") -> list[str]:
    """Settings of an architecture, without those of every model: these choose files, kernels and number formats."""
    from transformers import PreTrainedConfig

    common = {one.name for one in fields(PreTrainedConfig)}
    return [one.name for one in fields(kind) if one.name not in common and not one.name.startswith("_")]


def check_values(settings: Mapping[str, Any], kind: "type[PreTrainedConfig]") -> None:
    known = {"model_type", "out_features", *own_fields(kind)}
    for name, value in settings.items():
        if name not in known:
            raise InputError(f"{abbreviate(name)}: unknown to this version of transformers; install a later one")
        if not _plain(value):
            raise InputError(
                f"{name}: {abbreviate(value)} is not possible; it may be a short text, a number to {MOST_NUMBER:,}, or "
                f"a list of up to {MOST_ENTRIES}"
            )


def _plain(value: object, depth: int = 0) -> bool:
    """Return whether a value is small and of JSON's types."""
    if isinstance(value, list | tuple):
        return depth < 2 and len(value) <= MOST_ENTRIES and all(_plain(one, depth + 1) for one in value)
    if isinstance(value, str):
        return len(value) <= 100
    return value is None or (isinstance(value, int | float) and abs(value) <= MOST_NUMBER)  # NaN is not


def arguments(settings: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in settings.items() if name != "model_type"}


def patches(settings: Mapping[str, Any]) -> tuple[int, int]:
    """Side of a patch in the network's pixels, and in the image's: the next power of two, so that strides are."""
    patch = settings.get("patch_size", 1)
    sides = set(patch) if isinstance(patch, list) else {patch}
    side = next(iter(sides), None)
    if len(sides) != 1 or type(side) is not int or not 1 <= side <= STRIDES[-1]:
        raise InputError(f"patch_size: {abbreviate(patch)} is not possible; it may be 1 to {STRIDES[-1]}")
    return side, 2 ** math.ceil(math.log2(side))


def as_text(settings: Mapping[str, Any]) -> str:
    return json.dumps(settings, sort_keys=True)


@contextmanager
def refusing() -> Iterator[None]:
    """Name as invalid input what `transformers` and torch raise for settings that make no network."""
    try:
        yield
    except InputError:
        raise
    except ImportError as error:
        raise InputError(f"it needs more than this program has: {first_line(error)}") from error
    except Exception as error:
        raise InputError(f"no network that takes images can be built of it ({first_line(error)})") from error


@contextmanager
def _bounded() -> Iterator[None]:
    """Raise InputError as soon as the network that is being built is beyond MOST_TENSORS or MOST_BYTES."""
    tensors = size = 0

    def count(_module: nn.Module, _name: str, value: Tensor | None) -> None:
        nonlocal tensors, size
        if value is not None:
            tensors, size = tensors + 1, size + value.numel() * value.element_size()
        if tensors > MOST_TENSORS or size > MOST_BYTES:
            raise InputError(f"a network beyond {MOST_TENSORS:,} tensors or {MOST_BYTES:,} bytes")

    hooks = [
        registration.register_module_parameter_registration_hook(count),
        registration.register_module_buffer_registration_hook(count),
    ]
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()


def first_line(error: BaseException) -> str:
    """First line of an error's text that says something, shortened."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[0][:200] if lines else type(error).__name__
