"""UNets (Ronneberger 2015, fig. 1), padded so that the output is as large as the input, with norm layers."""

from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional

from trainer.model.encoders import EfficientNetLite
from trainer.model.huggingface import HubEncoder
from trainer.model.reassembly import Reassembly

DECODER_WIDTHS = (8, 4, 3, 2, 1)
"""Channels of the levels above a pretrained encoder, at strides 16, 8, 4, 2 and 1, as multiples of the width."""

MIN_SHARE = 0.01
"""Smallest share of a class in its prior: a class without pixels must stay reachable."""


class UNet(nn.Module):
    """Network that gives logits for every pixel.

    in   float [B, input_channels, H, W], normalised; H and W multiples of 2 ** depth
    out  float [B, channels, H, W]

    Level d of the encoder has width * 2 ** d channels, d = 0..depth.
    """

    def __init__(
        self, channels: int, width: int = 32, depth: int = 4, norm: str = "batch", input_channels: int = 3
    ) -> None:
        super().__init__()
        self.input_channels = input_channels
        widths = [width * 2**level for level in range(depth + 1)]
        self.first = double_convolution(input_channels, widths[0], norm)
        self.down = nn.ModuleList(
            nn.Sequential(nn.MaxPool2d(2), double_convolution(wide, wider, norm)) for wide, wider in pairwise(widths)
        )
        self.up = nn.ModuleList(UpConvolution(2 * wide, wide, 2, stride=2) for wide in reversed(widths[:-1]))
        # Each level of the decoder reads the upsampled features and the encoder's features of the same size.
        self.join = nn.ModuleList(double_convolution(2 * wide, wide, norm) for wide in reversed(widths[:-1]))
        self.last = nn.Conv2d(widths[0], channels, 1)
        self.stride = 2**depth
        self.apply(_initialise)

    def forward(self, images: Tensor) -> Tensor:
        features = self.first(images)
        skips = []
        for down in self.down:
            skips.append(features)
            features = down(features)
        for up, join in zip(self.up, self.join, strict=True):
            features = join(torch.cat([skips.pop(), up(features)], dim=1))
        logits: Tensor = self.last(features)
        return logits


class EncoderUNet(nn.Module):
    """UNet with a pretrained encoder.

    in   float [B, encoder.input_channels, H, W], normalised; H and W multiples of encoder.stride
    out  float [B, channels, H, W]

    The decoder reads the encoder's features at each stride, and the image itself at stride 1.
    """

    def __init__(
        self, encoder: EfficientNetLite | HubEncoder, channels: int, width: int = 16, norm: str = "batch"
    ) -> None:
        super().__init__()
        self.encoder = encoder
        self.stride, self.input_channels = encoder.stride, encoder.input_channels
        self.reassembly = None
        if isinstance(encoder, HubEncoder) and encoder.map_stride:
            self.reassembly = Reassembly(encoder.channels, encoder.map_stride, width, encoder.input_channels)
            self.reassembly.apply(_initialise)
        read = (self.reassembly or encoder).channels
        self.join = nn.ModuleList()
        below = read[-1]
        for skip, times in zip(reversed((encoder.input_channels, *read[:-1])), DECODER_WIDTHS, strict=True):
            self.join.append(double_convolution(below + skip, times * width, norm))
            below = times * width
        self.last = nn.Conv2d(below, channels, 1)
        self.join.apply(_initialise)
        _initialise(self.last)

    def forward(self, images: Tensor) -> Tensor:
        maps = self.encoder(images)
        levels: list[Tensor] = [images, *(self.reassembly(images, maps) if self.reassembly else maps)]
        features = levels.pop()
        for skip, join in zip(reversed(levels), self.join, strict=True):
            features = functional.interpolate(features, scale_factor=2, mode="nearest")
            features = join(torch.cat([skip, features], dim=1))
        logits: Tensor = self.last(features)
        return logits


class UpConvolution(nn.ConvTranspose2d):
    """Transposed convolution of kernel 2 and stride 2, [B, channels_in, H, W] -> [B, channels_out, 2 H, 2 W].

    Each pixel becomes four, independently of the others, so one matrix product computes all of them. In training on
    CPUs that takes half the time of oneDNN's transposed convolution and its gradient, which saves 5 % of a step.
    Without a gradient, or under torch.compile, oneDNN is faster.
    """

    def forward(self, features: Tensor, output_size: list[int] | None = None) -> Tensor:
        if torch.compiler.is_compiling() or not features.requires_grad:
            return super().forward(features, output_size)
        assert self.bias is not None
        batch, _, height, width = features.shape
        weight = self.weight.permute(2, 3, 1, 0).flatten(0, 2)  # [2 * 2 * channels_out, channels_in]
        quads = functional.linear(features.permute(0, 2, 3, 1), weight, self.bias.repeat(4))
        quads = quads.view(batch, height, width, 2, 2, -1).transpose(2, 3)
        return quads.reshape(batch, 2 * height, 2 * width, -1).permute(0, 3, 1, 2)


def double_convolution(channels_in: int, channels_out: int, norm: str) -> nn.Sequential:
    """Two 3x3 convolutions, each with norm and ReLU: [B, channels_in, H, W] -> [B, channels_out, H, W].

    `norm`: batch, or group with groups of 8 channels.
    """
    layers: list[nn.Module] = []
    for channels in (channels_in, channels_out):
        # The norm that follows has a bias of its own.
        layers += [
            nn.Conv2d(channels, channels_out, 3, padding=1, bias=False),
            _norm(norm, channels_out),
            nn.ReLU(True),
        ]
    return nn.Sequential(*layers)


def _norm(norm: str, channels: int) -> nn.Module:
    if norm == "batch":
        return nn.BatchNorm2d(channels)
    return nn.GroupNorm(channels // 8, channels)


def _initialise(module: nn.Module) -> None:
    # A network without memory, of which only the shapes are wanted, has nothing to initialise; torch takes a second to
    # find that out.
    if isinstance(module, (nn.Conv2d, nn.ConvTranspose2d)) and not module.weight.is_meta:
        nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
        if module.bias is not None:
            nn.init.zeros_(module.bias)


@torch.no_grad()
def set_class_prior(network: UNet | EncoderUNet, shares: list[float]) -> None:
    """Initialise the last layer so that the untrained network predicts each class with its share of the pixels.

    `shares`: K numbers, the background's first. Without this, half of every image is predicted as foreground, and the
    first steps of training only correct that (Lin 2017, Focal loss, section 3.3).
    """
    logs = torch.tensor([max(share, MIN_SHARE) for share in shares]).log()
    assert network.last.bias is not None
    network.last.weight.mul_(0.1)  # otherwise the random weights outweigh the bias
    if network.last.out_channels == 1:
        network.last.bias.copy_(logs[1:] - logs[:1])
    else:
        network.last.bias.copy_(logs - logs.mean())
