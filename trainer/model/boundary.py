"""Agreement of borders: how many border pixels of a mask lie near one of the same class in another mask.

Csurka 2013, What is a good evaluation measure for semantic segmentation?, section 3. Counted in integers, which add up
over images and processes.
"""

import numpy as np

from trainer import IGNORE

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
    found, true = border(predicted), border(mask)
    reach_of_found, reach_of_true = (np.pad(one, RADIUS) for one in (found, true))
    unknown = np.pad(mask == IGNORE, RADIUS)
    rows, columns = np.nonzero(found)
    known = ~_any_near(unknown, rows, columns)
    rows, columns = rows[known], columns[known]
    matched = _near(reach_of_true, rows, columns, found[rows, columns])
    result = np.zeros((classes, 4), np.int64)
    ids = found[rows, columns]
    result[:, 0], result[:, 1] = (np.bincount(some, minlength=classes)[:classes] for some in (ids[matched], ids))
    rows, columns = np.nonzero(true)
    ids = true[rows, columns]
    matched = _near(reach_of_found, rows, columns, ids)
    result[:, 2], result[:, 3] = (np.bincount(some, minlength=classes)[:classes] for some in (ids[matched], ids))
    return result


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
    """Whether a pixel of the same id is near each place, bool [n]; `padded` by RADIUS on all sides."""
    result = np.zeros(len(ids), bool)
    for down, right in OFFSETS:
        result |= padded[rows + RADIUS + down, columns + RADIUS + right] == ids
    return result


def _any_near(padded: np.ndarray, rows: np.ndarray, columns: np.ndarray) -> np.ndarray:
    """Whether a pixel that is set is near each place, bool [n]."""
    result = np.zeros(len(rows), bool)
    for down, right in OFFSETS:
        result |= padded[rows + RADIUS + down, columns + RADIUS + right]
    return result
