"""Pictures of a prediction for people to judge."""

from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageOps

from trainer import IGNORE
from trainer.drawing.overlay import draw_overlay

PANEL = 320
"""Side of one panel in pixels."""

SHEET = 200
"""Side of one picture of a contact sheet in pixels."""

RIGHT, WRONG, MISSED, CONFUSED = (0, 150, 0), (230, 60, 40), (40, 90, 230), (240, 180, 0)


def watch_panels(image: np.ndarray, mask: np.ndarray, predicted: np.ndarray) -> np.ndarray:
    """One square picture of four panels, uint8 RGB: image, mask; prediction, errors.

    `image` uint8 [H, W, 3]; `mask` and `predicted` uint8 [H, W]. In the errors, right foreground is green, foreground
    that is not there red, foreground that was missed blue, one class taken for another yellow; ignored pixels grey.
    """
    grey = np.repeat(image.mean(axis=2, keepdims=True), 3, axis=2).astype(np.uint8)
    panels = [
        image,
        draw_overlay(image, np.where(mask == IGNORE, 0, mask), alpha=0.6),
        draw_overlay(image, predicted, alpha=0.6),
        draw_overlay(
            grey, error_map(mask, predicted), [(0, 0, 0), RIGHT, WRONG, MISSED, CONFUSED, (128, 128, 128)], 0.7
        ),
    ]
    squares = [_square(panel) for panel in panels]
    return np.concatenate([np.concatenate(squares[:2], axis=1), np.concatenate(squares[2:], axis=1)], axis=0)


def contact_sheet(columns: Sequence[Sequence[tuple[np.ndarray, np.ndarray]]]) -> np.ndarray:
    """Pictures with their masks drawn over them in rows and columns, uint8 RGB; ignored pixels are hatched.

    `columns` of (image uint8 [H, W, 3], mask uint8 [H, W]), all of as many rows.
    """
    return np.concatenate(
        [np.concatenate([_square(_labelled(image, mask), SHEET) for image, mask in column]) for column in columns],
        axis=1,
    )


def _labelled(image: np.ndarray, mask: np.ndarray) -> np.ndarray:
    rows, columns = np.indices(mask.shape)
    hatched = (mask == IGNORE) & ((rows + columns) % 8 < 2)
    shown = draw_overlay(image, np.where(mask == IGNORE, 0, mask), alpha=0.45)
    return np.where(hatched[..., None], np.uint8(200), shown)


def error_map(mask: np.ndarray, predicted: np.ndarray) -> np.ndarray:
    """What is right and wrong, uint8 [H, W]: 0 background, 1 right, 2 not there, 3 missed, 4 other class, 5 ignored."""
    cases = [mask == IGNORE, (mask == predicted) & (mask != 0), mask == predicted, mask == 0, predicted == 0]
    return np.select(cases, [5, 1, 0, 2, 3], default=4).astype(np.uint8)


def _square(panel: np.ndarray, side: int = PANEL) -> np.ndarray:
    fitted = ImageOps.pad(Image.fromarray(panel), (side, side), Image.Resampling.NEAREST, color=(245, 245, 245))
    return np.array(ImageOps.expand(ImageOps.crop(fitted, 1), 1, fill=(245, 245, 245)))


def shrink_to_panel(size: tuple[int, int]) -> tuple[int, int]:
    """Height and width of a picture of `size` (height, width) scaled to fit one panel."""
    factor = PANEL / max(size)
    return max(1, round(size[0] * factor)), max(1, round(size[1] * factor))
