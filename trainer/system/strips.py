"""Large images in strips of rows: what is computed in between takes many times the memory of the pixels."""

from collections.abc import Iterator

STRIP_PIXELS = 1 << 20
"""Pixels of a strip."""

HUGE_PIXELS = 1 << 25
"""Pixels from which an image is worked on in strips also where that may change the last bit of a number."""


def strips(height: int, width: int) -> Iterator[slice]:
    """Yield the rows of each strip of an image, from top to bottom; one strip where it is small."""
    rows = max(1, STRIP_PIXELS // max(1, width))
    for start in range(0, height, rows):
        yield slice(start, min(start + rows, height))
