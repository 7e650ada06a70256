"""Run lengths of masks as Label Studio's brush labels have them.

Its format is that of @thi.ng/rle-pack: a stream of bits with the number of values (32), the bits of a value less one
(5), and four widths less one (4 each); then runs of equal values: 1, the index of a width (2), the length less one in
that width, the value. A mask is four values for each pixel, red, green, blue and alpha, each 0 or 255.
"""

import numpy as np

WIDTHS = (3, 4, 8, 16)
"""Bits that a length may have."""

VALUE_BITS, CHANNELS = 8, 4


def encode_brush(mask: np.ndarray) -> list[int]:
    """Bytes, 0 to 255, of the run lengths of the pixels that are true in a mask, bool [H, W]."""
    flat = mask.reshape(-1)
    starts = np.concatenate([[0], np.flatnonzero(flat[1:] != flat[:-1]) + 1])
    lengths = np.diff(starts, append=flat.size).astype(np.int64) * CHANNELS
    values = np.where(flat[starts], 255, 0).astype(np.int64)
    # A run longer than the largest width can say is several.
    most = 1 << WIDTHS[-1]
    parts = -(-lengths // most)
    last = np.cumsum(parts) - 1
    pieces = np.full(int(parts.sum()), most, np.int64)
    pieces[last] = lengths - (parts - 1) * most
    values = np.repeat(values, parts)
    index = np.searchsorted([1 << width for width in WIDTHS], pieces)
    width = np.array(WIDTHS)[index]
    codes = (((1 << 2 | index) << width | (pieces - 1)) << VALUE_BITS) | values
    head = flat.size * CHANNELS << 21 | (VALUE_BITS - 1) << 16
    for place, bits in enumerate(WIDTHS):
        head |= (bits - 1) << (12 - 4 * place)
    return _pack(np.concatenate([[head], codes]), np.concatenate([[53], 3 + width + VALUE_BITS])).tolist()


def _pack(codes: np.ndarray, bits: np.ndarray) -> np.ndarray:
    """Bytes, uint8, of whole numbers one after the other, each in its number of bits, the highest first."""
    ends = np.cumsum(bits)
    places = np.repeat(ends, bits) - 1 - np.arange(ends[-1])
    return np.packbits((np.repeat(codes, bits) >> places & 1).astype(np.uint8))
