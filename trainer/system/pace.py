"""Time that the rest of a training takes, by what its last steps took."""

from collections import deque
from statistics import median

RECENT_STEPS = 50
"""Number of the last steps whose median time the next ones are expected to take: the first may compile or warm up."""


class Pace:
    """Pace of a training: the times at which its steps ended, and the pauses between them for evaluations."""

    def __init__(self) -> None:
        self.step_s: deque[float] = deque(maxlen=RECENT_STEPS)
        self.last_s: float | None = None
        self.evaluating = False
        self.since_pause = 0
        self.pause_s = 0.0
        """Seconds of the last evaluation for each step before it."""

    def step(self, now_s: float) -> None:
        """Note that a step has ended at `now_s`, of any clock."""
        if self.last_s is not None:
            seconds = now_s - self.last_s
            if self.evaluating and self.step_s:
                self.pause_s = max(0.0, seconds - median(self.step_s)) / max(1, self.since_pause)
                self.since_pause = 0
            elif not self.evaluating:
                self.step_s.append(seconds)
            self.since_pause += 1
        self.last_s, self.evaluating = now_s, False

    def evaluation(self) -> None:
        """Note that the time up to the next step is that of an evaluation too."""
        self.evaluating = True

    def left_s(self, steps: int) -> float | None:
        """Seconds that `steps` more steps take, with their evaluations; None where that is not known yet."""
        return steps * (median(self.step_s) + self.pause_s) if self.step_s else None
