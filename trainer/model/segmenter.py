"""The model as it is registered: a network together with everything needed to use it.

The only place where an image becomes logits, probabilities and class ids.
"""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from trainer.data.levels import Levels
from trainer.data.resize import resize_images, shrink_image
from trainer.model.unet import UNet


@dataclass(frozen=True)
class Contract:
    """Everything beside the weights that prediction needs. Travels with them as JSON."""

    class_names: tuple[str, ...]
    """K names, the background's first."""

    colours: tuple[tuple[int, int, int], ...]
    """RGB of each of the K classes."""

    image_size: int
    """Side in pixels of the square that images are resized to for the network."""

    width: int = 32
    depth: int = 4
    norm: str = "batch"
    mean: tuple[float, float, float] = (123.675, 116.28, 103.53)
    """Mean RGB levels, 0..255, that are subtracted from images: those of ImageNet."""

    std: tuple[float, float, float] = (58.395, 57.12, 57.375)
    """Standard deviations of the RGB levels that images are divided by."""

    threshold: float = 0.5
    """Foreground probability above which a pixel is foreground, for one foreground class."""

    levels: tuple[float, float] | None = None
    """Stored levels, lowest and highest, that become 0..255 in images of more than 8 bits; None: each image by itself,
    as in models that were trained on 8 bits."""

    dataset_digest: str = ""
    commit: str = ""

    @property
    def range_of_levels(self) -> Levels | None:
        """Scaling of images of more than 8 bits, for `read_image`."""
        return None if self.levels is None else Levels(*self.levels)

    @property
    def channels(self) -> int:
        """Channels of the network's output."""
        return 1 if len(self.class_names) == 2 else len(self.class_names)


class Segmenter(nn.Module):
    """Class probabilities for images of any size.

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
        return self.probabilities(self.logits(resized), (images.shape[1], images.shape[2]))

    def normalise(self, resized: Tensor) -> Tensor:
        """RGB levels [B, 3, S, S] in 0..255, of any dtype, as float32 around 0."""
        return (resized - self.mean) / self.std

    def logits(self, resized: Tensor) -> Tensor:
        """Network output [B, C, S, S] for RGB levels [B, 3, S, S] of images that are resized already."""
        output: Tensor = self.network(self.normalise(resized).contiguous(memory_format=torch.channels_last))
        return output

    def probabilities(self, logits: Tensor, size: tuple[int, int]) -> Tensor:
        """Float32 probabilities [B, C, *size] from logits [B, C, S, S]."""
        logits = functional.interpolate(logits.float(), size=size, mode="bilinear", align_corners=False)
        return logits.sigmoid() if self.contract.channels == 1 else logits.softmax(dim=1)

    def classes(self, probabilities: Tensor) -> Tensor:
        """Class ids, uint8 [B, H, W], from probabilities [B, C, H, W]: threshold (C = 1) or argmax."""
        if self.contract.channels == 1:
            return (probabilities[:, 0] > self.contract.threshold).to(torch.uint8)
        return probabilities.argmax(dim=1).to(torch.uint8)

    def confidence(self, probabilities: Tensor) -> Tensor:
        """Probability of the more probable class, float32 [B, H, W], from probabilities [B, C, H, W]."""
        if self.contract.channels == 1:
            probabilities = torch.maximum(probabilities, 1 - probabilities)
        return probabilities.amax(dim=1)

    @torch.no_grad()
    def predict(self, image: np.ndarray, size: tuple[int, int] | None = None) -> tuple[np.ndarray, np.ndarray]:
        """Class ids, uint8 [*size], and confidence, float32 [*size], of an image, uint8 RGB [H, W, 3].

        `size` is by default the image's own (H, W).
        """
        resized = torch.from_numpy(shrink_image(image, self.contract.image_size)).permute(2, 0, 1)[None]
        logits = self.logits(resized.to(self.mean.device))
        probabilities = self.probabilities(logits, size or (image.shape[0], image.shape[1]))
        return self.classes(probabilities)[0].cpu().numpy(), self.confidence(probabilities)[0].cpu().numpy()
