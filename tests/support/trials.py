"""Killing the program from outside: run folders, what they must hold, and processes that must be gone."""

import hashlib
import json
import secrets
import signal
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil

from tests.support.program import Program
from trainer.engine.checkpoint.format import load_checkpoint

# The best val/miou comes in the middle of the run, so that a best forgotten at resume shows.
TINY = [
    *("--model.width", "8", "--model.depth", "2", "--data.image_size", "32", "--train.batch_size", "4"),
    *("--train.epochs", "5", "--train.threads", "1", "--train.mixed_precision", "no", "--optim.lr", "0.01"),
    *("--train.checkpoint_minutes", "0", "--tracking.watch", "1", "--train.eval_every", "1"),
    *("--train.ema", "0.9", "--train.progressive", "true", "--data.copy_paste", "0.5"),
]
UNTRACKED = ["--tracking.enabled", "false"]
LAUNCHER = [sys.executable, "-m", "accelerate.commands.launch", "--config_file"]
TIMED = ("time/", "train/images_per_second")
QUICK = {"OMP_NUM_THREADS": "1", "GOMP_SPINCOUNT": "0"}
WAIT_S = 120.0
"""Wall-clock bound of everything that is waited for: a hang is a failure."""


def command(processes: int, *arguments: str, script: str = "trainer/train.py") -> list[str]:
    """The training command on one process, or launched with several; `script` may wrap it."""
    launcher = [sys.executable] if processes == 1 else [*LAUNCHER, "launch/multi_cpu.yaml"]
    return [*launcher, script, *arguments]


def launched_alone(*arguments: str) -> list[str]:
    """One process, but with accelerate's launcher above it."""
    return [*LAUNCHER, "launch/cpu.yaml", "trainer/train.py", *arguments]


class Trial:
    """A command of the program that something happens to. When the block ends, no process of it is left.

    The launcher gives its children sessions of their own, so they are known by a mark in their environment.
    """

    def __init__(self, program: Program, *words: str, **environment: str) -> None:
        self.program, self.mark = program, secrets.token_hex(8)
        self.process = program.start(*words, **QUICK, **environment, TRIAL=self.mark)

    def __enter__(self) -> "Trial":
        return self

    def __exit__(self, *_error: object) -> None:
        self.kill()

    def members(self) -> list[psutil.Process]:
        found = []
        for one in psutil.process_iter():
            with suppress(psutil.Error):
                if one.status() != psutil.STATUS_ZOMBIE and one.environ().get("TRIAL") == self.mark:
                    found.append(one)
        return found

    def workers(self) -> list[psutil.Process]:
        """The processes that train, the main one first; without the launcher."""
        trainers = [one for one in self.members() if one.pid != self.process.pid]
        return sorted(trainers, key=lambda one: int(one.environ().get("RANK", "0")))

    def wait_for(self, condition: Callable[[], Any], what: str) -> None:
        """Poll for something that happens while the command runs."""
        deadline = time.monotonic() + WAIT_S
        while not condition():
            if self.process.poll() is not None:
                raise AssertionError(f"ended before {what}: {self.process.communicate()}")
            assert time.monotonic() < deadline, f"no {what}"
            time.sleep(0.01)

    def signal(self, number: signal.Signals) -> None:
        """To the command and all that it started, as a terminal's Ctrl-C or the end of a machine."""
        for one in self.members():
            with suppress(psutil.NoSuchProcess):
                one.send_signal(number)

    def kill(self) -> None:
        while self.members():
            self.signal(signal.SIGKILL)
            time.sleep(0.02)
        self.process.communicate()

    def end(self, seconds: float = WAIT_S) -> tuple[int, str]:
        """Wait until the command has ended and nothing that it started is left; its exit code and what it said."""
        out, err = self.process.communicate(timeout=seconds)
        deadline = time.monotonic() + seconds
        while left := self.members():
            assert time.monotonic() < deadline, f"still there: {left}"
            time.sleep(0.05)
        return self.process.returncode, out + err


def finish(program: Program, *words: str, code: int = 0, **environment: str) -> str:
    """Run a command to its end, check how it ended, and return what it said."""
    with Trial(program, *words, **environment) as trial:
        found, text = trial.end()
    assert found == code, text
    return text


def steps(folder: Path) -> list[int]:
    """The last steps that a run folder knows of: journal."""
    found = [record["step"] for record in records(folder) if "metrics" in record]
    return sorted(set(found))


def reached(program: Program, step: int) -> Callable[[], bool]:
    """Whether the newest run has told of `step`."""
    return lambda: bool(program.run_folders()) and step in steps(program.run_folders()[-1])


def checkpoints(folder: Path) -> list[Path]:
    return sorted((folder / "checkpoints").glob("step-*"), key=lambda path: int(path.name[5:]))


def saved(program: Program, step: int) -> Callable[[], bool]:
    """Whether the newest run has a checkpoint of `step` or a later one."""

    def there() -> bool:
        return any(int(path.name[5:]) >= step for folder in program.run_folders()[-1:] for path in checkpoints(folder))

    return there


def records(folder: Path) -> list[dict[str, Any]]:
    """What the journal says, a torn last line left out."""
    try:
        lines = (folder / "journal.jsonl").read_text().split("\n")[:-1]
    except OSError:
        return []
    return [json.loads(line) for line in lines]


def curves(folder: Path) -> dict[str, list[tuple[int, float]]]:
    """What the journal has of each metric that does not depend on the clock; each (key, step) exactly once."""
    found: dict[str, list[tuple[int, float]]] = {}
    for record in records(folder):
        for key, value in record.get("metrics", {}).items():
            found.setdefault(key, []).append((record["step"], value))
    for key, points in found.items():
        assert len({step for step, _ in points}) == len(points), f"{key}: {points}"
    return {key: points for key, points in found.items() if not key.startswith(TIMED)}


def status(folder: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((folder / "status.json").read_text())
    return content


def ended_as(folder: Path) -> list[str]:
    """The run's states, in order."""
    return [record["status"] for record in records(folder) if "status" in record]


def result_of(folder: Path) -> tuple[dict[str, str], dict[str, list[tuple[int, float]]]]:
    """What a finished run comes to: hashes of its last checkpoint, and its curves."""
    assert status(folder)["state"] == "finished"
    last = checkpoints(folder)[-1]
    names = ("weights", "unaveraged", "best", "optimizer")
    hashes = {name: hashlib.sha256((last / f"{name}.safetensors").read_bytes()).hexdigest() for name in names}
    position = json.loads((last / "position.json").read_text())["position"]
    timeless = {key: value for key, value in position.items() if key not in ("seconds", "waited_s")}
    return hashes | {"position": json.dumps(timeless)}, curves(folder)


def all_whole(folder: Path) -> None:
    """Every step-N is complete, whatever happened while it was written or removed."""
    for path in checkpoints(folder):
        load_checkpoint(path)
