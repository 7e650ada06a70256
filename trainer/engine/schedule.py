"""Course of a training as pure functions of the step and of its plan, which is all there is to save."""

import math
from dataclasses import dataclass


@dataclass(frozen=True)
class Plan:
    """Number of steps, and the place of each in the course of the learning rate and of the image sides.

    That course has `length` places. As planned first, step s is at place s; where the number of steps is changed after
    some step, those that follow share the places that are left, evenly.
    """

    total_steps: int
    length: int
    changed_after: int = 0
    """Step after which the number of steps was changed last."""

    changed_at: float = 0.0
    """Place of the step that follows it."""

    def place(self, step: int) -> float:
        """Place of the step after `step` finished ones, 0 to `length`."""
        places, steps = self.length - self.changed_at, self.total_steps - self.changed_after
        return self.changed_at + (step - self.changed_after) * places / max(1, steps)

    def share(self, step: int) -> float:
        """Share of the course that is done after `step` steps, 0 to 1; 0 before there is a plan."""
        return self.place(step) / self.length if self.length else 0.0

    def changed(self, step: int, total_steps: int) -> "Plan":
        """Plan with `total_steps` steps in all, from the one after `step` finished ones on."""
        return Plan(total_steps, self.length, step, self.place(step))


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

    by_curve: bool = False
    """Whether training ends before `planned_steps` where the curve of val/miou levels off."""

    def learning_rate(self, step: int, plan: Plan) -> float:
        """Learning rate of the step after `step` finished ones."""
        return learning_rate(plan.place(step), plan.length, self.peak_lr, self.warmup)


def learning_rate(step: float, total_steps: int, peak: float, warmup: float) -> float:
    """Learning rate of the optimizer step that follows `step` finished ones, of `total_steps` in all; or at a place.

    Rises linearly to `peak` over the share `warmup` of the steps, then falls along half a cosine to 0, which the step
    after the last would have (Loshchilov 2017, SGDR, eq. 5, without restarts).
    """
    warmup_steps = warmup * total_steps
    if step < warmup_steps:
        return peak * (step + 1) / (math.floor(warmup_steps) + 1)
    progress = (step - warmup_steps) / max(1.0, total_steps - warmup_steps)
    return peak * 0.5 * (1 + math.cos(math.pi * min(1.0, progress)))
