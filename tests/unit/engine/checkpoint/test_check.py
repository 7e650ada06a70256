"""Checkpoints with entries that cannot be, in files whose digests are right, are refused; so are pipes and devices."""

import json
import math
import os
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from trainer import InputError
from trainer.engine.checkpoint.folder import CheckpointFolder
from trainer.engine.checkpoint.format import BEST, MANIFEST, OPTIMIZER, POSITION, UNAVERAGED, load_checkpoint
from trainer.engine.checkpoint.resume import _load_newest
from trainer.model.model_folder import WEIGHTS_FILE, sha256
from trainer.system.run_folder import RunFolder

MISSING = object()

STATE: list[tuple[str, Any]] = [
    *(("step", value) for value in (-5, "3", 10**9, 4, 2, 41, True, None, 3.0, math.nan, 10**400)),
    *(("total_steps", value) for value in (2, -1, "40", None, math.inf)),
    *(("best_step", value) for value in (4, -1, "2", 10**9)),
    *(("evaluated_step", value) for value in (10**9, "", 2.0)),
    *(("best_miou", value) for value in ("0.3", math.nan, -math.inf, True, [0.3])),
    *(("seconds", value) for value in (math.nan, -1.0, "1", None)),
    *(("scores", value) for value in (None, 0.5, ["0.5"], [math.nan], {"0": 0.5}, [True])),
    *(("waited_s", math.inf), ("evaluations_without_better", -1), ("evaluations_without_better", None)),
    *(("spet", 3), ("__init__", 3), ("x" * 100_000, 3)),
]
"""An entry of the progress, and a value that it cannot have."""

PARTS: list[tuple[str, Any]] = [
    *(("position", value) for value in (None, [], 3, MISSING)),
    *(("world", value) for value in (None, [], "2", {"processes": 2}, {"processes": None}, MISSING)),
    *(("config", value) for value in (None, [], "optim.lr", MISSING)),
    *(("scaler", value) for value in ([], "1", {"scale": "1"}, {"scale": math.nan}, {"scale": None})),
    *(("optimizer", value) for value in (None, [], {}, {"param_groups": [], "channels_last": None}, MISSING)),
]
"""A part of the file, and a value that it cannot have."""


def rewrite(folder: Path, change: Callable[[dict[str, Any]], None]) -> None:
    """Change position.json, and make its digest right."""
    content = json.loads((folder / POSITION).read_text())
    change(content)
    (folder / POSITION).write_text(json.dumps({key: one for key, one in content.items() if one is not MISSING}))
    make_right(folder, POSITION)


def make_right(folder: Path, name: str) -> None:
    """Write the digest of a file into the manifest."""
    manifest = json.loads((folder / MANIFEST).read_text())
    (folder / MANIFEST).write_text(json.dumps(manifest | {name: sha256(folder / name)}))


@pytest.mark.parametrize("part", [False, True])
def test_an_entry_that_cannot_be_is_named(part: bool, saved: Path) -> None:
    original = (saved / POSITION).read_text()
    for name, value in PARTS if part else STATE:
        (saved / POSITION).write_text(original)
        rewrite(saved, lambda content: (content if part else content["position"]).update({name: value}))  # noqa: B023
        with pytest.raises(InputError) as error:
            load_checkpoint(saved)
        text = str(error.value)
        assert text.startswith(f"{saved / POSITION}: "), (name, value, text[:200])
        assert name[:10] in text.removeprefix(f"{saved / POSITION}: "), (name, value, text[:200])
        assert len(text) < len(str(saved)) + 300


def test_another_optimizer_is_refused(saved: Path) -> None:
    original = (saved / POSITION).read_text()
    flat = next(name for name, value in load_file(saved / OPTIMIZER).items() if value.ndim == 1)
    changes: list[tuple[str, dict[str, Any]]] = [
        *(("", {"param_groups": value}) for value in ([], [{}], None, "groups", [None, None], [{"params": [0]}])),
        ("param_groups", {"param_groups": [{"params": []}, {"params": []}]}),
        *(("channels_last", {"channels_last": [name]}) for name in ("nowhere", "0.step", flat)),
        *(("lr", {"lr": value}) for value in (None, math.nan, "0.1")),
        *(("betas", {"betas": value}) for value in ([0.9], [0.9, 2], 0.9)),
        ("eps", {"eps": "0"}),
        ("weight_decay", {"weight_decay": -1}),
    ]
    for name, change in changes:
        (saved / POSITION).write_text(original)
        whole = change.keys() <= {"param_groups", "channels_last"}
        rewrite(
            saved,
            lambda content: (content["optimizer"] if whole else content["optimizer"]["param_groups"][1]).update(change),  # noqa: B023
        )
        with pytest.raises(InputError, match=rf"{POSITION}: optimizer.*{name}"):
            load_checkpoint(saved)


@pytest.mark.parametrize("file", [OPTIMIZER, BEST, UNAVERAGED, WEIGHTS_FILE])
def test_tensors_of_another_shape_are_named(file: str, saved: Path) -> None:
    original = load_file(saved / file)
    name = next(key for key, value in original.items() if value.ndim == 4)
    harmed: list[dict[str, torch.Tensor]] = [
        original | {name: original[name][:1].contiguous()},
        original | {name: original[name].double()},
        original | {"999.exp_avg": torch.zeros(1)},
        original | {"step": torch.zeros(1)},
        {key: value for key, value in original.items() if key != name},
        original | {name: torch.full_like(original[name], math.nan)},
    ]
    for number, tensors in enumerate(harmed):
        save_file(tensors, saved / file)
        make_right(saved, file)
        with pytest.raises(InputError) as error:
            load_checkpoint(saved)
        # The contract beside it has another digest of the weights, where only their numbers differ.
        assert str(saved / file) in str(error.value), number


def test_optimizer_without_state_after_steps_is_refused(saved: Path) -> None:
    save_file({}, saved / OPTIMIZER)
    make_right(saved, OPTIMIZER)
    rewrite(saved, lambda content: content.update(scaler=None))
    with pytest.raises(InputError, match=rf"{OPTIMIZER}: '0\.exp_avg' is not there"):
        load_checkpoint(saved)


@pytest.mark.parametrize("file", [OPTIMIZER, BEST, UNAVERAGED, WEIGHTS_FILE])
def test_a_pickle_under_the_name_of_tensors_is_not_unpickled(file: str, saved: Path, tmp_path: Path) -> None:
    class Payload:
        def __reduce__(self) -> tuple[Any, ...]:
            return os.mkdir, (str(tmp_path / "run"),)

    (saved / file).write_bytes(pickle.dumps(Payload()))
    make_right(saved, file)
    with pytest.raises(InputError, match=file):
        load_checkpoint(saved)
    assert not (tmp_path / "run").exists()


@pytest.mark.timeout(60)
def test_pipes_devices_and_loops_are_refused_at_once(saved: Path, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for name in (MANIFEST, POSITION, OPTIMIZER, WEIGHTS_FILE, "segmenter.json"):
        (saved / name).rename(tmp_path / "aside")
        for target in (tmp_path / "pipe", Path("/dev/zero"), saved / name, tmp_path):
            (saved / name).symlink_to(target)
            with pytest.raises(InputError, match=str(saved)):
                load_checkpoint(saved)
            (saved / name).unlink()
        os.mkfifo(saved / name)
        with pytest.raises(InputError, match=str(saved)):
            load_checkpoint(saved)
        (tmp_path / "aside").replace(saved / name)
    assert load_checkpoint(saved).state.step == 3


@pytest.mark.parametrize("names", [["../../secret"], ["/etc/passwd"], ["x"], [""]])
def test_a_manifest_that_leads_elsewhere_is_refused(names: list[str], saved: Path) -> None:
    manifest = json.loads((saved / MANIFEST).read_text()) | dict.fromkeys(names, "0" * 64)
    (saved / MANIFEST).write_text(json.dumps(manifest))
    with pytest.raises(InputError, match=rf"{MANIFEST}: not the digests"):
        load_checkpoint(saved)


@pytest.mark.parametrize("text", ["[" * 100_000, "9" * 5000, "null", '"text"'])
def test_json_of_another_kind_is_refused(text: str, saved: Path) -> None:
    (saved / POSITION).write_text(text)
    make_right(saved, POSITION)
    with pytest.raises(InputError, match=POSITION):
        load_checkpoint(saved)


def test_the_earlier_checkpoint_is_taken_instead(tmp_path: Path, saved: Path) -> None:
    """As after any other damage."""
    run = RunFolder(tmp_path / "run")
    run.checkpoints.mkdir(parents=True)
    saved.rename(run.checkpoint(3))
    later = run.checkpoint(1_000_000_000)
    later.mkdir()
    for file in run.checkpoint(3).iterdir():
        (later / file.name).write_bytes(file.read_bytes())
    rewrite(later, lambda content: content["position"].update(step=1_000_000_000))
    found, warnings = _load_newest(run)
    assert found is not None
    assert found.state.step == 3
    assert len(warnings) == 1
    assert "position.step: 1000000000 of 40 " in warnings[0]


def test_only_plain_numbers_are_steps(tmp_path: Path) -> None:
    for name in ("step-7", "step-07", "step-٣", "step-x", "step--1", "step-" + "9" * 200, "step-12"):
        (tmp_path / name).mkdir()
    assert CheckpointFolder(tmp_path).steps() == [7, 12]
