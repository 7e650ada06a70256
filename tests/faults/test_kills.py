"""`kill -9` at any moment: the run resumes, and ends bit for bit as the one that nothing happened to."""

import random
import shutil
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import pytest

from tests.support import runs
from tests.support.program import ONE_THREAD, Program, reached, saved, train_command

FaultTrial = Callable[[int, str], AbstractContextManager[None]]
Golden = Callable[..., Any]
STEPS = 20


@pytest.mark.parametrize("processes", [*(pytest.param(count, marks=pytest.mark.long) for count in (1, 3, 4)), 2])
def test_a_killed_run_resumes_and_equals_golden(
    processes: int, program: Program, settings: list[str], golden: Golden, fault_trial: FaultTrial
) -> None:
    """Killed in the middle of an epoch, with a journal that is ahead of the checkpoint."""
    words = train_command(processes, *settings)
    with fault_trial(1, "kill -9, resume latest"):
        with program.start(*words) as training:
            folder = training.wait_for(saved(program, 5), "a checkpoint")
        runs.check_checkpoints(folder)
        assert runs.status(folder)["state"] == "running"
        ended = program.run(*words, "--resume", "latest", code=0)
        assert "goes on after step" in ended.output
        assert program.run_folders() == [folder]
        assert runs.result(folder) == golden(processes)
        assert runs.states(folder) == ["RUNNING", "FINISHED"]


@pytest.mark.long
def test_fewer_processes_resume_with_one_warning(
    program: Program, settings: list[str], golden: Golden, fault_trial: FaultTrial
) -> None:
    """The samples of a step stay the same; the last bits do not, and one warning explains that."""
    group = ["--model.norm", "group"]
    with fault_trial(1, "kill -9 on two processes, resume on one"):
        with program.start(*train_command(2, *settings, *group)) as training:
            folder = training.wait_for(saved(program, 5), "a checkpoint")
        ended = program.run(*train_command(1, *settings, *group, "--resume", "latest"), code=0)
        warnings = [line for line in ended.output.splitlines() if line.startswith("warning: the last bits")]
        assert len(warnings) == 1
        assert "processes 2 -> 1" in warnings[0]
        found, expected = runs.result(folder)[1], golden(2, *group)[1]
        for key in ("train/loss", "train/lr", "val/loss"):
            assert [step for step, _ in found[key]] == [step for step, _ in expected[key]]
            values = [value for _, value in expected[key]]
            assert [value for _, value in found[key]] == pytest.approx(values, rel=1e-3)


RESTARTED = """
import os, signal, sys
import trainer.engine.loop as loop
from trainer.train import main
real = loop.Trainer._step
def killed_once(self, batches):
    if os.environ["RANK"] == "1" and os.environ["TORCHELASTIC_RESTART_COUNT"] == "0" and self.state.step == 9:
        os.kill(os.getpid(), signal.SIGKILL)
    return real(self, batches)
loop.Trainer._step = killed_once
sys.exit(main(sys.argv[1:]))
"""


@pytest.mark.long
@pytest.mark.parametrize("processes", [2, 3])
def test_a_restarted_run_resumes_by_itself(
    processes: int, program: Program, settings: list[str], golden: Golden, fault_trial: FaultTrial
) -> None:
    script = program.script(RESTARTED)
    words = train_command(processes, *settings, script=script)
    words[words.index(script) : words.index(script)] = ["--max_restarts", "2"]
    with fault_trial(9, "process 1 is killed once, --max_restarts 2"):
        ended = program.run(*words, code=0)
        assert "goes on after step" in ended.output
        (folder,) = program.run_folders()
        assert runs.result(folder) == golden(processes)
        assert runs.states(folder) in (["FAILED", "RUNNING", "FINISHED"], ["RUNNING", "FINISHED"])


@pytest.mark.long
@pytest.mark.timeout(2700)
def test_twenty_kills(tmp_path: Path, settings: list[str], golden: Golden, fault_trial: FaultTrial) -> None:
    """Every value of processes, workers, accumulation and place in the epoch; some runs are killed twice."""
    draw = random.Random(7)
    cells = [
        (processes, workers, pieces, place)
        for processes in (1, 2, 3, 4)
        for workers in (0, 2)
        for pieces in (1, 3)
        for place in ("middle", "last", "first")
    ]
    draw.shuffle(cells)
    seen: list[set[Any]] = [set(values) for values in zip(*cells[:20], strict=True)]
    assert [len(values) for values in seen] == [4, 2, 2, 3]
    for number, (processes, workers, pieces, place) in enumerate(cells[:20]):
        step = {"first": 1, "middle": draw.choice([6, 7, 9, 10, 14, 15]), "last": STEPS}[place]
        # A batch of 4 in one piece, or in two on each process; of four processes each has one sample.
        size = ["--train.micro_batch_size", "auto" if pieces == 1 else "2" if processes == 1 else "1"]
        program = Program(tmp_path / f"{number}" / "program", variables=ONE_THREAD)
        words = train_command(processes, *settings, "--data.workers", str(workers), *size)
        with fault_trial(1, f"kill -9 at the {place} step"):
            with program.start(*words) as training:
                folder = training.wait_for(reached(program, step), f"step {step}")
            if number % 4 == 0 and place != "last":
                with program.start(*words, "--resume", "latest") as training:
                    training.wait_for(reached(program, step + 3), f"step {step + 3}")
            runs.check_checkpoints(folder)
            program.run(*words, "--resume", "latest", code=0)
            assert program.run_folders() == [folder]
            assert runs.result(folder) == golden(processes, *size)


@pytest.mark.long
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("call", ["fsync", "rename", "unlink"])
def test_killed_while_saving(
    call: str,
    tmp_path: Path,
    copy_killed: Callable[[Path], Program],
    settings: list[str],
    find_start: Callable[..., Any],
    fault_trial: FaultTrial,
) -> None:
    """`kill -9` at the K-th fsync, rename or removal of a file: every checkpoint there is afterwards is complete."""
    if shutil.which("strace") is None:
        pytest.skip("needs strace")
    names = {"fsync": "fsync", "rename": "rename,renameat,renameat2", "unlink": "unlink,unlinkat,rmdir"}[call]
    counts = {"fsync": range(1, 40, 2), "rename": range(1, 20), "unlink": range(1, 60, 4)}[call]
    inside = 0
    for count in counts:
        program = copy_killed(tmp_path / f"{count}" / "again")
        (folder,) = program.run_folders()
        injected = ["strace", "-f", "-o", "/dev/null", "-e", f"inject={names}:signal=KILL:when={count}"]
        ended = program.run(*injected, *train_command(1, *settings, "--resume", "latest"))
        if ended.returncode == 0:
            break  # there were fewer
        with fault_trial(2, f"kill -9 at a {call}"):
            inside += any(folder.glob("checkpoints/.step-*"))
            runs.check_checkpoints(folder)
            start = find_start(program, "latest")
            assert start.warnings == []
            # A finished run removes them; its model was saved before.
            assert start.finished or start.checkpoint is not None, ended.output
            assert not start.finished or (folder / "model" / "weights.safetensors").exists()
    assert inside >= 2, "no trial hit a checkpoint that was being written"
