"""Search for duplicate images: exact ones, and near ones that differ in size, quality or brightness."""

import hashlib
import itertools
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from trainer.data.file_index import load_array, save_array

FORMAT = 1
"""Version of the stored pairs; to be raised when the same thumbnails give other pairs."""

HASH_DISTANCES = 10, 6, 3, 1
"""Largest distances, in bits of 64, of the difference hashes of near-duplicates. Flat parts of an image flip bits. The
smaller ones are for large sets of one scene, where otherwise more than MOST_COMPARED pairs would be compared."""

MOST_COMPARED = 10_000_000
"""Pairs whose thumbnails are compared: about a minute."""

LEAST_CORRELATION = 0.985
"""Correlation of the thumbnails of near-duplicates."""

MOST_RESIDUAL = 5.0
"""Difference of the thumbnails of near-duplicates in grey levels (RMS), once brightness and contrast are equal."""

LEAST_CONTRAST = 2.0
"""Contrast in grey levels (standard deviation); the thumbnail of a flatter image cannot be compared."""

BRIGHTEST = 240
"""Grey level from which thumbnail cells are not compared: a saturated cell cannot get brighter."""

LEAST_USED = 0.5
"""Share of the thumbnail cells that must be compared."""

TILE = 64, 4096
"""Hashes of either side that are compared at a time: 2 MiB, which fit into a core's cache."""


def groups(keys: np.ndarray) -> list[np.ndarray]:
    """Indices of equal keys, one array for each key that occurs more than once; `keys` uint64 [N]."""
    order = np.argsort(keys, kind="stable")
    edges = np.concatenate([[0], np.flatnonzero(np.diff(keys[order])) + 1, [len(keys)]])
    several = np.flatnonzero(np.diff(edges) > 1)  # few: most images occur once
    return [order[edges[number] : edges[number + 1]] for number in several.tolist()]


def cached_near_pairs(first: np.ndarray, second: np.ndarray, most: int, folder: Path | None) -> np.ndarray:
    """First `most` pairs of `near_pairs`, int64 [P, 2]; loaded from `folder` if they were computed before."""
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
    """Yield (row of `first`, row of `second`) of thumbnails, uint8 [N, 16, 16] and [M, 16, 16], of the same image.

    A hash of 64 bits selects the pairs that are compared by pixels. Memory is constant.
    """
    hashes = [difference_hash(thumbnails) for thumbnails in (first, second)]
    rows, columns = TILE
    tiles = list(itertools.product(range(0, len(first), rows), range(0, len(second), columns)))
    for row, column in tiles:
        distances = np.bitwise_count(hashes[0][row : row + rows, None] ^ hashes[1][None, column : column + columns])
        left, right = _closest(distances, MOST_COMPARED // len(tiles) + 1)
        for start in range(0, len(left), columns):
            chosen = left[start : start + columns] + row, right[start : start + columns] + column
            same = same_image(first[chosen[0]], second[chosen[1]])
            yield from zip(chosen[0][same].tolist(), chosen[1][same].tolist(), strict=True)


def _closest(distances: np.ndarray, most: int) -> tuple[np.ndarray, np.ndarray]:
    """Rows and columns of at most `most` of the pairs with the smallest `distances`, [R, C] in bits."""
    limits = (bits for bits in HASH_DISTANCES if np.count_nonzero(distances <= bits) <= most)
    chosen = np.flatnonzero(distances <= next(limits, HASH_DISTANCES[-1]))  # np.nonzero is slow
    chosen = chosen[:: -(-len(chosen) // most) or 1]
    return chosen // distances.shape[1], chosen % distances.shape[1]


def difference_hash(thumbnails: np.ndarray) -> np.ndarray:
    """Difference hash, uint64 [N], of thumbnails [N, 16, 16].

    Each bit compares a cell of an 8x8 grid with its right neighbour: 1 if the cell is brighter.
    """
    cells = thumbnails.reshape(-1, 8, 2, 8, 2).sum(axis=(2, 4), dtype=np.uint16)
    bits = cells > np.roll(cells, -1, axis=2)
    return np.packbits(bits.reshape(-1, 64), axis=1).view("<u8")[:, 0]


def same_image(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Compare P pairs of thumbnails, uint8 [P, 16, 16] each: bool [P], True for equal ones but for brightness."""
    flat = [one.reshape(len(one), -1).astype(np.float32) for one in (first, second)]
    used = (flat[0] < BRIGHTEST) & (flat[1] < BRIGHTEST)
    share = used.mean(axis=1, keepdims=True)
    share[share < LEAST_USED] = np.inf
    centred = [(one - (one * used).mean(axis=1, keepdims=True) / share) * used for one in flat]
    spreads = [np.sqrt((one**2).mean(axis=1) / share[:, 0]) for one in centred]
    least = np.minimum(*spreads)
    product = (centred[0] * centred[1]).mean(axis=1) / share[:, 0]
    correlation = product / np.maximum(spreads[0] * spreads[1], 1e-6)
    residual = least * np.sqrt(np.maximum(0, 1 - correlation**2))
    return (least >= LEAST_CONTRAST) & (correlation >= LEAST_CORRELATION) & (residual <= MOST_RESIDUAL)
