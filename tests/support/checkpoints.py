"""Checkpoints of a small segmenter after a few steps."""

from pathlib import Path

import torch
from torch import Tensor

from trainer.engine.checkpoint.folder import CheckpointFolder
from trainer.engine.checkpoint.format import Checkpoint, TrainState, copy_optimizer, copy_tensors
from trainer.model.segmenter import Segmenter

STATE = TrainState(3, 0.1 + 0.2, 2, 1, 12.5, 0.5, 2, 40)
FILES = [
    "best.safetensors",
    "manifest.json",
    "optimizer.safetensors",
    "position.json",
    "segmenter.json",
    "unaveraged.safetensors",
    "weights.safetensors",
]
"""Files of a checkpoint, with an EMA."""


def make_optimizer(segmenter: Segmenter) -> torch.optim.Optimizer:
    """Make an optimizer as TrainStep does."""
    segmenter.network.to(memory_format=torch.channels_last)
    weights = list(segmenter.network.parameters())
    groups = [
        {"params": [weight for weight in weights if weight.ndim > 1], "weight_decay": 0.01},
        {"params": [weight for weight in weights if weight.ndim <= 1], "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(groups, lr=3e-3, fused=True)


def train(segmenter: Segmenter, optimizer: torch.optim.Optimizer, steps: range) -> None:
    """Take steps on noise that depends on the number of the step only."""
    segmenter.train()
    for step in steps:
        random = torch.Generator().manual_seed(step)
        resized = torch.randint(0, 256, (2, 3, 32, 32), generator=random, dtype=torch.uint8)
        optimizer.param_groups[0]["lr"] = 1e-3 / (step + 1)
        optimizer.zero_grad()
        (segmenter.logits(resized) - 1).square().mean().backward()
        optimizer.step()


def snapshot(segmenter: Segmenter, optimizer: torch.optim.Optimizer, position: TrainState) -> Checkpoint:
    """Copy everything into a checkpoint, as the training loop does."""
    weights, state = copy_tensors(segmenter.state_dict()), copy_optimizer(optimizer.state_dict())
    best = {name: value + 1 for name, value in weights.items()}
    environment, config = {"processes": "2"}, {"optim.lr": 0.1 + 0.2}
    ema = {name: value + 2 for name, value in weights.items()}
    return Checkpoint(segmenter.contract, weights, state, best, position, environment, config, {"scale": 2.0**16}, ema)


def save(folder: Path, segmenter: Segmenter, optimizer: torch.optim.Optimizer, step: int = 3) -> Path:
    """Save the checkpoint `folder`/step-N."""
    return CheckpointFolder(folder).save(
        snapshot(segmenter, optimizer, TrainState(step, 0.1 + 0.2, 2, 1, 12.5, 0.5, 2, 40))
    )


def same(one: dict[str, Tensor], other: dict[str, Tensor]) -> bool:
    """Whether tensors of the same names are equal bit for bit."""
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)
