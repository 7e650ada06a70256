"""A process fails, dies or hangs, a loss is not finite, memory runs out: the job ends in time with the reason."""

from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import pytest

from tests.support import runs
from tests.support.discs import make_discs
from tests.support.program import TINY, Command, Ended, Program, train_command
from trainer.engine.checkpoint.format import load_checkpoint

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
    if len(steps) == 3 and os.environ.get("RANK", "0") == "{process}":
        open("fault", "w").close()
        {fault}
    return real(self)
step.TrainStep.clip_gradient = wrapped
sys.exit(main(sys.argv[1:]))
"""


@pytest.fixture
def start(program: Program, data: Path) -> Callable[..., Command]:
    """Start a training in which `fault`, Python code, happens to a process in its third step."""

    def start(fault: str, *arguments: str, process: int = 1, processes: int = 2) -> Command:
        script = program.script(WRAPPED.format(process=process, fault=fault))
        data_root = ["--data.root", str(data)]
        return program.start(*train_command(processes, *TINY, *SHORT, *data_root, *arguments, script=script))

    return start


def failed(program: Program, training: Command, timeout_s: float) -> tuple[Ended, dict[str, Any]]:
    """Wait for the end, at most `timeout_s` seconds after the fault; return it, and status.json of the failed run."""
    with training:
        training.wait_for((program.folder / "fault").exists, "the fault")
        ended = training.end(timeout_s)
    assert ended.returncode != 0
    status = program.status()
    assert status["state"] == "failed", ended.output
    assert runs.states(program.run_folders()[0]) == ["FAILED"]
    return ended, status


def test_a_process_raises(program: Program, start: Callable[..., Command]) -> None:
    ended, status = failed(program, start('raise LookupError("planted")', *UNTRACKED), 60)
    assert status["reason"].startswith("process 1 on ")
    assert status["reason"].endswith("LookupError: planted")
    assert "in wrapped" in status["exception"]
    assert "LookupError: planted" in status["exception"]
    assert status["reason"] in ended.output.replace("\n", "")


@pytest.mark.long
def test_a_process_is_killed(program: Program, start: Callable[..., Command]) -> None:
    _, status = failed(program, start("os.kill(os.getpid(), signal.SIGKILL)", *UNTRACKED, processes=3), 60)
    assert status["reason"].startswith("process 1 ended without a word")


@pytest.mark.long
@pytest.mark.parametrize("processes", [2, 3])
def test_a_process_exits_silently(program: Program, start: Callable[..., Command], processes: int) -> None:
    _, status = failed(program, start("os._exit(0)", *UNTRACKED, processes=processes), 60)
    assert status["reason"].startswith("process 1 ended without a word")


@pytest.mark.long
def test_the_main_process_raises(program: Program, start: Callable[..., Command]) -> None:
    _, status = failed(program, start('raise LookupError("planted")', *UNTRACKED, process=0), 60)
    assert status["reason"] == "LookupError: planted"


@pytest.mark.long
def test_a_process_hangs(program: Program, start: Callable[..., Command]) -> None:
    """Noticed after the timeout of 8 s; the launcher then takes 30 s to end a process that does not answer."""
    hang = "os.kill(os.getpid(), signal.SIGSTOP)"
    _, status = failed(program, start(hang, *UNTRACKED, "--train.timeout_minutes", "0.14"), 8 + 60)
    assert status["reason"].startswith("process 1 gave no sign of life within train.timeout_minutes")


@pytest.mark.long
def test_memory_runs_out(program: Program, tmp_path: Path) -> None:
    """A limit from outside: the message has the step, the sizes and what helps, and no traceback."""
    data = make_discs(tmp_path / "discs")  # so few that a step needs far more memory than an evaluation
    large = [
        "--model.encoder",
        "none",
        "--data.image_size",
        "512",
        "--train.batch_size",
        "8",
        "--model.width",
        "32",
        "--data.workers",
        "1",
    ]
    words = train_command(1, "--data.root", str(data), *large, *SHORT, *UNTRACKED, "--train.mixed_precision", "no")
    ended = program.run("prlimit", f"--as={5 * 2**29}", *words, code=1)
    assert "Traceback" not in ended.stderr
    for part in ("memory ran out in step 1", "512x512", "of a batch of 8", "--train.micro_batch_size 4"):
        assert part in ended.stdout
    status = program.status()
    assert (status["state"], status["exit_code"]) == ("failed", 1)
    assert "OutOfMemory" in status["reason"]


NAN = """
import os, sys
import trainer.engine.step as step
from trainer.train import main
real = step.objective
calls = []
def broken(*arguments):
    calls.append(1)
    bad = os.environ.get("RANK") == "1" and len(calls) == 6
    return tuple(part * float("nan") if bad else part for part in real(*arguments))
step.objective = broken
sys.exit(main(sys.argv[1:]))
"""


def test_a_loss_of_nan_on_one_process_stops_all(
    program: Program,
    settings: list[str],
    data: Path,
    fault_trial: Callable[[int, str], AbstractContextManager[None]],
) -> None:
    """Stopped before the update; the samples of the step are named, and no checkpoint holds a NaN."""
    words = train_command(2, *settings, "--tracking.enabled", "true", script=program.script(NAN))
    with fault_trial(10, "NaN on process 1 at step 6"):
        ended = program.run(*words, code=1)
        (folder,) = program.run_folders()
        status = runs.status(folder)
        assert (status["state"], status["step"], status["process"]) == ("failed", 5, [1])
        assert "NonFiniteLoss" in status["exception"]
        names = {path.stem for path in (data / "JPEGImages").iterdir()}
        assert len(status["samples"]) == 2
        assert set(status["samples"]) <= names
        assert "not a finite number" in ended.output
        assert "step 6" in status["reason"]
        assert runs.states(folder) == runs.store_states(program.database) == ["FAILED"]
        assert all(step <= 5 for step in runs.checkpoint_steps(folder))
        for path in runs.checkpoints(folder):
            assert all(value.isfinite().all() for value in load_checkpoint(path).weights.values())
