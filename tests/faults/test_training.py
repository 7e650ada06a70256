"""Nothing lost: a run is killed, signalled, starved of disk or damaged, goes on, and is the run it would have been."""

import json
import os
import random
import shutil
import signal
import sqlite3
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.support.program import REPOSITORY, Program, histories, make_voc
from tests.support.trials import (
    TINY,
    UNTRACKED,
    Trial,
    all_whole,
    checkpoints,
    command,
    ended_as,
    finish,
    launched_alone,
    reached,
    result_of,
    saved,
    status,
)
from trainer import InputError
from trainer.cli import parse
from trainer.engine.checkpoint import resume
from trainer.engine.checkpoint.format import load_checkpoint
from trainer.system import run_folder
from trainer.system.launcher import WATCH_SECONDS
from trainer.system.run_folder import RunFolder

FaultTrial = Callable[[int, str], AbstractContextManager[None]]
Golden = Callable[..., tuple[object, object]]
STEPS = 20  # 20 pictures, 16 of them train: 4 steps in each of 5 epochs


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_voc(tmp_path_factory.mktemp("data") / "discs", count=20)


@pytest.fixture
def program(tmp_path: Path) -> Program:
    return Program(tmp_path / "program")


@pytest.fixture(scope="module")
def settings(data: Path) -> list[str]:
    return ["--data.root", str(data), *TINY]


@pytest.fixture(scope="module")
def golden(tmp_path_factory: pytest.TempPathFactory, settings: list[str]) -> Golden:
    """What the same settings come to when nobody interferes."""
    known: dict[tuple[object, ...], tuple[object, object]] = {}

    def run(processes: int, *more: str) -> tuple[object, object]:
        if (processes, *more) not in known:
            program = Program(tmp_path_factory.mktemp("golden") / "program")
            finish(program, *command(processes, *settings, *UNTRACKED, *more))
            known[processes, *more] = result_of(program.run_folders()[0])
        return known[processes, *more]

    return run


# -------------------------------------------------------------------------------------- row 1: kill -9 at any step


@pytest.mark.parametrize("processes", [pytest.param(1, marks=pytest.mark.long), 2])
def test_killed_run_goes_on_as_if_nothing_had_happened(
    processes: int, program: Program, settings: list[str], golden: Golden, fault_trial: FaultTrial
) -> None:
    """Killed in the middle of an epoch, and the journal is ahead of the checkpoint."""
    words = command(processes, *settings, *UNTRACKED)
    with fault_trial(1, "kill -9, resume latest"):
        with Trial(program, *words) as trial:
            trial.wait_for(saved(program, 5), "a checkpoint")
        (folder,) = program.run_folders()
        all_whole(folder)
        assert json.loads((folder / "status.json").read_text())["state"] == "running"
        text = finish(program, *words, "--resume", "latest")
        assert "goes on after step" in text
        assert program.run_folders() == [folder]
        assert result_of(folder) == golden(processes)
        assert ended_as(folder) == ["RUNNING", "FINISHED"]


@pytest.mark.long
def test_fewer_processes_go_on_with_one_warning(
    program: Program, settings: list[str], golden: Golden, fault_trial: FaultTrial
) -> None:
    """The samples of a step stay the same; the last bits do not, and that is said once."""
    with fault_trial(1, "kill -9 on two processes, resume on one"):
        with Trial(program, *command(2, *settings, *UNTRACKED, "--model.norm", "group")) as trial:
            trial.wait_for(saved(program, 5), "a checkpoint")
        (folder,) = program.run_folders()
        words = command(1, *settings, *UNTRACKED, "--model.norm", "group", "--resume", "latest")
        text = finish(program, *words)
        warnings = [line for line in text.splitlines() if line.startswith("warning: the last bits")]
        assert len(warnings) == 1
        assert "processes 2 -> 1" in warnings[0]
        ours, theirs = result_of(folder)[1], golden(2, "--model.norm", "group")[1]
        assert isinstance(theirs, dict)
        for key in ("train/loss", "train/lr", "val/loss"):
            assert [step for step, _ in ours[key]] == [step for step, _ in theirs[key]]
            assert [value for _, value in ours[key]] == pytest.approx([value for _, value in theirs[key]], rel=1e-3)


@pytest.fixture(scope="module")
def killed(tmp_path_factory: pytest.TempPathFactory, settings: list[str]) -> Program:
    """A run that was killed after step 10 or later, with two checkpoints. Tests work on copies of it."""
    program = Program(tmp_path_factory.mktemp("killed") / "program")
    with Trial(program, *command(1, *settings, *UNTRACKED)) as trial:
        trial.wait_for(saved(program, 10), "a checkpoint")
    assert len(checkpoints(program.run_folders()[0])) == 2
    return program


@pytest.fixture
def again(killed: Program, tmp_path: Path) -> Program:
    """A copy of the killed run's program and folders."""
    program = Program(tmp_path / "again")
    shutil.copytree(killed.folder / "mlruns", program.folder / "mlruns", dirs_exist_ok=True)
    return program


def search(program: Program, settings: list[str], wanted: str, *more: str) -> resume.Start:
    """What `--resume wanted` finds, with this process as the trainer; the lock is given back."""
    config = parse([*settings, *UNTRACKED, "--resume", wanted, *more])
    data = json.loads((program.run_folders()[0] / "split.json").read_text())
    try:
        return resume.find_run(config, program.folder / "mlruns" / "work", data, "")
    finally:
        while run_folder._locks:
            run_folder._locks.popitem()[1].release()


def test_what_latest_means(again: Program, settings: list[str]) -> None:
    (older,) = again.run_folders()
    last = load_checkpoint(checkpoints(older)[-1]).state
    assert search(again, settings, "never").folder is None
    for free in (["--train.threads", "2"], ["--tracking.run_name", "other"], ["--data.workers", "0"]):
        found = search(again, settings, "latest", *free)
        assert (found.folder, found.checkpoint.state, found.warnings) == (RunFolder(older), last, [])
    for other in (["--optim.lr", "1e-4"], ["--train.epochs", "6"], ["--model.norm", "group"], ["--train.seed", "1"]):
        found = search(again, settings, "latest", *other)
        assert found.folder is None
        assert "a new one" in found.warnings[0]
    newer = older.with_name("9" + older.name[1:])
    shutil.copytree(older, newer)
    assert search(again, settings, "latest").folder == RunFolder(newer)
    (newer / "status.json").write_text(json.dumps({"state": "finished"}))
    assert search(again, settings, "latest").folder == RunFolder(older)
    (older / "status.json").write_text(json.dumps({"state": "finished"}))
    assert search(again, settings, "latest").finished
    # Killed while it made its folder: nothing that could go on.
    shutil.rmtree(newer)
    (older / "config.yaml").write_text("data:\n  root: [")
    assert search(again, settings, "latest").folder is None


def test_before_the_first_checkpoint_a_run_goes_on_from_its_start(again: Program, settings: list[str]) -> None:
    (folder,) = again.run_folders()
    shutil.rmtree(folder / "checkpoints")
    for wanted in ("latest", str(folder)):
        found = search(again, settings, wanted)
        assert (found.folder, found.checkpoint, found.warnings) == (RunFolder(folder), None, [])


def test_a_named_folder_of_another_training_is_refused(again: Program, settings: list[str]) -> None:
    (folder,) = again.run_folders()
    for path in (folder, checkpoints(folder)[0]):
        with pytest.raises(InputError, match=r"optim\.lr: 0\.01 then, 0.0001 now"):
            search(again, settings, str(path), "--optim.lr", "1e-4")
    content = json.loads((folder / "split.json").read_text())
    config = parse([*settings, "--resume", str(folder)])
    for changed in (content | {"digest": "0"}, content | {"val": content["val"][::-1]}):
        with pytest.raises(InputError, match=r"data\.root"):
            resume.find_run(config, folder.parent, changed, "")
        assert resume.find_run(parse([*settings, "--resume", "latest"]), folder.parent, changed, "").folder is None


def test_a_checkpoint_that_is_named_is_the_one(again: Program, settings: list[str]) -> None:
    (folder,) = again.run_folders()
    for path in checkpoints(folder):
        assert search(again, settings, str(path)).checkpoint.state.step == int(path.name[5:])
    assert search(again, settings, str(folder)).checkpoint.state.step == int(checkpoints(folder)[-1].name[5:])


def test_a_folder_brings_its_own_settings(again: Program) -> None:
    (folder,) = again.run_folders()
    theirs = yaml.safe_load((folder / "config.yaml").read_text())
    for path in (folder, checkpoints(folder)[0]):
        config = parse(["--resume", str(path), "--tracking.run_name", "mine"])
        assert (config.model.width, config.train.epochs) == (8, 5)
        assert config.tracking.run_name == "mine"
        assert config.resume == str(path)
    assert theirs["resume"] == "never"


def test_another_world_is_told_in_one_warning(again: Program, settings: list[str]) -> None:
    checkpoint = search(again, settings, "latest").checkpoint
    config = parse(settings)
    assert resume.numeric_changes(checkpoint, checkpoint.world, config) == []
    found = resume.numeric_changes(
        checkpoint, checkpoint.world | {"processes": "3"}, parse([*settings, "--train.micro_batch_size", "2"])
    )
    assert found == ["processes 1 -> 3", "train.micro_batch_size auto -> 2"]


# ------------------------------------------------------------------------------------- row 5: a corrupt checkpoint


def harms(path: Path) -> dict[str, Callable[[], object]]:
    content = path.read_bytes()
    flipped = bytearray(content)
    flipped[len(content) // 2] ^= 4
    return {
        "flipped": lambda: path.write_bytes(flipped),
        "truncated": lambda: path.write_bytes(content[: len(content) // 2]),
        "deleted": path.unlink,
    }


@pytest.mark.parametrize("harm", ["flipped", "truncated", "deleted"])
def test_a_damaged_checkpoint_is_named_and_not_used(
    harm: str, again: Program, settings: list[str], fault_trial: FaultTrial
) -> None:
    (folder,) = again.run_folders()
    before, newest = checkpoints(folder)
    for file in sorted(newest.iterdir()):
        kept = file.read_bytes()
        with fault_trial(5, f"a file of a checkpoint is {harm}"):
            harms(file)[harm]()
            found = search(again, settings, "latest")
            assert found.checkpoint.state.step == int(before.name[5:])
            assert str(newest) in found.warnings[0]
            for path in (newest, folder):
                with pytest.raises(InputError, match=str(newest)) as refused:
                    search(again, settings, str(path))
                assert str(before) in str(refused.value)  # what to give instead
        file.write_bytes(kept)
    assert search(again, settings, "latest").warnings == []


@pytest.mark.long
def test_falling_back_ends_where_golden_ends(
    again: Program, settings: list[str], golden: Golden, fault_trial: FaultTrial
) -> None:
    (folder,) = again.run_folders()
    newest = checkpoints(folder)[-1]
    harms(newest / "weights.safetensors")["flipped"]()
    words = command(1, *settings, *UNTRACKED)
    with fault_trial(5, "trained on from the checkpoint before"):
        text = finish(again, *words, "--resume", "latest")
        assert f"{newest / 'weights.safetensors'}: changed since it was saved" in text
        assert result_of(folder) == golden(1)
        assert "nothing is left to do" in finish(again, *words, "--resume", "latest")
        assert again.run_folders() == [folder]


# -------------------------------------------------------------------------------------------- row 3: the disk is full


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    folder = tmp_path / "small"
    folder.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=6m", "none", folder], capture_output=True).returncode:
        pytest.skip("needs the right to mount")
    yield folder
    subprocess.run(["umount", "-l", folder], check=True)


@pytest.mark.parametrize("processes", [1, pytest.param(2, marks=pytest.mark.long)])
def test_a_full_disk(
    processes: int, again: Program, small_disk: Path, settings: list[str], fault_trial: FaultTrial
) -> None:
    """The run folder lies on a disk that has no room for another checkpoint."""
    (folder,) = again.run_folders()
    shutil.copytree(folder, small_disk / folder.name)
    shutil.rmtree(folder)
    folder.symlink_to(small_disk / folder.name)
    before = checkpoints(folder)[-1]
    hashes = {path.name: path.read_bytes() for path in before.iterdir()}
    ballast = small_disk / "ballast"
    with ballast.open("wb") as file:
        file.write(b"x" * (shutil.disk_usage(small_disk).free - 200_000))
    words = command(processes, *settings, *UNTRACKED, "--resume", "latest")
    with fault_trial(3, "the disk is full"):
        text = finish(again, *words, code=1)
        found = status(folder)
        assert (found["state"], found["exit_code"]) == ("failed", 1)
        assert "bytes are free" in found["reason"]
        assert str(folder) in found["reason"]
        assert found["reason"] in text.replace("\n", " ")
        if processes == 1:
            assert "Traceback" not in text
        assert {path.name: path.read_bytes() for path in before.iterdir()} == hashes
        all_whole(folder)
        ballast.unlink()
        # Room again: the same command goes on.
        if processes == 2:
            finish(again, *words)
            assert status(folder)["state"] == "finished"


# ------------------------------------------------------------------------------------------------- row 6: signals


def stop_and_go_on(
    program: Program, words: list[str], tell: Callable[[Trial], object], code: int | None, expected: object
) -> None:
    """Signalled in the middle, the run is saved and KILLED; its own resume command brings it to its end."""
    with Trial(program, *words) as trial:
        trial.wait_for(reached(program, 6), "step 6")
        tell(trial)
        began = time.monotonic()
        ended, text = trial.end(30)
        assert time.monotonic() - began < 30
    assert code is None or ended == code, text
    (folder,) = program.run_folders()
    found = status(folder)
    assert (found["state"], found["exit_code"]) == ("preempted", 143), text
    assert ended_as(folder)[-1] == "KILLED"
    assert int(checkpoints(folder)[-1].name[5:]) == found["step"]
    finish(program, "bash", "-c", found["resume"])
    assert result_of(folder) == expected
    assert program.run_folders() == [folder]


def to_all(number: signal.Signals) -> Callable[[Trial], object]:
    return lambda trial: trial.signal(number)


def to_the_command(number: signal.Signals) -> Callable[[Trial], object]:
    return lambda trial: trial.process.send_signal(number)


def to_worker(rank: int, number: signal.Signals) -> Callable[[Trial], object]:
    return lambda trial: trial.workers()[rank].send_signal(number)


@pytest.mark.long
def test_a_signal_saves_and_the_run_goes_on(
    program: Program, settings: list[str], golden: Golden, fault_trial: FaultTrial
) -> None:
    words = command(1, *settings, *UNTRACKED, "--train.checkpoint_minutes", "9")
    with fault_trial(6, "SIGUSR1, one process"):
        stop_and_go_on(program, words, to_the_command(signal.SIGUSR1), 143, golden(1))


def test_no_orphan_survives_its_launcher(
    program: Program, settings: list[str], golden: Golden, fault_trial: FaultTrial
) -> None:
    """The launcher of one process dies of SIGTERM, and would leave its child training."""
    words = launched_alone(*settings, *UNTRACKED, "--train.checkpoint_minutes", "9")

    def orphan(trial: Trial) -> None:
        (worker,) = trial.workers()
        worker.send_signal(signal.SIGSTOP)  # or it might be done before it looks for its launcher
        trial.process.send_signal(signal.SIGTERM)
        time.sleep(2 * WATCH_SECONDS)
        worker.send_signal(signal.SIGCONT)

    with fault_trial(6, "the launcher of one process is killed by SIGTERM"):
        stop_and_go_on(program, words, orphan, None, golden(1))


NUMBERS = [signal.SIGTERM, signal.SIGINT, signal.SIGUSR1]
TARGETS = {
    "launcher": to_the_command,
    "worker 0": lambda number: to_worker(0, number),
    "worker 1": lambda number: to_worker(1, number),
    "all": to_all,
}


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
    words = command(2, *settings, *UNTRACKED, "--train.checkpoint_minutes", "9")
    with fault_trial(6, f"{number.name} to {target} of two processes"):
        stop_and_go_on(program, words, TARGETS[target](number), None, golden(2))


SLOW = """
import sys, time
import trainer.engine.step as step
from trainer.train import main
real = step.image_losses
def slow(*arguments):
    print("a step of a minute", flush=True)
    time.sleep(60)
    return real(*arguments)
step.image_losses = slow
sys.exit(main(sys.argv[1:]))
"""


def wrapped(program: Program, text: str) -> str:
    """A script that wraps a function of the program, and then trains."""
    (program.folder / "wrapped.py").write_text(textwrap.dedent(text))
    return "wrapped.py"


NOTES = """
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


def test_signals_are_noted_or_interrupt(tmp_path: Path) -> None:
    (tmp_path / "notes.py").write_text(NOTES)

    def started(how: str) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [sys.executable, tmp_path / "notes.py", how],
            stdout=subprocess.PIPE,
            text=True,
            env=os.environ | {"PYTHONPATH": str(REPOSITORY)},
        )
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        return process

    for number in NUMBERS:
        process = started("free")
        process.send_signal(number)
        assert process.communicate(timeout=20) == ("interrupted\n", None)
        process = started("held")
        for _ in range(2):  # the second: what a launcher passes on
            process.send_signal(number)
            time.sleep(0.2)
        with pytest.raises(subprocess.TimeoutExpired):
            process.wait(2.2)
        process.send_signal(number)
        assert process.wait(20) == 143


@pytest.mark.long
def test_the_second_signal_stops_at_once(program: Program, settings: list[str], fault_trial: FaultTrial) -> None:
    words = command(1, *settings, *UNTRACKED, script=wrapped(program, SLOW))
    with fault_trial(6, "a second signal in a step of a minute"), Trial(program, *words) as trial:
        assert trial.process.stdout is not None
        while "a step of a minute" not in trial.process.stdout.readline():
            assert trial.process.poll() is None
        trial.process.send_signal(signal.SIGTERM)
        time.sleep(3)
        assert trial.process.poll() is None  # the first is noted
        trial.process.send_signal(signal.SIGTERM)
        assert trial.end(10)[0] == 143


# ------------------------------------------------------------------------------------- row 9: started again by torchrun

FALLS = """
import os, signal, sys
import trainer.engine.loop as loop
from trainer.train import main
real = loop.Trainer._step
def falling(self, batches):
    if os.environ["RANK"] == "1" and os.environ["TORCHELASTIC_RESTART_COUNT"] == "0" and self.state.step == 9:
        os.kill(os.getpid(), signal.SIGKILL)
    return real(self, batches)
loop.Trainer._step = falling
sys.exit(main(sys.argv[1:]))
"""


@pytest.mark.long
def test_a_restarted_run_goes_on_by_itself(
    program: Program, settings: list[str], golden: Golden, fault_trial: FaultTrial
) -> None:
    script = wrapped(program, FALLS)
    words = command(2, *settings, *UNTRACKED, script=script)
    words[words.index(script) : words.index(script)] = ["--max_restarts", "2"]
    with fault_trial(9, "process 1 is killed once, --max_restarts 2"):
        text = finish(program, *words)
        assert "goes on after step" in text
        (folder,) = program.run_folders()
        assert result_of(folder) == golden(2)
        assert ended_as(folder) in (["FAILED", "RUNNING", "FINISHED"], ["RUNNING", "FINISHED"])


# -------------------------------------------------------------------------------------------------- row 10: NaN

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
    program: Program, settings: list[str], data: Path, fault_trial: FaultTrial
) -> None:
    words = command(2, *settings, *UNTRACKED, script=wrapped(program, NAN))
    with fault_trial(10, "NaN on process 1 at step 6"):
        text = finish(program, *words, code=1)
        (folder,) = program.run_folders()
        found = status(folder)
        assert (found["state"], found["step"], found["process"]) == ("failed", 5, [1])
        names = {path.stem for path in (data / "JPEGImages").iterdir()}
        assert len(found["samples"]) == 2
        assert set(found["samples"]) <= names
        assert "not a finite number" in text
        assert ended_as(folder) == ["FAILED"]
        assert all(int(path.name[5:]) <= 5 for path in checkpoints(folder))
        for path in checkpoints(folder):
            assert all(value.isfinite().all() for value in load_checkpoint(path).weights.values())


# -------------------------------------------------------------------------------- rows 16, 17: one run in MLflow

LEAVES = """
import sys
import trainer.engine.loop as loop
from trainer.train import main
real = loop.Trainer._step
def leaving(self, batches):
    if self.state.step == 6:
        sys.exit(0)
    return real(self, batches)
loop.Trainer._step = leaving
sys.exit(main(sys.argv[1:]))
"""


@pytest.mark.long
def test_one_run_in_mlflow_whatever_happened(program: Program, settings: list[str], fault_trial: FaultTrial) -> None:
    """sys.exit in training, then kill -9, then the end: one run, told truthfully, each point once."""
    store = program.folder / "mlruns" / "mlflow.db"

    def states() -> list[str]:
        database = sqlite3.connect(store)
        try:
            return [row[0] for row in database.execute("select status from runs")]
        finally:
            database.close()

    settings = [*settings, "--train.epochs", "30", "--registry.name", "null"]
    words = command(1, *settings)
    with fault_trial(17, "sys.exit in training"):
        finish(program, *command(1, *settings, script=wrapped(program, LEAVES)), code=1)
        assert states() == ["FAILED"]
    with fault_trial(17, "kill -9"), Trial(program, *words, "--resume", "latest") as trial:
        trial.wait_for(lambda: saved(program, 10)() and states() == ["RUNNING"], "a checkpoint of a run that goes on")
    assert states() == ["RUNNING"]
    with fault_trial(16, "three starts of one run"):
        finish(program, *words, "--resume", "latest")
        assert states() == ["FINISHED"]
        (folder,) = program.run_folders()
        found = result_of(folder)[1]
        stored = {key: [(step, value) for step, _, value in points] for (_, key), points in histories(store).items()}
        for key in ("train/loss", "train/lr", "train/grad_norm", "val/loss", "val/miou"):
            assert stored[key] == found[key]
            expected = range(1, 121) if key.startswith("train/") else range(0, 121, 4)
            assert [step for step, _ in stored[key]] == list(expected)
        pictures = [path.name.split("+timestamp")[0] for path in (folder / "pictures").glob("*.png")]
        assert len(set(pictures)) == len(pictures)


# ------------------------------------------------------------------------------- row 23: two trainers, one run folder


def test_two_trainers_do_not_share_a_run_folder(program: Program, settings: list[str], fault_trial: FaultTrial) -> None:
    words = command(1, *settings, *UNTRACKED, "--train.epochs", "100000")
    with fault_trial(23, "a second trainer in a run folder"), Trial(program, *words) as trial:
        trial.wait_for(saved(program, 3), "a checkpoint")
        (folder,) = program.run_folders()
        text = finish(program, *words, "--resume", "latest", code=2)
        assert f"process {trial.process.pid} on" in text
        assert "Traceback" not in text
        assert trial.process.poll() is None
        assert program.run_folders() == [folder]


# --------------------------------------------------------------------------------------------------- the long tier


@pytest.mark.long
@pytest.mark.timeout(1800)
def test_twenty_kills(tmp_path: Path, settings: list[str], golden: Golden, fault_trial: FaultTrial) -> None:
    """Every value of processes, readers, accumulation and place in the epoch; some are killed twice."""
    draw = random.Random(7)
    cells = [
        (processes, workers, pieces, place)
        for processes in (1, 2) for workers in (0, 2) for pieces in (1, 3) for place in ("middle", "last", "first")
    ]  # fmt: skip
    draw.shuffle(cells)
    seen: list[set[Any]] = [set(values) for values in zip(*cells[:20], strict=True)]
    assert [len(values) for values in seen] == [2, 2, 2, 3]
    for number, (processes, workers, pieces, place) in enumerate(cells[:20]):
        step = {"first": 1, "middle": draw.choice([6, 7, 9, 10, 14, 15]), "last": STEPS}[place]
        # A batch of 4 in one piece, or in three on one process and two on each of two.
        size = ["--train.micro_batch_size", "auto" if pieces == 1 else "2" if processes == 1 else "1"]
        more = ["--data.workers", str(workers), *size]
        program = Program(tmp_path / f"{number}" / "program")
        words = command(processes, *settings, *UNTRACKED, *more)
        with fault_trial(1, f"kill -9 at the {place} step"):
            with Trial(program, *words) as trial:
                trial.wait_for(reached(program, step), f"step {step}")
            (folder,) = program.run_folders()
            if number % 4 == 0 and place != "last":
                with Trial(program, *words, "--resume", "latest") as trial:
                    trial.wait_for(reached(program, step + 3), f"step {step + 3}")
            all_whole(folder)
            finish(program, *words, "--resume", "latest")
            assert program.run_folders() == [folder]
            assert result_of(folder) == golden(processes, *size)


@pytest.mark.long
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("call", ["fsync", "rename", "unlink"])
def test_killed_while_saving(
    call: str, tmp_path: Path, killed: Program, settings: list[str], fault_trial: FaultTrial
) -> None:
    """`kill -9` at the K-th fsync, rename or removal of a file: whatever lies there afterwards is whole."""
    if shutil.which("strace") is None:
        pytest.skip("needs strace")
    names = {"fsync": "fsync", "rename": "rename,renameat,renameat2", "unlink": "unlink,unlinkat,rmdir"}[call]
    inside = 0
    for count in range(1, 20) if call == "rename" else range(1, 40, 2) if call == "fsync" else range(1, 60, 4):
        program = Program(tmp_path / f"{count}" / "again")
        shutil.copytree(killed.folder / "mlruns", program.folder / "mlruns", dirs_exist_ok=True)
        (folder,) = program.run_folders()
        injected = ["strace", "-f", "-o", "/dev/null", "-e", f"inject={names}:signal=KILL:when={count}"]
        words = command(1, *settings, *UNTRACKED, "--resume", "latest")
        with Trial(program, *injected, *words) as trial:
            code, text = trial.end()
        if code == 0:
            break  # there were fewer
        with fault_trial(2, f"kill -9 at a {call}"):
            inside += any(folder.glob("checkpoints/.step-*"))
            all_whole(folder)
            assert len(checkpoints(folder)) >= 1, text
            found = search(program, settings, "latest")
            assert found.warnings == []
            assert found.checkpoint is not None
    assert inside >= 2, "no trial hit a checkpoint that was being written"
