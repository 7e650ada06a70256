"""What all processes tell each other in each step: the loss, bad numbers, and what is due."""

import dataclasses
from dataclasses import dataclass
from functools import cached_property

import torch
from accelerate import Accelerator
from torch import Tensor


@dataclass(frozen=True)
class Votes:
    """The same on all processes, but for `norm` beyond its last bits."""

    samples: int  # of the whole step
    loss: float  # of the whole step
    norm: float  # length of its gradient
    stop: bool
    save: bool
    trouble: bool
    bad_losses: list[int]  # processes whose loss is not finite
    bad_gradient: bool


class Ballot:
    """One step's votes on their way. Making one is a collective; to look at `votes` may wait for the device."""

    def __init__(
        self, accelerator: Accelerator, samples: int, loss: Tensor, norm: Tensor, stop: bool, save: bool, trouble: bool
    ) -> None:
        """`loss` and `norm` are scalars on the device, which this does not wait for; the others are this process's."""
        device, process, processes = accelerator.device, accelerator.process_index, accelerator.num_processes
        finite = torch.isfinite(loss)
        scaled = accelerator.mixed_precision == "fp16"  # whose scaler skips steps with infinite gradients
        bad_gradient = torch.zeros_like(finite) if scaled else ~torch.isfinite(norm)
        # One process's bad loss is in the gradient of all; without one, nobody knows whose pictures they were.
        bad_losses = torch.zeros(processes, device=device)
        bad_losses[process] = ~finite
        own = torch.tensor([samples, stop, save, trouble], dtype=torch.float32).to(device, non_blocking=True)
        votes = torch.cat([own, torch.where(finite, loss, 0)[None], bad_gradient[None].float(), bad_losses])
        if processes > 1:
            votes = accelerator.reduce(votes, "sum")
        self.bad = votes[5:].sum() > 0
        """Bool scalar on the device: whether this step must not move the weights."""
        told = torch.cat([votes, norm.detach()[None].float()])
        self.arrived = None
        if device.type == "cuda":  # only pinned memory is filled without waiting
            self.told = torch.empty(len(told), pin_memory=True).copy_(told, non_blocking=True)
            self.arrived = torch.cuda.Event()
            self.arrived.record()
        else:
            self.told = told.cpu()

    @cached_property
    def votes(self) -> Votes:
        if self.arrived is not None:
            self.arrived.synchronize()
        samples, stop, save, trouble, loss, bad_gradient, *bad_losses, norm = self.told.tolist()
        bad = [process for process, vote in enumerate(bad_losses) if vote]
        return Votes(int(samples), loss, norm, stop > 0, save > 0, trouble > 0, bad, bad_gradient > 0)


@dataclasses.dataclass
class Pending:
    """A step that was taken, whose numbers are still on their way."""

    step: int  # the first is 1
    samples: int
    rate: float
    ballot: Ballot
    seconds: float = 0.0
