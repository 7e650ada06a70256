"""Signals: the run is saved at a step boundary and ends as KILLED, and its own resume command finishes it."""

import shlex
import shutil
import signal
import sys
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, ExitStack
from pathlib import Path

import pytest

from tests.support import runs
from tests.support.program import Command, Program, launcher, reached, train_command
from trainer.system.launcher import WATCH_SECONDS

FaultTrial = Callable[[int, str], AbstractContextManager[None]]
Golden = Callable[..., object]
Send = Callable[[Command], object]
NUMBERS = [signal.SIGTERM, signal.SIGINT, signal.SIGUSR1, signal.SIGHUP]
RARELY_SAVED = ["--train.checkpoint_minutes", "9"]


def stop_and_resume(program: Program, words: list[str], send: Send, code: int | None, expected: object) -> None:
    """Signal a run in its middle; check that it is saved and KILLED, and that its resume command finishes it."""
    with program.start(*words) as training:
        folder = training.wait_for(reached(program, 6), "step 6")
        send(training)
        ended = training.end(30)
    assert code in (None, ended.returncode), ended.output
    status = runs.status(folder)
    assert (status["state"], status["exit_code"]) == ("preempted", 143), ended.output
    assert runs.states(folder)[-1] == "KILLED"
    assert runs.checkpoint_steps(folder)[-1] == status["step"]
    program.run("bash", "-c", status["resume"], code=0)
    assert runs.result(folder) == expected
    assert program.run_folders() == [folder]


def to_command(number: signal.Signals) -> Send:
    return lambda training: training.process.send_signal(number)


def to_process(rank: int, number: signal.Signals) -> Send:
    return lambda training: training.trainers()[rank].send_signal(number)


TARGETS: dict[str, Callable[[signal.Signals], Send]] = {
    "launcher": to_command,
    "worker 0": lambda number: to_process(0, number),
    "worker 1": lambda number: to_process(1, number),
    "all": lambda number: lambda training: training.signal(number),
}


@pytest.mark.long
@pytest.mark.parametrize(("row", "number"), [(6, signal.SIGUSR1), (47, signal.SIGHUP)])
def test_one_process(
    row: int,
    number: signal.Signals,
    program: Program,
    settings: list[str],
    golden: Golden,
    fault_trial: FaultTrial,
) -> None:
    words = train_command(1, *settings, *RARELY_SAVED)
    with fault_trial(row, f"{number.name}, one process"):
        stop_and_resume(program, words, to_command(number), 143, golden(1))


@pytest.mark.long
def test_a_closed_terminal_changes_nothing_under_nohup(
    program: Program, settings: list[str], golden: Golden, fault_trial: FaultTrial
) -> None:
    with fault_trial(47, "SIGHUP under nohup"):
        with program.start("nohup", *train_command(1, *settings)) as training:
            folder = training.wait_for(reached(program, 6), "step 6")
            training.process.send_signal(signal.SIGHUP)
            assert training.end().returncode == 0
        assert runs.result(folder) == golden(1)


@pytest.mark.long
def test_a_training_outlives_the_reader_of_its_output(
    program: Program, settings: list[str], golden: Golden, fault_trial: FaultTrial
) -> None:
    with fault_trial(47, "| head -1"):
        line = f"{shlex.join(train_command(1, *settings))} | head -1; exit ${{PIPESTATUS[0]}}"
        ended = program.run("bash", "-c", line, code=0)
        assert ended.stderr == ""
        assert len(ended.stdout.splitlines()) == 1
        assert runs.result(program.run_folders()[0]) == golden(1)


@pytest.mark.long
@pytest.mark.parametrize("processes", [1, 2])
def test_data_that_are_deleted_while_training(
    processes: int, program: Program, settings: list[str], data: Path, golden: Golden, fault_trial: FaultTrial
) -> None:
    """Saved after the last step, and failed with the name of the file; with the data back, it goes on."""
    copy = data.with_name(f"deleted-{processes}")
    shutil.copytree(data, copy)
    masks = copy / "SegmentationClassPNG"
    words = [str(copy) if word == str(data) else word for word in train_command(processes, *settings, *RARELY_SAVED)]
    with fault_trial(47, f"masks deleted, {processes} processes"):
        with program.start(*words) as training:
            folder = training.wait_for(reached(program, 6), "step 6")
            training.pause()
            masks.rename(copy / "gone")
            training.resume()
            ended = training.end()
        status = runs.status(folder)
        assert ended.returncode == 1, ended.output
        assert (status["state"], status["exit_code"]) == ("failed", 1)
        assert str(masks) in status["reason"]
        assert processes > 1 or "Traceback" not in ended.output
        assert runs.states(folder)[-1] == "FAILED"
        assert runs.checkpoint_steps(folder)[-1] == status["step"] >= 6
        (copy / "gone").rename(masks)
        program.run(*words, "--resume", "latest", code=0)
        assert runs.result(folder) == golden(processes)


@pytest.mark.long
@pytest.mark.parametrize("number", NUMBERS, ids=lambda number: number.name)
@pytest.mark.parametrize("target", TARGETS)
def test_every_signal_to_every_process(
    number: signal.Signals,
    target: str,
    program: Program,
    settings: list[str],
    golden: Golden,
    fault_trial: FaultTrial,
) -> None:
    words = train_command(2, *settings, *RARELY_SAVED)
    with fault_trial(6, f"{number.name} to {target} of two processes"):
        stop_and_resume(program, words, TARGETS[target](number), None, golden(2))


def test_no_trainer_survives_its_launcher(
    program: Program, settings: list[str], golden: Golden, fault_trial: FaultTrial
) -> None:
    """Accelerate's launcher of one process dies of SIGTERM, without ending its child."""
    words = [*launcher("cpu"), "trainer/train.py", *settings, *RARELY_SAVED]

    def end_launcher(training: Command) -> None:
        (trainer,) = training.trainers()
        trainer.send_signal(signal.SIGSTOP)  # or it might be done before it looks for its launcher
        training.process.send_signal(signal.SIGTERM)
        time.sleep(2 * WATCH_SECONDS)
        trainer.send_signal(signal.SIGCONT)

    with fault_trial(6, "the launcher of one process is killed by SIGTERM"):
        stop_and_resume(program, words, end_launcher, None, golden(1))


STOP_SIGNALS = """
import sys, time
from trainer.system.signals import StopSignals
stop = StopSignals()
if sys.argv[1] == "held":
    stop.defer()
try:
    print("ready", flush=True)
    time.sleep(60)
except KeyboardInterrupt:
    print("interrupted", flush=True)
"""


def test_signals_interrupt_or_are_held(tmp_path: Path) -> None:
    """Held: two in a row count as one, since launchers pass theirs on; a later one ends the process at once."""
    program = Program(tmp_path / "program")
    with ExitStack() as stack:

        def started(how: str) -> list[tuple[signal.Signals, Command]]:
            words = [sys.executable, "-c", STOP_SIGNALS, how]
            return [(number, stack.enter_context(program.start(*words))) for number in NUMBERS]

        free, held = started("free"), started("held")
        for _, command in free + held:
            command.wait_for(lambda command=command: "ready" in command.output(), "its start")
        for number, command in free:
            command.process.send_signal(number)
            assert command.end(20).stdout == "ready\ninterrupted\n"
        for _ in range(2):
            for number, command in held:
                command.process.send_signal(number)
            time.sleep(0.2)
        time.sleep(2)
        assert all(command.running for _, command in held)
        for number, command in held:
            command.process.send_signal(number)
            assert command.end(20).returncode == 143


SLOW = """
import sys, time
import trainer.engine.step as step
from trainer.train import main
real = step.objective
def slow(*arguments):
    print("a step of a minute", flush=True)
    time.sleep(60)
    return real(*arguments)
step.objective = slow
sys.exit(main(sys.argv[1:]))
"""


@pytest.mark.long
def test_the_second_signal_stops_at_once(program: Program, settings: list[str], fault_trial: FaultTrial) -> None:
    words = train_command(1, *settings, script=program.script(SLOW))
    with fault_trial(6, "a second signal in a step of a minute"), program.start(*words) as training:
        training.wait_for(lambda: "a step of a minute" in training.output(), "the slow step")
        training.process.send_signal(signal.SIGTERM)
        time.sleep(3)
        assert training.running  # the first is held until the step is over
        training.process.send_signal(signal.SIGTERM)
        assert training.end(10).returncode == 143
