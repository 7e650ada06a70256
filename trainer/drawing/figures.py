"""Figures of images, masks and predictions."""

from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageOps

from trainer import IGNORE
from trainer.drawing.overlay import draw_overlay
from trainer.drawing.palette import palette

PANEL = 320
"""Side of one panel, in pixels."""

SHEET = 200
"""Side of one image of a contact sheet, in pixels."""

PAPER = (245, 245, 245)
"""Colour around the panels, RGB."""

RIGHT, WRONG, MISSED, CONFUSED = (0, 150, 0), (230, 60, 40), (40, 90, 230), (240, 180, 0)
"""Colours of the cases of `error_map`, RGB."""

ERROR_COLOURS = [(0, 0, 0), RIGHT, WRONG, MISSED, CONFUSED, (128, 128, 128)]
"""Colour of each value of `error_map`, RGB."""


def watch_panels(image: np.ndarray, mask: np.ndarray, predicted: np.ndarray) -> np.ndarray:
    """Draw one square figure of four panels, uint8 RGB [640, 640, 3]: image, mask; prediction, errors.

    `image` uint8 [H, W, 3]; `mask` and `predicted` uint8 [H, W]. In the errors, correct foreground is green, false
    foreground red, missed foreground blue, a confused class yellow and ignored pixels grey.
    """
    grey = np.repeat(image.mean(axis=2, keepdims=True), 3, axis=2).astype(np.uint8)
    panels = [
        image,
        draw_overlay(image, np.where(mask == IGNORE, 0, mask), alpha=0.6),
        draw_overlay(image, predicted, alpha=0.6),
        draw_overlay(grey, error_map(mask, predicted), ERROR_COLOURS, alpha=0.7),
    ]
    top_left, top_right, bottom_left, bottom_right = (_fit_square(panel) for panel in panels)
    rows = [np.concatenate(row, axis=1) for row in ((top_left, top_right), (bottom_left, bottom_right))]
    return np.concatenate(rows, axis=0)


def contact_sheet(columns: Sequence[Sequence[tuple[np.ndarray, np.ndarray]]]) -> np.ndarray:
    """Draw overlays in rows and columns, uint8 RGB; ignored pixels are hatched.

    `columns`: lists of (image uint8 [H, W, 3], mask uint8 [H, W]), all of the same length.
    """
    drawn = [
        np.concatenate([_fit_square(_hatched_overlay(image, mask), SHEET) for image, mask in column])
        for column in columns
    ]
    return np.concatenate(drawn, axis=1)


def _hatched_overlay(image: np.ndarray, mask: np.ndarray, alpha: float = 0.45) -> np.ndarray:
    """Overlay, uint8 [H, W, 3], with ignored pixels hatched."""
    rows, columns = np.indices(mask.shape)
    hatched = (mask == IGNORE) & ((rows + columns) % 8 < 2)
    overlay = draw_overlay(image, np.where(mask == IGNORE, 0, mask), alpha=alpha)
    return np.where(hatched[..., None], np.uint8(200), overlay)


def draw_outlined(image: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """Overlay, uint8 [H, W, 3], with each class in its colour: its border whole, its area lightly; 255 is hatched.

    `image` uint8 [H, W, 3]; `mask` class ids uint8 [H, W].
    """
    padded = np.pad(mask, 1, mode="edge")
    neighbours = padded[:-2, 1:-1], padded[2:, 1:-1], padded[1:-1, :-2], padded[1:-1, 2:]
    border = np.logical_or.reduce([other != mask for other in neighbours]) & (mask != 0) & (mask != IGNORE)
    drawn = _hatched_overlay(image, mask, alpha=0.25)
    return np.where(border[..., None], palette()[mask], drawn)


def error_map(mask: np.ndarray, predicted: np.ndarray) -> np.ndarray:
    """Compare a mask with a prediction, both uint8 [H, W].

    The result, uint8 [H, W], has the values 0 correct background, 1 correct foreground, 2 false foreground, 3 missed
    foreground, 4 confused class, 5 ignored.
    """
    cases = [mask == IGNORE, (mask == predicted) & (mask != 0), mask == predicted, mask == 0, predicted == 0]
    return np.select(cases, [5, 1, 0, 2, 3], default=4).astype(np.uint8)


def _fit_square(image: np.ndarray, side: int = PANEL) -> np.ndarray:
    """Resize and pad an image to side x side pixels, with a border of one pixel."""
    padded = ImageOps.pad(Image.fromarray(image), (side, side), Image.Resampling.NEAREST, color=PAPER)
    return np.array(ImageOps.expand(ImageOps.crop(padded, 1), 1, fill=PAPER))


def shrink_to_panel(size: tuple[int, int]) -> tuple[int, int]:
    """Height and width of an image of `size` (height, width), in pixels, scaled to fit one panel."""
    factor = PANEL / max(size)
    return max(1, round(size[0] * factor)), max(1, round(size[1] * factor))
