"""What changes in the course of training, as pure functions of the step."""

import math

SMALL_SHARE = 0.5
"""Of all steps, the first ones, which see smaller squares."""

SMALL_SIDE = 0.625
"""Of the full side."""


def learning_rate(step: int, total_steps: int, peak: float, warmup: float) -> float:
    """Learning rate of the optimizer step that follows `step` finished ones, of `total_steps` in all.

    Rises linearly to `peak` over the share `warmup` of the steps, then falls along half a cosine to 0, which the step
    after the last would have (Loshchilov 2017, SGDR, eq. 5, without restarts).
    """
    warmup_steps = warmup * total_steps
    if step < warmup_steps:
        return peak * (step + 1) / (math.floor(warmup_steps) + 1)
    progress = (step - warmup_steps) / max(1.0, total_steps - warmup_steps)
    return peak * 0.5 * (1 + math.cos(math.pi * min(1.0, progress)))


def small_side(side: int, multiple: int) -> int:
    """The side of the smaller squares in pixels, a multiple of `multiple` as the network wants it.

    Not so small that one pixel is left at the network's bottom: batch norm has nothing to normalise there.
    """
    return min(side, max(2 * multiple, round(SMALL_SIDE * side / multiple) * multiple))


def side_of_step(step: int, total_steps: int, side: int, multiple: int) -> int:
    """Side in pixels of the squares that the step after `step` finished ones is shown: small ones first.

    Half the pixels cost half the time, and what a thing looks like is learnt from them as well (Howard 2018, fast.ai's
    entry for DAWNBench).
    """
    return small_side(side, multiple) if step < SMALL_SHARE * total_steps else side


def steps_that_fit(seconds: float, small_s: float, full_s: float, around_s: float) -> int:
    """How many steps take `seconds`, where one of the first half takes `small_s`, one of the rest `full_s`.

    `around_s`: what evaluations add to each step, on average. At least 1.
    """
    return max(1, int(seconds / (SMALL_SHARE * small_s + (1 - SMALL_SHARE) * full_s + around_s)))
