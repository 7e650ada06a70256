"""What changes in the course of training, as pure functions of the step."""

import math


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
