"""One optimizer step: augment, forward, loss, backward, clip, update, average."""

import functools
import math
import statistics
import time
from collections.abc import Sequence
from contextlib import nullcontext
from copy import deepcopy
from typing import Any

import torch
from accelerate import Accelerator
from torch import Tensor, nn

from trainer.config import Config
from trainer.data.loader import MicroBatch, StepBatch, augmented
from trainer.engine import auto, memory
from trainer.engine.checkpoint.format import Checkpoint, copied, copied_optimizer
from trainer.engine.distributed.collectives import average_buffers, smallest
from trainer.model.loss import batch_dice, batch_dice_part, batch_sums, class_weights, image_losses, loss_terms
from trainer.model.segmenter import Segmenter, network_logits


class TrainingNetwork(nn.Module):
    """The segmenter as training calls it: RGB levels [B, 3, S, S] to logits [B, C, S, S].

    A module of its own, because Accelerate replaces `forward` of what it prepares, and evaluation wants the bare one.
    """

    def __init__(self, segmenter: Segmenter) -> None:
        super().__init__()
        self.segmenter = segmenter

    def forward(self, resized: Tensor) -> Tensor:
        return network_logits(self.segmenter, resized)


class TrainStep:
    """The network in training, its optimizer, and the moving average of its weights."""

    def __init__(
        self, config: Config, accelerator: Accelerator, segmenter: Segmenter, samples: int, sides: Sequence[int]
    ) -> None:
        """`samples` train, as squares of these `sides` in pixels, for equal parts of the steps. A collective."""
        self.config, self.accelerator = config, accelerator
        self.segmenter = segmenter.to(accelerator.device)
        self.ema = deepcopy(segmenter).eval().requires_grad_(False) if config.train.ema else None
        self.class_weights = class_weights(config.loss, accelerator.device)
        self.spoiled: Tensor | None = None
        view: nn.Module = TrainingNetwork(segmenter)
        self.micro_batch_size = self._fitting_micro_batch(view, samples)
        if accelerator.device.type == "cuda" and accelerator.num_processes > 1:
            view = nn.SyncBatchNorm.convert_sync_batchnorm(view)
        self.compiled, self.why_compiled = self._compile(samples, sides)
        if self.compiled:
            view.compile(dynamic=False)
        decayed = [weight for weight in segmenter.network.parameters() if weight.ndim > 1]
        others = [weight for weight in segmenter.network.parameters() if weight.ndim <= 1]
        groups = [
            {"params": decayed, "weight_decay": config.optim.weight_decay},
            {"params": others, "weight_decay": 0.0},
        ]
        optimizer = torch.optim.AdamW(groups, lr=config.optim.lr, fused=True)
        self.view, self.optimizer = accelerator.prepare(view, optimizer)
        # Only now: with several processes, preparing gives the weights other memory.
        self.ours, self.theirs = _moving(self.ema or segmenter), _moving(segmenter)

    @property
    def result(self) -> Segmenter:
        """What training has come to: the averaged weights, where there is an average. Evaluated and kept."""
        return self.ema or self.segmenter

    def _fitting_micro_batch(self, view: nn.Module, samples: int) -> int:
        """Pictures that every process can send through the network at once; all processes agree on the number."""
        config, accelerator = self.config, self.accelerator
        if config.train.micro_batch_size != "auto":
            return int(config.train.micro_batch_size)
        largest_share = math.ceil(min(config.train.batch_size, samples) / accelerator.num_processes)
        if not auto.can_be_tried(accelerator.device):
            return largest_share
        side = config.data.image_size
        attempt = functools.partial(auto.attempt_step, view, side, accelerator.autocast)
        found = smallest(accelerator, auto.largest_micro_batch(largest_share, attempt))
        if not found:
            raise memory.advise(config, 1, "before the first step")
        return found

    def _compile(self, samples: int, sides: Sequence[int]) -> tuple[bool, str]:
        """Whether to compile, and why, for people."""
        train, accelerator = self.config.train, self.accelerator
        if train.compile != "auto":
            return train.compile == "on", f"train.compile {train.compile}"
        flop = sum(auto.training_flop(self.segmenter.network, side) for side in sides) / len(sides)
        assert train.epochs != "auto"  # settled once the data are known
        flop *= samples * train.epochs / accelerator.num_processes
        kind = accelerator.device.type, accelerator.mixed_precision
        return auto.decide(*kind, flop, len(set(sides)), train.minutes)

    # ---------------------------------------------------------------- one step

    def backward(self, batch: StepBatch) -> Tensor:
        """Gradients of the mean loss over the whole batch; returns this process's part of that loss, detached."""
        self.view.train()
        self.optimizer.zero_grad()
        total = self._batch_total(batch) if self.config.loss.reduction == "batch" else None
        loss = torch.zeros((), device=self.accelerator.device)
        for number, micro in enumerate(batch.micro, start=1):
            last = number == len(batch.micro)
            with nullcontext() if last else self.accelerator.no_sync(self.view):
                terms, weights = self._terms(batch, micro)
                part, shown = self._objective(terms, weights, batch.samples, total)
                # Processes' gradients are averaged; the parts of a sum must be added.
                self.accelerator.backward(part * self.accelerator.num_processes)
            loss += shown.detach()
        return loss

    def clip_gradient(self) -> Tensor:
        """Scale the gradient down to optim.clip_norm where it is longer; returns the length it had."""
        largest = self.config.optim.clip_norm or float("inf")
        norm: Tensor = self.accelerator.clip_grad_norm_(self.view.parameters(), largest)
        return norm

    def update(self, batch: StepBatch, step: int, rate: float, bad: Tensor | None = None) -> None:
        """Move the weights, as step `step` (the first is 1) does, at learning rate `rate`.

        From the first step on for which `bad`, a bool scalar on the device, is true, they stay where they are.
        """
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        if bad is not None and self.accelerator.scaler is None:
            self.spoiled = bad.float() if self.spoiled is None else torch.maximum(self.spoiled, bad.float())
            # What a gradient scaler sets to have a fused optimizer leave out a step without the CPU's knowing.
            self.optimizer.optimizer.found_inf = self.spoiled
        self.optimizer.step()
        average_buffers(self.accelerator, self.segmenter, batch.own / batch.samples)
        if self.ema:
            decay = min(self.config.train.ema, step / (step + 9))  # at first it soon forgets where it began
            torch._foreach_lerp_(self.ours, self.theirs, 1 - decay)

    # ---------------------------------------------------------------- from outside

    def measure(self, batch: StepBatch, times: int = 3) -> float:
        """Seconds that a step takes here, the median of `times` after a first one that compiles. Changes nothing."""
        buffers = [buffer.clone() for buffer in self.view.buffers()]
        scaler = self.accelerator.scaler
        scale = scaler.state_dict() if scaler else None
        seconds = []
        for _ in range(times + 1):
            began = time.perf_counter()
            self.backward(batch)
            norm = self.clip_gradient()
            for group in self.optimizer.param_groups:
                group["lr"] = 0.0
            self.optimizer.step()
            float(norm)  # waits for the device
            seconds.append(time.perf_counter() - began)
        with torch.no_grad():
            for buffer, before in zip(self.view.buffers(), buffers, strict=True):
                buffer.copy_(before)
        self.optimizer.optimizer.state.clear()
        if scaler:
            scaler.load_state_dict(scale)
        return statistics.median(seconds[1:])

    def snapshot(self) -> dict[str, Any]:
        """The parts of a Checkpoint that change here."""
        scaler = self.accelerator.scaler
        return {
            "weights": copied(self.segmenter.state_dict()),
            "averaged": copied(self.ema.state_dict()) if self.ema else {},
            "optimizer": copied_optimizer(self.optimizer.state_dict()),
            "scaler": scaler.state_dict() if scaler else None,
        }

    def restore(self, checkpoint: Checkpoint) -> None:
        self.segmenter.load_state_dict(checkpoint.weights)
        if self.ema:
            self.ema.load_state_dict(checkpoint.ema)
        self.optimizer.load_state_dict(checkpoint.optimizer)
        if self.accelerator.scaler is not None and checkpoint.scaler is not None:
            self.accelerator.scaler.load_state_dict(checkpoint.scaler)

    # ---------------------------------------------------------------- parts of a step

    def _terms(self, batch: StepBatch, micro: MicroBatch) -> tuple[Any, Tensor]:
        micro = micro.to(self.accelerator.device)
        images, masks = augmented(micro, self.config, batch.epoch, batch.side)
        return loss_terms(self.view(images), masks, self.class_weights), micro.weights

    def _objective(self, terms: Any, weights: Tensor, samples: int, total: Tensor | None) -> tuple[Tensor, Tensor]:
        """What to differentiate, and the part of the batch's loss that it stands for."""
        loss = self.config.loss
        if self.config.loss.reduction == "image":
            part = (image_losses(terms, loss.smooth, loss.cross_entropy) * weights).sum() / samples
            return part, part
        entropy = loss.cross_entropy * (terms.cross_entropy * weights).sum() / samples
        sums = batch_sums(terms, weights)
        if total is None:  # one piece per process: its sums are known only now
            total = self.accelerator.reduce(sums.detach(), "sum")
        share_of_dice = batch_dice(total, loss.smooth) * weights.sum() / samples
        return batch_dice_part(sums, total, loss.smooth) + entropy, share_of_dice + entropy

    @torch.no_grad()
    def _batch_total(self, batch: StepBatch) -> Tensor | None:
        """Dice sums of the whole batch, [3, F], by a pass without gradients; None where one pass is enough."""
        if len(batch.micro) == 1:  # and so on all processes
            return None
        buffers = [buffer.clone() for buffer in self.view.buffers()]
        sums = [batch_sums(*self._terms(batch, micro)) for micro in batch.micro]
        for buffer, before in zip(self.view.buffers(), buffers, strict=True):
            buffer.copy_(before)  # batch norm counts each picture once
        return self.accelerator.reduce(torch.stack(sums).sum(dim=0), "sum")


def _moving(segmenter: Segmenter) -> list[Tensor]:
    """What an average follows: weights and running statistics."""
    return [value for value in segmenter.state_dict().values() if value.is_floating_point()]
