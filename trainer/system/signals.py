"""Signals that ask the program to stop: deferred to a step boundary during training, effective at once outside it."""

import os
import signal
import time
from types import FrameType

EXIT_STOPPED = 143
"""Exit code of a program that a signal stopped, and of every training that can be resumed then."""

EXIT_INTERRUPTED = 130
"""Exit code of a program that Ctrl-C stopped; of a training only before there is anything to resume."""

ECHO_SECONDS = 2.0
"""Time in which a second signal counts as the first one, in seconds.

Ctrl-C and `kill` of a process group reach a process directly, and again through its launcher.
"""

STOPPING = (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1, signal.SIGHUP)
"""Signals that ask for an end. Slurm sends SIGUSR1 before a job's time limit, a terminal SIGHUP when it is closed."""


def exit_code(number: int) -> int:
    """Exit code of a program that signal `number` stopped."""
    return EXIT_INTERRUPTED if number == signal.SIGINT else EXIT_STOPPED


class StopSignals:
    """Handler of the signals STOPPING; SIGHUP stays ignored where it is, as under nohup.

    The first signal raises KeyboardInterrupt in the main thread, or is only recorded while signals are deferred; the
    training loop then asks `requested` between steps. A second one ends the process at once.
    """

    def __init__(self) -> None:
        """Install the handlers. Only the main thread may do this."""
        self.first_s: float | None = None
        self.number = 0
        self.deferred = False
        self.before = {number: signal.getsignal(number) for number in STOPPING}
        for number, handler in self.before.items():
            if number != signal.SIGHUP or handler != signal.SIG_IGN:
                signal.signal(number, self._receive)

    def release(self) -> None:
        """Install the handlers that were there before."""
        for number, handler in self.before.items():
            if handler is not None:  # one that Python did not install
                signal.signal(number, handler)

    def requested(self) -> bool:
        """Return whether a signal has arrived."""
        return self.first_s is not None

    def interrupting(self) -> bool:
        """Return whether a signal has arrived that was not deferred, whatever error its KeyboardInterrupt became."""
        return self.requested() and not self.deferred

    def wait(self, seconds: float) -> bool:
        """Defer signals and wait for one, for at most `seconds`. Returns whether one has arrived."""
        self.defer()
        deadline = time.monotonic() + seconds
        while not self.requested() and time.monotonic() < deadline:
            time.sleep(0.1)
        return self.requested()

    def defer(self) -> None:
        """Only record signals from now on."""
        self.deferred = True

    def interrupt_again(self) -> None:
        """Raise KeyboardInterrupt for signals from now on, and at once for one that was recorded."""
        self.deferred = False
        if self.requested():
            raise KeyboardInterrupt

    def _receive(self, number: int, _frame: FrameType | None) -> None:
        now = time.monotonic()
        if self.first_s is None:
            self.first_s, self.number = now, number
            if not self.deferred:
                raise KeyboardInterrupt
        elif now - self.first_s > ECHO_SECONDS:
            os._exit(EXIT_STOPPED)
