"""Launcher of this process (`accelerate launch`, torchrun or none), and the command that resumes a run."""

import os
import shutil
import signal
import socket
import sys
import threading
import time
from collections.abc import Iterable, Mapping
from functools import cache
from pathlib import Path
from typing import Any

from trainer.config import INSTALLED, REPOSITORY
from trainer.system.installation import COMMAND, called_by_command
from trainer.system.signals import EXIT_STOPPED, StopSignals
from trainer.system.text import join, quote

WATCH_SECONDS = 1.0
"""Interval between two checks that the launcher is alive, in seconds."""

LAUNCHERS = ("accelerate", "accelerate.commands.launch", "torchrun", "torch.distributed.run")
"""Programs and modules that start processes; others that may be before the script, such as `timeout`, are none."""

THREADS_VARIABLE, THREADS_OPTION = "OMP_NUM_THREADS", "--num_cpu_threads_per_process"
"""Environment variable, and option of `accelerate launch`, with which a person sets the number of threads."""

SUPERVISOR_VARIABLE = "SEGTRAINER_SUPERVISOR"
"""Environment variable with the process id of a program that starts trainings, such as a sweep."""

ORPHAN_SECONDS = 25.0
"""Time that a process may take to save and end after the death of its launcher, in seconds."""


@cache
def command() -> list[str]:
    """Command line of the launcher, up to the script or module that it starts; empty without a launcher."""
    words: list[str] = _ask_parent("cmdline", [])
    module = getattr(sys.modules["__main__"].__spec__, "name", None)  # of `-m trainer.train`
    started = next((word for word in words if word in (sys.argv[0], module)), None)
    if started is None or not any(Path(word).name in LAUNCHERS for word in words):
        return []
    return words[: words.index(started) + 1]


def _ask_parent(question: str, unknown: Any) -> Any:
    """Answer of the process that started this one to a question of psutil; `unknown` where it gives none."""
    try:
        import psutil  # not there where only prediction is installed, which nothing launches
    except ImportError:
        return unknown
    try:
        return getattr(psutil.Process(os.getppid()), question)()
    except psutil.Error:
        return unknown


@cache
def identity() -> str:
    """Identifier of the launcher process: host, process id and start time; empty without a launcher.

    A process that the launcher restarts after a failure has the same identifier.
    """
    started = _ask_parent("create_time", None)
    return f"{socket.gethostname()} {os.getppid()} {started}" if started and command() else ""


def seconds_since_start() -> float:
    """Seconds since the system started this process, or its launcher."""
    import psutil

    first = psutil.Process(os.getppid()) if command() else psutil.Process()
    return max(0.0, time.time() - float(first.create_time()))


def given_threads() -> tuple[int, str]:
    """Threads of each process that a person has set outside of the settings, and by what; 0 where that is not so.

    A launcher sets the variable for the processes that it starts. There its own environment counts, and its option.
    """
    variables: Mapping[str, str] = os.environ
    if words := command():
        for word, following in zip(words, [*words[1:], ""], strict=True):
            name, _, value = word.partition("=")
            if name.replace("-", "_").lstrip("_") == THREADS_OPTION.lstrip("-") and (value or following).isdecimal():
                return int(value or following), THREADS_OPTION
        variables = _ask_parent("environ", {})
    first = variables.get(THREADS_VARIABLE, "").split(",")[0].strip()
    return (int(first), THREADS_VARIABLE) if first.isdecimal() and int(first) else (0, "")


def restarted() -> bool:
    """Return whether the launcher has started this process again, after a failure (`--max_restarts`)."""
    return int(os.environ.get("TORCHELASTIC_RESTART_COUNT", "0")) > 0


def resume_command(run_folder: Path, options: Iterable[str] = ()) -> str:
    """Shell command that resumes a run, with further `options` of train.py.

    It begins with `cd` where this process was not started in the repository's root.
    """
    here = Path.cwd()
    folder = run_folder.relative_to(here) if run_folder.is_relative_to(here) else run_folder
    return from_here([*(command() or own_command("train")), "--resume", folder, *options])


def from_here(words: Iterable[object]) -> str:
    """Shell command of these words, with `cd` where this process was not started in the repository's root."""
    here, line = Path.cwd(), join(words)
    return line if here == REPOSITORY and not INSTALLED else f"cd {quote(here)} && {line}"


def own_command(entry: str) -> list[str]:
    """Words of a command that starts an entry point, this program's, as this process was started."""
    python = "python" if shutil.which("python") == sys.executable else sys.executable
    if not called_by_command():
        return [python, sys.argv[0]]
    if Path(sys.argv[0]).name == "__main__.py":
        return [python, "-m", "trainer", entry]
    found = shutil.which(COMMAND)
    same = found is not None and os.path.samefile(found, sys.argv[0])
    return [COMMAND if same else sys.argv[0], entry]


def has_supervisor() -> bool:
    """Return whether a program that starts trainings, as a sweep does, has started this one."""
    return SUPERVISOR_VARIABLE in os.environ


def stop_with_launcher(stop: StopSignals) -> None:
    """Stop this process, as a signal would, when its launcher dies, or a program that starts trainings.

    A signal ends the launcher of a single process, but not the process. A thread checks the parent's id, since a signal
    at the parent's death would not end a process that hangs in a collective.
    """
    supervisor = os.environ.pop(SUPERVISOR_VARIABLE, "")  # not for the programs that this one starts
    if not command() and not supervisor:
        return
    parent = os.getppid() if command() else int(supervisor)

    def stop_when_orphaned() -> None:
        while os.getppid() == parent:
            time.sleep(WATCH_SECONDS)
        if not stop.requested():
            os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(ORPHAN_SECONDS)
        os._exit(EXIT_STOPPED)

    threading.Thread(target=stop_when_orphaned, name="launcher", daemon=True).start()
