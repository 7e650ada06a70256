"""How the program is started: wrong launches are refused with the right command, too little data with the reason."""

import json
import os
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import psutil
import pytest

from tests.support.program import REPOSITORY, TINY, Program, kill_group, make_voc

SHORT = ["--train.threads", "1", "--train.epochs", "2", "--tracking.enabled", "false"]
ACCELERATE = [sys.executable, "-m", "accelerate.commands.launch"]
PYTHON = [sys.executable]
MULTI = [*ACCELERATE, "--config_file", "launch/multi_cpu.yaml"]
RIGHT = "accelerate launch --config_file launch/multi_cpu.yaml --num_processes"


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_voc(tmp_path_factory.mktemp("data") / "discs")


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Program:
    return Program(tmp_path_factory.mktemp("launch") / "program")


def params(program: Program) -> dict[str, str]:
    """Of the newest run."""
    lines = (program.run_folders()[-1] / "journal.jsonl").read_text().splitlines()
    return {key: value for line in lines for key, value in json.loads(line).get("params", {}).items()}


WRONG = {
    "the launcher starts one of two": ([*ACCELERATE, "--cpu", "--num_processes", "2"], {}),
    "Slurm starts two alone": (PYTHON, {"SLURM_STEP_NUM_TASKS": "2"}),
    "MPI starts two alone": (PYTHON, {"OMPI_COMM_WORLD_SIZE": "2"}),
}


@pytest.mark.parametrize("case", WRONG)
def test_wrong_launches_are_refused_with_the_right_command(program: Program, data: Path, case: str) -> None:
    launcher, variables = WRONG[case]
    result = program.run(*launcher, "trainer/train.py", "--data.root", str(data), *TINY, *SHORT, **variables)
    assert result.returncode == (2 if launcher == PYTHON else 1)
    assert RIGHT in result.stderr
    assert "train.py: " in result.stderr.splitlines()[0] or launcher != PYTHON
    assert program.run_folders() == []


DIFFERENT = """
import os, sys
from trainer.train import main
sys.exit(main(sys.argv[1:] + ({more} if os.environ["RANK"] == "1" else [])))
"""


LONG = pytest.mark.long


@pytest.mark.parametrize(
    "case", ["settings", pytest.param("pictures", marks=LONG), pytest.param("no pictures", marks=LONG)]
)
def test_processes_that_do_not_fit_together_are_refused(
    program: Program, data: Path, tmp_path: Path, case: str
) -> None:
    """As on two machines. Said by the process that sees it, where only one does."""
    other = make_voc(tmp_path / "other", count=9)
    more, named = {
        "settings": (["--optim.lr", "0.5"], "optim.lr: 0.5 in process 1"),
        "pictures": (["--data.root", str(other)], "the digest of the data: "),
        "no pictures": (["--data.root", str(tmp_path / "none")], f"{tmp_path / 'none'}: no such folder"),
    }[case]
    (program.folder / "different.py").write_text(textwrap.dedent(DIFFERENT.format(more=more)))
    result = program.run(*MULTI, "different.py", "--data.root", str(data), *TINY, *SHORT, timeout_s=100)
    assert result.returncode == 1
    assert named in result.stderr.replace("\n", "")
    assert program.run_folders() == []


# pictures, processes -> what is said, or None where it trains; a fifth of the pictures, at least one, validates
TINY_DATA = {
    (0, 1): "no images there",
    (1, 1): "leave none for",
    (2, 1): None,
    (3, 1): None,
    (5, 1): None,
    (0, 2): "no images there",
    (1, 2): "leave none for",
    (2, 2): "1 pictures to train are too few for 2 processes",
    (3, 2): None,
    (5, 2): None,
}
QUICK = {(0, 1), (2, 2)}


@pytest.mark.parametrize(
    ("count", "processes"),
    [case if case in QUICK else pytest.param(*case, marks=LONG) for case in TINY_DATA],
)
def test_tiny_data(count: int, processes: int, tmp_path: Path) -> None:
    program, root = Program(tmp_path / "program"), make_voc(tmp_path / "few", count=count)
    launcher = PYTHON if processes == 1 else MULTI
    result = program.run(*launcher, "trainer/train.py", "--data.root", str(root), *TINY, *SHORT)
    said = TINY_DATA[count, processes]
    if said is None:
        assert result.returncode == 0, result.stdout + result.stderr
        assert params(program)["hardware.processes"] == str(processes)
        assert params(program)["hardware.threads_per_process"] == "1"
        assert program.status()["state"] == "finished"
    else:
        assert result.returncode == (2 if processes == 1 else 1)
        assert said in result.stderr
        assert 'trainer/train.py", line' not in result.stderr
        assert program.run_folders() == []


def test_threads_are_the_programs_own_choice(data: Path, tmp_path: Path) -> None:
    """Launchers set OMP_NUM_THREADS to 1; what counts is train.threads, else the cores, and it is recorded."""
    program = Program(tmp_path / "program")
    arguments = ["--data.root", str(data), *TINY, *SHORT, "--train.epochs", "1", "--train.threads", "0"]
    result = program.run(*PYTHON, "trainer/train.py", *arguments, OMP_NUM_THREADS="1")
    assert result.returncode == 0, result.stderr
    assert params(program)["hardware.threads_per_process"] == str(len(os.sched_getaffinity(0)))


SRUN = """
#!/usr/bin/env bash
# What Slurm does with tasks: each gets its number, and all are told when the time is nearly up.
while [[ $1 == --* ]]; do shift; done
for task in $(seq 0 $((SLURM_NTASKS - 1))); do
    SLURM_PROCID=$task SLURM_LOCALID=$task SLURM_STEP_NUM_TASKS=$SLURM_NTASKS \\
        SLURM_STEP_TASKS_PER_NODE="$SLURM_NTASKS(x1)" "$@" &
    tasks+=($!)
done
trap 'kill -USR1 "${tasks[@]}"' USR1
code=0
for task in "${tasks[@]}"; do
    while true; do
        wait "$task" && ended=0 || ended=$?
        kill -0 "$task" 2>/dev/null || break
    done
    [ "$ended" -le "$code" ] || code=$ended
done
exit "$code"
"""
SCONTROL = """
#!/usr/bin/env bash
[ "$1" != requeue ] || echo "$2" >> requeued
[ "$1" != show ] || echo 127.0.0.1
"""


@pytest.mark.long
@pytest.mark.parametrize("told", [False, True])
def test_the_slurm_script(data: Path, tmp_path: Path, told: bool) -> None:
    """With stand-ins for Slurm's own two commands: all tasks train as one, and a signal requeues the job."""
    program = Program(tmp_path / "program")
    tools = program.folder / ".venv" / "bin"
    tools.mkdir(parents=True)
    for name, text in (("srun", SRUN), ("scontrol", SCONTROL)):
        (tools / name).write_text(text.lstrip())
        (tools / name).chmod(0o755)
    (tools / "activate").write_text(f'PATH="{tools}:{Path(sys.executable).parent}:$PATH"\n')
    slurm = {"SLURM_JOB_NODELIST": "one", "SLURM_JOB_ID": str(os.getpid()), "SLURM_NTASKS": "2"}
    slurm["SLURM_SUBMIT_DIR"] = str(program.folder)
    epochs = ["--train.epochs", "100000" if told else "2"]
    process = program.start("bash", "launch/slurm.sh", "--data.root", str(data), *TINY, *SHORT, *epochs, **slurm)
    try:
        if told:
            deadline = time.monotonic() + 90
            while not list(program.folder.glob("mlruns/work/*/pictures/*")):
                assert process.poll() is None, process.communicate()
                assert time.monotonic() < deadline
                time.sleep(0.2)
            time.sleep(2)
            (step,) = psutil.Process(process.pid).children()
            step.send_signal(signal.SIGUSR1)
        out, err = process.communicate(timeout=90)
    finally:
        kill_group(process)
    assert process.returncode == (143 if told else 0), out + err
    assert (program.folder / "requeued").exists() == told
    assert program.status()["state"] == ("preempted" if told else "finished")
    assert params(program)["hardware.processes"] == "2"
    assert len(program.run_folders()) == 1


@pytest.mark.long
def test_two_machines() -> None:
    """Two network namespaces; nothing of them is left, also when they are interrupted."""
    command = [sys.executable, str(REPOSITORY / "tests" / "two_machines.py")]
    result = subprocess.run(command, capture_output=True, text=True, timeout=280)
    if result.returncode == 77:
        pytest.skip(result.stdout)
    assert result.returncode == 0, result.stdout + result.stderr
    assert "1 run in MLflow" in result.stdout


@pytest.mark.long
def test_two_machines_interrupted() -> None:
    command = [sys.executable, str(REPOSITORY / "tests" / "two_machines.py")]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    try:
        time.sleep(6)
        if process.poll() == 77:
            pytest.skip(process.communicate()[0])
        mine = f"seg{process.pid}"
        assert mine in namespaces()
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=60)
    finally:
        process.kill()
    assert mine not in namespaces()


def namespaces() -> str:
    return subprocess.run(["ip", "netns", "list"], capture_output=True, text=True, check=True).stdout
