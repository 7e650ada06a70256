"""The same picture more than once: alike to the last pixel, or saved again with another size, quality or brightness."""

import hashlib
import itertools
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from trainer.data.file_index import load_array, save_array

FORMAT = 1  # raise it when the same thumbnails give other pairs

APART = 10, 6, 3, 1
"""Bits of 64 in which the difference hashes of near-duplicates may differ: flat parts of a picture flip them. The later
ones are for large sets of one scene, where otherwise more than MOST_COMPARED pairs would have to be compared."""

MOST_COMPARED = 10_000_000
"""Pairs whose thumbnails are compared: about a minute."""

LEAST_CORRELATION = 0.985
MOST_RESIDUAL = 5.0
"""Grey levels (RMS) that the thumbnails of near-duplicates differ by once brightness and contrast are made equal."""

LEAST_CONTRAST = 2.0
"""Grey levels (standard deviation); the thumbnail of a flatter picture says too little."""

BRIGHTEST, LEAST_USED = 240, 0.5
"""Grey level from which cells are left out, and the share of cells that must be left."""

TILE = 64, 4096
"""Hashes of two sides that are compared at a time: 2 MiB, which stay near the core."""


def groups(keys: np.ndarray) -> list[np.ndarray]:
    """The indices of equal keys, for each key that occurs more than once; `keys` uint64 [N]."""
    order = np.argsort(keys, kind="stable")
    edges = np.concatenate([[0], np.flatnonzero(np.diff(keys[order])) + 1, [len(keys)]])
    several = np.flatnonzero(np.diff(edges) > 1)  # few; most pictures are there once
    return [order[edges[number] : edges[number + 1]] for number in several.tolist()]


def cached_near_pairs(first: np.ndarray, second: np.ndarray, most: int, folder: Path | None) -> np.ndarray:
    """The first `most` of `near_pairs`, int64 [P, 2]; out of `folder` where these thumbnails were compared before."""
    key = hashlib.blake2b(repr((FORMAT, most, len(first))).encode(), digest_size=8)
    for thumbnails in (first, second):
        key.update(np.ascontiguousarray(thumbnails).data)
    file = folder / f"near-{key.hexdigest()}.npy" if folder else None
    pairs = load_array(file, np.dtype(np.int64)) if file else None
    if pairs is None:
        pairs = np.array(list(itertools.islice(near_pairs(first, second), most)), np.int64).reshape(-1, 2)
        if file:
            save_array(file, pairs)
    return pairs


def near_pairs(first: np.ndarray, second: np.ndarray) -> Iterator[tuple[int, int]]:
    """(row of `first`, row of `second`) of thumbnails, uint8 [N, 16, 16] and [M, 16, 16], that show the same picture.

    Constant memory. A hash of 64 bits chooses what is compared by pixels.
    """
    hashes = [difference_hash(thumbnails) for thumbnails in (first, second)]
    rows, columns = TILE
    tiles = list(itertools.product(range(0, len(first), rows), range(0, len(second), columns)))
    for row, column in tiles:
        apart = np.bitwise_count(hashes[0][row : row + rows, None] ^ hashes[1][None, column : column + columns])
        left, right = _closest(apart, MOST_COMPARED // len(tiles) + 1)
        for start in range(0, len(left), columns):
            chosen = left[start : start + columns] + row, right[start : start + columns] + column
            alike = same_picture(first[chosen[0]], second[chosen[1]])
            yield from zip(chosen[0][alike].tolist(), chosen[1][alike].tolist(), strict=True)


def _closest(apart: np.ndarray, most: int) -> tuple[np.ndarray, np.ndarray]:
    """Rows and columns of at most `most` pairs whose hashes, `apart` [R, C] bits, are near each other."""
    limit = next((bits for bits in APART if np.count_nonzero(apart <= bits) <= most), APART[-1])
    chosen = np.flatnonzero(apart <= limit)  # np.nonzero is slow
    chosen = chosen[:: -(-len(chosen) // most) or 1]
    return chosen // apart.shape[1], chosen % apart.shape[1]


def difference_hash(thumbnails: np.ndarray) -> np.ndarray:
    """uint64 [N] of thumbnails [N, 16, 16]: whether each cell of an 8x8 grid is brighter than the next to its right."""
    cells = thumbnails.reshape(-1, 8, 2, 8, 2).sum(axis=(2, 4), dtype=np.uint16)
    bits = cells > np.roll(cells, -1, axis=2)
    return np.packbits(bits.reshape(-1, 64), axis=1).view("<u8")[:, 0]


def same_picture(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """bool [P] for P pairs of thumbnails, uint8 [P, 16, 16]: whether one is the other, brighter or darker perhaps."""
    flat = [one.reshape(len(one), -1).astype(np.float32) for one in (first, second)]
    used = (flat[0] < BRIGHTEST) & (flat[1] < BRIGHTEST)  # what was white before cannot get brighter
    share = used.mean(axis=1, keepdims=True)
    share[share < LEAST_USED] = np.inf
    centred = [(one - (one * used).mean(axis=1, keepdims=True) / share) * used for one in flat]
    spreads = [np.sqrt((one**2).mean(axis=1) / share[:, 0]) for one in centred]
    least = np.minimum(*spreads)
    product = (centred[0] * centred[1]).mean(axis=1) / share[:, 0]
    correlation = product / np.maximum(spreads[0] * spreads[1], 1e-6)
    residual = least * np.sqrt(np.maximum(0, 1 - correlation**2))
    return (least >= LEAST_CONTRAST) & (correlation >= LEAST_CORRELATION) & (residual <= MOST_RESIDUAL)
