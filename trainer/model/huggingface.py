"""Encoders of the package `transformers`: networks of many families, rebuilt from a closed list of settings."""

import copy
import json
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import metadata
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional

from trainer import InputError
from trainer.model.encoders import adapt_channels
from trainer.model.hub_geometry import geometry
from trainer.model.hub_settings import STRIDES, bands_of, build_network, first_line, patches, set_bands

FRESH = ("hidden_states_norms.", "mask_token")
"""Parts that files of pretrained weights need not have: norms after the stages, which begin as they are, and the token
of hidden patches, which nothing reads here."""


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
        self.patch, self.scaled_patch = patches(json.loads(settings))
        self.backbone = build_network(settings)
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
            for name, value in set_bands(config.to_dict(), 3).items():
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
            raise InputError(f"{folder}: its weights cannot be read ({first_line(error)}); fetch it again") from error
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
