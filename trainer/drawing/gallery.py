"""Gallery: panels of several images below each other, each with a line of text."""

from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageDraw

from trainer.drawing.figures import PAPER
from trainer.drawing.fonts import drawable
from trainer.system.text import show

LINE = 34
"""Height of a line of text, in pixels."""

INK = (30, 30, 30)
LONGEST = 90
"""Characters of a line."""


TITLES = ("prediction", "mask", "orange false, blue missed, purple confused", "image")
"""Texts above the panels that `watch_panels` draws."""


def gallery(panels: Sequence[np.ndarray], captions: Sequence[str]) -> np.ndarray:
    """Draw what `watch_panels` gave, uint8 RGB [H, W, 3] of one size, below each other, with a caption above each.

    The result is uint8 RGB; margins above and below the images are cut off.
    """
    width = panels[0].shape[1]
    drawn = [_line([(place * width // len(TITLES), title) for place, title in enumerate(TITLES)], width, LINE - 20)]
    for panel, caption in zip(panels, captions, strict=True):
        filled = np.flatnonzero((panel != PAPER).any(axis=(1, 2)))
        drawn.append(_line([(0, show(caption, LONGEST))], width, LINE - 14))
        drawn.append(panel[filled[0] : filled[-1] + 1] if len(filled) else panel)
    return np.concatenate(drawn)


def _line(texts: Sequence[tuple[int, str]], width: int, size: int) -> np.ndarray:
    """Line of texts, each from its column on, in letters of `size` pixels; uint8 RGB [LINE, width, 3]."""
    line = Image.new("RGB", (width, LINE), PAPER)
    pen = ImageDraw.Draw(line)
    for column, text in texts:
        drawn, font = drawable(text, size)
        pen.text((column + 6, LINE - 6), drawn, INK, font, anchor="ls")
    return np.array(line)
