"""Signals that ask the program to stop: deferred to a step boundary during training, effective at once outside it."""

import os
import signal
import time
from types import FrameType

EXIT_STOPPED = 143
"""Exit code of a process that a signal stopped."""

ECHO_SECONDS = 2.0
"""Time in which a second signal counts as the first one, in seconds.

Ctrl-C and `kill` of a process group reach a process directly, and again through its launcher.
"""


class StopSignals:
    """Handler of SIGTERM, SIGINT, and SIGUSR1, which Slurm sends before a job's time limit.

    The first signal raises KeyboardInterrupt in the main thread, or is only recorded while signals are deferred; the
    training loop then asks `requested` between steps. A second one ends the process at once.
    """

    def __init__(self) -> None:
        """Install the handlers. Only the main thread may do this."""
        self.first_s: float | None = None
        self.deferred = False
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1):
            signal.signal(number, self._receive)

    def requested(self) -> bool:
        """Return whether a signal has arrived."""
        return self.first_s is not None

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

    def _receive(self, _number: int, _frame: FrameType | None) -> None:
        now = time.monotonic()
        if self.first_s is None:
            self.first_s = now
            if not self.deferred:
                raise KeyboardInterrupt
        elif now - self.first_s > ECHO_SECONDS:
            os._exit(EXIT_STOPPED)
