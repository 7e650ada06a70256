"""Checkpoints: safetensors and JSON in a folder that exists whole or not at all."""

import hashlib
import json
import os
import shutil
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from trainer import InputError
from trainer.model.segmenter import CONTRACT_FILE, WEIGHTS_FILE, Segmenter, load_segmenter, save_segmenter

KEPT = 2
BEST, OPTIMIZER, POSITION, MANIFEST = "best.safetensors", "optimizer.safetensors", "position.json", "manifest.json"


@dataclass
class Position:
    """Where a training run is. Everything else follows from the configuration."""

    step: int = 0
    """Optimizer steps done."""

    best_miou: float | None = None
    best_step: int | None = None
    evaluations_without_better: int = 0
    seconds: float = 0.0
    """Time spent so far, over all starts of this run."""


@dataclass
class Checkpoint:
    """What a training run continues from."""

    segmenter: Segmenter
    optimizer: dict[str, Any]
    best: dict[str, Tensor]
    position: Position


class CheckpointFolder:
    """The checkpoints of one run, `folder`/step-N; keeps the newest two."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def save(
        self, segmenter: Segmenter, optimizer: dict[str, Any], best: dict[str, Tensor], position: Position
    ) -> Path:
        """Write `step-N` so that it is complete when its name appears; then remove older ones.

        The write goes to a hidden folder, is forced to the disk, and the folder is renamed.
        """
        target = self.folder / f"step-{position.step}"
        partial = self.folder / f".step-{position.step}.partial"
        for leftover in self.folder.glob(".step-*.partial"):  # of a process that was killed while it saved
            shutil.rmtree(leftover, ignore_errors=True)
        save_segmenter(segmenter, partial)
        tensors, rest = _split_optimizer(optimizer)
        save_file(tensors, partial / OPTIMIZER)
        save_file(best, partial / BEST)
        (partial / POSITION).write_text(json.dumps({"position": asdict(position), "optimizer": rest}, indent=1))
        names = sorted(path.name for path in partial.iterdir())
        manifest = {name: _sha256(partial / name) for name in names}
        (partial / MANIFEST).write_text(json.dumps(manifest, indent=1))
        for path in [*partial.iterdir(), partial]:
            _to_disk(path)
        shutil.rmtree(target, ignore_errors=True)  # of an earlier start that reached the same step
        partial.rename(target)
        _to_disk(self.folder)
        self._forget_older(position.step)
        return target

    def steps(self) -> list[int]:
        """Steps of the checkpoints there are, ascending."""
        names = (path.name.removeprefix("step-") for path in self.folder.glob("step-*"))
        return sorted(int(name) for name in names if name.isdecimal())

    def _forget_older(self, newest: int) -> None:
        older = [step for step in self.steps() if step < newest]
        for step in older[: len(older) - (KEPT - 1)] if len(older) >= KEPT else []:
            shutil.rmtree(self.folder / f"step-{step}", ignore_errors=True)


def load_checkpoint(folder: Path) -> Checkpoint:
    """Read a checkpoint. Raises InputError naming the file that is missing or changed."""
    try:
        manifest = json.loads((folder / MANIFEST).read_text())
        for name in (CONTRACT_FILE, WEIGHTS_FILE, BEST, OPTIMIZER, POSITION):
            if _sha256(folder / name) != manifest[name]:
                raise InputError(f"{folder / name}: changed since it was saved; resume from another checkpoint")
        content = json.loads((folder / POSITION).read_text())
        return Checkpoint(
            segmenter=load_segmenter(folder),
            optimizer=_join_optimizer(load_file(folder / OPTIMIZER), content["optimizer"]),
            best=load_file(folder / BEST),
            position=Position(**content["position"]),
        )
    except (OSError, KeyError, ValueError, TypeError) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(f"{folder}: incomplete checkpoint ({error}); resume from another one") from error


def _split_optimizer(state: dict[str, Any]) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Tensors by name, and the rest as JSON.

    The order of the numbers in memory is kept beside them: fused AdamW on a CPU walks weights and state side by side
    in memory, and computes nonsense, silently, where one is channels last and the other is not.
    """
    tensors, channels_last = {}, []
    for index, values in state["state"].items():
        for name, value in values.items():
            tensor = torch.as_tensor(value).detach().cpu()
            if not tensor.is_contiguous():
                assert tensor.is_contiguous(memory_format=torch.channels_last)
                channels_last.append(f"{index}.{name}")
            tensors[f"{index}.{name}"] = tensor.contiguous()
    return tensors, {"param_groups": state["param_groups"], "channels_last": channels_last}


def _join_optimizer(tensors: dict[str, Tensor], rest: dict[str, Any]) -> dict[str, Any]:
    state: dict[int, dict[str, Tensor]] = {}
    for key, value in tensors.items():
        index, name = key.split(".", 1)
        if key in rest["channels_last"]:
            value = value.contiguous(memory_format=torch.channels_last)
        state.setdefault(int(index), {})[name] = value
    return {"state": state, "param_groups": rest["param_groups"]}


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _to_disk(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
