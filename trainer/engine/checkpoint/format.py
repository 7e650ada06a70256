"""Format of checkpoints: safetensors and JSON, no pickle."""

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor

from trainer import InputError
from trainer.engine.checkpoint.check import check_position, expected_optimizer
from trainer.engine.schedule import Plan
from trainer.model.contract import MOST_WEIGHT_BYTES, Shapes, expected_tensors, read_contract
from trainer.model.model_folder import CONTRACT_FILE, WEIGHTS_FILE, load_segmenter, sha256, write_model
from trainer.model.segmenter import Contract
from trainer.model.tensor_file import read_shapes, read_tensors
from trainer.system.regular_file import read_regular

BEST, OPTIMIZER, POSITION, MANIFEST = "best.safetensors", "optimizer.safetensors", "position.json", "manifest.json"
UNAVERAGED = "unaveraged.safetensors"
"""File of the weights that training continues with, where those of the model are their EMA."""

NAMES = {CONTRACT_FILE, WEIGHTS_FILE, BEST, OPTIMIZER, POSITION, UNAVERAGED}
"""Files of a checkpoint beside the manifest; the last one is not always there."""

MOST_JSON_BYTES = 10_000_000
"""Largest JSON file of a checkpoint that is read, in bytes."""

MOST_BYTES = 3 * MOST_WEIGHT_BYTES
"""Largest file of a checkpoint that is read, in bytes: the optimizer has two numbers for each weight."""


@dataclass
class TrainState:
    """Progress of a training run. Everything else follows from the configuration and the weights."""

    step: int = 0
    """Optimizer steps done."""

    best_miou: float | None = None
    best_step: int | None = None
    evaluations_without_better: int = 0
    seconds: float = 0.0
    """Training time so far, over all starts of this run."""

    waited_s: float = 0.0
    """Part of `seconds` in which steps waited for their images."""

    evaluated_step: int | None = None
    """Last step whose weights were evaluated."""

    total_steps: int = 0
    """Steps of the whole run; 0 before they are known."""

    plan_length: int = 0
    """Places of the plan, as Plan has them; 0 in a checkpoint from before plans changed, where they are the steps."""

    plan_changed_after: int = 0
    plan_changed_at: float = 0.0
    scores: list[float] = field(default_factory=list)
    """val/miou of each evaluation after the first step; only where training ends by their curve."""

    spent_s: float = 0.0
    """Seconds spent of train.minutes, over all starts; 0 where there is no such limit."""

    @property
    def plan(self) -> Plan:
        """Plan of the steps."""
        length = self.plan_length or self.total_steps
        return Plan(self.total_steps, length, self.plan_changed_after, self.plan_changed_at)

    @plan.setter
    def plan(self, plan: Plan) -> None:
        self.total_steps, self.plan_length = plan.total_steps, plan.length
        self.plan_changed_after, self.plan_changed_at = plan.changed_after, plan.changed_at


@dataclass
class Checkpoint:
    """Everything that a training run resumes from; copies on the CPU, which training no longer changes."""

    contract: Contract
    weights: dict[str, Tensor]
    optimizer: dict[str, Any]
    best: dict[str, Tensor]
    state: TrainState
    environment: dict[str, str] = field(default_factory=dict)
    """Hardware, processes, threads and versions, on which the last bits of the numbers depend."""

    config: dict[str, Any] = field(default_factory=dict)
    """Settings by dotted keys."""

    scaler: dict[str, float] | None = None
    """Loss scale of fp16, and its history."""

    ema: dict[str, Tensor] = field(default_factory=dict)
    """Moving average of the weights; empty where there is none."""


def write_checkpoint(checkpoint: Checkpoint, folder: Path) -> None:
    """Write all files of a checkpoint into `folder`."""
    write_model(checkpoint.contract, checkpoint.ema or checkpoint.weights, folder)
    if checkpoint.ema:
        save_file(checkpoint.weights, folder / UNAVERAGED)
    tensors, rest = _split_optimizer(checkpoint.optimizer)
    save_file(tensors, folder / OPTIMIZER)
    save_file(checkpoint.best, folder / BEST)
    facts = {"world": checkpoint.environment, "config": checkpoint.config, "scaler": checkpoint.scaler}
    # The names position and world are those of existing checkpoints.
    content = {"position": asdict(checkpoint.state), "optimizer": rest} | facts
    (folder / POSITION).write_text(json.dumps(content, indent=1))
    manifest = {path.name: sha256(path, MOST_BYTES) for path in sorted(folder.iterdir())}
    (folder / MANIFEST).write_text(json.dumps(manifest, indent=1))


def load_checkpoint(folder: Path) -> Checkpoint:
    """Read a checkpoint. Raises InputError naming the file that is missing or changed, or the wrong entry.

    All is checked before a tensor is loaded: the files by the manifest, the JSON by its schema, tensors by headers.
    """
    try:
        manifest = _read_json(folder / MANIFEST)
        if not isinstance(manifest, dict) or not manifest.keys() <= NAMES:
            raise InputError(f"{folder / MANIFEST}: not the digests of a checkpoint's files, by name")
        for name in NAMES - {UNAVERAGED} | manifest.keys():
            if sha256(folder / name, MOST_BYTES) != manifest[name]:
                raise InputError(f"{folder / name}: changed since it was saved")
        content = _read_json(folder / POSITION)
        contract, _ = read_contract(folder / CONTRACT_FILE)
        found = read_shapes(folder / OPTIMIZER)
        try:
            check_position(content, TrainState, folder.name)
            expected = expected_optimizer(contract, content, found)
        except InputError as error:
            raise InputError(f"{folder / POSITION}: {error}") from error
        return _load_tensors(folder, content, expected, ema=UNAVERAGED in manifest)
    except (OSError, KeyError) as error:
        raise InputError(f"{folder}: incomplete checkpoint ({error})") from error


def _load_tensors(folder: Path, content: dict[str, Any], expected_optimizer: Shapes, ema: bool) -> Checkpoint:
    segmenter = load_segmenter(folder)
    expected = expected_tensors(segmenter.contract)
    best = read_shapes(folder / BEST)
    return Checkpoint(
        contract=segmenter.contract,
        weights=read_tensors(folder / UNAVERAGED, expected, CONTRACT_FILE) if ema else segmenter.state_dict(),
        ema=segmenter.state_dict() if ema else {},
        optimizer=_join_optimizer(read_tensors(folder / OPTIMIZER, expected_optimizer, POSITION), content["optimizer"]),
        # Nothing is in it before the first evaluation.
        best=read_tensors(folder / BEST, expected if best else {}, CONTRACT_FILE),
        state=TrainState(**content["position"]),
        environment=content["world"],
        config=content["config"],
        scaler=content["scaler"],
    )


def _read_json(file: Path) -> Any:
    try:
        return json.loads(read_regular(file, MOST_JSON_BYTES))
    except InputError:
        raise
    except (ValueError, RecursionError) as error:
        raise InputError(f"{file}: damaged, not JSON ({error})") from error


def copy_tensors(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Copy tensors to the CPU, contiguous as files want them."""
    return {
        name: value.detach().to("cpu", memory_format=torch.contiguous_format, copy=True)
        for name, value in tensors.items()
    }


def copy_optimizer(state: dict[str, Any]) -> dict[str, Any]:
    """Copy an optimizer's state to the CPU, in its own order in memory."""
    return state | {
        "state": {
            index: {name: torch.as_tensor(value).detach().to("cpu", copy=True) for name, value in values.items()}
            for index, values in state["state"].items()
        }
    }


def _split_optimizer(state: dict[str, Any]) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Split into tensors by name, and the rest as JSON.

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
