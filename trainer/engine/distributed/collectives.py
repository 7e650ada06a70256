"""Values that all processes agree on: broadcast, smallest, averaged, compared."""

import socket
from collections.abc import Mapping
from typing import Any, TypeVar

import torch
from accelerate import Accelerator
from accelerate.utils import broadcast_object_list
from torch import Tensor, nn

from trainer import InputError

T = TypeVar("T")


def broadcast(value: T | None) -> T:
    """Value of the main process, on all processes; the others give None. A collective."""
    values = [value]
    broadcast_object_list(values)
    assert values[0] is not None
    return values[0]


@torch.no_grad()
def average_buffers(accelerator: Accelerator, network: nn.Module, weight: float) -> None:
    """Make the running statistics of batch norm the same on all processes: their mean. A collective.

    `weight`: this process's share of the batch; the shares of all processes add up to 1. Synchronised batch norm has
    the same statistics everywhere already, and no other norm has any.
    """
    if accelerator.num_processes == 1:
        return
    norms = [module for module in network.modules() if isinstance(module, nn.BatchNorm2d)]
    buffers: list[Tensor] = [buffer for norm in norms for buffer in norm.buffers() if buffer.is_floating_point()]
    if not buffers:
        return
    joined = accelerator.reduce(torch.cat([buffer.flatten() for buffer in buffers]) * weight, "sum")
    for buffer, part in zip(buffers, joined.split([buffer.numel() for buffer in buffers]), strict=True):
        buffer.copy_(part.view_as(buffer))


def all_reduce_min(accelerator: Accelerator, number: int) -> int:
    """Smallest of the numbers that the processes give. A collective."""
    return int(accelerator.gather(torch.tensor([number], device=accelerator.device)).min())


def require_same(accelerator: Accelerator, settings: Mapping[str, Any], digest: str, training: int) -> None:
    """Raise InputError where processes were started with other settings or images, or are too many. A collective.

    `settings` and `digest` decide what is computed; `training` is the number of training samples.
    """
    count = accelerator.num_processes
    if training < count:
        raise InputError(
            f"data: {training} pictures to train are too few for {count} processes, one each; "
            f"start {training or 1}, or label more"
        )
    if count == 1:
        return
    everyone: list[Any] = [None] * count
    own = {key: str(value) for key, value in settings.items()} | {"the digest of the data": digest}
    torch.distributed.all_gather_object(everyone, (socket.gethostname(), own))
    first_host, first = everyone[0]
    for process, (host, theirs) in enumerate(everyone):
        for key, value in first.items():
            if theirs[key] != value:
                raise InputError(
                    f"{key}: {theirs[key]} in process {process} on {host}, {value} in process 0 on {first_host}; "
                    "give every machine the same command and the same pictures"
                )
