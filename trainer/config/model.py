"""Settings of the network, model.*."""

from dataclasses import dataclass
from typing import Literal

from trainer.config.check import require

ENCODERS = ("auto", "none", "efficientnet-lite0", "efficientnet-lite1", "efficientnet-lite2")
"""Values of model.encoder."""

HUB = "hf:"
"""Beginning of a value of model.encoder that names a model of the package transformers."""

ENCODER_STRIDE = 32
"""Multiple that a pretrained encoder wants data.image_size to be."""


@dataclass(frozen=True)
class ModelConfig:
    width: int | Literal["auto"] = "auto"
    """Channels of the UNet's first level; each level down has twice as many. Cost grows with its square. auto: that of
    model.init, or else 16 above a pretrained encoder; without one 32, but 16 where fewer than 200 pictures train: they
    gain more by more steps."""

    depth: int = 4
    """Number of times that the UNet halves the image."""

    norm: Literal["batch", "group"] = "batch"
    """Normalisation after each convolution: batch, or group (8 channels a group; independent of the batch size)."""

    encoder: str = "auto"
    """Encoder of the UNet. none: the plain one, of model.depth, from random weights; efficientnet-lite0, -lite1 or
    -lite2: pretrained on ImageNet, for a data.image_size that is a multiple of 32. hf:FOLDER or hf:ID: a model of
    Hugging Face in safetensors, such as DINOv2, DINOv3, ConvNeXt, Swin or ResNet, from a folder or the hub cache, where
    `hf download ID` puts it; for the same sizes, by the extra `hf`. Large ones learn best with a small
    optim.encoder_lr, or with model.freeze. auto: that of model.init, or else efficientnet-lite2 where data.image_size
    and model.depth allow it."""

    freeze: bool = False
    """Keep the weights of the pretrained encoder as they are, and train the decoder alone."""

    init: str | None = None
    """Start from the weights of another model of the same shape: a registry URI such as models:/cat-unet@champion, or a
    model folder. Of a model of other classes, all but the last layer. Unset: random."""

    def __post_init__(self) -> None:
        usable = self.width == "auto" or (self.width > 0 and self.width % 8 == 0)
        require(usable, "model.width", self.width, "a multiple of 8, or auto")
        require(1 <= self.depth <= 7, "model.depth", self.depth, "1 to 7")
        usable = self.encoder in ENCODERS or self.encoder.removeprefix(HUB) not in ("", self.encoder)
        wanted = f"one of {', '.join(ENCODERS)}, or {HUB} and a folder or an ID, such as {HUB}facebook/dinov2-small"
        require(usable, "model.encoder", self.encoder, wanted)

    @property
    def stride(self) -> int:
        """Pixels of which data.image_size must be a multiple."""
        return ENCODER_STRIDE if self.encoder.startswith(("efficientnet", HUB)) else 2**self.depth
