"""Contours: the borders of a mask as light lines with a dark rim, which show on any ground."""

from collections.abc import Iterator, Sequence

import numpy as np

from trainer.drawing.palette import palette
from trainer.system.strips import strips

LEAST_WIDTH = 2
"""Width of a contour, in pixels of the image, in small images."""

SHARE_OF_SIDE = 1 / 330
"""Width of a contour as a share of the longer side of a large image: 3 pixels where it is shown with 1000."""

LIGHT = 0.55
"""Share of white in the colour of a line; the rest is the colour of its class."""

NOISE = 16
"""A mask of which more than one pixel in so many is border gets lines of one pixel without a rim."""

MOST_WORK = 1
"""Pixels that contours draw, for each pixel of the image, above which their lines are thinner."""

CHUNK = 1 << 18
"""Pixels that are drawn at once: their places take some 20 bytes each."""

RIM = (20, 20, 20)
"""Colour of the rim, RGB."""


def draw_contours(image: np.ndarray, mask: np.ndarray, colours: Sequence[Sequence[int]] | np.ndarray) -> None:
    """Draw the borders of the classes of `mask` into `image`, uint8 RGB [H, W, 3], in place.

    `mask`: class ids, uint8 [H, W]. `colours`: RGB of the first class ids, [N, 3]; others have those of `palette()`.
    """
    table = palette()
    table[: len(colours)] = np.asarray(colours, dtype=np.uint8)
    lines = np.rint(LIGHT * 255 + (1 - LIGHT) * table).astype(np.uint8)
    width = line_width(*mask.shape)
    if sum(np.count_nonzero(border) for _, border in _borders(mask)) * NOISE > mask.size:
        for strip, border in _borders(mask):  # not all places at once, which take 32 bytes each
            image[strip][border] = lines[mask[strip][border]]
        return
    rows, columns = _border_pixels(mask)
    while width > LEAST_WIDTH and (2 * width) ** 2 * len(rows) > MOST_WORK * mask.size:
        width = max(LEAST_WIDTH, width // 4 * 2)  # noise, which is all border
    rim = 2 * max(1, width // 2)
    _stamp(image, rows, columns, width + rim, np.broadcast_to(np.array(RIM, np.uint8), (len(rows), 3)))
    _stamp(image, rows, columns, width, lines[mask[rows, columns]])


def line_width(height: int, width: int) -> int:
    """Width of a contour in an image of `height` x `width` pixels, in pixels; an even number."""
    return max(LEAST_WIDTH, 2 * round(max(height, width) * SHARE_OF_SIDE / 2))


def _border_pixels(mask: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Rows and columns of pixels, not of the background, beside one of another class."""
    width = mask.shape[1]
    found = [strip.start * width + np.flatnonzero(border) for strip, border in _borders(mask)]
    rows, columns = np.divmod(np.concatenate(found), width)
    return rows, columns


def _borders(mask: np.ndarray) -> Iterator[tuple[slice, np.ndarray]]:
    """Yield the rows of each strip of a mask, and which of its pixels `_border_pixels` are, bool [h, W]."""
    height, width = mask.shape
    for rows in strips(height, width):
        first, last = max(0, rows.start - 1), min(height, rows.stop + 1)
        strip = mask[first:last]  # with the rows above and below
        across, down = strip[:, 1:] != strip[:, :-1], strip[1:] != strip[:-1]
        border = np.zeros(strip.shape, bool)
        for part, differs in (
            (border[:, 1:], across),
            (border[:, :-1], across),
            (border[1:], down),
            (border[:-1], down),
        ):
            part |= differs
        border &= strip != 0
        yield rows, border[rows.start - first : rows.stop - first]


def _stamp(image: np.ndarray, rows: np.ndarray, columns: np.ndarray, diameter: int, colours: np.ndarray) -> None:
    """Draw a disc of an even diameter in pixels around each place, in its colour, RGB uint8 [n, 3].

    The disc's middle is the corner at a place's lower right.
    """
    step = max(1, diameter // 4)
    if step > 1:  # a border is a curve: discs around some of its pixels cover as much as those around all
        chosen = (rows % step == 0) | (columns % step == 0)
        rows, columns, colours = rows[chosen], columns[chosen], colours[chosen]
    offsets = np.arange(diameter) - (diameter // 2 - 1)
    down, right = (grid.ravel() for grid in np.meshgrid(offsets, offsets, indexing="ij"))
    # The corners of the smallest disc, of four pixels, belong to it.
    inside = (down - 0.5) ** 2 + (right - 0.5) ** 2 <= max(0.5, (diameter / 2) ** 2 - 0.5)
    down, right = down[inside], right[inside]
    height, width, _ = image.shape
    size = max(1, CHUNK // len(down))
    for at in range(0, len(rows), size):
        chunk = slice(at, at + size)
        y = np.clip(rows[chunk, None] + down, 0, height - 1)
        x = np.clip(columns[chunk, None] + right, 0, width - 1)
        for channel in range(3):
            image[y, x, channel] = colours[chunk, channel, None]
