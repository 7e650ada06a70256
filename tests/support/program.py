"""The program as a user runs it: a copy of it, real processes, faults that come from outside."""

import json
import os
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
import textwrap
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any, TypeVar

import psutil

from tests.support import runs

REPOSITORY = Path(__file__).resolve().parents[2]
TINY = [
    *("--model.width", "8", "--data.image_size", "32", "--train.batch_size", "4", "--data.workers", "1"),
    *("--train.eval_every", "1"),
]
"""Arguments of a training whose steps take some 20 ms."""

FULL = [
    *("--model.depth", "2", "--train.epochs", "5", "--train.threads", "1", "--train.mixed_precision", "no"),
    *("--optim.lr", "0.01", "--train.checkpoint_minutes", "0", "--tracking.watch", "1", "--tracking.enabled", "false"),
    *("--train.ema", "0.9", "--train.progressive", "true", "--data.copy_paste", "0.5"),
]
"""20 steps that use everything a checkpoint holds. val/miou is best in the middle, so that a lost best shows."""

ONE_THREAD = {"OMP_NUM_THREADS": "1", "GOMP_SPINCOUNT": "0"}
"""Environment in which several processes share few cores without waiting for each other in loops."""

WAIT_SECONDS = 180.0
"""Bound of everything that a test waits for, in seconds: a hang is a failure, a busy machine is not."""

MARK = "SEGTRAINER_TEST"
T = TypeVar("T")


@dataclass(frozen=True)
class Ended:
    """Exit code and output of a command that has ended."""

    returncode: int
    stdout: str
    stderr: str

    @property
    def output(self) -> str:
        return self.stdout + self.stderr


class Command:
    """A started command. At the end of its `with` block no process that it started is left.

    Launchers give their children sessions of their own, so all are found by a mark in their environment. Output goes
    to files, which a test may read while the command runs and which never fill up as a pipe does.
    """

    def __init__(
        self, words: Sequence[str], folder: Path, environment: Mapping[str, str], terminal: int | None = None
    ) -> None:
        """Start `words` in `folder`; output goes to the file descriptor `terminal` where one is given."""
        self.mark = secrets.token_hex(8)
        self.files: list[IO[bytes]] = [tempfile.TemporaryFile() for _ in range(2)]  # noqa: SIM115
        out, err = self.files if terminal is None else (terminal, terminal)
        self.process = subprocess.Popen(
            words,
            cwd=folder,
            env={**environment, MARK: self.mark},
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=err,
            start_new_session=True,
        )

    def __enter__(self) -> "Command":
        return self

    def __exit__(self, *_error: object) -> None:
        self.kill()

    @property
    def pid(self) -> int:
        return self.process.pid

    @property
    def running(self) -> bool:
        """Whether the command itself, launcher or program, has not ended yet."""
        return self.process.poll() is None

    def output(self) -> str:
        """Text that the command has printed so far."""
        return "".join(map(_content, self.files))

    # ---------------------------------------------------------------- its processes

    def members(self) -> list[psutil.Process]:
        """Every process of the command that is alive, the command itself included."""
        found = []
        for one in psutil.process_iter():
            with suppress(psutil.Error):
                if one.status() != psutil.STATUS_ZOMBIE and one.environ().get(MARK) == self.mark:
                    found.append(one)
        return found

    def trainers(self) -> list[psutil.Process]:
        """Processes that a launcher started, the main one first; without the launcher."""
        children = [one for one in self.members() if one.pid != self.pid]
        return sorted(children, key=lambda one: int(one.environ().get("RANK", "0")))

    def signal(self, number: signal.Signals) -> None:
        """Signal the command and all that it started, as Ctrl-C in a terminal or the end of a machine does."""
        for one in self.members():
            with suppress(psutil.NoSuchProcess):
                one.send_signal(number)

    def pause(self) -> None:
        """Stop all processes, so that what a test does now falls between two steps on however slow a machine."""
        self.signal(signal.SIGSTOP)

    def resume(self) -> None:
        self.signal(signal.SIGCONT)

    def kill(self) -> None:
        """Kill all processes, and return when none is left."""
        while self.members():
            self.signal(signal.SIGKILL)
            time.sleep(0.02)
        self.process.wait()

    # ---------------------------------------------------------------- waiting

    def wait_for(self, condition: Callable[[], T | None], name: str, seconds: float = WAIT_SECONDS) -> T:
        """Poll until `condition` gives something true, and return that; fails where the command ends before."""
        deadline = time.monotonic() + seconds
        while not (found := condition()):
            assert self.running, f"ended with {self.process.returncode} before {name}:\n{self.output()}"
            assert time.monotonic() < deadline, f"no {name} within {seconds} s:\n{self.output()}"
            time.sleep(0.01)
        return found

    def end(self, seconds: float = WAIT_SECONDS) -> Ended:
        """Wait until the command has ended by itself; fails where it does not, or leaves a process behind."""
        deadline = time.monotonic() + seconds
        try:
            code = self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            self.kill()
            raise AssertionError(f"not ended within {seconds} s:\n{self.output()}") from None
        while left := self.members():
            if time.monotonic() > deadline:
                self.kill()
                raise AssertionError(f"ended, and left behind {left}:\n{self.output()}")
            time.sleep(0.05)
        return Ended(code, *map(_content, self.files))


def _content(file: IO[bytes]) -> str:
    """Whole content of a file that another process is writing with the same offset, which must not move."""
    size = os.fstat(file.fileno()).st_size
    return os.pread(file.fileno(), size, 0).decode(errors="replace")


IN_ONE_PROCESS = """
import contextlib, importlib, io, json, sys
main = importlib.import_module(f"trainer.{sys.argv[1]}").main
ends = {}
for case, arguments in json.loads(sys.argv[2]).items():
    with contextlib.redirect_stdout(io.StringIO()) as out, contextlib.redirect_stderr(io.StringIO()) as error:
        code = main(arguments)
    ends[case] = code, out.getvalue(), error.getvalue()
print(json.dumps(ends))
"""


@dataclass
class Program:
    """A copy of the program in a folder of its own, so that its mlruns/ is its own too."""

    folder: Path
    source: Path = REPOSITORY
    """Folder that trainer/, launch/ and configs/ are copied from."""

    variables: Mapping[str, str] = field(default_factory=dict)
    """Environment variables of every command."""

    tables: Path | None = None
    """Database that its store begins as, the fixture `empty_store`; without one the first training makes the tables."""

    def __post_init__(self) -> None:
        self.folder.mkdir(parents=True)
        for part in ("trainer", "launch", "configs"):
            shutil.copytree(self.source / part, self.folder / part, symlinks=True)
        (self.folder / "mlruns").mkdir()
        if self.tables is not None:
            shutil.copyfile(self.tables, self.database)

    def environment(self, **variables: str) -> dict[str, str]:
        """Environment of a command; Accelerate and MLflow settings from outside are left out."""
        foreign = ("MLFLOW_", "ACCELERATE_")
        inherited = {name: value for name, value in os.environ.items() if not name.startswith(foreign)}
        own = {"PYTHONPATH": str(self.folder), "HF_HOME": str(self.folder / "hf"), "MLFLOW_DISABLE_TELEMETRY": "true"}
        return {**inherited, **own, **self.variables, **variables}

    def start(self, *words: str, **variables: str) -> Command:
        """Start a command in the program's folder."""
        return Command(words, self.folder, self.environment(**variables))

    def run(self, *words: str, code: int | None = None, timeout_s: float = 240, **variables: str) -> Ended:
        """Run a command to its end; with `code`, fail where it ends with another one."""
        with self.start(*words, **variables) as command:
            ended = command.end(timeout_s)
        assert code in (None, ended.returncode), f"ended with {ended.returncode}:\n{ended.output}"
        return ended

    def python(self, entry: str, *arguments: str, **options: Any) -> Ended:
        """Run one of the program's entry points, such as predict."""
        return self.run(sys.executable, f"trainer/{entry}.py", *arguments, **options)

    def train(self, *arguments: str, **options: Any) -> Ended:
        """Train with the settings TINY, on one process."""
        return self.run(*train_command(1, *TINY, *arguments), **options)

    def in_one_process(self, entry: str, commands: Mapping[str, Sequence[str]]) -> dict[str, Ended]:
        """Run an entry point with one command line after the other in one process, since each start takes seconds."""
        ended = self.run(sys.executable, "-c", IN_ONE_PROCESS, entry, json.dumps(commands), code=0)
        return {case: Ended(*end) for case, end in json.loads(ended.stdout.splitlines()[-1]).items()}

    def script(self, text: str) -> str:
        """Write a script that wraps a function of the program and then calls its entry point; return its name."""
        (self.folder / "wrapped.py").write_text(textwrap.dedent(text))
        return "wrapped.py"

    @property
    def store(self) -> str:
        """Address of the program's own MLflow store."""
        return f"sqlite:///{self.database}"

    @property
    def database(self) -> Path:
        return self.folder / "mlruns" / "mlflow.db"

    def run_folders(self) -> list[Path]:
        """Run folders, the oldest first."""
        return sorted((self.folder / "mlruns" / "work").glob("*"))

    def newest_run(self, holds: Callable[[Path], bool] = lambda _folder: True) -> Path | None:
        """Newest run folder, where `holds` is true of it."""
        return next((folder for folder in self.run_folders()[-1:] if holds(folder)), None)

    def status(self) -> dict[str, Any]:
        """status.json of the newest run."""
        return runs.status(self.run_folders()[-1])


def launcher(config: str, *options: str) -> list[str]:
    """Accelerate's launcher with launch/<config>.yaml."""
    name = f"launch/{config}.yaml"
    return [sys.executable, "-m", "accelerate.commands.launch", "--config_file", name, *options]


def train_command(processes: int, *arguments: str, script: str = "trainer/train.py") -> list[str]:
    """Training command on one process, or launched with several; `script` may wrap the program."""
    start = [sys.executable] if processes == 1 else launcher("multi_cpu", "--num_processes", f"{processes}")
    return [*start, script, *arguments]


def reached(program: Program, step: int) -> Callable[[], Path | None]:
    """Condition: the newest run has recorded `step`; gives its folder."""
    return lambda: program.newest_run(lambda folder: runs.last_step(folder) >= step)


def saved(program: Program, step: int) -> Callable[[], Path | None]:
    """Condition: the newest run has a checkpoint of `step` or a later one; gives its folder."""
    return lambda: program.newest_run(lambda folder: any(one >= step for one in runs.checkpoint_steps(folder)))
