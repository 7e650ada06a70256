"""Who started this process: `accelerate launch`, torchrun, or a person; and what to type to start it again."""

import os
import shlex
import shutil
import signal
import socket
import sys
import threading
import time
from functools import cache
from pathlib import Path

import psutil

from trainer.config import REPOSITORY
from trainer.system.signals import EXIT_STOPPED, StopSignals

WATCH_SECONDS = 1.0
ORPHAN_SECONDS = 25.0
"""How long a process whose launcher is gone may take to save and end."""


@cache
def command() -> list[str]:
    """The launcher's command up to our script; empty where no launcher stands between the shell and this process."""
    try:
        words = psutil.Process(os.getppid()).cmdline()
    except psutil.Error:
        return []
    return words[: words.index(sys.argv[0]) + 1] if sys.argv[0] in words else []


@cache
def identity() -> str:
    """The same for all starts of a process by one launcher, and for no other; empty without a launcher."""
    try:
        born = psutil.Process(os.getppid()).create_time()
    except psutil.Error:
        return ""
    return f"{socket.gethostname()} {os.getppid()} {born}" if command() else ""


def is_main_process() -> bool:
    """Whether this is the process that displays, tracks and writes."""
    return os.environ.get("RANK", "0") == "0"


def restarted() -> bool:
    """Whether the launcher has started this process again, after a failure (`--max_restarts`)."""
    return int(os.environ.get("TORCHELASTIC_RESTART_COUNT", "0")) > 0


def resume_command(run_folder: Path) -> str:
    """What continues a run, as it is typed in the repository root."""
    here = Path.cwd()
    python = "python" if shutil.which("python") == sys.executable else sys.executable
    words = command() or [python, sys.argv[0]]
    folder = run_folder.relative_to(here) if run_folder.is_relative_to(here) else run_folder
    line = shlex.join([*words, "--resume", str(folder)])
    return line if here == REPOSITORY else f"cd {shlex.quote(str(here))} && {line}"


def watch(stop: StopSignals) -> None:
    """Stop, as by a signal, when the launcher dies: the one for a single process dies of a signal and leaves us.

    Asking for the parent's id, rather than for a signal at its death, also ends a process that hangs in a collective.
    """
    if not command():
        return
    parent = os.getppid()

    def wait_for_its_death() -> None:
        while os.getppid() == parent:
            time.sleep(WATCH_SECONDS)
        if not stop.requested():
            os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(ORPHAN_SECONDS)
        os._exit(EXIT_STOPPED)

    threading.Thread(target=wait_for_its_death, name="launcher", daemon=True).start()
