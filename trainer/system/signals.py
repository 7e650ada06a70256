"""Being asked to stop: noted while training, for the next step boundary; obeyed at once before and after."""

import os
import signal
import time
from types import FrameType

EXIT_STOPPED = 143
ECHO_SECONDS = 2.0
"""Ctrl-C and `kill` of a process group reach a process twice: by itself, and passed on by its launcher."""


class StopSignals:
    """SIGTERM, SIGINT, and SIGUSR1, which Slurm sends before the time is up.

    While they are held, the first is only noted, and whoever can stop in good order asks `requested`. Otherwise it
    raises KeyboardInterrupt in the main thread. A second one ends the process where it is.
    """

    def __init__(self) -> None:
        self.first_s: float | None = None
        self.held = False
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1):
            signal.signal(number, self._receive)

    def requested(self) -> bool:
        return self.first_s is not None

    def wait(self, seconds: float) -> bool:
        """Wait for a signal, for at most `seconds`; whether there was one."""
        self.hold()
        deadline = time.monotonic() + seconds
        while not self.requested() and time.monotonic() < deadline:
            time.sleep(0.1)
        return self.requested()

    def hold(self) -> None:
        """From now on only note."""
        self.held = True

    def release(self) -> None:
        """From now on interrupt; at once, if one came in the meantime."""
        self.held = False
        if self.requested():
            raise KeyboardInterrupt

    def _receive(self, _number: int, _frame: FrameType | None) -> None:
        now = time.monotonic()
        if self.first_s is None:
            self.first_s = now
            if not self.held:
                raise KeyboardInterrupt
        elif now - self.first_s > ECHO_SECONDS:
            os._exit(EXIT_STOPPED)
