"""Probabilities of an image of any size, tile by tile: one row of tiles at a time is in memory.

Tiles overlap and are blended smoothly. They begin at multiples of the network's stride, so that an object looks the
same to it in each of them.
"""

import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor
from torch.nn import functional

TILE_SIDE = 2
"""Side of a tile, in sides of the crops that trained: fewer tiles cover the image, and fewer pixels twice."""

OVERLAP = 0.5
"""Overlap of neighbouring tiles, in sides of the crops that trained, but for one stride."""

MARGIN = 0.25
"""Share of the overlap, at a tile's border, in which the neighbour decides: the network sees black beyond it."""

LEAST_WEIGHT = 1e-3
"""Weight of the pixels at a tile's border, which count where there is no neighbour."""

TOGETHER = 4
"""Tiles that go through the network at once; fixed, so that training and prediction do the same arithmetic."""


@dataclass(frozen=True)
class Axis:
    """Tiles along the height or the width of an image of `length` pixels; it is filled up to `padded`."""

    length: int
    side: int
    """Side of the tiles in pixels."""

    starts: tuple[int, ...]
    overlap: int

    @property
    def padded(self) -> int:
        """End of the last tile."""
        return self.starts[-1] + self.side

    @cached_property
    def weights(self) -> Tensor:
        """Weight of each pixel of a tile, float32 [side]: LEAST_WEIGHT at the border, 1 beyond the overlap."""
        places = torch.arange(self.side, dtype=torch.float32) + 0.5
        distance = torch.minimum(places, self.side - places) / self.overlap
        share = ((distance - MARGIN) / (1 - 2 * MARGIN)).clamp(0, 1)
        return (share * share * (3 - 2 * share)).clamp(min=LEAST_WEIGHT)

    @cached_property
    def total(self) -> Tensor:
        """Sum of the weights of all tiles, float32 [padded]."""
        total = torch.zeros(self.padded)
        for start in self.starts:
            total[start : start + self.side] += self.weights
        return total


def make_axis(length: int, crop: int, stride: int) -> Axis:
    """Tiles along `length` pixels, for a network that was trained with crops of `crop` pixels.

    One tile where that holds everything.
    """
    overlap, largest = round(OVERLAP * crop), TILE_SIDE * crop
    count = max(1, math.ceil((length - overlap) / (largest - overlap)))
    # As large as that number of tiles needs them: less is seen twice.
    side = stride * math.ceil((length + (count - 1) * overlap) / count / stride)
    last = math.ceil(length / stride) - side // stride
    starts = tuple(stride * math.floor(number * last / max(1, count - 1)) for number in range(count))
    return Axis(length, side, starts, overlap)


def tile_rows(
    image: Tensor, crop: int, stride: int, channels: int, probabilities: Callable[[Tensor], Tensor]
) -> Iterator[tuple[slice, Tensor]]:
    """Yield rows of an image and their probabilities, float32 [1, C, rows, W], from top to bottom.

    `image`: levels uint8 [bands, H, W]; `probabilities` gives float32 [B, C, T, T] for levels [B, bands, T, T].
    """
    down, along = (make_axis(length, crop, stride) for length in image.shape[1:])
    device = image.device
    across, weights = along.total.to(device), along.weights.to(device)
    below, heights = down.total.to(device), down.weights.to(device)
    pending = torch.zeros(channels, down.side, along.padded, device=device)
    for number, top in enumerate(down.starts):
        band = image[:, top : top + down.side]
        band = functional.pad(band, (0, along.padded - along.length, 0, down.side - band.shape[1]))
        row = torch.zeros_like(pending)
        for first in range(0, len(along.starts), TOGETHER):
            starts = along.starts[first : first + TOGETHER]
            found = probabilities(torch.stack([band[:, :, start : start + along.side] for start in starts]))
            for start, tile in zip(starts, found, strict=True):
                row[:, :, start : start + along.side] += tile * weights
        pending += row * (heights[:, None] / across)
        bottom = down.starts[number + 1] if number + 1 < len(down.starts) else down.padded
        done = pending[:, : bottom - top] / below[top:bottom, None]
        rows = slice(top, min(bottom, down.length))
        yield rows, done[None, :, : rows.stop - rows.start, : along.length]
        pending = functional.pad(pending[:, bottom - top :], (0, 0, 0, bottom - top))


def stretch_rows(
    parts: Iterable[tuple[slice, Tensor]], size: tuple[int, int], target: tuple[int, int]
) -> Iterator[tuple[slice, Tensor]]:
    """Resize what `tile_rows` yields for an image of `size` to `target`, both (height, width), bilinearly.

    As torch does it, but with the rows that are there: each needs those above and below.
    """
    if size == target:
        yield from parts
        return
    (height, _), (new_height, new_width) = size, target
    held, first, done = None, 0, 0
    for rows, part in parts:
        wide = functional.interpolate(part, size=(part.shape[2], new_width), mode="bilinear", align_corners=False)
        held = wide if held is None else torch.cat([held, wide], dim=2)
        # A new row can be made once the old row below its centre is there.
        ready = new_height if rows.stop == height else math.floor((rows.stop - 0.5) * new_height / height - 0.5)
        if ready <= done:
            continue
        stretched, kept = interpolate_rows(held, first, rows.stop - 1, slice(done, ready), height / new_height)
        yield slice(done, ready), stretched
        held, first, done = held[:, :, kept - first :], kept, ready


def interpolate_rows(old: Tensor, first: int, last: int, new: slice, scale: float) -> tuple[Tensor, int]:
    """Compute some rows of an image that is stretched downwards, bilinearly, and which old row the last one begins at.

    `old`: its rows from `first` on, [B, C, rows, W], `last` among them; `new`: rows of the stretched one, each `scale`
    of an old row high. Centres lie as torch places them.
    """
    places = (torch.arange(new.start, new.stop, device=old.device, dtype=torch.float32) + 0.5) * scale
    places = (places - 0.5).clamp(min=0)
    above = places.long().clamp(max=last)
    below, share = (above + 1).clamp(max=last), (places - above)[:, None]
    return old[:, :, above - first] * (1 - share) + old[:, :, below - first] * share, int(above[-1])
