"""The model as it is registered: a network together with everything needed to use it.

The only place where an image becomes logits, probabilities and class ids.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from trainer.data.bands import BandLevels
from trainer.data.image_io import AnyLevels
from trainer.data.levels import Levels
from trainer.data.resize import resize_images, scale_image, shrink_image
from trainer.data.view import View, scaled_length
from trainer.model.encoders import EfficientNetLite
from trainer.model.hub_geometry import geometry
from trainer.model.huggingface import HubEncoder
from trainer.model.tiles import TILE_SIDE, TOGETHER, interpolate_rows, stretch_rows, tile_rows
from trainer.model.unet import EncoderUNet, UNet
from trainer.system.strips import HUGE_PIXELS, strips

LEVEL_COPIES = 6
"""Feature maps of the first level's width that are in memory at once: input and output of a layer, joined, and the
levels below, which are half as large together."""


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
    encoder: str = "none"
    """Pretrained encoder, a key of `pretrained.WEIGHTS`, or hf: and a name for people; none: the plain UNet, the only
    one that `depth` is for."""

    encoder_config: str = ""
    """Settings that rebuild an encoder of hf:, as JSON; see `hub_geometry.encoder_settings`."""

    encoder_library: str = ""
    """Package and version that made the encoder of hf:."""

    encoder_licence: str = ""
    """Licence of the weights that an encoder of hf: began with, by its model card."""

    input_channels: int = 3
    """Bands of the images; 3 are red, green and blue."""

    mean: tuple[float, ...] = (123.675, 116.28, 103.53)
    """Mean level of each band, 0..255, that is subtracted from images: those of ImageNet, or of the training images
    where they have other bands than RGB."""

    std: tuple[float, ...] = (58.395, 57.12, 57.375)
    """Standard deviation of the levels of each band that images are divided by."""

    threshold: float = 0.5
    """Foreground probability above which a pixel is foreground, for one foreground class."""

    view: str = "whole"
    """whole: the network sees an image resized to image_size; tiles: parts of it, trained with crops of that side."""

    scale: float = 1.0
    """Side of the image that tiles are cut from, as a share of its own."""

    keep_aspect: bool = False
    """Whether an image is filled up to a square before it is resized."""
    threshold_curve: tuple[float, ...] = ()
    """mIoU on the validation images at each of `calibration.THRESHOLDS`; empty where it was not measured."""

    temperature: float = 1.0
    """Number that logits are divided by, so that probabilities are as often right as they say; 1: as they are."""

    calibration_error: tuple[float, float] | None = None
    """Expected calibration error on validation pixels without and with the temperature; None: not measured."""

    certainty: tuple[float, float] | None = None
    """Mean and standard deviation, over the validation images, of `doubt.Certainty`; None: not measured."""

    unsure_below: float | None = None
    """Certainty up to which an image is one to look at first: a fifth of the validation images are; None: unknown."""

    empty_share: float | None = None
    """Share of the labelled images without foreground; None: unknown."""

    training_sides: tuple[tuple[int, int, int], tuple[int, int, int]] | None = None
    """Smallest, median and largest height, and width, of the images that trained, in pixels; None: unknown."""

    training_look: tuple[tuple[float, float], ...] = ()
    """Mean and standard deviation, over images that trained, of each number of `appearance`; empty: unknown."""

    object_areas: tuple[int, ...] = ()
    """Area of the smallest usual object of each class but the background, in pixels as the network sees them; 0: not
    seen; empty: unknown (`specks.usual_areas`)."""

    levels: tuple[float, float] | None = None
    """Stored levels, lowest and highest, that become 0..255 in images of more than 8 bits; None: each image by itself,
    as in models that were trained on 8 bits."""

    band_levels: tuple[tuple[float, float], ...] | None = None
    """Stored levels of each band, lowest and highest, that become 0..255, where input_channels is not 3; else None."""

    dataset_digest: str = ""
    commit: str = ""

    @property
    def range_of_levels(self) -> AnyLevels | None:
        """Scaling of images of more than 8 bits or of other bands than RGB, for `read_image`."""
        if self.band_levels is not None:
            return BandLevels(tuple(Levels(low, high) for low, high in self.band_levels))
        return None if self.levels is None else Levels(*self.levels)

    @property
    def shown(self) -> View:
        """Way in which the network is shown images."""
        return View(self.image_size, self.view == "tiles", self.scale, self.keep_aspect, self.input_channels)

    @property
    def stride(self) -> int:
        """Pixels of the image that become one at the network's bottom; image_size is a multiple."""
        return 2**self.depth if self.encoder == "none" else EfficientNetLite.stride

    @property
    def least_bottom(self) -> int:
        """Least side in pixels of the network's bottom in training.

        Batch norm has nothing to normalise in a single pixel, and pretrained features see little in fewer than four by
        four (.github/RESULTS.md).
        """
        return 2 if self.encoder == "none" else 4

    @property
    def channels(self) -> int:
        """Channels of the network's output."""
        return 1 if len(self.class_names) == 2 else len(self.class_names)

    @property
    def picture_bytes(self) -> int:
        """Memory that one picture takes in the network, about, in bytes."""
        widest = max(float(self.width), geometry(self.encoder_config).numbers_per_pixel if self.encoder_config else 0.0)
        tiles = TOGETHER * TILE_SIDE**2 if self.view == "tiles" else 1
        return int(4 * self.image_size**2 * max(LEVEL_COPIES * widest, 2 * self.channels)) * tiles


class Segmenter(nn.Module):
    """Class probabilities for images of any size.

    in   uint8 [B, H, W, input_channels], RGB where these are 3
    out  float32 [B, C, H, W]: probability of the foreground (C = 1), or of each class (C = K)
    """

    def __init__(self, contract: Contract) -> None:
        super().__init__()
        self.contract = contract
        network = _make_network(contract)
        # Channels last is the layout that convolutions are fast in, on CPUs and GPUs alike.
        self.network: UNet | EncoderUNet = network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.mean: Tensor
        self.std: Tensor
        self.register_buffer("mean", torch.tensor(contract.mean)[None, :, None, None], persistent=False)
        self.register_buffer("std", torch.tensor(contract.std)[None, :, None, None], persistent=False)

    def forward(self, images: Tensor) -> Tensor:
        levels, (height, width) = images.permute(0, 3, 1, 2), images.shape[1:3]
        view = self.contract.shown
        if view.tiles:  # all at once: a graph holds no loop over the tiles of an image of any size
            return self._forward_tiles(levels)
        if not view.keep_aspect:
            return self.probabilities(self.logits(resize_images(levels, view.size)), (height, width))
        longer = torch.sym_max(height, width)
        square = _fit(_fit(levels, 2, longer), 3, longer)
        found = self.probabilities(self.logits(resize_images(square, view.size)), (longer, longer))
        return _fit(_fit(found, 2, height), 3, width)

    def _forward_tiles(self, levels: Tensor) -> Tensor:
        """Probabilities [B, C, H, W] of levels [B, input_channels, H, W], as if each image were one tile."""
        (height, width), scale, stride = levels.shape[2:], self.contract.scale, self.contract.stride
        scaled = levels.float()
        if scale != 1:
            size = scaled_length(height, scale), scaled_length(width, scale)
            scaled = functional.interpolate(scaled, size=size, mode="bilinear", antialias=True).round().clamp(0, 255)
        rows, columns = scaled.shape[2:]
        # One unit more than is needed: a graph for any size must not meet a single pixel at the bottom.
        filled = _fit(scaled, 2, ((rows + stride - 1) // stride + 1) * stride)
        filled = _fit(filled, 3, ((columns + stride - 1) // stride + 1) * stride)
        found = _fit(_fit(self.logits(filled), 2, rows), 3, columns)
        return self.probabilities(found, (height, width))

    def normalise(self, resized: Tensor) -> Tensor:
        """Levels [B, input_channels, S, S] in 0..255, of any dtype, as float32 around 0."""
        return (resized - self.mean) / self.std

    def logits(self, resized: Tensor) -> Tensor:
        """Network output [B, C, S, S] for levels [B, input_channels, S, S] of images that are resized already."""
        output: Tensor = self.network(self.normalise(resized).contiguous(memory_format=torch.channels_last))
        return output

    def probabilities(self, logits: Tensor, size: tuple[int, int]) -> Tensor:
        """Float32 probabilities [B, C, *size] from logits [B, C, S, S]."""
        logits = functional.interpolate(logits.float(), size=size, mode="bilinear", align_corners=False)
        return self._activate(logits)

    def show(self, image: np.ndarray) -> np.ndarray:
        """Image as `rows` takes it: resized to a square, or scaled for tiles. Both uint8 [H, W, input_channels]."""
        view = self.contract.shown
        if view.tiles:
            return scale_image(image, view.scaled(image.shape))
        return shrink_image(image, view.size, view.keep_aspect)

    def rows(self, shown: np.ndarray, size: tuple[int, int], flips: bool = False) -> Iterator[tuple[slice, Tensor]]:
        """Yield rows of an image of `size` (H, W) and their probabilities [1, C, rows, W], from what `show` gave.

        `flips`: mean of the image's and of its mirror image's.
        """
        levels = torch.from_numpy(shown).permute(2, 0, 1).to(self.mean.device)
        view = self.contract.shown
        if view.tiles:
            yield from self._tile_rows(levels, size, flips)
            return
        logits = self.logits(levels[None])
        if not flips:
            yield from self.strips(logits, size)
            return
        mirrored = self.logits(levels[None].flip(3)).flip(3)
        for (part, one), (_, other) in zip(self.strips(logits, size), self.strips(mirrored, size), strict=True):
            yield part, (one + other) / 2

    def _tile_rows(self, levels: Tensor, size: tuple[int, int], flips: bool) -> Iterator[tuple[slice, Tensor]]:
        contract = self.contract

        def probabilities(tiles: Tensor) -> Tensor:
            found = self._activate(self.logits(tiles).float())
            return (found + self._activate(self.logits(tiles.flip(3)).float()).flip(3)) / 2 if flips else found

        parts = tile_rows(levels, contract.image_size, contract.stride, contract.channels, probabilities)
        height, width = levels.shape[1:]
        return stretch_rows(parts, (height, width), size)

    def strips(self, logits: Tensor, size: tuple[int, int]) -> Iterator[tuple[slice, Tensor]]:
        """Yield rows of an image of `size` (H, W) and their probabilities [1, C, rows, W], from logits [1, C, S, S].

        All rows at once, with the bits of `probabilities`; but for a huge image strip by strip, and for one that was
        filled up to a square.
        """
        height, width = size
        longer = max(size) if self.contract.keep_aspect else 0
        if not longer and height * width * logits.shape[1] <= HUGE_PIXELS:
            yield slice(0, height), self.probabilities(logits, size)
            return
        side = logits.shape[2]
        whole = longer or height, longer or width
        wide = functional.interpolate(logits.float(), size=(side, whole[1]), mode="bilinear", align_corners=False)
        wide = wide[..., :width]
        for rows in strips(height, width * logits.shape[1]):
            strip, _ = interpolate_rows(wide, 0, side - 1, rows, side / whole[0])
            yield rows, self._activate(strip)

    def _activate(self, logits: Tensor) -> Tensor:
        if self.contract.temperature != 1:
            logits = logits / self.contract.temperature
        return logits.sigmoid() if self.contract.channels == 1 else logits.softmax(dim=1)

    def classes(self, probabilities: Tensor) -> Tensor:
        """Class ids, uint8 [B, H, W], from probabilities [B, C, H, W]: threshold (C = 1) or argmax."""
        if self.contract.channels == 1:
            return (probabilities[:, 0] > self.contract.threshold).to(torch.uint8)
        return probabilities.argmax(dim=1).to(torch.uint8)

    def confidence(self, probabilities: Tensor) -> Tensor:
        """Probability of each pixel's class, that of `classes`, float32 [B, H, W], from probabilities [B, C, H, W]."""
        if self.contract.channels == 1:
            foreground = probabilities[:, 0]
            background = (foreground <= self.contract.threshold).float()
            return (foreground - background).abs()  # p or 1 - p; `where` takes three times as long
        return probabilities.amax(dim=1)

    @torch.no_grad()
    def predict(self, image: np.ndarray, size: tuple[int, int] | None = None) -> tuple[np.ndarray, np.ndarray]:
        """Class ids, uint8 [*size], and confidence, float32 [*size], of an image, uint8 [H, W, input_channels].

        `size` is by default the image's own (H, W).
        """
        size = size or (image.shape[0], image.shape[1])
        mask, confidence = np.empty(size, np.uint8), np.empty(size, np.float32)
        for rows, probabilities in self.rows(self.show(image), size):
            mask[rows] = self.classes(probabilities)[0].cpu().numpy()
            confidence[rows] = self.confidence(probabilities)[0].cpu().numpy()
        return mask, confidence


def _fit(images: Tensor, dim: int, length: int) -> Tensor:
    """Cut or fill up one dimension with zeros. Unlike slicing and padding, the same operations for any length."""
    places = torch.arange(length, device=images.device)
    shape = [1, 1, 1, 1]
    shape[dim] = -1
    inside = (places < images.shape[dim]).reshape(shape)
    return images.index_select(dim, places.clamp(max=images.shape[dim] - 1)) * inside


def _make_network(contract: Contract) -> UNet | EncoderUNet:
    if contract.encoder == "none":
        return UNet(contract.channels, contract.width, contract.depth, contract.norm, contract.input_channels)
    hub = contract.encoder_config
    encoder = HubEncoder(hub) if hub else EfficientNetLite(contract.encoder, contract.input_channels)
    return EncoderUNet(encoder, contract.channels, contract.width, contract.norm)
