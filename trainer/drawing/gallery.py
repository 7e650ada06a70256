"""Gallery: panels of several images below each other, each with a line of text."""

from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageDraw

from trainer.drawing.figures import PAPER
from trainer.drawing.legend import find_font
from trainer.system.text import show

LINE = 34
"""Height of a line of text, in pixels."""

INK = (30, 30, 30)
LONGEST = 90
"""Characters of a line."""


def gallery(panels: Sequence[np.ndarray], captions: Sequence[str]) -> np.ndarray:
    """Draw panels, uint8 RGB [H, W, 3] of one size, below each other, with a caption above each; uint8 RGB."""
    drawn = []
    for panel, caption in zip(panels, captions, strict=True):
        line = Image.new("RGB", (panel.shape[1], LINE), PAPER)
        ImageDraw.Draw(line).text((10, 5), show(caption, LONGEST), INK, find_font(LINE - 14))
        drawn += [np.array(line), panel]
    return np.concatenate(drawn)
