"""Random augmentation of training batches on their device; each sample's is a function of (seed, epoch, sample) alone.

The random numbers are drawn per sample; the images are then changed as one batch. So a sample looks the same in any
batch, process or thread.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import kornia
import numpy as np
import torch
from torch import Tensor

from trainer import IGNORE


@dataclass(frozen=True)
class Strength:
    """Ranges of the random parameters."""

    rotation: float
    """Largest angle, in degrees, either way."""

    zoom: float
    """Largest factor, either way; log-uniform."""

    stretch: float
    """Largest factor of width against height, either way; log-uniform."""

    shift: float
    """Largest shift, as a share of the side, either way."""

    brightness: float
    """Largest value added to images in [0, 1], either way."""

    colour: float
    """Largest factor of contrast and of saturation, either way; log-uniform."""

    hue: float
    """Largest angle, in radians, either way."""

    grey: float
    """Probability of an image without colour."""

    blur: float
    """Probability of a blurred image."""


STRENGTHS = {
    "light": Strength(
        rotation=5, zoom=1.15, stretch=1.05, shift=0.05, brightness=0.1, colour=1.2, hue=0.05, grey=0.0, blur=0.0
    ),
    "strong": Strength(
        rotation=20, zoom=1.5, stretch=1.2, shift=0.15, brightness=0.2, colour=1.6, hue=0.2, grey=0.1, blur=0.15
    ),
}
"""Preset of data.augment -> its ranges."""

PASTE_STRENGTH = Strength(rotation=20, zoom=1.6, stretch=1.2, shift=0.3, brightness=0, colour=1, hue=0, grey=0, blur=0)
"""Ranges for pasted objects: movement only, because their colours change with the image that they are pasted into."""


BOX_SHARE = 0.5
"""Share of the unlabelled images that a box of another one is put into."""


def reach(preset: str) -> float:
    """Side of the square that a changed image may show parts of, in sides of the image; 1 where nothing moves."""
    if preset == "off":
        return 1.0
    strength = STRENGTHS[preset]
    angle = math.radians(strength.rotation)
    return strength.zoom * math.sqrt(strength.stretch) * (math.cos(angle) + math.sin(angle))


@dataclass(frozen=True)
class Parameters:
    """Random numbers of one sample."""

    affine: np.ndarray
    """Map of a pixel of the result to a pixel of the source, float [2, 3]; both coordinates in [-1, 1]."""

    brightness: float
    """Value added to images in [0, 1]."""

    contrast: float
    """Factor."""

    saturation: float
    """Factor."""

    hue: float
    """Angle in radians."""

    blur: float
    """Sigma of the Gaussian in pixels; 0 for no blur."""


def draw_parameters(strength: Strength, seed: int, epoch: int, sample: int, stream: int = 7) -> Parameters:
    """Draw the random numbers of one sample in one epoch; each `stream` gives independent ones."""
    random = np.random.default_rng([seed, epoch, sample, stream])

    def factor(limit: float) -> float:
        return math.exp(random.uniform(-1, 1) * math.log(limit))

    flip = -1.0 if random.random() < 0.5 else 1.0
    angle = math.radians(random.uniform(-1, 1) * strength.rotation)
    zoom, stretch = factor(strength.zoom), math.sqrt(factor(strength.stretch))
    shift = random.uniform(-1, 1, size=2) * 2 * strength.shift
    rotation = np.array([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]])
    linear = rotation @ np.diag([flip / (zoom * stretch), stretch / zoom])
    grey = random.random() < strength.grey
    return Parameters(
        affine=np.concatenate([linear, shift[:, None]], axis=1),
        brightness=random.uniform(-1, 1) * strength.brightness,
        contrast=factor(strength.colour),
        saturation=0.0 if grey else factor(strength.colour),
        hue=random.uniform(-1, 1) * strength.hue,
        blur=random.uniform(0.5, 1.5) if random.random() < strength.blur else 0.0,
    )


def choose_paste_sources(
    share: float, seed: int, epoch: int, samples: np.ndarray, candidates: np.ndarray
) -> np.ndarray:
    """Choose a paste source for each sample, int64 [B]: one of `candidates` with probability `share`, else -1."""
    sources = np.full(len(samples), -1)
    for position, sample in enumerate(samples):
        random = np.random.default_rng([seed, epoch, int(sample), 11])
        if random.random() < share:
            sources[position] = random.choice(candidates)
    return sources


def draw_boxes(side: int, seed: int, epoch: int, samples: Sequence[int] | np.ndarray) -> np.ndarray:
    """Box for half of the samples, bool [B, side, side], of a quarter to half of the pixels (Yun 2019, CutMix)."""
    boxes = np.zeros((len(samples), side, side), bool)
    for box, sample in zip(boxes, samples, strict=True):
        random = np.random.default_rng([seed, epoch, int(sample), 19])
        area, aspect = random.uniform(0.25, 0.5), math.exp(random.uniform(-1, 1) * math.log(2))
        height, width = (min(side, round(side * math.sqrt(area * ratio))) for ratio in (aspect, 1 / aspect))
        top, left = random.integers(side - height + 1), random.integers(side - width + 1)
        if random.random() < BOX_SHARE:
            box[top : top + height, left : left + width] = True
    return boxes


def augment(
    images: Tensor,
    masks: Tensor,
    preset: str,
    seed: int,
    epoch: int,
    samples: Sequence[int] | np.ndarray,
    side: int | None = None,
    pasted: tuple[Tensor, Tensor] | None = None,
    share: float = 1.0,
) -> tuple[Tensor, Tensor]:
    """Augment a batch: images uint8 [B, C, S, S] -> float32 levels [B, C, T, T]; masks stay uint8, [B, T, T].

    `preset`: off, light or strong. `samples`: B indices that the random numbers depend on. `side`: T, by default S.
    Image and mask move together; pixels from outside the image are black and ignored. `pasted`: images and masks of B
    paste sources, whose foreground is pasted over these (Ghiasi 2021, Simple copy-paste); without effect for `off`.
    """
    side = side or masks.shape[1]
    if preset == "off" or len(samples) == 0:
        return _shrink(images, masks, side)
    strength, movement = STRENGTHS[preset], PASTE_STRENGTH
    if share != 1:  # where a crop lies is random already
        strength, movement = replace(strength, shift=0), replace(movement, shift=0)
    parameters = [draw_parameters(strength, seed, epoch, int(sample)) for sample in samples]
    images, masks = _warp(images, masks, parameters, side, share)
    if pasted is not None:
        moved = [draw_parameters(movement, seed, epoch, int(sample), stream=13) for sample in samples]
        source_images, source_masks = _warp(*pasted, moved, side, share)
        foreground = (source_masks > 0) & (source_masks != IGNORE)
        images = torch.where(foreground[:, None], source_images, images)
        masks = torch.where(foreground, source_masks, masks)
    return _recolour(images, parameters) * 255, masks


def _shrink(images: Tensor, masks: Tensor, side: int) -> tuple[Tensor, Tensor]:
    """Resize to side x side pixels; images as float32 levels."""
    images = images.float()
    if side == masks.shape[1]:
        return images, masks
    images = torch.nn.functional.interpolate(images, size=(side, side), mode="bilinear", antialias=True)
    masks = torch.nn.functional.interpolate(masks[:, None], size=(side, side), mode="nearest-exact")[:, 0]
    return images, masks


def _warp(
    images: Tensor, masks: Tensor, parameters: list[Parameters], side: int, share: float = 1.0
) -> tuple[Tensor, Tensor]:
    """Flip, rotate, zoom and shift to side x side pixels; images as float32 in [0, 1]."""
    affine = _to_device(images.device, np.stack([share * one.affine for one in parameters]))
    grid = torch.nn.functional.affine_grid(affine, [len(parameters), 1, side, side], align_corners=False)
    sample = torch.nn.functional.grid_sample
    warped = sample(images.float() / 255, grid, mode="bilinear", padding_mode="zeros", align_corners=False)
    # grid_sample gives 0 outside, and 0 is background: sampling 255 - mask makes outside 255.
    inverted = sample(
        (IGNORE - masks[:, None]).float(), grid, mode="nearest", padding_mode="zeros", align_corners=False
    )
    return warped, (IGNORE - inverted[:, 0]).to(torch.uint8)


def _recolour(images: Tensor, parameters: list[Parameters]) -> Tensor:
    """Change contrast, brightness, saturation, hue and sharpness of images [B, C, H, W] in [0, 1]."""

    def column(name: str) -> Tensor:
        return _to_device(images.device, [getattr(one, name) for one in parameters])

    images = kornia.enhance.adjust_contrast_with_mean_subtraction(images, column("contrast"))
    images = kornia.enhance.adjust_brightness(images, column("brightness"))
    if images.shape[1] == 3:  # other bands have no colour
        images = adjust_saturation_and_hue(images, column("saturation"), column("hue"))
    blurred = [index for index, one in enumerate(parameters) if one.blur]
    if blurred:
        # gaussian_blur2d without its check of sigma, which makes the CPU wait for the GPU.
        kernel = kornia.filters.get_gaussian_kernel1d(7, torch.tensor([[parameters[index].blur] for index in blurred]))
        kernel, rows = _to_device(images.device, kernel), _to_device(images.device, torch.tensor(blurred))
        images[rows] = kornia.filters.filter2d_separable(images[rows], kernel, kernel)
    return images


def adjust_saturation_and_hue(images: Tensor, saturation: Tensor, hue: Tensor) -> Tensor:
    """Multiply the saturation and rotate the hue of images [B, 3, H, W] in [0, 1].

    `saturation`: factors [B]; `hue`: angles [B] in radians. Equal to kornia's adjust_saturation followed by adjust_hue,
    each of which converts to HSV and back (Smith 1978, Color gamut transform pairs), but takes a third of the time.
    """
    red, green, blue = images.unbind(1)
    high, low = images.amax(1), images.amin(1)
    delta = high - low
    safe = delta.clamp(min=1e-12)
    # Hue on a circle of length 6: red at 0, green at 2, blue at 4.
    from_red, from_green, from_blue = (green - blue) / safe, (blue - red) / safe + 2, (red - green) / safe + 4
    circle = torch.where(red == high, from_red, torch.where(green == high, from_green, from_blue))
    circle = circle + (hue * (3 / math.pi))[:, None, None]
    chroma = torch.minimum(delta * saturation[:, None, None], high)  # at most full saturation
    result = torch.empty_like(images)
    for channel, opposite in enumerate((3.0, 5.0, 1.0)):
        # A channel falls from its full value within 2 of the colour opposite to it.
        distance = 3 - ((circle - opposite).remainder(6) - 3).abs()
        torch.sub(high, (2 - distance).clamp(0, 1) * chroma, out=result[:, channel])
    return result


def _to_device(device: torch.device, values: Any) -> Tensor:
    """Copy `values` to the device, floats as float32, without making the CPU wait for a GPU."""
    tensor = torch.as_tensor(values)
    return tensor.to(device, torch.float32 if tensor.is_floating_point() else tensor.dtype, non_blocking=True)
