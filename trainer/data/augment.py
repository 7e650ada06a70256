"""Random changes to training pictures, on the batch's device, each a function of (seed, epoch, sample) alone.

The random numbers are drawn per sample; the pictures are then changed all at once. So a sample looks the same in
whichever batch, process or thread it is trained.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import kornia
import numpy as np
import torch
from torch import Tensor

from trainer import IGNORE


@dataclass(frozen=True)
class Strength:
    """Ranges that the random changes are drawn from."""

    turn: float  # degrees either way
    zoom: float  # factor either way, log-uniform
    stretch: float  # width against height, factor either way
    shift: float  # share of the side either way
    light: float  # brightness, added, of a full scale of 1
    colour: float  # contrast and saturation, factor either way
    hue: float  # radians either way
    grey: float  # probability of losing all colour
    blur: float  # probability of a soft picture


PASTED = Strength(turn=20, zoom=1.6, stretch=1.2, shift=0.3, light=0, colour=1, hue=0, grey=0, blur=0)
"""How a thing moves on its way into another picture; its colours change with that picture's."""

STRENGTHS = {
    "light": Strength(turn=5, zoom=1.15, stretch=1.05, shift=0.05, light=0.1, colour=1.2, hue=0.05, grey=0.0, blur=0.0),
    "strong": Strength(turn=20, zoom=1.5, stretch=1.2, shift=0.15, light=0.2, colour=1.6, hue=0.2, grey=0.1, blur=0.15),
}


@dataclass(frozen=True)
class Draw:
    """One sample's random numbers."""

    affine: np.ndarray  # float [2, 3], pixel of the result -> pixel of the picture, both in -1..1
    light: float
    contrast: float
    saturation: float
    hue: float
    blur: float  # sigma in pixels; 0 for none


def draw(strength: Strength, seed: int, epoch: int, sample: int, purpose: int = 7) -> Draw:
    """The random numbers of one sample in one epoch, others for each purpose."""
    random = np.random.default_rng([seed, epoch, sample, purpose])

    def factor(limit: float) -> float:
        return math.exp(random.uniform(-1, 1) * math.log(limit))

    flip = -1.0 if random.random() < 0.5 else 1.0
    turn = math.radians(random.uniform(-1, 1) * strength.turn)
    zoom, stretch = factor(strength.zoom), math.sqrt(factor(strength.stretch))
    shift = random.uniform(-1, 1, size=2) * 2 * strength.shift
    rotation = np.array([[math.cos(turn), -math.sin(turn)], [math.sin(turn), math.cos(turn)]])
    linear = rotation @ np.diag([flip / (zoom * stretch), stretch / zoom])
    grey = random.random() < strength.grey
    return Draw(
        affine=np.concatenate([linear, shift[:, None]], axis=1),
        light=random.uniform(-1, 1) * strength.light,
        contrast=factor(strength.colour),
        saturation=0.0 if grey else factor(strength.colour),
        hue=random.uniform(-1, 1) * strength.hue,
        blur=random.uniform(0.5, 1.5) if random.random() < strength.blur else 0.0,
    )


def choose_paste_sources(
    share: float, seed: int, epoch: int, samples: np.ndarray, candidates: np.ndarray
) -> np.ndarray:
    """For each sample, int64 [B], the one of `candidates` whose things are pasted into it, or -1 for most.

    `share`: probability that there is one.
    """
    chosen = np.full(len(samples), -1)
    for place, sample in enumerate(samples):
        random = np.random.default_rng([seed, epoch, int(sample), 11])
        if random.random() < share:
            chosen[place] = random.choice(candidates)
    return chosen


def augment(
    images: Tensor,
    masks: Tensor,
    preset: str,
    seed: int,
    epoch: int,
    samples: Sequence[int] | np.ndarray,
    side: int | None = None,
    pasted: tuple[Tensor, Tensor] | None = None,
) -> tuple[Tensor, Tensor]:
    """Change a batch: images uint8 [B, 3, S, S] -> float32 RGB levels [B, 3, T, T]; masks stay uint8, [B, T, T].

    `preset` off, light or strong; `samples` the B numbers that stand for the pictures; `side` T, by default S. Image
    and mask move together; what comes in from outside the picture is black and ignored. `pasted`: images and masks of B
    other pictures, of which everything but background is pasted over these (Ghiasi 2021, Simple copy-paste); not for
    `off`.
    """
    side = side or masks.shape[1]
    if preset == "off" or len(samples) == 0:
        return _shrink(images, masks, side)
    draws = [draw(STRENGTHS[preset], seed, epoch, int(sample)) for sample in samples]
    images, masks = _move(images, masks, draws, side)
    if pasted is not None:
        others = [draw(PASTED, seed, epoch, int(sample), purpose=13) for sample in samples]
        other_images, other_masks = _move(*pasted, others, side)
        there = (other_masks > 0) & (other_masks != IGNORE)
        images = torch.where(there[:, None], other_images, images)
        masks = torch.where(there, other_masks, masks)
    return _recolour(images, draws) * 255, masks


def _shrink(images: Tensor, masks: Tensor, side: int) -> tuple[Tensor, Tensor]:
    images = images.float()
    if side == masks.shape[1]:
        return images, masks
    images = torch.nn.functional.interpolate(images, size=(side, side), mode="bilinear", antialias=True)
    masks = torch.nn.functional.interpolate(masks[:, None], size=(side, side), mode="nearest-exact")[:, 0]
    return images, masks


def _move(images: Tensor, masks: Tensor, draws: list[Draw], side: int) -> tuple[Tensor, Tensor]:
    """Flip, turn, zoom and shift to side x side pixels; images as float32 in [0, 1]."""
    affine = _on(images.device, np.stack([one.affine for one in draws]))
    grid = torch.nn.functional.affine_grid(affine, [len(draws), 1, side, side], align_corners=False)
    sample = torch.nn.functional.grid_sample
    moved = sample(images.float() / 255, grid, mode="bilinear", padding_mode="zeros", align_corners=False)
    # Outside is 0 for grid_sample, and 0 is background: sampling 255 - mask makes outside 255.
    flipped = sample((IGNORE - masks[:, None]).float(), grid, mode="nearest", padding_mode="zeros", align_corners=False)
    return moved, (IGNORE - flipped[:, 0]).to(torch.uint8)


def _recolour(images: Tensor, draws: list[Draw]) -> Tensor:
    def column(name: str) -> Tensor:
        return _on(images.device, [getattr(one, name) for one in draws])

    images = kornia.enhance.adjust_contrast_with_mean_subtraction(images, column("contrast"))
    images = kornia.enhance.adjust_brightness(images, column("light"))
    images = saturate_and_tint(images, column("saturation"), column("hue"))
    soft = [index for index, one in enumerate(draws) if one.blur]
    if soft:
        # What gaussian_blur2d does, but for a check of sigma that makes the CPU wait for the GPU.
        kernel = kornia.filters.get_gaussian_kernel1d(7, torch.tensor([[draws[index].blur] for index in soft]))
        kernel, places = _on(images.device, kernel), _on(images.device, torch.tensor(soft))
        images[places] = kornia.filters.filter2d_separable(images[places], kernel, kernel)
    return images


def saturate_and_tint(images: Tensor, saturation: Tensor, hue: Tensor) -> Tensor:
    """Colours of images [B, 3, H, W] in [0, 1] with their saturation multiplied and their hue turned, both [B].

    `hue` in radians. What kornia's adjust_saturation and then adjust_hue do, each by way of HSV (Smith 1978, Color
    gamut transform pairs), in one pass and a third of the time, which was most of augmentation's.
    """
    red, green, blue = images.unbind(1)
    high, low = images.amax(1), images.amin(1)
    delta = high - low
    safe = delta.clamp(min=1e-12)
    # The hue on a circle of six: red at 0, green at 2, blue at 4.
    from_red, from_green, from_blue = (green - blue) / safe, (blue - red) / safe + 2, (red - green) / safe + 4
    circle = torch.where(red == high, from_red, torch.where(green == high, from_green, from_blue))
    circle = circle + (hue * (3 / math.pi))[:, None, None]
    chroma = torch.minimum(delta * saturation[:, None, None], high)  # no more than full saturation
    result = torch.empty_like(images)
    for channel, opposite in enumerate((3.0, 5.0, 1.0)):
        # Each channel falls from its full value within two sixths of the colour opposite to it.
        distance = 3 - ((circle - opposite).remainder(6) - 3).abs()
        torch.sub(high, (2 - distance).clamp(0, 1) * chroma, out=result[:, channel])
    return result


def _on(device: torch.device, values: Any) -> Tensor:
    """`values` on the device, floats as float32; a GPU fetches them without making the CPU wait."""
    tensor = torch.as_tensor(values)
    return tensor.to(device, torch.float32 if tensor.is_floating_point() else tensor.dtype, non_blocking=True)
