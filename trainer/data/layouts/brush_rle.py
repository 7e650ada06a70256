"""Run lengths of Label Studio's brush: a stream of bits, whose format is that of the package @thi.ng/rle-pack.

It begins with the number of values (32 bits), the bits of a value less one (5) and four widths less one (4 each). Then
come runs: a bit that is 1 where one value is repeated, the index of a width (2), the length less one in that width, and
the value, or as many values. An image is four values for each pixel: red, green, blue and alpha.
"""

from collections.abc import Sequence

import numpy as np

CHANNELS, VALUE_BITS = 4, 8

WIDTHS = (3, 4, 8, 16)
"""Bits that a length may have in the streams written here."""


def decode_brush(stream: bytes, size: tuple[int, int]) -> np.ndarray:
    """Pixels that a brush has painted, bool [H, W]: those that are not wholly transparent.

    Raises ValueError where the stream is damaged, or not of an image of `size` (H, W).
    """
    bits = _Bits(stream)
    count, value_bits = bits.take(32), bits.take(5) + 1
    widths = [bits.take(4) + 1 for _ in range(4)]
    if count != CHANNELS * size[0] * size[1]:
        raise ValueError(f"{count} values, which are not {CHANNELS} for each pixel of {size[1]}x{size[0]}")
    if value_bits != VALUE_BITS:
        raise ValueError(f"values of {value_bits} bits instead of {VALUE_BITS}")
    values, done = np.zeros(count, np.uint8), 0
    while done < count:
        repeated, index = bits.take(1), bits.take(2)
        length = min(bits.take(widths[index]) + 1, count - done)
        values[done : done + length] = bits.take(VALUE_BITS) if repeated else bits.take_bytes(length)
        done += length
    return values.reshape(*size, CHANNELS)[..., CHANNELS - 1] > 0


def encode_brush(mask: np.ndarray) -> list[int]:
    """Bytes, 0 to 255, of the stream that paints the pixels that are true in a mask, bool [H, W].

    All four values of a pixel are 0 or 255, and all runs are repeated values.
    """
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


def to_bytes(numbers: object) -> bytes:
    """Stream of a JSON list of bytes. Raises ValueError where it is none."""
    if not isinstance(numbers, Sequence) or isinstance(numbers, str):
        raise ValueError("no list of bytes")
    try:
        return bytes(numbers)
    except TypeError as error:
        raise ValueError(f"no list of bytes ({error})") from None


class _Bits:
    """Bits of a stream, the highest of each byte first."""

    def __init__(self, stream: bytes) -> None:
        self.stream, self.place = stream, 0

    def take(self, count: int) -> int:
        """Next `count` bits, at most 32, as a whole number."""
        first, self.place = self.place, self.place + count
        if self.place > 8 * len(self.stream):
            raise ValueError("it ends too early")
        chunk = self.stream[first // 8 : (self.place + 7) // 8]
        return int.from_bytes(chunk, "big") >> (-self.place % 8) & ((1 << count) - 1)

    def take_bytes(self, count: int) -> np.ndarray:
        """Next `count` values of 8 bits, uint8 [count]."""
        first, self.place = self.place, self.place + 8 * count
        if self.place > 8 * len(self.stream):
            raise ValueError("it ends too early")
        chunk = np.frombuffer(self.stream[first // 8 : (self.place + 7) // 8], np.uint8)
        shift = first % 8
        if not shift:
            return chunk
        high, low = chunk[:-1].astype(np.uint16), chunk[1:]
        return ((high << shift | low >> (8 - shift)) & 255).astype(np.uint8)


def _pack(codes: np.ndarray, bits: np.ndarray) -> np.ndarray:
    """Bytes, uint8, of whole numbers one after the other, each in its number of bits, the highest first."""
    ends = np.cumsum(bits)
    places = np.repeat(ends, bits) - 1 - np.arange(ends[-1])
    return np.packbits((np.repeat(codes, bits) >> places & 1).astype(np.uint8))
