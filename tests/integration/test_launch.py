"""How the program is started: wrong launches are refused with the right command, too little data with the reason."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from tests.support import runs
from tests.support.discs import make_discs
from tests.support.program import ONE_THREAD, REPOSITORY, TINY, Command, Program, saved, train_command

SHORT = [*TINY, "--train.threads", "1", "--train.epochs", "2", "--tracking.enabled", "false"]
LONG = pytest.mark.long
RIGHT = "accelerate launch --config_file launch/multi_cpu.yaml --num_processes"


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_discs(tmp_path_factory.mktemp("data") / "discs")


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Program:
    """A program in which nothing is ever trained."""
    return Program(tmp_path_factory.mktemp("launch") / "program", variables=ONE_THREAD)


def facts(program: Program) -> dict[str, str]:
    """Params of the newest run."""
    return runs.tags(program.run_folders()[-1])


PYTHON = [sys.executable]
WITHOUT_FILE = [*PYTHON, "-m", "accelerate.commands.launch", "--cpu", "--num_processes", "2"]
WRONG: dict[str, tuple[list[str], dict[str, str]]] = {
    "the launcher starts one of two": (WITHOUT_FILE, {}),
    "Slurm starts two alone": (PYTHON, {"SLURM_STEP_NUM_TASKS": "2"}),
    "MPI starts two alone": (PYTHON, {"OMPI_COMM_WORLD_SIZE": "2"}),
}


@pytest.mark.parametrize("case", [pytest.param(one, marks=[LONG] * one.startswith("MPI")) for one in WRONG])
def test_wrong_launches_are_refused_with_the_right_command(program: Program, data: Path, case: str) -> None:
    launcher, variables = WRONG[case]
    code = 2 if launcher == PYTHON else 1
    ended = program.run(*launcher, "trainer/train.py", "--data.root", str(data), *SHORT, **variables, code=code)
    assert RIGHT in ended.stderr
    assert "train.py: " in ended.stderr.splitlines()[0] or launcher != PYTHON
    assert program.run_folders() == []


DIFFERENT = """
import os, sys
from trainer.train import main
sys.exit(main(sys.argv[1:] + ({more} if os.environ["RANK"] == "1" else [])))
"""


@pytest.mark.parametrize(
    "case", ["settings", pytest.param("images", marks=LONG), pytest.param("no images", marks=LONG)]
)
def test_processes_with_different_commands_are_refused(program: Program, data: Path, tmp_path: Path, case: str) -> None:
    """As on two machines. The process that finds the error reports it, where only one does."""
    other = make_discs(tmp_path / "other", count=9)
    more, named = {
        "settings": (["--optim.lr", "0.5"], "optim.lr: 0.5 in process 1"),
        "images": (["--data.root", str(other)], "the digest of the data: "),
        "no images": (["--data.root", str(tmp_path / "none")], f"{tmp_path / 'none'}: no such folder"),
    }[case]
    script = program.script(DIFFERENT.format(more=more))
    ended = program.run(*train_command(2, "--data.root", str(data), *SHORT, script=script), timeout_s=100, code=1)
    assert named in ended.stderr.replace("\n", "")
    assert program.run_folders() == []


# A fifth of the images, at least one, validates.
TINY_DATA: dict[tuple[int, int], str | None] = {
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
"""(images, processes) -> part of the error message, or None where it trains."""

QUICK = {(0, 1), (2, 2)}


@pytest.mark.parametrize(
    ("count", "processes"),
    [case if case in QUICK else pytest.param(*case, marks=LONG) for case in TINY_DATA],
)
def test_tiny_data(count: int, processes: int, tmp_path: Path) -> None:
    program = Program(tmp_path / "program", variables=ONE_THREAD)
    root, message = make_discs(tmp_path / "few", count=count), TINY_DATA[count, processes]
    code = 0 if message is None else 2 if processes == 1 else 1
    ended = program.run(*train_command(processes, "--data.root", str(root), *SHORT), code=code)
    if message is None:
        assert facts(program)["hardware.processes"] == str(processes)
        assert facts(program)["hardware.threads_per_process"] == "1"
        assert program.status()["state"] == "finished"
    else:
        assert message in ended.stderr
        assert 'trainer/train.py", line' not in ended.stderr
        assert program.run_folders() == []


@pytest.mark.long
def test_threads_are_the_programs_own_choice(data: Path, tmp_path: Path) -> None:
    """train.threads decides, then OMP_NUM_THREADS if a person has set it, and else the CPUs that may be used."""
    program = Program(tmp_path / "program", variables=ONE_THREAD)
    arguments = ["--data.root", str(data), *SHORT, "--train.epochs", "1", "--train.threads"]
    cpus = len(os.sched_getaffinity(0))
    cases = (("0", "1", cpus), ("auto", "3", 3), ("auto", "", cpus))
    for setting, variable, expected in cases:
        ended = program.run(*train_command(1, *arguments, setting), code=0, OMP_NUM_THREADS=variable)
        assert facts(program)["hardware.threads_per_process"] == str(expected)
        assert ("train.threads 3, as OMP_NUM_THREADS says" in ended.output) == (expected == 3)
    held = ["taskset", "-c", f"{min(os.sched_getaffinity(0))}", *train_command(1, *arguments, "auto")]
    program.run(*held, code=0, OMP_NUM_THREADS="")
    assert facts(program)["hardware.threads_per_process"] == "1"


@LONG
@pytest.mark.skipif(len(os.sched_getaffinity(0)) < 2, reason="there is one CPU")
def test_the_number_of_threads_is_measured_and_kept(data: Path, tmp_path: Path) -> None:
    """Said, recorded, in each checkpoint, and a resumed run begins with it; a person's number goes before."""
    program = Program(tmp_path / "program")
    arguments = ["--data.root", str(data), *SHORT, "--train.epochs", "2000", "--train.threads", "auto"]
    arguments += ["--train.checkpoint_minutes", "0", "--train.eval_every", "2000"]
    with program.start(*train_command(1, *arguments), OMP_NUM_THREADS="") as command:
        folder = command.wait_for(saved(program, 5), "a checkpoint")
        command.kill()
        output = command.output()
    tags = [record["tags"] for record in runs.records(folder) if "train.threads" in record.get("tags", {})]
    (number,) = [tag["train.threads"] for tag in tags]
    assert f"train.threads {number}: a step takes" in output
    position = json.loads((runs.checkpoints(folder)[-1] / "position.json").read_text())
    assert position["world"]["threads_per_process"] == number
    other = "2" if number == "1" else "1"
    for more, change in (([], ""), (["--train.threads", other], f"threads_per_process {number} -> {other}")):
        with program.start(*train_command(1, "--resume", str(folder), *more), OMP_NUM_THREADS="") as command:
            step = runs.last_step(folder) + 1
            command.wait_for(lambda last=step: runs.last_step(folder) > last, "a step")
            command.kill()
            assert ("the last bits" in command.output()) == bool(change)
            assert change in command.output()


SRUN = """
#!/usr/bin/env bash
# As Slurm runs tasks: each gets its number, and all get a signal when the time is nearly up.
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
@pytest.mark.parametrize("signalled", [False, True])
def test_the_slurm_script(data: Path, tmp_path: Path, signalled: bool) -> None:
    """With stand-ins for Slurm's own two commands: all tasks train as one, and a signal requeues the job."""
    program = Program(tmp_path / "program", variables=ONE_THREAD)
    tools = program.folder / ".venv" / "bin"
    tools.mkdir(parents=True)
    for name, text in (("srun", SRUN), ("scontrol", SCONTROL)):
        (tools / name).write_text(text.lstrip())
        (tools / name).chmod(0o755)
    (tools / "activate").write_text(f'PATH="{tools}:{Path(sys.executable).parent}:$PATH"\n')
    slurm = {"SLURM_JOB_NODELIST": "one", "SLURM_JOB_ID": str(os.getpid()), "SLURM_NTASKS": "2"}
    slurm["SLURM_SUBMIT_DIR"] = str(program.folder)
    arguments = ["--data.root", str(data), *SHORT, "--train.epochs", "100000" if signalled else "2"]
    with program.start("bash", "launch/slurm.sh", *arguments, **slurm) as job:
        if signalled:
            job.wait_for(lambda: program.newest_run(lambda run: any(run.glob("pictures/*"))), "an image")
            time.sleep(2)
            (step,) = psutil.Process(job.pid).children()
            step.send_signal(signal.SIGUSR1)
        ended = job.end(90)
    assert ended.returncode == (143 if signalled else 0), ended.output
    assert (program.folder / "requeued").exists() == signalled
    assert program.status()["state"] == ("preempted" if signalled else "finished")
    assert facts(program)["hardware.processes"] == "2"
    assert len(program.run_folders()) == 1


TWO_MACHINES = [sys.executable, "-m", "tests.integration.two_machines"]
NOT_ALLOWED = 77


@pytest.mark.long
def test_two_machines() -> None:
    """Two network namespaces, a training process in each, one run."""
    with Command(TWO_MACHINES, REPOSITORY, os.environ) as command:
        ended = command.end(280)
    if ended.returncode == NOT_ALLOWED:
        pytest.skip(ended.stdout)
    assert ended.returncode == 0, ended.output
    assert "1 run in MLflow" in ended.stdout


@pytest.mark.long
def test_two_machines_interrupted() -> None:
    """The namespaces are removed all the same."""
    with Command(TWO_MACHINES, REPOSITORY, os.environ) as command:
        own = f"seg{command.pid}"
        while own not in namespaces():
            if not command.running and command.process.returncode == NOT_ALLOWED:
                pytest.skip(command.output())
            assert command.running, command.output()
            time.sleep(0.1)
        command.process.send_signal(signal.SIGTERM)
        command.end(60)
    assert own not in namespaces()


def namespaces() -> str:
    """Names of all network namespaces; empty where there is no `ip` command."""
    try:
        return subprocess.run(["ip", "netns", "list"], capture_output=True, text=True, check=True).stdout
    except OSError:
        return ""
