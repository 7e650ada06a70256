"""Frame of every entry point: stopped by a signal in one line, and indifferent to a reader that leaves.

Only light imports: it stands before all others.
"""

import errno
import os
import signal
import sys
from collections.abc import Callable
from contextlib import redirect_stderr, redirect_stdout, suppress
from types import FrameType
from typing import Any, NoReturn, TextIO, cast

from trainer.system.signals import STOPPING, StopSignals, exit_code

EXIT_FAILED = 1
"""Exit code of a program that failed while working."""


def guard_imports(name: str) -> None:
    """Have a signal end the program `name` in one line from now on, while it does nothing but import."""

    def end(number: int, _frame: FrameType | None) -> None:
        if is_main_process():
            with suppress(OSError):
                os.write(2, f"{name}: stopped\n".encode())
        os._exit(exit_code(number))

    for number in STOPPING:
        if number != signal.SIGHUP or signal.getsignal(number) != signal.SIG_IGN:
            signal.signal(number, end)


def run_program(name: str, body: Callable[[StopSignals], int], prints_results: bool = False) -> int:
    """Return the exit code of `body`, or that of a signal that stopped it, which is said in one line.

    What cannot be printed is left out, since the files that a program makes are worth more than what it says. Only one
    that `prints_results` has failed then, with exit code 1, unless their reader wanted no more.
    """
    stop = StopSignals()
    _open_standard_files()
    out, error = (_Output(stream) if stream else None for stream in (sys.stdout, sys.stderr))
    with redirect_stdout(cast(TextIO, out)), redirect_stderr(cast(TextIO, error)):
        try:
            code = body(stop)
            if out is not None and not out.written():
                print(f"{name}: what it prints cannot be written ({out.error})", file=sys.stderr)
                code = code or EXIT_FAILED * prints_results
            return code
        except SystemExit:
            raise
        except BaseException:  # a signal during an import may arrive as another error than KeyboardInterrupt
            if not stop.requested():
                raise
            from trainer.system.terminal import close_bars

            close_bars()
            if is_main_process():
                print(f"{name}: stopped", file=sys.stderr)
            return exit_code(stop.number)
        finally:
            stop.release()


def leave(code: int) -> NoReturn:
    """End the program. A signal changes nothing any more, nor does output that cannot be written."""
    for number in STOPPING:
        signal.signal(number, signal.SIG_IGN)
    for stream in filter(None, (sys.stdout, sys.stderr)):  # None where it was closed
        try:
            stream.flush()
        except OSError:
            _discard(stream)
    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        # All is written. Python's own end takes torch's threads down in an order that now and then aborts the process,
        # and the launcher would call a finished training failed.
        os._exit(code)
    sys.exit(code)


class _Output:
    """Standard output or error whose writing does not fail. A full disk may have room for the next line."""

    def __init__(self, stream: TextIO) -> None:
        self.stream = stream
        self.error = ""
        """Reason why something could not be written; empty where nobody reads any more."""

    def written(self) -> bool:
        """Write what is left; return whether everything could be written that somebody reads."""
        self.flush()
        return not self.error

    def write(self, text: str) -> int:
        try:
            return self.stream.write(text)
        except OSError as error:
            return self._failed(error, len(text))

    def flush(self) -> None:
        try:
            self.stream.flush()
        except OSError as error:
            self._failed(error)

    def _failed(self, error: OSError, length: int = 0) -> int:
        if error.errno in (errno.EPIPE, errno.EIO):  # the reader or the terminal is gone, and does not come back
            _discard(self.stream)
        else:
            self.error = error.strerror or str(error)
        return length

    def __getattr__(self, name: str) -> Any:
        return getattr(self.stream, name)


def _open_standard_files() -> None:
    """Open those that are closed: the next file would get their number, and what is printed would go there."""
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)


def _discard(stream: TextIO) -> None:
    """Send what a stream still holds, and all that follows, nowhere."""
    with suppress(OSError, ValueError):
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, stream.fileno())
        os.close(null)


def is_main_process() -> bool:
    """Return whether this is the process that displays, tracks and writes."""
    return os.environ.get("RANK", "0") == "0"
