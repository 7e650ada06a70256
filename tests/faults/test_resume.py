"""`--resume`: which run and which checkpoint it means, and that a damaged one is named and never used."""

import json
import re
import shutil
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.faults.conftest import RESOLVED, release_locks
from tests.support import runs
from tests.support.program import Program, saved, train_command
from trainer import InputError, cli
from trainer.cli import parse
from trainer.engine.checkpoint import resume
from trainer.engine.checkpoint.format import load_checkpoint
from trainer.system.run_folder import RunFolder

FaultTrial = Callable[[int, str], AbstractContextManager[None]]
FindStart = Callable[..., Any]


def test_latest_is_the_newest_unfinished_run_of_these_settings(again: Program, find_start: FindStart) -> None:
    (older,) = again.run_folders()
    last = load_checkpoint(runs.checkpoints(older)[-1]).state
    assert find_start(again, "never").folder is None
    for free in (["--train.threads", "2"], ["--tracking.run_name", "other"], ["--data.workers", "0"]):
        start = find_start(again, "latest", *free)
        assert (start.folder, start.checkpoint.state, start.warnings) == (RunFolder(older), last, [])
    for other in (["--optim.lr", "1e-4"], ["--train.epochs", "6"], ["--model.norm", "group"], ["--train.seed", "1"]):
        key = other[0].removeprefix("--")
        with pytest.raises(InputError, match=rf"{older}\n +{re.escape(key)}: .* then, .* now\n") as none:
            find_start(again, "latest", *other)
        assert str(none.value).count(" then, ") == 1
        start = find_start(again, "latest-or-new", *other)
        assert start.folder is None
        assert "a new one" in start.warnings[0]
    newer = older.with_name("9" + older.name[1:])
    shutil.copytree(older, newer)
    assert find_start(again, "latest").folder == RunFolder(newer)
    (newer / "status.json").write_text(json.dumps({"state": "finished"}))
    assert find_start(again, "latest").folder == RunFolder(older)
    (older / "status.json").write_text(json.dumps({"state": "finished"}))
    assert find_start(again, "latest").finished
    # Killed while it made its folder: there is nothing to resume.
    shutil.rmtree(newer)
    shutil.rmtree(older / "checkpoints")
    (older / "status.json").unlink()
    (older / "config.yaml").write_text("data:\n  root: [")
    assert find_start(again, "latest-or-new").folder is None
    with pytest.raises(InputError, match=f"{older}\n    its settings"):
        find_start(again, "latest")


def test_a_run_without_a_checkpoint_starts_from_its_first_step(again: Program, find_start: FindStart) -> None:
    (folder,) = again.run_folders()
    shutil.rmtree(folder / "checkpoints")
    for wanted in ("latest", str(folder)):
        start = find_start(again, wanted)
        assert (start.folder, start.checkpoint, start.warnings) == (RunFolder(folder), None, [])


def test_a_named_folder_of_another_training_is_refused(
    again: Program, settings: list[str], find_start: FindStart
) -> None:
    (folder,) = again.run_folders()
    for path in (folder, runs.checkpoints(folder)[0]):
        with pytest.raises(InputError, match=r"optim\.lr: 0\.01 then, 0.0001 now"):
            find_start(again, str(path), "--optim.lr", "1e-4")
    content = json.loads((folder / "split.json").read_text())
    config = parse([*settings, "--resume", str(folder)])
    for changed in (content | {"digest": "0"}, content | {"val": content["val"][::-1]}):
        with pytest.raises(InputError, match=r"data\.root"):
            resume.find_run(config, folder.parent, changed, "")
        with pytest.raises(InputError, match=r"no unfinished run .*\n.*\n +data\.root"):
            resume.find_run(parse([*settings, *RESOLVED, "--resume", "latest"]), folder.parent, changed, "")


def test_a_named_checkpoint_is_the_one_that_is_read(again: Program, find_start: FindStart) -> None:
    (folder,) = again.run_folders()
    steps = runs.checkpoint_steps(folder)
    for path, step in zip(runs.checkpoints(folder), steps, strict=True):
        assert find_start(again, str(path)).checkpoint.state.step == step
    assert find_start(again, str(folder)).checkpoint.state.step == steps[-1]


def test_a_named_folder_brings_its_own_settings(again: Program) -> None:
    (folder,) = again.run_folders()
    own = yaml.safe_load((folder / "config.yaml").read_text())
    for path in (folder, runs.checkpoints(folder)[0]):
        config = parse(["--resume", str(path), "--tracking.run_name", "mine"])
        assert (config.model.width, config.train.epochs) == (8, 5)
        assert config.tracking.run_name == "mine"
        assert config.resume == str(path)
    assert own["resume"] == "never"


def test_another_environment_is_described(again: Program, settings: list[str], find_start: FindStart) -> None:
    checkpoint = find_start(again, "latest").checkpoint
    assert resume.numeric_changes(checkpoint, checkpoint.environment, parse(settings)) == []
    config = parse([*settings, "--train.micro_batch_size", "2"])
    changes = resume.numeric_changes(checkpoint, checkpoint.environment | {"processes": "3"}, config)
    assert changes == ["processes 1 -> 3", "train.micro_batch_size auto -> 2"]


# ---------------------------------------------------------------- damaged checkpoints


def damage(path: Path) -> dict[str, Callable[[], object]]:
    """Ways to damage a file, by name."""
    content = path.read_bytes()
    flipped = bytearray(content)
    flipped[len(content) // 2] ^= 4
    return {
        "flipped": lambda: path.write_bytes(flipped),
        "truncated": lambda: path.write_bytes(content[: len(content) // 2]),
        "deleted": path.unlink,
    }


@pytest.mark.parametrize("how", ["flipped", "truncated", "deleted"])
def test_a_damaged_checkpoint_is_named_and_not_used(
    how: str, again: Program, find_start: FindStart, fault_trial: FaultTrial
) -> None:
    (folder,) = again.run_folders()
    before, newest = runs.checkpoints(folder)
    for file in sorted(newest.iterdir()):
        content = file.read_bytes()
        with fault_trial(5, f"a file of a checkpoint is {how}"):
            damage(file)[how]()
            start = find_start(again, "latest")
            assert start.checkpoint.state.step == runs.checkpoint_steps(folder)[0]
            assert str(newest) in start.warnings[0]
            for path in (newest, folder):
                with pytest.raises(InputError, match=str(newest)) as refused:
                    find_start(again, str(path))
                assert str(before) in str(refused.value)  # the one to give instead
        file.write_bytes(content)
    assert find_start(again, "latest").warnings == []


@pytest.mark.long
def test_resumed_from_the_checkpoint_before_a_damaged_one_the_run_equals_golden(
    again: Program, settings: list[str], golden: Callable[..., object], fault_trial: FaultTrial
) -> None:
    (folder,) = again.run_folders()
    newest = runs.checkpoints(folder)[-1]
    damage(newest / "weights.safetensors")["flipped"]()
    words = train_command(1, *settings, "--resume", "latest")
    with fault_trial(5, "trained on from the checkpoint before"):
        ended = again.run(*words, code=0)
        assert f"{newest / 'weights.safetensors'}: changed since it was saved" in ended.output
        assert runs.result(folder) == golden(1)
        assert "nothing is left to do" in again.run(*words, code=0).output
        assert again.run_folders() == [folder]


# ---------------------------------------------------------------- other damaged files


RECORDS = ["status.json", "sent.json", "version.json", "run.json", "split.json", "config.yaml", "journal.jsonl"]


def ruin(path: Path, how: str) -> None:
    """Damage a file of a run folder, whether or not it is there."""
    path.unlink(missing_ok=True)
    if how == "folder":
        path.mkdir()
    else:
        path.write_text(f"{how}\n" if how else "")


def flip(path: Path) -> None:
    """Flip a bit in the middle of a file, in the first letter of a record."""
    content = bytearray(path.read_bytes())
    content[content.index(b'{"time"', len(content) // 2) + 2] ^= 0x80
    path.write_bytes(content)


@pytest.mark.parametrize("how", ["[]", "{", "folder"])
def test_damaged_files_of_a_run_are_named_and_its_training_is_found(
    how: str,
    again: Program,
    find_start: FindStart,
    fault_trial: FaultTrial,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    (folder,) = again.run_folders()
    whole = again.folder / "whole"
    shutil.copytree(folder, whole)
    expected = find_start(again, "latest").checkpoint.state
    data = json.loads((folder / "split.json").read_text())
    monkeypatch.setattr(cli, "MLRUNS", again.folder / "mlruns")
    for name in RECORDS:
        with fault_trial(43, f"a file of a run folder is {how or 'empty'}"):
            ruin(folder / name, how)
            for wanted in ("latest", str(folder)):
                config = parse(["--resume", wanted])
                try:
                    start = resume.find_run(config, folder.parent, data, "")
                finally:
                    release_locks()
                assert (start.folder, start.checkpoint.state) == (RunFolder(folder), expected)
                if wanted == "latest" and (name, how) != ("journal.jsonl", ""):
                    assert any(str(folder / name) in warning for warning in start.warnings)
            assert start.warnings == [] or name == "journal.jsonl"
        shutil.rmtree(folder)
        shutil.copytree(whole, folder)


@pytest.mark.long
def test_a_run_with_damaged_files_ends_as_if_whole(
    again: Program, settings: list[str], golden: Callable[..., object], fault_trial: FaultTrial
) -> None:
    (folder,) = again.run_folders()
    other = folder.with_name("9" + folder.name[1:])
    shutil.copytree(folder, other)
    for path in other.rglob("*"):
        if path.is_file():
            path.write_bytes(b"[")
    for name, how in (("status.json", "[]"), ("sent.json", "{}"), ("version.json", "["), ("config.yaml", "folder")):
        ruin(folder / name, how)
    (folder / "trainer.lock").unlink()
    (folder / "trainer.lock").mkdir()
    flip(folder / "journal.jsonl")
    with fault_trial(43, "a run with damaged files, beside another"):
        ended = again.run(*train_command(1, "--resume", "latest"), code=0)
        assert "Traceback" not in ended.output
        for name in ("status.json", "sent.json", "version.json", "config.yaml", "journal.jsonl: 1 records"):
            assert f"{folder / name}" in ended.output
        assert str(other) in ended.output
        # The tests' own reader takes whole journals only.
        lines = (folder / "journal.jsonl").read_bytes().splitlines(keepends=True)
        (folder / "journal.jsonl").write_bytes(b"".join(line for line in lines if line.isascii()))
        (digests, curves), (golden_digests, golden_curves) = runs.result(folder), golden(1)
        assert digests == golden_digests
        assert sum(map(len, golden_curves.values())) - sum(map(len, curves.values())) in range(1, 6)  # of one record
    synced = again.python("sync", str(folder), str(other), code=1)
    assert "Traceback" not in synced.output
    assert f"{folder}: " in synced.stdout
    assert str(other) in synced.stderr


# ---------------------------------------------------------------- two trainers


def test_two_trainers_do_not_share_a_run_folder(program: Program, settings: list[str], fault_trial: FaultTrial) -> None:
    words = train_command(1, *settings, "--train.epochs", "100000")
    with fault_trial(23, "a second trainer in a run folder"), program.start(*words) as training:
        folder = training.wait_for(saved(program, 3), "a checkpoint")
        training.pause()  # it holds its lock all the same, and leaves the cores to the second
        refused = program.run(*words, "--resume", "latest", code=2)
        assert f"process {training.pid} on" in refused.output
        assert "Traceback" not in refused.output
        assert training.running
        assert program.run_folders() == [folder]
