"""The model as it is registered: a network together with everything that must be known to use it."""

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from trainer.data.resize import resize_images
from trainer.model.unet import UNet


@dataclass(frozen=True)
class Contract:
    """What training knew and prediction must know. Travels with the weights as JSON."""

    class_names: tuple[str, ...]
    """K names, the background's first."""

    colours: tuple[tuple[int, int, int], ...]
    """RGB of each of the K classes."""

    image_size: int
    """Side in pixels of the square that the network sees."""

    width: int = 32
    depth: int = 4
    norm: str = "batch"
    mean: tuple[float, float, float] = (123.675, 116.28, 103.53)
    """Subtracted from the RGB levels 0..255; the usual means of natural photographs."""

    std: tuple[float, float, float] = (58.395, 57.12, 57.375)
    threshold: float = 0.5
    """Foreground probability above which a pixel is foreground, for one foreground class."""

    dataset_digest: str = ""
    commit: str = ""

    @property
    def channels(self) -> int:
        """Channels of the network's output."""
        return 1 if len(self.class_names) == 2 else len(self.class_names)


class Segmenter(nn.Module):
    """From pictures of any size to class probabilities of that size.

    in   uint8 RGB [B, H, W, 3]
    out  float32 [B, C, H, W]: probability of the foreground (C = 1), or of each class (C = K)
    """

    def __init__(self, contract: Contract) -> None:
        super().__init__()
        self.contract = contract
        network = UNet(contract.channels, contract.width, contract.depth, contract.norm)
        # Channels last is the layout that convolutions are fast in, on CPUs and GPUs alike.
        self.network: UNet = network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.mean: Tensor
        self.std: Tensor
        self.register_buffer("mean", torch.tensor(contract.mean)[None, :, None, None], persistent=False)
        self.register_buffer("std", torch.tensor(contract.std)[None, :, None, None], persistent=False)

    def forward(self, images: Tensor) -> Tensor:
        resized = resize_images(images.permute(0, 3, 1, 2), self.contract.image_size)
        logits = self.network(self.normalise(resized))
        return self.probabilities(logits, (images.shape[1], images.shape[2]))

    def normalise(self, resized: Tensor) -> Tensor:
        """RGB levels [B, 3, S, S] in 0..255, of any dtype, as the network wants them: float32 around 0."""
        return (resized - self.mean) / self.std

    def probabilities(self, logits: Tensor, size: tuple[int, int]) -> Tensor:
        """The network's logits [B, C, S, S] as float32 probabilities [B, C, *size]."""
        logits = functional.interpolate(logits.float(), size=size, mode="bilinear", align_corners=False)
        return logits.sigmoid() if self.contract.channels == 1 else logits.softmax(dim=1)

    def classes(self, probabilities: Tensor) -> Tensor:
        """The decision: uint8 class ids [B, H, W] from probabilities [B, C, H, W]."""
        if self.contract.channels == 1:
            return (probabilities[:, 0] > self.contract.threshold).to(torch.uint8)
        return probabilities.argmax(dim=1).to(torch.uint8)


def network_logits(segmenter: Segmenter, resized: Tensor) -> Tensor:
    """The bare network on RGB levels [B, 3, S, S] that are resized already; logits [B, C, S, S]."""
    return segmenter.network(segmenter.normalise(resized).contiguous(memory_format=torch.channels_last))
