"""Checkpoints: safetensors and JSON in a folder that exists whole or not at all."""

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from trainer import InputError
from trainer.model.model_folder import CONTRACT_FILE, WEIGHTS_FILE, load_segmenter, sha256, write_model
from trainer.model.segmenter import Contract
from trainer.system.atomic import _to_disk

BEST, OPTIMIZER, POSITION, MANIFEST = "best.safetensors", "optimizer.safetensors", "position.json", "manifest.json"
UNAVERAGED = "unaveraged.safetensors"
"""The weights that training goes on with, where those of the model are their average."""


@dataclass
class TrainState:
    """Where a training run is. Everything else follows from the configuration."""

    step: int = 0
    """Optimizer steps done."""

    best_miou: float | None = None
    best_step: int | None = None
    evaluations_without_better: int = 0
    seconds: float = 0.0
    """Time spent so far, over all starts of this run."""

    waited_s: float = 0.0
    """Of it, how long the step waited for its pictures."""

    evaluated_step: int | None = None
    """The last step whose weights were evaluated."""

    total_steps: int = 0
    """Steps of the whole run; 0 before that is settled."""


@dataclass
class Checkpoint:
    """What a training run continues from; copies on the CPU, which training no longer changes."""

    contract: Contract
    weights: dict[str, Tensor]
    optimizer: dict[str, Any]
    best: dict[str, Tensor]
    position: TrainState
    world: dict[str, str] = field(default_factory=dict)
    """What the last bits of the numbers depend on: hardware, processes, threads, versions."""

    config: dict[str, Any] = field(default_factory=dict)
    """The settings, with dotted keys."""

    scaler: dict[str, float] | None = None
    """Of fp16: the factor that losses are scaled by, and its history."""

    ema: dict[str, Tensor] = field(default_factory=dict)
    """The moving average of the weights; empty where none is kept."""


def _write(checkpoint: Checkpoint, folder: Path) -> None:
    """All files of a checkpoint, forced to the disk."""
    write_model(checkpoint.contract, checkpoint.ema or checkpoint.weights, folder)
    if checkpoint.ema:
        save_file(checkpoint.weights, folder / UNAVERAGED)
    tensors, rest = _split_optimizer(checkpoint.optimizer)
    save_file(tensors, folder / OPTIMIZER)
    save_file(checkpoint.best, folder / BEST)
    facts = {"world": checkpoint.world, "config": checkpoint.config, "scaler": checkpoint.scaler}
    content = {"position": asdict(checkpoint.position), "optimizer": rest} | facts
    (folder / POSITION).write_text(json.dumps(content, indent=1))
    manifest = {path.name: sha256(path) for path in sorted(folder.iterdir())}
    (folder / MANIFEST).write_text(json.dumps(manifest, indent=1))
    for path in [*folder.iterdir(), folder]:
        _to_disk(path)


def load_checkpoint(folder: Path) -> Checkpoint:
    """Read a checkpoint. Raises InputError naming the file that is missing or changed."""
    try:
        manifest = json.loads((folder / MANIFEST).read_text())
        for name in {CONTRACT_FILE, WEIGHTS_FILE, BEST, OPTIMIZER, POSITION, *manifest}:
            if sha256(folder / name) != manifest[name]:
                raise InputError(f"{folder / name}: changed since it was saved")
        content = json.loads((folder / POSITION).read_text())
        segmenter = load_segmenter(folder)
        ema = UNAVERAGED in manifest
        return Checkpoint(
            contract=segmenter.contract,
            weights=load_file(folder / UNAVERAGED) if ema else segmenter.state_dict(),
            ema=segmenter.state_dict() if ema else {},
            optimizer=_join_optimizer(load_file(folder / OPTIMIZER), content["optimizer"]),
            best=load_file(folder / BEST),
            position=TrainState(**content["position"]),
            world=content["world"],
            config=content["config"],
            scaler=content["scaler"],
        )
    except (OSError, KeyError, ValueError, TypeError) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(f"{folder}: incomplete checkpoint ({error})") from error


def copied(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Copies on the CPU, contiguous as files want them."""
    return {
        name: value.detach().to("cpu", memory_format=torch.contiguous_format, copy=True)
        for name, value in tensors.items()
    }


def copied_optimizer(state: dict[str, Any]) -> dict[str, Any]:
    """Copies of an optimizer's state on the CPU, in their own order in memory."""
    return state | {
        "state": {
            index: {name: torch.as_tensor(value).detach().to("cpu", copy=True) for name, value in values.items()}
            for index, values in state["state"].items()
        }
    }


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
