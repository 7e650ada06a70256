"""Run lengths of objects, compressed as COCO's tools read them."""

import numpy as np


def encode_runs(crop: np.ndarray, left: int, top: int, size: tuple[int, int]) -> str:
    """Compress the pixels of an object: its crop, bool [h, w], at `left`, `top` of a mask of `size` (H, W).

    The lengths are those of runs down the columns, from left to right, of background and object in turn.
    """
    height, width = size
    # A run never goes on over the end of a padded column; two that meet there are joined below.
    padded = np.pad(crop.T, ((0, 0), (1, 1))).astype(np.int8)
    column, edge = np.nonzero(np.diff(padded, axis=1))
    places = (column + left).astype(np.int64) * height + top + edge
    starts, ends = places[0::2], places[1::2]
    apart = starts[1:] != ends[:-1]
    starts, ends = starts[np.append(True, apart)], ends[np.append(apart, True)]
    edges = np.empty(2 * len(starts) + 2, np.int64)
    edges[0], edges[-1] = 0, height * width
    edges[1:-1:2], edges[2:-1:2] = starts, ends
    lengths = np.diff(edges)
    return compress(lengths.tolist() if lengths[-1] else lengths[:-1].tolist())


def compress(lengths: list[int]) -> str:
    """Encode run lengths as rleToString of maskApi.c in COCO's tools does.

    From the fourth on each is the difference to the one two places before. Each character holds six bits, counted from
    "0": five of the number, the lowest first, and one that says whether more follow.
    """
    characters: list[int] = []
    for place, length in enumerate(lengths):
        number = length - lengths[place - 2] if place > 2 else length
        more = True
        while more:
            bits = number & 31
            number >>= 5
            more = number != (-1 if bits & 16 else 0)
            characters.append(bits + 48 + (32 if more else 0))
    return bytes(characters).decode("ascii")
