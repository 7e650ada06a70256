"""Figures of images, masks and predictions."""

from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageDraw, ImageOps

from trainer import IGNORE
from trainer.drawing.contour import draw_contours
from trainer.drawing.fonts import find_font
from trainer.drawing.overlay import draw_overlay
from trainer.drawing.palette import palette

PANEL = 320
"""Side of one panel, in pixels."""

SHEET = 200
"""Side of one image of a contact sheet, in pixels."""

PAPER = (245, 245, 245)
"""Colour around the panels, RGB."""

RIGHT, WRONG, MISSED, CONFUSED = (230, 230, 230), (230, 159, 0), (0, 114, 178), (204, 121, 167)
"""Colours of the cases of `error_map`, RGB, which colour-blind people tell apart (Okabe 2008, Color universal design):
white right, orange false, blue missed, purple the wrong class."""

ERROR_COLOURS = [(0, 0, 0), RIGHT, WRONG, MISSED, CONFUSED, (128, 128, 128)]
"""Colour of each value of `error_map`, RGB."""

TEXT_SIZE = 22
"""Height of the letters in a panel, in pixels."""


def watch_panels(
    image: np.ndarray,
    mask: np.ndarray,
    predicted: np.ndarray,
    colours: Sequence[Sequence[int]] | None = None,
    score: float | None = None,
) -> np.ndarray:
    """Draw one figure of four panels in a row, uint8 RGB [320, 1280, 3]: prediction, mask, errors, image.

    Prediction and truth come first: a small card of MLflow's UI shows the left half.

    `image` uint8 [H, W, 3]; `mask` and `predicted` uint8 [H, W]; `colours`: RGB of the class ids. In the errors, right
    foreground is white, false foreground orange, missed foreground blue, a confused class purple and ignored pixels
    grey. `score`: mean IoU, 0 to 1, written into the prediction.
    """
    grey = np.repeat(image.mean(axis=2, keepdims=True), 3, axis=2).astype(np.uint8) // 2
    shown = _outlined(image, predicted, colours)
    panels = [
        _fit_square(shown),
        _fit_square(_outlined(image, np.where(mask == IGNORE, 0, mask).astype(np.uint8), colours)),
        _fit_square(draw_overlay(grey, error_map(mask, predicted), ERROR_COLOURS, alpha=0.8)),
        _fit_square(image),
    ]
    if score is not None:
        panels[0] = _with_text(panels[0], f"IoU {score:.2f}")
    return np.concatenate(panels, axis=1)


def _outlined(image: np.ndarray, mask: np.ndarray, colours: Sequence[Sequence[int]] | None) -> np.ndarray:
    """Image with the mask lightly over it and its border as a line, which shows on dark fur too."""
    drawn = draw_overlay(image, mask, colours, alpha=0.3)
    draw_contours(drawn, mask, palette() if colours is None else colours)
    return drawn


def _with_text(panel: np.ndarray, text: str) -> np.ndarray:
    """Panel with a text in its upper left corner, on a dark ground."""
    picture = Image.fromarray(panel)
    pen = ImageDraw.Draw(picture)
    font = find_font(TEXT_SIZE)
    box = pen.textbbox((10, 8), text, font=font)
    pen.rectangle((box[0] - 6, box[1] - 4, box[2] + 6, box[3] + 4), fill=(20, 20, 20))
    pen.text((10, 8), text, (255, 255, 255), font)
    return np.array(picture)


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
