"""Collective operations: broadcast, minimum, mean of buffers, and a check that all processes run the same training."""

import socket
from collections.abc import Mapping
from typing import Any, TypeVar

import torch
from accelerate import Accelerator
from accelerate.utils import broadcast_object_list, gather_object
from torch import Tensor, nn

from trainer import InputError

T = TypeVar("T")


def broadcast(value: T | None) -> T:
    """Return the main process's value on all processes; the others pass None. A collective."""
    values = [value]
    broadcast_object_list(values)
    assert values[0] is not None
    return values[0]


def gather(value: T) -> list[T]:
    """Return the values of all processes on each of them. A collective."""
    return list(gather_object([value]))


@torch.no_grad()
def average_buffers(accelerator: Accelerator, network: nn.Module, weight: float) -> None:
    """Average the running statistics of batch norm over all processes, in place. A collective.

    `weight`: this process's share of the batch; the shares of all processes add up to 1. Synchronised batch norm has
    equal statistics already, those in eval mode keep theirs, and other norms have none.
    """
    if accelerator.num_processes == 1:
        return
    norms = [module for module in network.modules() if isinstance(module, nn.BatchNorm2d) and module.training]
    buffers: list[Tensor] = [buffer for norm in norms for buffer in norm.buffers() if buffer.is_floating_point()]
    if not buffers:
        return
    averaged = accelerator.reduce(torch.cat([buffer.flatten() for buffer in buffers]) * weight, "sum")
    for buffer, part in zip(buffers, averaged.split([buffer.numel() for buffer in buffers]), strict=True):
        buffer.copy_(part.view_as(buffer))


def all_reduce_min(accelerator: Accelerator, number: int) -> int:
    """Minimum of a number over all processes. A collective."""
    return int(accelerator.gather(torch.tensor([number], device=accelerator.device)).min())


def require_same(accelerator: Accelerator, settings: Mapping[str, Any], digest: str, training: int) -> None:
    """Raise InputError where processes have different settings or data, or are more than the samples. A collective.

    `settings`: those that change the result; `digest`: of the dataset; `training`: number of training samples.
    """
    count = accelerator.num_processes
    if training < count:
        raise InputError(
            f"data: {training} pictures to train are too few for {count} processes, one each; "
            f"start {training or 1}, or label more"
        )
    if count == 1:
        return
    gathered: list[Any] = [None] * count
    own = {key: str(value) for key, value in settings.items()} | {"the digest of the data": digest}
    torch.distributed.all_gather_object(gathered, (socket.gethostname(), own))
    first_host, first = gathered[0]
    for process, (host, theirs) in enumerate(gathered):
        for key, value in first.items():
            if theirs[key] != value:
                raise InputError(
                    f"{key}: {theirs[key]} in process {process} on {host}, {value} in process 0 on {first_host}; "
                    "give every machine the same command and the same pictures"
                )
