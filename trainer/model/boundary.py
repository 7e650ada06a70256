"""Agreement of borders: how many border pixels of a mask lie near one of the same class in another mask.

Csurka 2013, What is a good evaluation measure for semantic segmentation?, section 3. Counted in integers, which add up
over images and processes.
"""

import numpy as np

from trainer import IGNORE
from trainer.system.strips import strips

RADIUS = 2
"""Distance in pixels up to which borders agree."""

OFFSETS = [
    (down, right)
    for down in range(-RADIUS, RADIUS + 1)
    for right in range(-RADIUS, RADIUS + 1)
    if down**2 + right**2 <= RADIUS**2
]
"""Places that are so near to a pixel."""


def boundary_counts(predicted: np.ndarray, mask: np.ndarray, classes: int) -> np.ndarray:
    """Count border pixels of each class, int64 [K, 4]; `classes` = K; the background's row is 0.

    Of the prediction those that are near a true one, and all of them; of the mask those that are near a predicted one,
    and all of them. `predicted`, `mask`: class ids, uint8 [H, W]. A pixel is on the border of its class where one of
    the four beside it is of another class, the image's edge aside. Beside pixels of 255 it is not known what is true:
    they make no border in the mask, and predicted pixels so near to them do not count.
    """
    result = np.zeros((classes, 4), np.int64)
    for rows in strips(*mask.shape):
        top, bottom = max(0, rows.start - RADIUS - 1), rows.stop + RADIUS + 1
        _count_rows(predicted[top:bottom], mask[top:bottom], slice(rows.start - top, rows.stop - top), result)
    return result


def _count_rows(predicted: np.ndarray, mask: np.ndarray, inner: slice, result: np.ndarray) -> None:
    """Add the counts of the rows `inner` of a part of an image, which has what is near to them too."""
    found, true = border(predicted), border(mask)
    unknown = np.pad(mask == IGNORE, RADIUS)
    for place, (some, others) in enumerate([(found, true), (true, found)]):
        rows, columns = np.nonzero(some[inner])
        rows += inner.start
        if some is found:
            known = ~_any_near(unknown, rows, columns)
            rows, columns = rows[known], columns[known]
        ids = some[rows, columns]
        matched = _near(np.pad(others, RADIUS), rows, columns, ids)
        result[:, 2 * place] += np.bincount(ids[matched], minlength=len(result))
        result[:, 2 * place + 1] += np.bincount(ids, minlength=len(result))


def border(mask: np.ndarray) -> np.ndarray:
    """Class id of each foreground pixel on the border of its class, 0 elsewhere, uint8 [H, W]."""
    on_border = np.zeros(mask.shape, bool)
    for one, other in (
        (np.s_[1:, :], np.s_[:-1, :]),
        (np.s_[:, 1:], np.s_[:, :-1]),
    ):
        differ = (mask[one] != mask[other]) & (mask[one] != IGNORE) & (mask[other] != IGNORE)
        on_border[one] |= differ
        on_border[other] |= differ
    return np.where(on_border, mask, 0).astype(np.uint8)


def _near(padded: np.ndarray, rows: np.ndarray, columns: np.ndarray, ids: np.ndarray) -> np.ndarray:
    """Find out whether a pixel of the same id is near each place, bool [n]; `padded` by RADIUS on all sides."""
    result = np.zeros(len(ids), bool)
    for down, right in OFFSETS:
        result |= padded[rows + RADIUS + down, columns + RADIUS + right] == ids
    return result


def _any_near(padded: np.ndarray, rows: np.ndarray, columns: np.ndarray) -> np.ndarray:
    """Find out whether a pixel that is set is near each place, bool [n]."""
    result = np.zeros(len(rows), bool)
    for down, right in OFFSETS:
        result |= padded[rows + RADIUS + down, columns + RADIUS + right]
    return result
