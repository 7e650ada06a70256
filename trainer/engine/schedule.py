"""Course of a training as pure functions of the step: nothing to save, nothing to restore."""

import math
from dataclasses import dataclass


@dataclass(frozen=True)
class Schedule:
    """Length of a training, its learning rate and its evaluations."""

    planned_steps: int
    """Optimizer steps of all epochs."""

    minutes: float
    """Limit of the training time, in minutes; 0 for none."""

    evaluation_interval: int
    """Steps between evaluations."""

    patience: int
    """Evaluations without a better val/miou after which training stops; 0 never."""

    peak_lr: float
    """Learning rate after the warm-up."""

    warmup: float
    """Share of the steps over which the learning rate rises, 0 to 1."""

    def learning_rate(self, step: int, total_steps: int) -> float:
        """Learning rate of the step after `step` finished ones."""
        return learning_rate(step, total_steps, self.peak_lr, self.warmup)


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
