"""Curve of val/miou over the steps, and when it says that training longer would bring little.

Pure functions of the recorded scores: no clock, so a resumed run decides as one that was never interrupted.
"""

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass

from trainer.engine.schedule import Plan

LITTLE = 0.005
"""Gain of val/miou by MORE steps below which training longer does not pay."""

MORE = 0.5
"""Steps that the curve is asked about, as a share of those done."""

FALL = 1 / 3
"""Steps in which the learning rate then falls to 0, as a share of those done."""

NEVER_BEFORE = 1 / 3
"""Share of the course before which a curve is not trusted; warm-up is over then."""

NEVER_BEFORE_ALL_ARE_FOUND = 1 / 2
"""The same while a class is not found at all: it comes with a jump, which no curve announces."""

FEWEST = 8
"""Evaluations that a fit needs."""

FITTED = 1 / 6
"""Steps, as a share of those done, before which scores are left out: they tell of finding, not of improving."""

LATEST = 3
"""Last scores whose median must not lie above the curve by LITTLE or more: it has not seen a new rise yet."""

EXPONENTS = (0.25, 0.5, 1.0, 2.0, 4.0)
"""Exponents that are tried; the one with the smallest deviations is taken."""

HUBER, ROUNDS = 1.5, 5
"""Deviations beyond HUBER times the noise weigh less, in so many rounds (Huber 1964)."""


@dataclass(frozen=True)
class Curve:
    """Saturating curve a - b * step ** -c, fitted to the scores."""

    a: float
    b: float
    c: float
    noise: float
    """Standard deviation of the scores around it, estimated from their median deviation."""

    slope_error: float
    """Standard error of b."""

    def at(self, step: float) -> float:
        """Score at a step."""
        return self.a - self.b * step**-self.c

    def gain(self, step: int) -> float:
        """Gain of MORE steps after `step`."""
        return self.at((1 + MORE) * step) - self.at(step)

    def gain_error(self, step: int) -> float:
        """Standard error of `gain`."""
        return self.slope_error * (step**-self.c - ((1 + MORE) * step) ** -self.c)


def fit(steps: Sequence[int], scores: Sequence[float]) -> Curve:
    """Fit a curve by least squares in which outliers weigh less; at least three scores, the steps are 1 or more."""
    return min((_fit_exponent(steps, scores, exponent) for exponent in EXPONENTS), key=lambda one: one[0])[1]


def _fit_exponent(steps: Sequence[int], scores: Sequence[float], exponent: float) -> tuple[float, Curve]:
    """Fit with this exponent; the mean of the absolute deviations, and the curve."""
    unit = steps[-1]  # steps in units of the last one, so that the powers stay near 1
    places = [(step / unit) ** -exponent for step in steps]
    weights = [1.0] * len(steps)
    for _ in range(ROUNDS):
        total = sum(weights)
        place = sum(w * x for w, x in zip(weights, places, strict=True)) / total
        score = sum(w * y for w, y in zip(weights, scores, strict=True)) / total
        spread = sum(w * (x - place) ** 2 for w, x in zip(weights, places, strict=True))
        both = sum(w * (x - place) * (y - score) for w, x, y in zip(weights, places, scores, strict=True))
        slope = both / spread
        deviations = [y - score - slope * (x - place) for x, y in zip(places, scores, strict=True)]
        noise = 1.4826 * statistics.median(map(abs, deviations))  # of a normal distribution
        weights = [min(1.0, HUBER * noise / max(abs(one), 1e-12)) if noise else 1.0 for one in deviations]
    error = noise / math.sqrt(spread)
    scale = unit**exponent
    curve = Curve(score - slope * place, -slope * scale, exponent, noise, error * scale)
    return statistics.fmean(map(abs, deviations)), curve


@dataclass(frozen=True)
class Verdict:
    """Finding that the curve has levelled off."""

    total_steps: int
    """Steps that the training shall have in all."""

    reason: str
    """Sentence for people, with the curve."""


def levelled_off(scores: Sequence[float], interval: int, plan: Plan, missing: bool) -> Verdict | None:
    """Decide whether training longer would bring little, after the last of the evaluations; None where it may.

    `scores`: val/miou of each evaluation after the first step, `interval` steps apart; `missing`: whether a class is
    not found at all.
    """
    step = interval * len(scores)
    total = step + max(1, round(FALL * step))
    least = NEVER_BEFORE_ALL_ARE_FOUND if missing else NEVER_BEFORE
    if plan.share(step) < least or total >= plan.total_steps:  # after a verdict, each later total is larger
        return None
    gains = [_gain(scores[:count], interval) for count in (len(scores) - 1, len(scores))]
    if any(gain is None or gain >= LITTLE for gain in gains):
        return None
    return Verdict(total, _reason(scores, interval, gains[-1] or 0.0, total))


def _gain(scores: Sequence[float], interval: int) -> float | None:
    """Gain that MORE steps after these scores promise, and its error; None where the curve is not to be trusted."""
    step = interval * len(scores)
    steps = [number for number in range(interval, step + 1, interval) if number >= FITTED * step]
    if len(steps) < FEWEST or max(scores) <= 0:
        return None
    fitted = list(scores[-len(steps) :])
    curve = fit(steps, fitted)
    if statistics.median(fitted[-LATEST:]) - curve.at(step) >= max(LITTLE, curve.noise):
        return None
    return curve.gain(step) + curve.gain_error(step)


def _reason(scores: Sequence[float], interval: int, gain: float, total: int) -> str:
    count = len(scores)
    shown = sorted({max(1, round(count * share)) for share in (1 / 16, 1 / 8, 1 / 4, 1 / 2, 3 / 4, 1)})
    points = ", ".join(f"{scores[number - 1]:.3f} after {number * interval}" for number in shown)
    return (
        f"val/miou levels off: {points} steps. Half as many again would bring less than {LITTLE:g} "
        f"(the fitted curve says {max(0.0, gain):.4f}), so the learning rate falls to 0 by step {total}, and training "
        "ends; --train.patience 0 would do all of the planned steps"
    )
