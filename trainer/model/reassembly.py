"""Maps of a vision transformer, all at one stride, as the pyramid that a UNet's decoder reads."""

from torch import Tensor, nn
from torch.nn import functional

WIDTHS = (3, 4, 8, 16)
"""Channels of the maps at strides 4, 8, 16 and 32, as multiples of the decoder's width."""

STRIDES = (4, 8, 16, 32)


class Reassembly(nn.Module):
    """Projection of each map by 1x1, and resizing to its stride, the earliest layer to the smallest (Ranftl 2021, DPT).

    in   the images, and a map for each of STRIDES: float [B, channels_in[i], H / stride, W / stride]
    out  features at strides 2, 4, 8, 16 and 32: float [B, channels[i], H / 2 ** (i + 1), W / 2 ** (i + 1)]; that of
         stride 2 is the image itself, averaged
    """

    def __init__(self, channels_in: tuple[int, ...], stride: int, width: int, input_channels: int = 3) -> None:
        """Make the projections. `stride` of all maps; `width` of the decoder; `input_channels` of the images."""
        super().__init__()
        self.channels = (input_channels, *(times * width for times in WIDTHS))
        self.stride = stride
        self.project = nn.ModuleList(
            nn.Conv2d(channels, wanted, 1) for channels, wanted in zip(channels_in, self.channels[1:], strict=True)
        )

    def forward(self, images: Tensor, maps: list[Tensor]) -> list[Tensor]:
        results = [functional.avg_pool2d(images, 2)]
        for project, features, stride in zip(self.project, maps, STRIDES, strict=True):
            projected = project(features)
            if stride > self.stride:
                projected = functional.avg_pool2d(projected, stride // self.stride)
            elif stride < self.stride:
                times = self.stride // stride
                projected = functional.interpolate(projected, scale_factor=times, mode="bilinear", align_corners=False)
            results.append(projected)
        return results
