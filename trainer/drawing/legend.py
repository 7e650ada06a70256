"""Legend of an overlay: the classes that are in a picture, with their colours, where it covers least."""

import functools
import itertools
from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageDraw

from trainer.drawing.fonts import Font, find_font, font_for
from trainer.system.text import show

LEAST_FONT, FONT_SHARE = 11, 1 / 40
"""Height of the letters: at least, in pixels, and as a share of the image's longer side."""

MOST_HEIGHT, MOST_WIDTH = 0.35, 0.5
"""Most that a legend takes of an image's height and width; where it needs more, it is left out."""

MOST_NAMES, LONGEST_NAME = (24, 12), 30
"""Classes that a legend lists, fewer where the former are too many for the image, and characters of a name in it."""

MOST_COLUMNS = 6
"""Columns of names, of which there are several only where one is too high: of many classes, and in panoramas."""

GROUND, TEXT = (32, 32, 32), (255, 255, 255)
"""Colours of the box and the letters, RGB."""

Entry = tuple[int, str, tuple[int, int, int]]
"""Id, name and RGB colour of a class."""


def draw_legend(image: np.ndarray, mask: np.ndarray, entries: Sequence[Entry]) -> None:
    """Draw a legend of `entries` into a corner of `image`, uint8 RGB [H, W, 3], in place.

    The corner is that with the least foreground in `mask`, uint8 [H, W]. Nothing is drawn without entries, or where the
    image is too small.
    """
    height, width = mask.shape
    margin = max(LEAST_FONT, round(max(height, width) * FONT_SHARE)) // 2
    box = _fitting(tuple(entries), (height, width), margin)
    if box is None:
        return
    down, across = box.shape[0] + margin, box.shape[1] + margin
    corners = [
        (rows, columns)
        for rows in (slice(height - down, height - margin), slice(margin, down))
        for columns in (slice(margin, across), slice(width - across, width - margin))
    ]
    rows, columns = min(corners, key=lambda corner: int(np.count_nonzero(mask[corner])))
    image[rows, columns] = box


def _fitting(entries: tuple[Entry, ...], size: tuple[int, int], margin: int) -> np.ndarray | None:
    """Box with the largest letters that fit an image of `size` (H, W); None where there are none, or no entries."""
    most = MOST_HEIGHT * size[0] - margin, MOST_WIDTH * size[1] - margin
    for names, columns in itertools.product(MOST_NAMES, range(1, min(MOST_COLUMNS, len(entries)) + 1)):
        font = max(LEAST_FONT, round(max(size) * FONT_SHARE))
        while font >= LEAST_FONT:
            if font * min(names, len(entries)) <= most[0] * columns:
                box = _render(entries, font, names, columns)
                if box.shape[0] <= most[0] and box.shape[1] <= most[1]:
                    return box
            font = min(font - 1, round(0.85 * font))
    return None


@functools.lru_cache(maxsize=64)
def _render(entries: tuple[Entry, ...], size: int, most: int, columns: int) -> np.ndarray:
    """Box with a coloured square and the name of each class, uint8 RGB [h, w, 3], with letters of `size` pixels.

    The first `most` are named, in up to `columns`, from top to bottom; the others are counted.
    """
    lines = [(*_line(class_id, name, size), colour) for class_id, name, colour in entries[:most]]
    if len(entries) > most:
        lines.append((f"and {len(entries) - most} more", find_font(size), GROUND))
    pad, line = size // 2, round(1.35 * size)
    rows = -(-len(lines) // columns)
    parts = [lines[start : start + rows] for start in range(0, len(lines), rows)]
    widths = [round(2 * pad + size + max(font.getlength(name) for name, font, _ in part)) for part in parts]
    picture = Image.new("RGB", (sum(widths) + pad, line * rows + pad), GROUND)
    pen, left = ImageDraw.Draw(picture), pad
    for part, width in zip(parts, widths, strict=True):
        for number, (name, font, colour) in enumerate(part):
            top = pad // 2 + number * line + (line - size) // 2
            square, frame = [left, top, left + size - 1, top + size - 1], TEXT if colour != GROUND else GROUND
            pen.rectangle(square, fill=colour, outline=frame, width=max(1, size // 12))
            pen.text((left + pad + size, top + size / 2), name, TEXT, font, anchor="lm")
        left += width
    return np.array(picture)


def _line(class_id: int, name: str, size: int) -> tuple[str, Font]:
    """Text that stands for a class, and its font: its number where no font of this system has the name's letters."""
    text = show(name, LONGEST_NAME)
    font = font_for(text, size)
    return (f"class {class_id}", find_font(size)) if font is None else (text, font)
