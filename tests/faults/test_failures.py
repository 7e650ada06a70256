"""One process of several fails, dies or hangs: the job ends in time, and the run says which one and why."""

import json
import os
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path
from typing import Any

import pytest
from mlflow import MlflowClient

from tests.support.program import TINY, Program, kill_group, make_voc

LAUNCHER = [sys.executable, "-m", "accelerate.commands.launch", "--config_file", "launch/multi_cpu.yaml"]
SHORT = ["--train.threads", "1", "--train.epochs", "500", "--model.norm", "group", "--data.augment", "off"]
UNTRACKED = ["--tracking.enabled", "false"]
WRAPPED = """
import os, signal, sys, time
import trainer.engine.step as step
from trainer.train import main
real = step.TrainStep.clip_gradient
steps = []
def wrapped(self):
    steps.append(1)
    if len(steps) == {step} and os.environ.get("RANK", "0") == "{process}":
        open("fault", "w").close()
        {fault}
    return real(self)
step.TrainStep.clip_gradient = wrapped
sys.exit(main(sys.argv[1:]))
"""


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = make_voc(tmp_path_factory.mktemp("data") / "discs")
    (root / "class_names.txt").write_text("_background_\ndisc\n")
    return root


def start(program: Program, data: Path, fault: str, *more: str, processes: int = 2) -> subprocess.Popen[str]:
    """Train with `fault` happening in process 1, at its third step."""
    (program.folder / "wrapped.py").write_text(textwrap.dedent(WRAPPED.format(step=3, process=1, fault=fault)))
    command = [*LAUNCHER, "--num_processes", str(processes), "wrapped.py", "--data.root", str(data)]
    return program.start(*command, *TINY, *SHORT, *more)


def outcome(program: Program, process: subprocess.Popen[str], timeout_s: float) -> tuple[str, dict[str, Any]]:
    """What it printed and its status.json. `timeout_s` counts from the fault; a hang, or a survivor, is a failure."""
    try:
        deadline = time.monotonic() + 200  # to start, on however busy a machine
        while not (program.folder / "fault").exists():
            assert process.poll() is None, process.communicate()
            assert time.monotonic() < deadline
            time.sleep(0.1)
        out, err = process.communicate(timeout=timeout_s)
        assert process.returncode not in (0, None)
        with pytest.raises(ProcessLookupError):
            os.killpg(process.pid, 0)
    finally:
        kill_group(process)
    status = program.status()
    assert status["state"] == "failed", out + err
    records = [json.loads(line) for line in (program.run_folders()[0] / "journal.jsonl").read_text().splitlines()]
    assert [record["status"] for record in records if "status" in record] == ["FAILED"]
    return out + err, status


def test_a_process_raises(data: Path, tmp_path: Path) -> None:
    program = Program(tmp_path / "program")
    process = start(program, data, 'raise LookupError("planted")', "--tracking.required", "true")
    output, status = outcome(program, process, 60)
    assert status["reason"].startswith("process 1 on ")
    assert status["reason"].endswith("LookupError: planted")
    assert "in wrapped" in status["exception"]
    assert "LookupError: planted" in status["exception"]
    client = MlflowClient(program.store)
    runs = client.search_runs([one.experiment_id for one in client.search_experiments()])
    assert [run.info.status for run in runs] == ["FAILED"]
    assert status["reason"] in output.replace("\n", "")


@pytest.mark.long
def test_a_process_is_killed(data: Path, tmp_path: Path) -> None:
    program = Program(tmp_path / "program")
    process = start(program, data, "os.kill(os.getpid(), signal.SIGKILL)", *UNTRACKED, processes=3)
    _, status = outcome(program, process, 60)
    assert status["reason"].startswith("process 1 ended without a word")


@pytest.mark.long
@pytest.mark.parametrize("processes", [2, 3])
def test_a_process_leaves_without_a_word(data: Path, tmp_path: Path, processes: int) -> None:
    program = Program(tmp_path / "program")
    process = start(program, data, "os._exit(0)", *UNTRACKED, processes=processes)
    _, status = outcome(program, process, 60)
    assert status["reason"].startswith("process 1 ended without a word")


@pytest.mark.long
def test_the_main_process_raises(data: Path, tmp_path: Path) -> None:
    program = Program(tmp_path / "program")
    fault = 'raise LookupError("planted")'
    (program.folder / "wrapped.py").write_text(textwrap.dedent(WRAPPED.format(step=3, process=0, fault=fault)))
    process = program.start(*LAUNCHER, "wrapped.py", "--data.root", str(data), *TINY, *SHORT, *UNTRACKED)
    _, status = outcome(program, process, 60)
    assert status["reason"] == "LookupError: planted"


@pytest.mark.long
def test_a_process_hangs(data: Path, tmp_path: Path) -> None:
    """Stopped from outside; noticed after the timeout. The launcher then takes 30 s to end what does not answer."""
    program = Program(tmp_path / "program")
    process = start(
        program, data, "os.kill(os.getpid(), signal.SIGSTOP)", *UNTRACKED, "--train.timeout_minutes", "0.14"
    )
    _, status = outcome(program, process, 8 + 60)
    assert status["reason"].startswith("process 1 gave no sign of life within train.timeout_minutes")


@pytest.mark.long
def test_memory_runs_out(data: Path, tmp_path: Path) -> None:
    """A limit from outside. The message says with what and what helps; nobody gets a traceback, or less than asked."""
    program = Program(tmp_path / "program")
    large = ["--data.image_size", "384", "--train.batch_size", "8", "--model.width", "32", "--data.workers", "1"]
    command = [sys.executable, "trainer/train.py", "--data.root", str(data), *large, *SHORT, *UNTRACKED]
    command += ["--train.mixed_precision", "no"]
    result = program.run("prlimit", f"--as={5 * 2**29}", *command)
    assert result.returncode == 1, result.stdout + result.stderr
    assert "Traceback" not in result.stderr
    for words in ("memory ran out in step 1", "384x384", "of a batch of 8", "--train.micro_batch_size 4"):
        assert words in result.stdout, words
    status = program.status()
    assert (status["state"], status["exit_code"]) == ("failed", 1)
    assert "OutOfMemory" in status["reason"]


@pytest.mark.long
def test_signals_reach_a_run_that_does_not_fail(data: Path, tmp_path: Path) -> None:
    """The negative control of FAILED: a launcher that is told to stop ends the run as KILLED."""
    program = Program(tmp_path / "program")
    process = start(program, data, "time.sleep(0.1)", *UNTRACKED)
    try:
        deadline = time.monotonic() + 60
        while not list(program.folder.glob("mlruns/work/*/pictures/*")):
            assert time.monotonic() < deadline
            assert process.poll() is None, process.communicate()
            time.sleep(0.2)
        time.sleep(1)
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=60)
    finally:
        kill_group(process)
    assert program.status()["state"] == "preempted"
