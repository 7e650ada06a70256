"""Image files of 16 bits in colour, which Pillow does not write."""

import struct
import zlib

import numpy as np


def png_of_16_bits(levels: np.ndarray) -> bytes:
    """Encode levels, uint16 [H, W, C], as PNG: grey, grey with alpha, RGB or RGBA for 1 to 4 channels."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    height, width, channels = levels.shape
    kind = {1: 0, 2: 4, 3: 2, 4: 6}[channels]
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in levels)
    header = struct.pack(">IIBBBBB", width, height, 16, kind, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


def tiff_of_16_bits(
    levels: np.ndarray, order: str = "<", deflate: bool = False, planes: bool = False, rows: int = 0
) -> bytes:
    """Encode levels, uint16 [H, W, 3 or 4], as TIFF.

    `order`: < or >; `planes`: one channel after the other; `rows`: those of a strip, 0 for all.
    """
    height, width, channels = levels.shape
    parts = np.moveaxis(levels, 2, 0) if planes else [levels]
    pieces = [part[row : row + (rows or height)] for part in parts for row in range(0, height, rows or height)]
    strips = [np.ascontiguousarray(piece).astype(f"{order}u2").tobytes() for piece in pieces]
    strips = [zlib.compress(strip) for strip in strips] if deflate else strips
    tags: dict[int, tuple[str, list[int]]] = {
        256: ("H", [width]),
        257: ("H", [height]),
        258: ("H", [16] * channels),
        259: ("H", [8 if deflate else 1]),
        262: ("H", [2]),
        273: ("I", [0] * len(strips)),
        277: ("H", [channels]),
        278: ("H", [rows or height]),
        279: ("I", [len(strip) for strip in strips]),
        284: ("H", [2 if planes else 1]),
        **({338: ("H", [2])} if channels == 4 else {}),
    }
    start = 8 + 2 + 12 * len(tags) + 4
    sizes = [struct.calcsize(kind) * len(values) for kind, values in tags.values()]
    first = start + sum(size for size in sizes if size > 4)
    tags[273] = "I", [first + sum(map(len, strips[:number])) for number in range(len(strips))]
    entries, values_apart = b"", b""
    for tag, (kind, values) in tags.items():
        packed = struct.pack(f"{order}{len(values)}{kind}", *values)
        if len(packed) > 4:
            place = start + len(values_apart)
            values_apart += packed
            packed = struct.pack(f"{order}I", place)
        entries += struct.pack(f"{order}HHI", tag, 3 if kind == "H" else 4, len(values)) + packed.ljust(4, b"\0")
    head = (b"II" if order == "<" else b"MM") + struct.pack(f"{order}HIH", 42, 8, len(tags))
    return head + entries + struct.pack(f"{order}I", 0) + values_apart + b"".join(strips)
