"""Budget of train.minutes: how many steps fit into the time that is left, by what the last ones took."""

import time
from collections import deque
from collections.abc import Callable
from statistics import fmean

from trainer.data.loader import SMALL_SHARE, ImageSides
from trainer.engine.auto import steps_that_fit
from trainer.engine.schedule import Plan

FEWEST_STEPS, RECENT_EVALUATIONS = 10, 3
"""Numbers of the last steps, besides all since the last plan, and evaluations, whose mean time the next ones take."""

PLANS = 10
"""Number of times that a budget is planned again by the clock, beside the evaluations."""

END_SECONDS, END_SHARE = 5.0, 0.12
"""Time that is left for exporting and registering the model, in seconds, and as the largest share of a budget."""

START_SHARE = 0.5
"""Largest share of a budget that the start of the program takes: reading all images for the first time may be long."""

TOLERANCE = 0.03
"""Share of the steps left by which a new plan must differ to be followed: each bends the learning rate's course."""


class Budget:
    """Clock of a training that has so many minutes over all its starts."""

    def __init__(
        self,
        minutes: float,
        sides: ImageSides,
        evaluation_interval: int,
        spent_s: float = 0.0,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        """`spent_s`: seconds that earlier starts, or the start of the program, have taken of it."""
        self.total_s, self.sides, self.interval, self.clock = 60 * minutes, sides, evaluation_interval, clock
        self.began_s = clock() - spent_s
        self.planned_s = clock()
        self.steps: dict[int, list[float]] = {side: [] for side in (sides.small, sides.full)}
        self.evaluations: deque[float] = deque(maxlen=RECENT_EVALUATIONS)
        self.stepped = self.stepping_s = self.evaluating_s = 0.0
        self.ratio = (sides.full / sides.small) ** 2
        """Time of a step with full images over that of one with small images, until both were seen."""

    def spent_s(self) -> float:
        """Seconds spent so far, over all starts."""
        return self.clock() - self.began_s

    def due(self) -> bool:
        """Return whether it is time to plan again."""
        return self.total_s > 0 and self.clock() - self.planned_s > self.total_s / PLANS

    def measured(self, small_s: float, full_s: float) -> None:
        """Expect these seconds of a step with small and with full images, until steps are counted."""
        self.ratio = full_s / small_s
        self.steps[self.sides.small].append(small_s)
        self.steps[self.sides.full].append(full_s)

    def count_step(self, side: int, seconds: float) -> None:
        """Note the seconds of a step with images of this side."""
        if not self.stepped:  # what was measured was a guess, except for the ratio
            for times in self.steps.values():
                times.clear()
            self.loop_s = self.clock() - seconds
        self.stepped += 1
        self.stepping_s += seconds
        self.steps[side].append(seconds)

    def count_evaluation(self, seconds: float) -> None:
        """Note the seconds of an evaluation, with its images."""
        self.evaluations.append(seconds)
        self.evaluating_s += seconds if self.stepped else 0.0

    def steps_left(self, plan: Plan, step: int) -> int | None:
        """Number of steps that fit into what is left after `step`, at least 1; None where nothing is known of them."""
        small_s, full_s = self._seconds(self.sides.small), self._seconds(self.sides.full)
        if small_s is None or full_s is None:
            return None
        evaluation_s = fmean(self.evaluations) if self.evaluations else 0.0
        # Checkpoints, mostly.
        other_s = max(0.0, self.clock() - self.loop_s - self.stepping_s - self.evaluating_s) if self.stepped else 0.0
        around_s = evaluation_s / self.interval + other_s / max(1.0, self.stepped)
        # The last evaluation comes after some part of an interval.
        end_s = min(END_SECONDS, END_SHARE * self.total_s) + evaluation_s / 2
        left_s = self.total_s - self.spent_s() - end_s
        place = plan.place(step)
        small = max(0.0, SMALL_SHARE * plan.length - place) / max(1.0, plan.length - place)
        return steps_that_fit(left_s, small_s, full_s, around_s, small)

    def plan_again(self, plan: Plan, step: int, steps_left: int, most_steps: int) -> Plan:
        """Plan with `steps_left` more steps after `step`, `most_steps` in all; the same one where few differ."""
        self.planned_s = self.clock()
        for times in self.steps.values():
            del times[:-FEWEST_STEPS]
        total = min(step + steps_left, most_steps)
        if abs(total - plan.total_steps) <= TOLERANCE * (plan.total_steps - step):
            return plan
        return plan.changed(step, total)

    def _seconds(self, side: int) -> float | None:
        if self.steps[side]:
            return fmean(self.steps[side])
        other = self.steps[self.sides.full if side == self.sides.small else self.sides.small]
        if not other:
            return None
        return fmean(other) * (self.ratio if side == self.sides.full else 1 / self.ratio)
