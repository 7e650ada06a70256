"""Order in which images are worth labelling: where the model is in doubt, and unlike what is labelled already.

Greedy k-centre selection (Sener 2018, Active learning for CNNs: a core-set approach, algorithm 1), whose distances are
weighted by the doubt. Distances alone take whatever is odd, doubt alone takes ten frames of one scene.
"""

import numpy as np

LARGE_PIXELS = 2**25
"""Pixels above which an image counts less, the more it has: with 4 bytes each it takes 128 MB, more than the readers of
many labelling tools decode, and it takes long to label."""

LEAST_DOUBT = 0.01
"""Doubt that counts at least: images that the model is sure of are ordered by their distances."""


def worth(doubts: np.ndarray, pixels: np.ndarray) -> np.ndarray:
    """Doubt that counts for each image, float64 [N], from doubts in 0..1 and numbers of pixels, both [N]."""
    effort = np.maximum(1.0, pixels / LARGE_PIXELS)
    weights: np.ndarray = np.maximum(doubts, LEAST_DOUBT) / effort
    return weights


def choose(weights: np.ndarray, features: np.ndarray, known: np.ndarray, count: int) -> list[int]:
    """Rows of the `count` images that are worth most, or of all, the first one first.

    `weights` float [N] from `worth`; `features` float [N, F] of the same images; `known` [M, F] of the labelled ones.
    Each choice is the image with the largest product of its weight and its distance to the nearest of those labelled
    or chosen before; of equal ones the first.
    """
    places, labelled = _comparable(features, known)
    nearest = np.ones(len(places))
    for one in labelled:
        nearest = np.minimum(nearest, _distances(places, one))
    left = np.ones(len(places), bool)
    chosen: list[int] = []
    while len(chosen) < min(count, len(places)):
        scores = np.where(left, weights * nearest, -1.0)
        row = int(scores.argmax())
        chosen.append(row)
        left[row] = False
        nearest = np.minimum(nearest, _distances(places, places[row]))
    return chosen


def _comparable(features: np.ndarray, known: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Both kinds of features as vectors of length 1 around their common mean: what all images share tells nothing."""
    together = np.concatenate([features, known]).astype(np.float64)
    together -= together.mean(axis=0)
    together /= np.maximum(together.std(axis=0), 1e-6)
    together /= np.maximum(np.linalg.norm(together, axis=1, keepdims=True), 1e-12)
    return together[: len(features)], together[len(features) :]


def _distances(places: np.ndarray, one: np.ndarray) -> np.ndarray:
    """Distance of each of `places` [N, F] to `one` [F], float64 [N] in 0..1."""
    distances: np.ndarray = np.linalg.norm(places - one, axis=1) / 2
    return distances
