"""Statistics of one optimizer step, reduced over all processes, and read when they have arrived from the device."""

from dataclasses import dataclass
from functools import cached_property

import torch
from accelerate import Accelerator
from torch import Tensor

from trainer.data.loader import StepBatch


@dataclass(frozen=True)
class Requests:
    """Requests of one process, which all receive with the next step's all-reduce."""

    stop: bool = False
    """End training after the step: a signal asked for it."""

    checkpoint: bool = False
    """Save a checkpoint after the step."""

    abort: bool = False
    """End training as failed: something could not be written."""

    plan: bool = False
    """Plan again how many steps fit into train.minutes."""


@dataclass(frozen=True)
class StepStats:
    """Numbers of one step, the same on all processes but for the last bits of `gradient_norm`."""

    loss: float
    """Mean over the samples of the whole batch."""

    gradient_norm: float
    """Length of the gradient before clipping."""

    requests: Requests
    """Requests of any process."""

    bad_processes: list[int]
    """Processes whose loss is not finite; all of them where only the gradient is not."""

    unlabelled: tuple[float, ...] = ()
    """Mean loss of the unlabelled images of the whole batch, and the share of confident pixels; empty without any."""


class PendingStats:
    """Statistics of a step on their way from the device. To make one is a collective; to read it may wait."""

    def __init__(
        self,
        accelerator: Accelerator,
        step: int,
        batch: StepBatch,
        learning_rate: float,
        loss: Tensor,
        gradient_norm: Tensor,
        requests: Requests,
        unlabelled: Tensor | None = None,
    ) -> None:
        """`loss` and `gradient_norm` are scalars on the device, which this does not wait for; `unlabelled`: [2]."""
        self.step, self.samples, self.images, self.learning_rate = step, batch.samples, batch.images, learning_rate
        device, process, processes = accelerator.device, accelerator.process_index, accelerator.num_processes
        finite = torch.isfinite(loss)
        if unlabelled is not None:
            finite = finite & torch.isfinite(unlabelled).all()
        scaled = accelerator.mixed_precision == "fp16"  # whose scaler skips steps with infinite gradients
        bad_gradient = torch.zeros_like(finite) if scaled else ~torch.isfinite(gradient_norm)
        # One process's bad loss is in the gradient of all; only here is it still known whose samples they were.
        bad_losses = torch.zeros(processes, device=device)
        bad_losses[process] = ~finite
        flags = [batch.own, requests.stop, requests.checkpoint, requests.abort, requests.plan]
        own = torch.tensor(flags, dtype=torch.float32).to(device, non_blocking=True)
        losses = loss[None] if unlabelled is None else torch.cat([loss[None], unlabelled])
        total = torch.cat([own, torch.where(finite, losses, 0), bad_gradient[None].float(), bad_losses])
        if processes > 1:
            total = accelerator.reduce(total, "sum")
        self.lengths = [len(flags), len(losses), 1, processes, 1]
        """Numbers of flags, losses, bad gradients, bad losses and norms among `values`."""
        self.not_finite = total[len(flags) + len(losses) :].sum() > 0
        """Bool scalar on the device: whether this step must not move the weights."""
        values = torch.cat([total, gradient_norm.detach()[None].float()])
        self.arrived = None
        if device.type == "cuda":  # only pinned memory is filled without waiting
            self.values = torch.empty(len(values), pin_memory=True).copy_(values, non_blocking=True)
            self.arrived = torch.cuda.Event()
            self.arrived.record()
        else:
            self.values = values.cpu()

    def wait(self) -> None:
        """Wait until the numbers have arrived."""
        if self.arrived is not None:
            self.arrived.synchronize()

    @cached_property
    def stats(self) -> StepStats:
        """Numbers of the step; waits for them."""
        self.wait()
        flags, losses, bad_gradients, bad_losses, norms = (part.tolist() for part in self.values.split(self.lengths))
        samples, *requests = flags
        bad = [process for process, flag in enumerate(bad_losses) if flag]
        bad = bad or (list(range(len(bad_losses))) if bad_gradients[0] else [])
        assert samples == self.samples, f"a step of {self.samples} images saw {samples:g}"
        return StepStats(losses[0], norms[0], Requests(*(flag > 0 for flag in requests)), bad, tuple(losses[1:]))
