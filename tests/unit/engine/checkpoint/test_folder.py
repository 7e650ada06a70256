"""Folder of checkpoints: each is complete or absent, and older ones are removed."""

import dataclasses
import hashlib
import json
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.support.checkpoints import make_optimizer, same, save, snapshot, train
from trainer import InputError
from trainer.engine.checkpoint.folder import CheckpointFolder
from trainer.engine.checkpoint.format import TrainState, load_checkpoint
from trainer.engine.stopping import NotWritten
from trainer.model.segmenter import Segmenter

Maker = Callable[..., Segmenter]


def test_no_checkpoint(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="step-9"):
        load_checkpoint(tmp_path / "step-9")
    assert CheckpointFolder(tmp_path).steps() == []
    assert CheckpointFolder(tmp_path / "none").steps() == []


def test_the_newest_two_stay(tmp_path: Path, make_segmenter: Maker) -> None:
    segmenter = make_segmenter()
    optimizer = make_optimizer(segmenter)
    found = []
    for step in (2, 9, 10, 11, 100):  # as numbers, not as text
        save(tmp_path, segmenter, optimizer, step)
        found.append(CheckpointFolder(tmp_path).steps())
    assert found == [[2], [2, 9], [9, 10], [10, 11], [11, 100]]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["step-100", "step-11"]


def test_a_finished_run_keeps_the_digests_of_the_last_one(tmp_path: Path, make_segmenter: Maker) -> None:
    segmenter, folder = make_segmenter(), tmp_path / "checkpoints"
    folder.mkdir()
    CheckpointFolder(folder).clear(tmp_path / "last.json")  # of a run without one
    assert list(tmp_path.iterdir()) == [folder]
    optimizer = make_optimizer(segmenter)
    digests = {}
    for step in (9, 10):
        saved = save(folder, segmenter, optimizer, step)
        digests = {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in saved.iterdir()}
    CheckpointFolder(folder).clear(tmp_path / "last.json")
    assert list(folder.iterdir()) == []
    kept = json.loads((tmp_path / "last.json").read_text())
    del digests["manifest.json"]
    assert kept["sha256"] == digests
    assert kept["position"]["step"] == 10


def test_same_step_again_replaces(tmp_path: Path, make_segmenter: Maker) -> None:
    segmenter = make_segmenter()
    optimizer = make_optimizer(segmenter)
    save(tmp_path, segmenter, optimizer, 5)
    train(segmenter, optimizer, range(1))
    save(tmp_path, segmenter, optimizer, 5)
    found = load_checkpoint(tmp_path / "step-5")
    assert same(found.weights, segmenter.state_dict())
    assert CheckpointFolder(tmp_path).steps() == [5]
    assert [path.name for path in tmp_path.iterdir()] == ["step-5"]


def test_leftover_of_a_killed_save(saved: Path, make_segmenter: Maker) -> None:
    leftover = saved.parent / ".step-7.partial"
    leftover.mkdir()
    (leftover / "weights.safetensors").write_bytes(b"half")
    (saved.parent / "step-8.txt").touch()
    checkpoints = CheckpointFolder(saved.parent)
    assert checkpoints.steps() == [3]
    segmenter = make_segmenter()
    save(saved.parent, segmenter, make_optimizer(segmenter), 5)
    assert checkpoints.steps() == [3, 5]
    assert not leftover.exists()  # swept by the next save, whatever its step


def test_a_save_that_fails_leaves_nothing_that_looks_complete(saved: Path, make_segmenter: Maker) -> None:
    segmenter = make_segmenter()
    refused = {"weight": torch.ones(4, 4).T[::2]}  # not contiguous: safetensors raises when half of the files are there
    for step in (4, 3):
        one = dataclasses.replace(snapshot(segmenter, make_optimizer(segmenter), TrainState(step)), best=refused)
        with pytest.raises(ValueError, match="contiguous"):
            CheckpointFolder(saved.parent).save(one)
        assert [path.name for path in saved.parent.glob("[!.]*")] == ["step-3"]
        assert CheckpointFolder(saved.parent).steps() == [3]
        assert load_checkpoint(saved).state.seconds == 12.5


def test_the_checkpoint_resumed_from_stays(tmp_path: Path, make_segmenter: Maker) -> None:
    segmenter = make_segmenter()
    optimizer = make_optimizer(segmenter)
    save(tmp_path, segmenter, optimizer, 4)
    save(tmp_path, segmenter, optimizer, 30)  # of the start that the checkpoint of step 4 is resumed in spite of
    folder = CheckpointFolder(tmp_path, resumed_from=4)
    for step in (5, 6, 7):
        folder.save(snapshot(segmenter, optimizer, TrainState(step)))
    assert folder.steps() == [4, 6, 7, 30]


def test_older_ones_are_removed_only_when_the_new_one_is_complete(saved: Path, make_segmenter: Maker) -> None:
    segmenter = make_segmenter()
    optimizer = make_optimizer(segmenter)
    save(saved.parent, segmenter, optimizer, 4)
    (saved.parent / "step-5").mkdir()
    (saved.parent / "step-5" / "in the way").touch()
    (saved.parent / ".step-5.old").touch()  # nothing can be moved there, and so nothing written
    with pytest.raises(NotWritten, match="bytes are free"):
        save(saved.parent, segmenter, optimizer, 5)
    for step in (3, 4):
        load_checkpoint(saved.parent / f"step-{step}")


def test_one_warning_for_a_checkpoint_that_cannot_be_removed(
    saved: Path, make_segmenter: Maker, fault_trial: Any
) -> None:
    """An immutable file in an old checkpoint: a warning, and the next ones are saved."""
    stuck = saved / "position.json"
    if subprocess.run(["chattr", "+i", stuck], capture_output=True).returncode:
        pytest.skip("needs chattr on a file system that has it")
    segmenter, warnings = make_segmenter(), list[str]()
    optimizer = make_optimizer(segmenter)
    folder = CheckpointFolder(saved.parent, warn=warnings.append)
    try:
        with fault_trial(4, "an old checkpoint cannot be removed"):
            for step in (4, 5, 6, 7):
                folder.save(snapshot(segmenter, optimizer, TrainState(step)))
            assert folder.steps() == [6, 7]
            assert len(warnings) == 1
            assert "position.json" in warnings[0]
    finally:
        for path in saved.parent.rglob("position.json"):
            subprocess.run(["chattr", "-i", path], check=True)
    folder.save(snapshot(segmenter, optimizer, TrainState(8)))
    assert sorted(path.name for path in saved.parent.iterdir()) == ["step-7", "step-8"]
