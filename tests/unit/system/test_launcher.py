"""Launcher: which program before the script is one, and which number of threads a person has given."""

import os
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import pytest

from trainer.system import launcher

SCRIPT = "from trainer.system import launcher; print(launcher.command() != [], launcher.identity() != '')"


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ([], "False False"),
        (["timeout", "60"], "False False"),
        ([str(Path(sys.executable).with_name("accelerate")), "launch", "--num_processes", "1"], "True True"),
    ],
)
def test_what_is_a_launcher(words: list[str], expected: str, tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(SCRIPT)
    command = [*words, *([] if "launch" in words else [sys.executable]), str(script)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=100)
    assert done.stdout.strip() == expected, done.stderr


def test_a_module_is_launched_as_a_script_is(tmp_path: Path) -> None:
    """As where the program is installed: the command to repeat ends with the module, and not with its file."""
    (tmp_path / "asked.py").write_text("from trainer.system import launcher; print(launcher.command()[1:])")
    command = [*ACCELERATE, "--num_processes", "1", "-m", "asked", "--resume", "latest"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=100)
    assert done.stdout.strip() == str(command[:6]), done.stderr


@pytest.mark.parametrize("installed", [True, False], ids=["installed", "elsewhere"])
def test_the_command_resumes_by_its_own_name(installed: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program = tmp_path / "segtrainer"
    program.touch(mode=0o755)
    monkeypatch.setattr(sys, "argv", [str(program), "train", "--data.root", "x"])
    monkeypatch.chdir(tmp_path)
    if installed:
        monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    name = "segtrainer" if installed else str(program)
    assert launcher.resume_command(tmp_path / "run") == f"cd {tmp_path} && {name} train --resume run"


ACCELERATE = [str(Path(sys.executable).with_name("accelerate")), "launch"]
TWO = ["--multi_gpu", "--num_processes", "2", "--main_process_port", "0"]


@pytest.mark.parametrize(
    ("words", "given", "expected"),
    [
        ([], None, "0 "),
        ([], "3", "3 OMP_NUM_THREADS"),
        ([], "4,2", "4 OMP_NUM_THREADS"),
        ([], "many", "0 "),
        ([*ACCELERATE, "--num_processes", "1"], None, "0 "),
        ([*ACCELERATE, *TWO], None, "0 "),  # the launcher itself sets 1
        ([*ACCELERATE, *TWO], "3", "3 OMP_NUM_THREADS"),
        ([*ACCELERATE, *TWO, "--num-cpu-threads-per-process", "2"], "3", "2 --num_cpu_threads_per_process"),
        ([*ACCELERATE, "--num_cpu_threads_per_process=2"], None, "2 --num_cpu_threads_per_process"),
    ],
)
def test_what_number_of_threads_a_person_gave(
    words: list[str], given: str | None, expected: str, tmp_path: Path
) -> None:
    script = tmp_path / "script.py"
    script.write_text(
        "import sys; from trainer.system.launcher import given_threads; sys.stdout.write('%s %s\\n' % given_threads())"
    )
    variables = {name: value for name, value in os.environ.items() if name != "OMP_NUM_THREADS"}
    variables |= {"ACCELERATE_USE_CPU": "true"} | ({"OMP_NUM_THREADS": given} if given else {})
    command = [*words, *([] if words else [sys.executable]), str(script)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=100, env=variables)
    assert set(done.stdout.splitlines()) == {expected}, done.stderr


SUPERVISED = """
import os, signal, sys, time
from trainer.system import launcher
from trainer.system.signals import StopSignals
stop = StopSignals()
stop.defer()
launcher.stop_with_launcher(stop)
print(os.getpid(), launcher.SUPERVISOR_VARIABLE in os.environ, flush=True)
while not stop.requested():
    time.sleep(0.05)
print("stopped", stop.number == signal.SIGTERM, flush=True)
"""

SUPERVISOR = """
import os, subprocess, sys, time
from trainer.system.launcher import SUPERVISOR_VARIABLE
subprocess.Popen([sys.executable, sys.argv[1]], env={**os.environ, SUPERVISOR_VARIABLE: f"{os.getpid()}"})
time.sleep(600)
"""


def test_a_training_ends_with_the_program_that_started_it(tmp_path: Path) -> None:
    """A sweep that is killed leaves no training behind; what a training starts itself is not told of the sweep."""
    (tmp_path / "supervisor.py").write_text(SUPERVISOR)
    (tmp_path / "training.py").write_text(SUPERVISED)
    words = [sys.executable, str(tmp_path / "supervisor.py"), str(tmp_path / "training.py")]
    with subprocess.Popen(words, stdout=subprocess.PIPE, text=True) as supervisor:
        assert supervisor.stdout is not None
        pid, told = supervisor.stdout.readline().split()
        try:
            supervisor.kill()
            assert told == "False"
            assert supervisor.stdout.readline() == "stopped True\n"
        finally:
            with suppress(ProcessLookupError):
                os.kill(int(pid), signal.SIGKILL)
