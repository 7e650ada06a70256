"""Order in which images are worth labelling: those that stand for most of what the model is in doubt about.

Facility location, which is submodular, chosen greedily (Wei 2015, Submodularity in data subset selection and active
learning), each image with its doubt as weight. Doubt alone takes ten frames of one scene; distances alone take whatever
is odd, and of what the model can do already as much as of what it cannot.
"""

import numpy as np

LARGE_PIXELS = 2**25
"""Pixels above which an image counts less, the more it has: with 4 bytes each it takes 128 MB, more than the readers of
many labelling tools decode, and it takes long to label."""

LEAST_DOUBT = 0.01
"""Doubt that counts at least: images that the model is sure of are ordered by their distances."""

FARTHEST = 1.0
"""Distance of opposite images, and of every image to the nearest labelled one while none is labelled."""

BLOCK_VALUES = 2**22
"""Distances that are held at a time, 32 MB."""


def choose(doubts: np.ndarray, pixels: np.ndarray, features: np.ndarray, known: np.ndarray, count: int) -> list[int]:
    """Rows of the `count` images that are worth most, or of all, the first one first.

    Of N images: `doubts` float [N] in 0..1, `pixels` int [N], `features` float [N, F]; `known` float [M, F]: features
    of those that are labelled. Each choice is the image that brings the others nearest to a labelled or chosen one: the
    largest sum, over all images, of the doubt times what the distance to the nearest falls by; of large images divided
    by `effort`; of equal ones the first.
    """
    places, labelled = _comparable(features, known)
    weights, cost = np.maximum(doubts, LEAST_DOUBT), effort(pixels)
    nearest = np.full(len(places), FARTHEST)
    for one in labelled:
        nearest = np.minimum(nearest, _distances(places, one[None])[0])

    def gains(rows: np.ndarray) -> np.ndarray:
        found: np.ndarray = np.maximum(nearest - _distances(places, places[rows]), 0.0) @ weights / cost[rows]
        return found

    rows = np.arange(len(places))
    parts = np.array_split(rows, len(places) * len(places) // BLOCK_VALUES + 1)
    most = np.concatenate([gains(part) for part in parts])
    chosen: list[int] = []
    while len(chosen) < min(count, len(places)):
        # A gain can only fall when others are chosen (Minoux 1978): the largest of the old ones is best if it holds.
        row = int(most.argmax())
        most[row] = gains(rows[row : row + 1])[0]
        if row == most.argmax():
            chosen.append(row)
            most[row] = -1.0
            nearest = np.minimum(nearest, _distances(places, places[row : row + 1])[0])
    return chosen


def effort(pixels: np.ndarray) -> np.ndarray:
    """Effort of labelling an image of so many pixels, float64 [N] >= 1: 1 up to LARGE_PIXELS."""
    times: np.ndarray = np.maximum(1.0, pixels / LARGE_PIXELS)
    return times


def _comparable(features: np.ndarray, known: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Both kinds of features as vectors of length 1 around their common mean: what all images share tells nothing."""
    together = np.concatenate([features, known]).astype(np.float64)
    together -= together.mean(axis=0)
    together /= np.maximum(together.std(axis=0), 1e-6)
    together /= np.maximum(np.linalg.norm(together, axis=1, keepdims=True), 1e-12)
    return together[: len(features)], together[len(features) :]


def _distances(places: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Distance of each of `others` [M, F] to each of `places` [N, F], float64 [M, N] in 0..FARTHEST."""
    squares = (others**2).sum(axis=1)[:, None] + (places**2).sum(axis=1) - 2 * others @ places.T
    distances: np.ndarray = np.sqrt(np.maximum(squares, 0.0)) / 2
    return distances
