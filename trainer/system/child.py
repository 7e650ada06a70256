"""Entry points that this program starts as processes of their own, and ends with itself."""

import contextlib
import ctypes
import signal
import subprocess
import sys
from collections.abc import Sequence

from trainer.config import REPOSITORY
from trainer.system.entry import EXIT_FAILED

END_SECONDS = 60.0
"""Time that a process has to save and end after it was asked to, in seconds."""

PR_SET_PDEATHSIG = 1
"""Option of Linux's prctl: signal that a process gets when the one that started it dies."""


def run_entry(entry: str, arguments: Sequence[str], launch: Sequence[str] = ()) -> int:
    """Run an entry point, such as train, to its end; return its exit code, 1 where something killed it.

    `launch`: words of the command that starts it, without its name; this Python where there are none.

    It prints where this process prints. A signal that stops this process stops it first, and so does, on Linux, this
    process's death, so that it never works on beside its successor.
    """
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    command = [*(launch or [sys.executable]), str(REPOSITORY / "trainer" / f"{entry}.py"), *arguments]
    process = subprocess.Popen(command, preexec_fn=_end_with_parent)
    try:
        code = process.wait()
    except BaseException:
        process.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(END_SECONDS)
        process.kill()
        process.wait()
        raise
    return code if code >= 0 else EXIT_FAILED


def _end_with_parent() -> None:
    """Have the system send this process SIGTERM when its parent dies; nothing where that is not Linux."""
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
