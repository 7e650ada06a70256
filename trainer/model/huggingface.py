"""Encoders of the package `transformers`: networks of many families, rebuilt from a closed list of settings.

Only families that are part of the package are built; no code of a model is run, and no setting reaches a file or the
network. `transformers` is imported inside functions: it takes seconds, and only models with such an encoder need it.
"""

import copy
import functools
import importlib.util
import json
import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, fields
from importlib import metadata
from pathlib import Path
from reprlib import repr as abbreviate
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.modules import module as registration

from trainer import InputError
from trainer.config import MOST_CHANNELS, install_command
from trainer.model.encoders import adapt_channels

if TYPE_CHECKING:
    from transformers import PreTrainedConfig, PreTrainedModel

FAMILIES = (
    *("beit", "bit", "convnext", "convnextv2", "dinov2", "dinov2_with_registers", "dinov3_convnext", "dinov3_vit"),
    *("hgnet_v2", "pvt_v2", "resnet", "swin", "swinv2"),
)
"""Values of model_type whose networks take pictures of any size."""

RGB_ALONE = ("bit",)
"""Families whose first layer cannot be adapted to other bands: it scales its weights by their own spread."""

STRIDES = (2, 4, 8, 16, 32)
"""Strides of the features that a UNet reads."""

MAPS = 4
"""Maps of a vision transformer that are read, at equal distances, the last one among them (Ranftl 2021, DPT)."""

PROBE_SIDE = 64
"""Side in pixels of the image without memory that shows the strides of a network."""

MOST_CONFIG_CHARACTERS = 10_000
"""Length of a configuration, as JSON."""

MOST_NUMBER, MOST_ENTRIES = 100_000, 200
"""Largest number and longest list in a configuration."""

MOST_TENSORS, MOST_BYTES = 4000, 2**31
"""Limits of a network while it is built: tensors, and their bytes."""

FIXED = {"reshape_hidden_states": True, "return_class_token": False}
"""Settings that do not depend on the folder: maps are images."""

FRESH = ("hidden_states_norms.", "mask_token")
"""Parts that files of pretrained weights need not have: norms after the stages, which begin as they are, and the token
of hidden patches, which nothing reads here."""


@dataclass(frozen=True)
class Geometry:
    """Shape of an encoder's features."""

    strides: tuple[int, ...]
    """Stride of each map: rising ones, or all alike for a vision transformer."""

    channels: tuple[int, ...]
    """Channels of each map."""

    unused: frozenset[str]
    """Parameters that have no part in the maps, by name."""

    numbers_per_pixel: float
    """Size of the largest result of a layer, per pixel of the image."""

    @property
    def flat(self) -> bool:
        """True where all maps have one stride."""
        return len(set(self.strides)) < len(self.strides)


class HubEncoder(nn.Module):
    """Network of `transformers`, up to its feature maps.

    in   float [B, input_channels, H, W], normalised; H and W multiples of 32
    out  of a network in stages: features at strides 2, 4, 8, 16 and 32, where a stride that it lacks has the image
         itself, averaged; of a vision transformer: MAPS maps, all at `map_stride`

    It stays in eval mode in training too: statistics of a few pictures are noise, and random layers would make the
    result depend on the process that computes it.
    """

    stride = 32

    def __init__(self, settings: str) -> None:
        """Make the encoder with weights of no meaning. `settings`: text of `encoder_settings`.

        Raises InputError where they are none, or too large a network.
        """
        super().__init__()
        self.geometry = geometry(settings)
        self.input_channels = bands_of(settings)
        self.patch, self.scaled_patch = _patches(json.loads(settings))
        self.backbone = _build(settings)
        for name, parameter in self.backbone.named_parameters():
            parameter.requires_grad_(name not in self.geometry.unused)
        self.map_stride = self.geometry.strides[-1] if self.geometry.flat else 0
        by_stride = dict(zip(self.geometry.strides, self.geometry.channels, strict=True))
        own = self.geometry.channels
        self.channels = (
            own if self.geometry.flat else tuple(by_stride.get(stride, self.input_channels) for stride in STRIDES)
        )

    def forward(self, images: Tensor) -> list[Tensor]:
        height, width = images.shape[-2:]
        scaled = images
        if self.patch != self.scaled_patch:  # patches of 14 pixels become 16 of the image
            size = (height * self.patch // self.scaled_patch, width * self.patch // self.scaled_patch)
            scaled = functional.interpolate(images, size, mode="bilinear", align_corners=False)
        maps = list(self.backbone(scaled).feature_maps)
        if self.map_stride:
            return maps
        by_stride = dict(zip(self.geometry.strides, maps, strict=True))
        return [
            by_stride[stride] if stride in by_stride else functional.avg_pool2d(images, stride) for stride in STRIDES
        ]

    def train(self, mode: bool = True) -> "HubEncoder":
        """Set the mode of this module; the network itself stays in eval mode."""
        super().train(mode)
        self.backbone.eval()
        return self

    @torch.no_grad()
    def load_pretrained(self, folder: Path) -> None:
        """Load the weights of a folder, from safetensors alone.

        Raises InputError where tensors are missing, not finite, or of another shape.
        """
        own = self.backbone
        config = copy.deepcopy(own.config)
        if self.input_channels != 3:
            for name, value in _set_bands(config.to_dict(), 3).items():
                if name in ("num_channels", "stem_channels"):
                    setattr(config, name, value)
        try:
            with _quiet():
                pretrained, report = type(own).from_pretrained(
                    folder,
                    config=config,
                    dtype=torch.float32,
                    use_safetensors=True,
                    local_files_only=True,
                    trust_remote_code=False,
                    output_loading_info=True,
                    ignore_mismatched_sizes=True,  # said below, in one line
                )
        except Exception as error:  # of safetensors or transformers, for files that are damaged
            raise InputError(f"{folder}: its weights cannot be read ({_first_line(error)}); fetch it again") from error
        wrong = [name for name in report["missing_keys"] if not any(part in name for part in FRESH)]
        wrong += [f"{entry[0] if isinstance(entry, tuple) else entry}" for entry in report["mismatched_keys"]]
        if wrong:
            raise InputError(
                f"{folder}: its weights are not those of its config.json: {len(wrong)} tensors are missing or of "
                f"another shape, such as {sorted(wrong)[0]}; fetch it again"
            )
        for name, value in pretrained.state_dict().items():
            if not bool(torch.isfinite(value).all()):
                raise InputError(f"{folder}: {name} holds NaN or infinite numbers; take another model")
        weights = pretrained.state_dict()
        for name, value in own.state_dict().items() if self.input_channels != 3 else ():
            if value.shape != weights[name].shape:  # the first layer
                weights[name] = adapt_channels(weights[name], 3, self.input_channels)
        own.load_state_dict(weights)


def library() -> str:
    """Installed version of the package that builds the networks, and decides about the names of their tensors."""
    return f"transformers {metadata.version('transformers')}"


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
    return _text(_set_bands(json.loads(settings), channels))


def _set_bands(settings: Mapping[str, Any], channels: int) -> dict[str, Any]:
    changed: dict[str, Any] = {"num_channels": channels}
    if "stem_channels" in settings:  # of hgnet_v2, which states the first of them twice
        changed["stem_channels"] = [channels, *settings["stem_channels"][1:]]
    return {**settings, **changed}


def encoder_settings(file: Path, content: Mapping[str, Any], channels: int = 3) -> str:
    """Settings that rebuild a network, as JSON: those of its architecture in `content` of config.json, with defaults.

    It takes images of `channels` bands, whatever it was made for. Raises InputError naming `file` where the network is
    none that this program can train.
    """
    try:
        kind = _config_class(content)
        if content.get("num_channels", 3) != 3:
            made_for = abbreviate(content["num_channels"])
            raise InputError(f"num_channels: {made_for} is not possible; it may be 3, which is adapted to other bands")
        given = {name: content[name] for name in _own_fields(kind) if name in content} | FIXED
        settings = {"model_type": content["model_type"]}
        settings |= {name: value for name, value in given.items() if name in _own_fields(kind)}
        _check_values(settings, kind)
        with _refusing():
            config = kind(**_arguments(settings))
            stages = list(config.stage_names)
        settings |= {name: getattr(config, name) for name in _own_fields(kind)}
        if channels != 3:
            family = content["model_type"]
            if "num_channels" not in settings or family in RGB_ALONE:
                raise InputError(f"the family {family} takes no images of {channels} bands; choose another encoder")
            settings = _set_bands(settings, channels)
        chosen = _choose(_probe(_text(settings | {"out_features": stages})), stages)
        text = _text(settings | {"out_features": chosen})
        geometry(text)
    except InputError as error:
        raise InputError(f"{file}: {error}") from error
    return text


@functools.cache
def geometry(settings: str) -> Geometry:
    """Geometry of the network of a text of `encoder_settings`. Raises InputError where a UNet cannot read its maps."""
    found = _probe(settings)
    if found.flat:
        fits = len(found.strides) == MAPS and found.strides[0] in STRIDES
    else:
        rising = sorted(set(found.strides)) == list(found.strides)
        fits = rising and set(found.strides) <= set(STRIDES) and found.strides[-1] == STRIDES[-1]
    if not fits:
        raise InputError(
            f"its maps have strides {abbreviate(list(found.strides))}; it may be some of {STRIDES} with the last one, "
            f"or {MAPS} maps of one of these"
        )
    return found


def _choose(found: Geometry, stages: list[str]) -> list[str]:
    """Stages whose maps are read: the last one of each stride, or MAPS at equal distances where all are alike."""
    if found.flat:
        layers = len(stages) - 1  # the first one is what goes into the first layer
        if layers < MAPS:
            raise InputError(f"a vision transformer of {layers} layers; it may have {MAPS} or more")
        return [stages[round(layers * part / MAPS)] for part in range(1, MAPS + 1)]
    last = dict(zip(found.strides, stages, strict=True))
    return [last[stride] for stride in STRIDES if stride in last]


@functools.cache
def _probe(settings: str) -> Geometry:
    """Send an image through the network, both without memory."""
    with torch.device("meta"), torch.inference_mode(False), torch.enable_grad():
        network, (patch, scaled) = _build(settings), _patches(json.loads(settings))
        pixels, largest = PROBE_SIDE * patch // scaled, 0

        def measure(_layer: nn.Module, _given: object, result: object) -> None:
            nonlocal largest
            if isinstance(result, Tensor):
                largest = max(largest, result.numel())

        for layer in network.modules():
            layer.register_forward_hook(measure)
        with _refusing():
            maps = network(torch.zeros(1, bands_of(settings), pixels, pixels)).feature_maps
    if not all(one.ndim == 4 and one.shape[2] == one.shape[3] and PROBE_SIDE % one.shape[2] == 0 for one in maps):
        shapes = abbreviate([list(one.shape) for one in maps])
        raise InputError(
            f"its maps of an image of {PROBE_SIDE} x {PROBE_SIDE} pixels are {shapes}, which are no squares"
        )
    used = {id(parameter) for parameter in _leaves(maps)}
    return Geometry(
        strides=tuple(PROBE_SIDE // one.shape[2] for one in maps),
        channels=tuple(one.shape[1] for one in maps),
        unused=frozenset(name for name, parameter in network.named_parameters() if id(parameter) not in used),
        numbers_per_pixel=largest / PROBE_SIDE**2,
    )


def _leaves(results: tuple[Tensor, ...]) -> Iterator[Tensor]:
    """Yield the parameters that the results were computed from."""
    seen, waiting = set(), [one.grad_fn for one in results]
    while waiting:
        node = waiting.pop()
        if node is None or node in seen:
            continue
        seen.add(node)
        if hasattr(node, "variable"):
            yield node.variable
        waiting += [before for before, _ in node.next_functions]


def _build(settings: str) -> "PreTrainedModel":
    """Make the network of a text of `encoder_settings`. Raises InputError where it is none, or too large."""
    if len(settings) > MOST_CONFIG_CHARACTERS:
        raise InputError(f"{len(settings):,} characters; it may have {MOST_CONFIG_CHARACTERS:,}")
    try:
        content = json.loads(settings)
    except (ValueError, RecursionError) as error:
        raise InputError(f"no JSON ({error})") from error
    kind = _config_class(content)
    _check_values(content, kind)
    from transformers.models.auto.modeling_auto import MODEL_FOR_BACKBONE_MAPPING

    with _bounded(), _refusing():
        config, network_class = kind(**_arguments(content)), MODEL_FOR_BACKBONE_MAPPING[kind]
        # Any other value may be the name of a kernel on the hub, which would be downloaded and run.
        config._attn_implementation = "sdpa" if network_class._supports_sdpa else "eager"
        network: PreTrainedModel = network_class(config).eval()
    return network


def _config_class(content: object) -> "type[PreTrainedConfig]":
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


def _own_fields(kind: "type[PreTrainedConfig]") -> list[str]:
    """Settings of an architecture, without those of every model: these choose files, kernels and number formats."""
    from transformers import PreTrainedConfig

    common = {one.name for one in fields(PreTrainedConfig)}
    return [one.name for one in fields(kind) if one.name not in common and not one.name.startswith("_")]


def _check_values(settings: Mapping[str, Any], kind: "type[PreTrainedConfig]") -> None:
    known = {"model_type", "out_features", *_own_fields(kind)}
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


def _arguments(settings: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in settings.items() if name != "model_type"}


def _patches(settings: Mapping[str, Any]) -> tuple[int, int]:
    """Side of a patch in the network's pixels, and in the image's: the next power of two, so that strides are."""
    patch = settings.get("patch_size", 1)
    sides = set(patch) if isinstance(patch, list) else {patch}
    side = next(iter(sides), None)
    if len(sides) != 1 or type(side) is not int or not 1 <= side <= STRIDES[-1]:
        raise InputError(f"patch_size: {abbreviate(patch)} is not possible; it may be 1 to {STRIDES[-1]}")
    return side, 2 ** math.ceil(math.log2(side))


def _text(settings: Mapping[str, Any]) -> str:
    return json.dumps(settings, sort_keys=True)


@contextmanager
def _refusing() -> Iterator[None]:
    """Name as invalid input what `transformers` and torch raise for settings that make no network."""
    try:
        yield
    except InputError:
        raise
    except ImportError as error:
        raise InputError(f"it needs more than this program has: {_first_line(error)}") from error
    except Exception as error:
        raise InputError(f"no network that takes images can be built of it ({_first_line(error)})") from error


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


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep bars and reports of `transformers` from the terminal."""
    from transformers.utils import logging

    level, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(level)
        if bars:
            logging.enable_progress_bar()


def _first_line(error: BaseException) -> str:
    """First line of an error's text that says something, shortened."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[0][:200] if lines else type(error).__name__
