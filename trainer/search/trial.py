"""One trial: a training in a process of its own, which is started, watched and stopped."""

import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import psutil
import yaml

from trainer import printable, redact
from trainer.config import INSTALLED, REPOSITORY, nested
from trainer.search.progress import Course
from trainer.search.sweep_folder import Part, SweepFolder
from trainer.system.atomic import write_json, write_text
from trainer.system.launcher import SUPERVISOR_VARIABLE
from trainer.system.run_folder import read_object
from trainer.system.signals import EXIT_STOPPED
from trainer.tracking.names import run_name

STOP_SECONDS = 90.0
"""Time that a training has to save and end after it was asked to, in seconds; then it is killed."""

SEARCH_SECONDS = 1.0
"""Interval between two searches for the run folder of a training that has just begun, in seconds."""

MOST_STARTS = 2
"""Starts of a training that something else has killed."""

MOST_REASON = 300
"""Characters of a reason."""

Kind = Literal["complete", "failed", "pruned", "stopped", "killed"]


@dataclass(frozen=True)
class Outcome:
    """End of a trial: `killed` by something else, `stopped` with the sweep, to go on with it later."""

    kind: Kind
    score: float | None = None
    reason: str = ""


def write_settings(folder: SweepFolder, part: Part, folds: int, settings: Mapping[str, Any]) -> None:
    """Write the settings of a training, beside those of the sweep, for --config. It registers nothing."""
    name = run_name(part.name + describe(settings, "-"))
    own: dict[str, Any] = {"tracking.parent": folder.path.name, "tracking.run_name": name, "registry.name": None}
    own["tracking.required"] = False  # once the sweep has begun, a store that is away stops nothing
    own |= {} if part.fold is None else {"data.fold": part.fold, "data.val_fraction": 1 / folds}
    file = folder.settings(part)
    file.parent.mkdir(parents=True, exist_ok=True)
    text = yaml.safe_dump(nested({**settings, **own}), sort_keys=False, allow_unicode=True)
    write_text(file, f"# Trial {part.trial} of sweep {folder.path.name}, beside config.yaml of the sweep\n{text}")


def describe(settings: Mapping[str, Any], separator: str = ", ") -> str:
    """Settings in a few words: lr0.00123-weightdecay0.1, or lr 0.00123, weight decay 0.1."""
    between = "" if separator == "-" else " "
    short = {key.rpartition(".")[2].replace("_", between): value for key, value in settings.items()}
    if len(short) < len(settings):  # two sections have a key of one name
        short = dict(settings)
    return separator.join(
        f"{key}{between}{value:.3g}" if isinstance(value, float) else f"{key}{between}{value}"
        for key, value in short.items()
    )


class TrialProcess:
    """One training of a trial on this machine."""

    def __init__(self, folder: SweepFolder, part: Part, environment: Mapping[str, str], options: list[str]) -> None:
        """`environment`: variables beside those of this process; `options`: of how it is computed, for train.py."""
        self.folder, self.part, self.options = folder, part, options
        self.environment = {**os.environ, SUPERVISOR_VARIABLE: f"{os.getpid()}", **environment}
        self.process: subprocess.Popen[bytes] | None = None
        self.asked: Kind | None = None
        self.asked_s = 0.0
        self.starts = 0
        self.searched_s = 0.0
        self.run = folder.run_of(part)
        self.course = Course(self.run) if self.run else None

    def start(self) -> bool:
        """Begin the training, or go on with it; return False while an earlier process is still ending in its folder."""
        self.run = self.folder.run_of(self.part)
        if _is_alive(self.folder.process(self.part)):
            return False
        self.starts += 1
        if self.run and self.run.finished:  # a sweep was killed before it heard of that
            return True
        given = ["--resume", f"{self.run}"] if self.run else self._config()
        with self.folder.output(self.part).open("ab") as output:
            self.process = subprocess.Popen(
                [*train_command(), *given, *self.options],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                env=self.environment,
                start_new_session=True,  # Ctrl-C reaches the sweep alone, which passes it on
            )
        started = {"pid": self.process.pid, "created": psutil.Process(self.process.pid).create_time()}
        write_json(self.folder.process(self.part), started)
        return True

    def _config(self) -> list[str]:
        return ["--config", f"{self.folder.run.config}", "--config", f"{self.folder.settings(self.part)}"]

    def read(self) -> Course | None:
        """Course of the training so far; None before it has a run folder."""
        if self.run is None and time.monotonic() > self.searched_s + SEARCH_SECONDS:
            self.searched_s, self.run = time.monotonic(), self.folder.run_of(self.part)
        if self.run and self.course is None:
            self.course = Course(self.run)
        if self.course:
            self.course.read()
        return self.course

    def stop(self, kind: Kind) -> None:
        """Ask the training to end, once."""
        if self.asked is None:
            self.asked, self.asked_s = kind, time.monotonic()
            self._send(signal.SIGTERM)

    def _send(self, number: signal.Signals) -> None:
        if self.process:
            with suppress(ProcessLookupError):
                os.killpg(self.process.pid, number)

    def ended(self) -> Outcome | None:
        """Outcome, where the training has ended."""
        code = self.process.poll() if self.process else 0
        if code is None:
            if self.asked and time.monotonic() > self.asked_s + STOP_SECONDS:
                self._send(signal.SIGKILL)
            return None
        self.searched_s = 0.0
        course = self.read()
        if self.run and self.run.finished and course:
            if course.best_miou is not None:
                return Outcome("complete", course.best_miou)
            return Outcome("failed", reason="no best/miou: no validation mask has a pixel of a class")
        if self.asked:
            return Outcome(self.asked)
        if code < 0 or code == EXIT_STOPPED:
            name = signal.Signals(-code).name if code < 0 else "a signal"
            return Outcome("killed", reason=f"ended by {name}")
        return Outcome("failed", reason=self._reason(code))

    def _reason(self, code: int) -> str:
        """Why the training failed, by its status, or else by the last line that it printed."""
        status = self.run.read_status() if self.run else {}
        reason = str(status.get("reason", "")) if status.get("state") == "failed" else ""
        text = reason or _last_line(self.folder.output(self.part)) or f"exit code {code}"
        return printable(redact(text.removeprefix("train.py: ")))[:MOST_REASON]

    def clear(self) -> None:
        """Remove the checkpoints of a training that is not gone on with."""
        if self.run:
            shutil.rmtree(self.run.checkpoints, ignore_errors=True)


def train_command() -> list[str]:
    """Words of a command that trains on one process, as this program was started."""
    if INSTALLED:
        return [sys.executable, "-m", "trainer", "train"]
    script = Path("trainer/train.py")
    return [sys.executable, f"{script if Path.cwd() == REPOSITORY else REPOSITORY / script}"]


def same_reason(one: str, other: str) -> bool:
    """Return True for reasons that are the same but for numbers."""
    return re.sub(r"\d+", "0", one) == re.sub(r"\d+", "0", other)


def _is_alive(file: Path) -> bool:
    """Return whether the process is there that a file names, which an earlier start of the sweep began."""
    known = read_object(file)
    try:
        process = psutil.Process(int(known["pid"]))
        same = process.create_time() == known["created"]
        return same and process.status() != psutil.STATUS_ZOMBIE
    except (KeyError, TypeError, ValueError, psutil.Error):
        return False


def _last_line(file: Path) -> str:
    try:
        lines = file.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return ""
    return next((line.strip() for line in reversed(lines) if line.strip()), "")
