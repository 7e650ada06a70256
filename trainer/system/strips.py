"""Large images in strips of rows: what is computed in between takes many times the memory of the pixels."""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

from trainer.system.cpus import usable_cpus

STRIP_PIXELS = 1 << 18
"""Pixels of a strip: in float32 RGB, 3 MB."""

HUGE_PIXELS = 1 << 25
"""Pixels from which an image is worked on in strips also where that may change the last bit of a number."""


def strips(height: int, width: int) -> Iterator[slice]:
    """Yield the rows of each strip of an image, from top to bottom; one strip where it is small."""
    rows = max(1, STRIP_PIXELS // max(1, width))
    for start in range(0, height, rows):
        yield slice(start, min(start + rows, height))


def on_strips(work: Callable[[slice], object], height: int, width: int) -> None:
    """Call `work` with the rows of each strip of an image; those of a huge one on all cores. Raises what it raises."""
    if height * width <= HUGE_PIXELS:
        for rows in strips(height, width):
            work(rows)
        return
    with ThreadPoolExecutor(usable_cpus()) as pool:
        for _ in pool.map(work, strips(height, width)):
            pass
