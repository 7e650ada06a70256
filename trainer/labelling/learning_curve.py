"""Learning curve: mean IoU over the number of labelled images, and what more of them may bring.

A power law a - b * n ** -c, as learning curves follow it (Hestness 2017, Deep learning scaling is predictable). Its
interval is that of a parametric bootstrap: curves fitted to scores drawn around the first one.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

LEAST_ROUNDS = 4
"""Rounds with different numbers of images that a fit needs: one more than the curve has parameters."""

EXPONENTS = np.geomspace(0.1, 2.0, 60)
"""Exponents c that are tried."""

DRAWS = 1000
"""Curves of the bootstrap."""

LEVEL = 0.9
"""Share of these that lie in the interval."""

LEAST_NOISE = 0.005
"""Deviation of a score that is assumed at least: four points may lie on a curve by chance."""


@dataclass(frozen=True)
class Gain:
    """Expected difference of mean IoU by more labelled images, with its interval."""

    expected: float
    low: float
    high: float


def expected_gain(images: Sequence[int], scores: Sequence[float], more: int, seed: int = 0) -> Gain | None:
    """Gain that `more` images promise after the last round; None where there are too few rounds to tell.

    `images`: number of labelled ones in each round, 1 or more; `scores`: its mean IoU, 0 to 1.
    """
    if len(set(images)) < LEAST_ROUNDS:
        return None
    places, values = np.array(images, float), np.array(scores, float)
    now, then = places[-1], places[-1] + more
    curve = _fit(places, values[None])
    # Deviations of a fit are smaller than those of the scores, the more so the more parameters it has; and how large
    # those are, few rounds hardly tell: the variance is drawn as well, from its posterior by what is free to vary.
    random, free = np.random.default_rng(seed), len(places) - 3
    squares = np.square(values - _at(curve, places)[0]).sum()
    noise = np.maximum(np.sqrt(squares / random.chisquare(free, DRAWS)), LEAST_NOISE)
    drawn = _at(curve, places) + noise[:, None] * random.normal(0, 1, (DRAWS, len(places)))
    low, high = np.quantile(_gains(_fit(places, drawn), now, then), [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return Gain(float(_gains(curve, now, then)[0]), float(low), float(high))


Curves = tuple[np.ndarray, np.ndarray, np.ndarray]
"""a, b and c of D curves, each [D]."""


def _fit(images: np.ndarray, scores: np.ndarray) -> Curves:
    """Curves with the least squared deviations from scores [D, N] that do not fall (b >= 0) and do not pass 1."""
    fits = [_fit_exponent(images, scores, exponent) for exponent in EXPONENTS]
    errors = [np.square(_at(one, images) - scores).sum(axis=1) for one in fits]
    best, rows = np.argmin(errors, axis=0), np.arange(len(scores))
    a, b, c = (np.stack(part)[best, rows] for part in zip(*fits, strict=True))
    return a, b, c


def _fit_exponent(images: np.ndarray, scores: np.ndarray, exponent: float) -> Curves:
    """Best curves with this exponent."""
    powers = images**-exponent
    around = powers - powers.mean()
    b = np.maximum(0, -(scores @ around) / np.square(around).sum())
    a = scores.mean(axis=1) + b * powers.mean()
    through_one = np.maximum(0, ((1 - scores) @ powers) / np.square(powers).sum())
    b, a = np.where(a > 1, through_one, b), np.minimum(a, 1)
    return a, b, np.full(len(scores), exponent)


def _at(curves: Curves, images: np.ndarray) -> np.ndarray:
    """Scores [D, N] that D curves give for numbers of images [N]."""
    a, b, c = curves
    scores: np.ndarray = a[:, None] - b[:, None] * images ** -c[:, None]
    return scores


def _gains(curves: Curves, now: float, then: float) -> np.ndarray:
    _, b, c = curves
    gains: np.ndarray = b * (now**-c - then**-c)
    return gains
