"""CPU threads of train.threads auto: the number with the fastest step, measured at the start and again where needed.

Threads of one step wait for each other at its end, hundreds of times, and do so in loops. Beside other processes one of
them is often not running, and all wait for it: with fewer threads a step is then many times as fast.
"""

import math
import time
from collections import deque
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from statistics import median

import torch

from trainer.system.launcher import given_threads

THREADS = "threads_per_process"
"""Key of the number in the environment of a checkpoint."""

TIMED = 3
"""Steps with one number of threads, after a first one, whose median is compared."""

HOPELESS = 2.0
"""Time of a step, over the best time so far, from which a number of threads is not tried any further."""

PREPARING_S = 0.5
"""Seconds by which the first step with a number of threads may take longer than those that follow."""

GAIN = 0.1
"""Share of a step's time that another number must save: each change changes the last bits of the results."""

SHARE = 0.015
"""Largest share of the time left that measuring takes, idle or not."""

FEWEST_STEPS = round(2 * (TIMED + 1) / SHARE)
"""Steps left below which nothing is measured: two numbers of threads would take more than that share."""

SLOWER = 1.5
"""Time of the last steps, over the time that was measured, from which it is measured again."""

RECENT_STEPS = 20
"""Number of the last steps whose median is compared with what was measured."""

PAUSE_FACTOR = 100
"""Pause after measuring, in times of what it took, before it is tried whether more threads are faster again."""

STOPPED_S = 1e6
"""Seconds of a step with which a process tells the others that it is to stop."""

MOST_TIMES = 10
"""Number of times in one start of a run that it is measured again."""


class _Stopped(Exception):
    """A process is to stop: nothing more is measured."""


def threads_at_start(setting: int | str, share: int) -> tuple[int, str]:
    """Threads of each process before anything is measured, and the reason; `share` of the CPUs is this process's.

    `setting`: train.threads; 0 stands for the share, whatever it is. A number that a person has set in the environment
    holds where the setting is auto.
    """
    if setting != "auto":
        return int(setting) or share, ""
    given, by = given_threads()
    return (given, f"train.threads {given}, as {by} says") if given else (share, "")


def is_chosen(setting: int | str) -> bool:
    """Return whether the program chooses the number of threads, since no person has."""
    return setting == "auto" and not given_threads()[0]


def threads_at_resume(setting: int | str, own: int, stored: str | None) -> int:
    """Threads with which a run goes on that had the number `stored`, of a checkpoint, where `own` can be had here."""
    return _stored_or(own, stored) if is_chosen(setting) else own


def _stored_or(own: int, stored: str | None) -> int:
    return min(own, int(stored)) if stored and stored.isdecimal() and int(stored) else own


def measure_numbers(
    most: int, time_step: Callable[[int], float], affordable: Callable[[float, float], bool], present: int = 0
) -> dict[int, float]:
    """Seconds of a step by number of threads, of those worth a trial; empty where not even two can be afforded.

    `time_step` takes a step with so many threads. `affordable` is given the seconds spent so far with those that the
    next trial may take, and the shortest time of a step. Half of the threads come first: they are rarely disturbed, and
    tell how long is too long for all of them. Fewer follow where these are the fastest.
    """
    half = (most + 1) // 2
    found: dict[int, float] = {}
    spent_s = 0.0

    def attempt(number: int) -> bool:
        """Measure one number; return whether there is time for another one."""
        nonlocal spent_s
        best_s = min(found.values(), default=math.inf)
        times: list[float] = []
        first_s = time_step(number)  # it prepares kernels for this number
        if first_s <= HOPELESS * best_s + PREPARING_S:
            times.append(time_step(number))
            if times[0] <= HOPELESS * best_s:
                times += [time_step(number) for _ in range(TIMED - 1)]
        found[number] = median(times or [first_s])
        spent_s += first_s + sum(times)
        best_s = min(found.values())
        return affordable(spent_s + (TIMED + 1) * best_s, best_s)

    others = {most, most - 1, most * 3 // 4, present} - {half, 0}
    if attempt(half):
        more = all(attempt(number) for number in sorted(others, key=lambda number: (number != present, -number)))
        number = half
        while more and number > 1 and found[number] == min(found.values()):
            number = (number + 1) // 2
            more = number in found or attempt(number)
    return found if len(found) > 1 else {}


def fastest(found: dict[int, float], present: int) -> int:
    """Number of threads with the fastest step; the `present` one where that is not clear."""
    best = min(found, key=lambda number: found[number])
    return present if found.get(present, math.inf) * (1 - GAIN) <= found[best] else best


@dataclass
class AutoThreads:
    """Number of threads of each process, and when to measure it. All processes make the same calls and decide alike."""

    most: int = 0
    """Threads that each process may have; with 0 and 1 nothing is ever measured."""

    slowest: Callable[[float], float] = lambda own: own
    """Largest of the numbers of all processes. A collective."""

    apply: Callable[[int], None] = torch.set_num_threads
    clock: Callable[[], float] = time.perf_counter
    number: int = 0
    """Threads in force; 0 before that is decided."""

    resumed: bool = False
    """True until it is measured for the first time after a resume: the machine may be another, or busy by now."""

    step_s: float = 0.0
    """Seconds of a step as measured with `number` threads and images of `side` pixels; 0 where it was not measured."""

    side: int = 0
    times: int = 0
    """Times that it was measured again."""

    pause_s: float = 0.0
    measured_at_s: float = 0.0
    recent: deque[float] = field(default_factory=lambda: deque(maxlen=RECENT_STEPS))
    """Times of the last steps, in seconds, each as if its images had `side` pixels."""

    @property
    def variable(self) -> bool:
        """True where there is more than one number to choose from."""
        return self.most > 1

    def worth_measuring(self, steps_left: int) -> bool:
        """Return whether there is something to choose, and for long enough."""
        return self.variable and steps_left >= FEWEST_STEPS

    def begin(self) -> None:
        """Begin with all threads."""
        if self.variable:
            self.number = self.most
            self.apply(self.number)

    def resume(self, environment: Mapping[str, str]) -> None:
        """Begin with the number of a checkpoint that had this environment."""
        if self.variable:
            self.number, self.resumed = _stored_or(self.most, environment.get(THREADS)), True
            self.apply(self.number)

    def measure(
        self,
        step_s: Callable[[], float],
        side: int,
        steps_left: int,
        seconds_left: float,
        stop_requested: Callable[[], bool] = lambda: False,
    ) -> str:
        """Measure, and take the fastest number. Returns a line for people; empty where nothing was measured.

        `step_s` takes a step with images of `side` pixels, changes nothing and returns its seconds. Not more than a
        small share is spent of the time that `steps_left` take, or of `seconds_left`. Nothing is measured where a
        process is to stop. A collective.
        """
        began_s, present = self.clock(), self.number

        def time_step(number: int) -> float:
            self.apply(number)
            own_s = step_s()
            seconds = self.slowest(STOPPED_S if stop_requested() else own_s)
            if seconds >= STOPPED_S:
                raise _Stopped
            return seconds

        def affordable(seconds: float, best_s: float) -> bool:
            return seconds <= SHARE * min(seconds_left, steps_left * best_s)

        found: dict[int, float] = {}
        with suppress(_Stopped):
            found = measure_numbers(self.most, time_step, affordable, present)
        self.number = fastest(found, present) if found else present
        self.apply(self.number)
        self.step_s, self.side = found.get(self.number, 0.0), side
        self.recent.clear()
        self.resumed, self.measured_at_s = False, self.clock()
        self.pause_s = max(2 * self.pause_s, PAUSE_FACTOR * (self.clock() - began_s))
        if not found:
            return ""
        others = [f"{found[number]:.2g} s with {number}" for number in sorted(found) if number != self.number]
        return f"train.threads {self.number}: a step takes {self.step_s:.2g} s, {', '.join(others)}"

    def count_step(self, side: int, seconds: float) -> None:
        """Note the seconds of a step with images of `side` pixels."""
        if self.variable:
            self.recent.append(seconds * (self.side / side) ** 2 if self.side else seconds)

    def due(self, steps_left: int) -> bool:
        """Return whether to measure again: steps are much slower than they were, or more threads may be faster by now.

        A collective, to be called between two steps.
        """
        if not self.worth_measuring(steps_left) or self.times >= MOST_TIMES or not self.recent:
            return False
        slower = self.step_s > 0 and median(self.recent) > SLOWER * self.step_s
        freer = 0 < self.number < self.most and self.clock() - self.measured_at_s > self.pause_s
        due = self.slowest(float(slower or freer or self.resumed)) > 0
        self.times += due
        return due
