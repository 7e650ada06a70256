"""Pretrained encoders of a UNet, with weights that were trained on the photographs of ImageNet."""

import math
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional

from trainer.config import ENCODER_STRIDE

STAGES = (
    (1, 3, 1, 16, 1),
    (6, 3, 2, 24, 2),
    (6, 5, 2, 40, 2),
    (6, 3, 2, 80, 3),
    (6, 5, 1, 112, 3),
    (6, 5, 2, 192, 4),
    (6, 3, 1, 320, 1),
)
"""EfficientNet-B0 (Tan 2019, table 1): expansion, kernel, stride, channels and blocks of each stage."""

LAST_OF_STRIDE = (0, 1, 2, 4, 6)
"""Stages whose result is the last one of its stride, which are 2, 4, 8, 16 and 32."""

SCALES = {"efficientnet-lite0": (1.0, 1.0), "efficientnet-lite1": (1.0, 1.1), "efficientnet-lite2": (1.1, 1.2)}
"""Factors of the channels and of the blocks."""

STEM_CHANNELS = 32
"""Channels of the first convolution, in all sizes."""

NORM_EPSILON = 1e-3
"""Epsilon of batch norm, as TensorFlow has it, where the weights come from."""

IMAGENET_MEAN, IMAGENET_STD = (127.0, 127.0, 127.0), (128.0, 128.0, 128.0)
"""RGB levels that the weights were trained with."""


class EfficientNetLite(nn.Module):
    """EfficientNet-lite (Tan 2019; without squeeze-and-excitation and with ReLU6), up to its last stage.

    in   float [B, input_channels, H, W], normalised; H and W multiples of 32
    out  features at strides 2, 4, 8, 16 and 32: float [B, channels[i], H / 2 ** (i + 1), W / 2 ** (i + 1)]

    Batch norm keeps the statistics of ImageNet in training too: those of a few pictures are noise.
    """

    stride = ENCODER_STRIDE

    def __init__(self, name: str, input_channels: int = 3) -> None:
        """Make the encoder with random weights, for images of so many bands. `name`: a key of SCALES."""
        super().__init__()
        self.input_channels = input_channels
        wider, deeper = SCALES[name]
        self.stem = _convolution(input_channels, STEM_CHANNELS, 3, stride=2)
        self.stages = nn.ModuleList()
        channels, widths = STEM_CHANNELS, []
        for number, (expansion, kernel, stride, width, count) in enumerate(STAGES):
            if 0 < number < len(STAGES) - 1:  # the lite models repeat the first and the last stage as B0 does
                count = math.ceil(count * deeper)
            width = _round_channels(width * wider)
            blocks: list[nn.Module] = []
            for block in range(count):
                blocks.append(InvertedResidual(channels, width, expansion, kernel, stride if block == 0 else 1))
                channels = width
            self.stages.append(nn.Sequential(*blocks))
            widths.append(width)
        self.channels = tuple(widths[stage] for stage in LAST_OF_STRIDE)

    def forward(self, images: Tensor) -> list[Tensor]:
        features, results = self.stem(images), []
        for number, stage in enumerate(self.stages):
            features = stage(features)
            if number in LAST_OF_STRIDE:
                results.append(features)
        return results

    def train(self, mode: bool = True) -> "EfficientNetLite":
        """Set the mode of all layers but batch norm, which stays in eval mode."""
        super().train(mode)
        for module in self.modules():
            if isinstance(module, nn.modules.batchnorm._BatchNorm):
                module.eval()
        return self

    @torch.no_grad()
    def load_pretrained(self, file: Path) -> None:
        """Load the weights of the file that `pretrained.find_weights` has found.

        Names in the file differ, but its tensors stand in the order of the layers; those of the classifier are last.
        The first layer is adapted to the bands of the images.
        """
        content = torch.load(file, map_location="cpu", weights_only=True)
        own = self.state_dict()
        for (key, value), given in zip(own.items(), content.values(), strict=False):
            if given.ndim == 4 and value.shape[1] != given.shape[1]:
                given = adapt_channels(given, 3, self.input_channels)
            if value.shape != given.shape:  # cannot be, by the digest of the file
                raise RuntimeError(f"{file}: {key} has shape {tuple(given.shape)} in the file")
            value.copy_(given)


def adapt_channels(weights: Tensor, old: int, new: int) -> Tensor:
    """Weights of a layer for images of `new` bands, [O, new + rest, k, k], from those for `old` ones: the first inputs.

    Each band gets the mean of the old ones' weights, so scaled that the sum stays: where all bands are equal, the
    features are those of an image of equal old ones.
    """
    of_bands = weights[:, :old].sum(dim=1, keepdim=True) / new
    return torch.cat([of_bands.expand(-1, new, *weights.shape[2:]), weights[:, old:]], dim=1)


class InvertedResidual(nn.Module):
    """Expansion by 1x1, one filter for each channel, projection by 1x1 (Sandler 2018, MobileNetV2, fig. 4d).

    float [B, channels_in, H, W] -> [B, channels_out, H / stride, W / stride]
    """

    def __init__(self, channels_in: int, channels_out: int, expansion: int, kernel: int, stride: int) -> None:
        super().__init__()
        inner = expansion * channels_in
        layers = [_convolution(channels_in, inner, 1)] if expansion > 1 else []
        layers += [_convolution(inner, inner, kernel, stride, groups=inner), _convolution(inner, channels_out, 1)]
        del layers[-1][-1]  # the projection has no ReLU
        self.layers = nn.Sequential(*layers)
        self.residual = stride == 1 and channels_in == channels_out

    def forward(self, features: Tensor) -> Tensor:
        result: Tensor = self.layers(features)
        return features + result if self.residual else result


class SameConvolution(nn.Conv2d):
    """Convolution that pads as TensorFlow's SAME does: at stride 2, an even side gets its odd pixel at the end."""

    def forward(self, features: Tensor) -> Tensor:
        if self.stride[0] == 1:
            return super().forward(features)
        before = (self.kernel_size[0] - 2) // 2
        after = self.kernel_size[0] - 2 - before
        padded = functional.pad(features, (before, after, before, after))
        return functional.conv2d(padded, self.weight, None, self.stride, 0, 1, self.groups)


def _convolution(channels_in: int, channels_out: int, kernel: int, stride: int = 1, groups: int = 1) -> nn.Sequential:
    padding = kernel // 2 if stride == 1 else 0
    return nn.Sequential(
        SameConvolution(channels_in, channels_out, kernel, stride, padding, groups=groups, bias=False),
        nn.BatchNorm2d(channels_out, eps=NORM_EPSILON),
        nn.ReLU6(True),
    )


def _round_channels(channels: float) -> int:
    """Round to a multiple of 8, by not more than a tenth down."""
    rounded = max(8, int(channels + 4) // 8 * 8)
    return rounded if rounded >= 0.9 * channels else rounded + 8
