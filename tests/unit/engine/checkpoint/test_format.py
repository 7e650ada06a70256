"""Format of checkpoints: what is read equals what was written, training continues bit for bit, damage is refused."""

import copy
import dataclasses
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.support.checkpoints import FILES, STATE, make_optimizer, same, save, snapshot, train
from trainer import InputError
from trainer.engine.checkpoint.folder import CheckpointFolder
from trainer.engine.checkpoint.format import MANIFEST, TrainState, load_checkpoint
from trainer.model.model_folder import load_segmenter
from trainer.model.segmenter import Segmenter

Maker = Callable[..., Segmenter]


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
    assert same(found.ema, {name: value + 2 for name, value in segmenter.state_dict().items()})
    assert same(load_segmenter(folder).state_dict(), found.ema)  # what was evaluated is what predicts
    assert same(found.best, {name: value + 1 for name, value in segmenter.state_dict().items()})
    assert found.state == STATE
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


def test_a_snapshot_is_not_changed_by_training(make_segmenter: Maker) -> None:
    """A thread writes it while training continues."""
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
