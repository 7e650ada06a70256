"""Checkpoints: what is read is what was written, training goes on as if nothing had happened, damage is refused."""

import copy
import dataclasses
import json
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from trainer import InputError
from trainer.engine.checkpoint.folder import CheckpointFolder
from trainer.engine.checkpoint.format import (
    MANIFEST,
    Checkpoint,
    TrainState,
    copy_optimizer,
    copy_tensors,
    load_checkpoint,
)
from trainer.engine.stopping import NotWritten
from trainer.model.model_folder import load_segmenter
from trainer.model.segmenter import Segmenter

Maker = Callable[..., Segmenter]
FILES = [
    "best.safetensors",
    "manifest.json",
    "optimizer.safetensors",
    "position.json",
    "segmenter.json",
    "unaveraged.safetensors",
    "weights.safetensors",
]


def make_optimizer(segmenter: Segmenter) -> torch.optim.Optimizer:
    """As the loop makes it."""
    segmenter.network.to(memory_format=torch.channels_last)
    weights = list(segmenter.network.parameters())
    groups = [
        {"params": [weight for weight in weights if weight.ndim > 1], "weight_decay": 0.01},
        {"params": [weight for weight in weights if weight.ndim <= 1], "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(groups, lr=3e-3, fused=True)


def train(segmenter: Segmenter, optimizer: torch.optim.Optimizer, steps: range) -> None:
    segmenter.train()
    for step in steps:
        random = torch.Generator().manual_seed(step)
        resized = torch.randint(0, 256, (2, 3, 32, 32), generator=random, dtype=torch.uint8)
        optimizer.param_groups[0]["lr"] = 1e-3 / (step + 1)
        optimizer.zero_grad()
        (segmenter.logits(resized) - 1).square().mean().backward()
        optimizer.step()


def snapshot(segmenter: Segmenter, optimizer: torch.optim.Optimizer, position: TrainState) -> Checkpoint:
    """As the loop makes it."""
    weights, state = copy_tensors(segmenter.state_dict()), copy_optimizer(optimizer.state_dict())
    best = {name: value + 1 for name, value in weights.items()}
    world, config = {"processes": "2"}, {"optim.lr": 0.1 + 0.2}
    ema = {name: value - 1 for name, value in weights.items()}
    return Checkpoint(segmenter.contract, weights, state, best, position, world, config, {"scale": 2.0**16}, ema)


def save(folder: Path, segmenter: Segmenter, optimizer: torch.optim.Optimizer, step: int = 3) -> Path:
    return CheckpointFolder(folder).save(
        snapshot(segmenter, optimizer, TrainState(step, 0.1 + 0.2, 2, 1, 12.5, 0.5, 2, 40))
    )


def same(one: dict[str, Tensor], other: dict[str, Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


@pytest.fixture
def saved(tmp_path: Path, make_segmenter: Maker) -> Path:
    segmenter = make_segmenter()
    optimizer = make_optimizer(segmenter)
    train(segmenter, optimizer, range(3))
    return save(tmp_path, segmenter, optimizer)


def test_everything_comes_back(tmp_path: Path, make_segmenter: Maker) -> None:
    segmenter = make_segmenter(foreground=2)
    optimizer = make_optimizer(segmenter)
    train(segmenter, optimizer, range(3))
    folder = save(tmp_path, segmenter, optimizer)
    assert folder == tmp_path / "step-3"
    assert sorted(path.name for path in folder.iterdir()) == FILES
    found = load_checkpoint(folder)
    assert found.contract == segmenter.contract
    assert same(found.weights, segmenter.state_dict())
    assert same(found.ema, {name: value - 1 for name, value in segmenter.state_dict().items()})
    assert same(load_segmenter(folder).state_dict(), found.ema)  # what was evaluated is what predicts
    assert same(found.best, {name: value + 1 for name, value in segmenter.state_dict().items()})
    assert found.state == TrainState(3, 0.1 + 0.2, 2, 1, 12.5, 0.5, 2, 40)
    assert (found.environment, found.config, found.scaler) == (
        {"processes": "2"},
        {"optim.lr": 0.1 + 0.2},
        {"scale": 2.0**16},
    )
    expected: dict[str, Any] = optimizer.state_dict()
    assert found.optimizer["state"].keys() == expected["state"].keys()
    for index, values in expected["state"].items():
        assert same(found.optimizer["state"][index], values)
        assert found.optimizer["state"][index]["step"].dtype == values["step"].dtype
    assert json.dumps(found.optimizer["param_groups"]) == json.dumps(expected["param_groups"])


@pytest.mark.parametrize("norm", ["batch", "group"])
def test_continued_training_equals_uninterrupted(norm: str, tmp_path: Path, make_segmenter: Maker) -> None:
    """Bit for bit. Fused AdamW on a CPU computes nonsense where weights and state differ in memory format."""
    segmenter = make_segmenter(norm=norm)
    optimizer = make_optimizer(segmenter)
    train(segmenter, optimizer, range(3))
    folder = save(tmp_path, segmenter, optimizer)
    train(segmenter, optimizer, range(3, 6))

    checkpoint = load_checkpoint(folder)
    again = Segmenter(checkpoint.contract)
    again.load_state_dict(checkpoint.weights)
    other = make_optimizer(again)
    other.load_state_dict(checkpoint.optimizer)
    train(again, other, range(3, 6))
    assert same(again.state_dict(), segmenter.state_dict())
    for index, values in optimizer.state_dict()["state"].items():
        assert same(other.state_dict()["state"][index], values)


def test_before_the_first_step(tmp_path: Path, make_segmenter: Maker) -> None:
    segmenter = make_segmenter()
    first = dataclasses.replace(snapshot(segmenter, make_optimizer(segmenter), TrainState()), best={})
    folder = CheckpointFolder(tmp_path).save(first)
    found = load_checkpoint(folder)
    assert found.state == TrainState()
    assert found.optimizer["state"] == {}
    assert found.best == {}
    make_optimizer(segmenter).load_state_dict(found.optimizer)


@pytest.mark.parametrize("name", [name for name in FILES if name != MANIFEST])
@pytest.mark.parametrize("harm", ["flipped", "truncated", "longer", "empty", "deleted"])
def test_damaged_file_is_named(name: str, harm: str, saved: Path) -> None:
    file = saved / name
    content = bytearray(file.read_bytes())
    if harm == "flipped":
        content[len(content) // 2] ^= 1
    elif harm == "truncated":
        del content[-1]
    elif harm == "longer":
        content += b" "
    elif harm == "empty":
        content.clear()
    file.unlink()
    if harm != "deleted":
        file.write_bytes(content)
    with pytest.raises(InputError) as error:
        load_checkpoint(saved)
    assert str(file) in str(error.value)


@pytest.mark.parametrize("content", [None, b"", b"{", b"[]", b'"text"', b"\xff\xfe", b"{}"])
def test_damaged_manifest_is_refused(content: bytes | None, saved: Path) -> None:
    (saved / MANIFEST).unlink()
    if content is not None:
        (saved / MANIFEST).write_bytes(content)
    with pytest.raises(InputError, match=str(saved)):
        load_checkpoint(saved)


def test_manifest_that_forgets_a_file_is_refused(saved: Path) -> None:
    manifest = json.loads((saved / MANIFEST).read_text())
    assert sorted([*manifest, MANIFEST]) == FILES
    del manifest["optimizer.safetensors"]
    (saved / MANIFEST).write_text(json.dumps(manifest))
    with pytest.raises(InputError, match=r"optimizer\.safetensors"):
        load_checkpoint(saved)


def test_no_checkpoint(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="step-9"):
        load_checkpoint(tmp_path / "step-9")
    assert CheckpointFolder(tmp_path).steps() == []
    assert CheckpointFolder(tmp_path / "none").steps() == []


def test_the_newest_two_are_kept(tmp_path: Path, make_segmenter: Maker) -> None:
    segmenter = make_segmenter()
    optimizer = make_optimizer(segmenter)
    kept = []
    for step in (2, 9, 10, 11, 100):  # as numbers, not as text
        save(tmp_path, segmenter, optimizer, step)
        kept.append(CheckpointFolder(tmp_path).steps())
    assert kept == [[2], [2, 9], [9, 10], [10, 11], [11, 100]]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["step-100", "step-11"]


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


def test_save_that_breaks_off_leaves_nothing_behind_that_looks_whole(saved: Path, make_segmenter: Maker) -> None:
    segmenter = make_segmenter()
    refused = {"weight": torch.ones(4, 4).T[::2]}  # not contiguous: safetensors raises when half of the files are there
    for step in (4, 3):
        one = dataclasses.replace(snapshot(segmenter, make_optimizer(segmenter), TrainState(step)), best=refused)
        with pytest.raises(ValueError, match="contiguous"):
            CheckpointFolder(saved.parent).save(one)
        assert [path.name for path in saved.parent.glob("[!.]*")] == ["step-3"]
        assert CheckpointFolder(saved.parent).steps() == [3]
        assert load_checkpoint(saved).state.seconds == 12.5


def test_a_snapshot_is_not_changed_by_training(make_segmenter: Maker) -> None:
    """It is written beside the training, which goes on meanwhile."""
    segmenter = make_segmenter()
    optimizer = make_optimizer(segmenter)
    train(segmenter, optimizer, range(2))
    taken = snapshot(segmenter, optimizer, TrainState(2))
    weights, state = copy.deepcopy(segmenter.state_dict()), copy.deepcopy(optimizer.state_dict()["state"])
    train(segmenter, optimizer, range(2, 3))
    assert same(taken.weights, weights)
    assert not same(taken.weights, segmenter.state_dict())
    for index, values in state.items():
        assert same(taken.optimizer["state"][index], values)
        assert not same(taken.optimizer["state"][index], optimizer.state_dict()["state"][index])
    kernel = segmenter.network.first[3].weight
    assert kernel.is_contiguous(memory_format=torch.channels_last)


def test_the_one_resumed_from_stays(tmp_path: Path, make_segmenter: Maker) -> None:
    segmenter = make_segmenter()
    optimizer = make_optimizer(segmenter)
    save(tmp_path, segmenter, optimizer, 4)
    save(tmp_path, segmenter, optimizer, 30)  # of the start that the checkpoint of step 4 is resumed in spite of
    folder = CheckpointFolder(tmp_path, resumed_from=4)
    for step in (5, 6, 7):
        folder.save(snapshot(segmenter, optimizer, TrainState(step)))
    assert folder.steps() == [4, 6, 7, 30]


def test_the_older_one_goes_only_when_the_new_one_is_there(saved: Path, make_segmenter: Maker) -> None:
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


def test_what_cannot_be_removed_is_told_once(saved: Path, make_segmenter: Maker, fault_trial: Any) -> None:
    """An immutable file in an old checkpoint: a warning, and saving goes on."""
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
