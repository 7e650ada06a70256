"""Random changes to training pictures, on the batch's device, each a function of (seed, epoch, sample) alone.

The random numbers are drawn per sample; the pictures are then changed all at once. So a sample looks the same in
whichever batch, process or thread it is trained.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

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


def draw(strength: Strength, seed: int, epoch: int, sample: int) -> Draw:
    """The random numbers of one sample in one epoch."""
    random = np.random.default_rng([seed, epoch, sample, 7])

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


def augment(
    images: Tensor, masks: Tensor, preset: str, seed: int, epoch: int, samples: Sequence[int] | np.ndarray
) -> tuple[Tensor, Tensor]:
    """Change a batch: images uint8 [B, 3, S, S] -> float32 RGB levels [B, 3, S, S]; masks stay uint8 [B, S, S].

    `preset` off, light or strong; `samples` the B numbers that stand for the pictures. Image and mask move together;
    what comes in from outside the picture is black and ignored.
    """
    if preset == "off" or len(samples) == 0:
        return images.float(), masks
    draws = [draw(STRENGTHS[preset], seed, epoch, int(sample)) for sample in samples]
    images, masks = _move(images, masks, draws)
    return _recolour(images, draws) * 255, masks


def _move(images: Tensor, masks: Tensor, draws: list[Draw]) -> tuple[Tensor, Tensor]:
    """Flip, turn, zoom and shift; images as float32 in [0, 1]."""
    affine = torch.tensor(np.stack([one.affine for one in draws]), dtype=torch.float32, device=images.device)
    grid = torch.nn.functional.affine_grid(affine, [len(draws), 1, *masks.shape[1:]], align_corners=False)
    sample = torch.nn.functional.grid_sample
    moved = sample(images.float() / 255, grid, mode="bilinear", padding_mode="zeros", align_corners=False)
    # Outside is 0 for grid_sample, and 0 is background: sampling 255 - mask makes outside 255.
    flipped = sample((IGNORE - masks[:, None]).float(), grid, mode="nearest", padding_mode="zeros", align_corners=False)
    return moved, (IGNORE - flipped[:, 0]).to(torch.uint8)


def _recolour(images: Tensor, draws: list[Draw]) -> Tensor:
    def column(name: str) -> Tensor:
        return torch.tensor([getattr(one, name) for one in draws], dtype=torch.float32, device=images.device)

    images = kornia.enhance.adjust_contrast_with_mean_subtraction(images, column("contrast"))
    images = kornia.enhance.adjust_brightness(images, column("light"))
    images = kornia.enhance.adjust_saturation(images, column("saturation"))
    images = kornia.enhance.adjust_hue(images, column("hue"))
    soft = [index for index, one in enumerate(draws) if one.blur]
    if soft:
        sigma = column("blur")[soft][:, None].expand(-1, 2)
        images[soft] = kornia.filters.gaussian_blur2d(images[soft], (7, 7), sigma)
    return images
