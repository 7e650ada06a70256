"""One optimizer step: forward, loss, backward, clip, reduce, update, average."""

import itertools
import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from copy import deepcopy
from typing import Any

import torch
from accelerate import Accelerator
from torch import Tensor, nn

from trainer import IGNORE
from trainer.config import LossConfig, OptimConfig
from trainer.data.augment import augment, draw_boxes
from trainer.data.loader import Augmentation, MicroBatch, Part, StepBatch
from trainer.engine.checkpoint.format import Checkpoint, copy_optimizer, copy_tensors
from trainer.engine.distributed.collectives import average_buffers
from trainer.engine.parameters import DECAYS, parameter_groups
from trainer.engine.step_stats import PendingStats, Requests
from trainer.model.loss import LossTerms, batch_sums, class_weight_tensor, loss_terms, objective
from trainer.model.segmenter import Segmenter
from trainer.model.unlabelled import targets, unlabelled_losses, weight_at


class TrainingNetwork(nn.Module):
    """Segmenter as training calls it: levels [B, input_channels, S, S] to logits [B, C, S, S].

    A module of its own, because Accelerate replaces `forward` of what it prepares, and evaluation wants the bare one.
    """

    def __init__(self, segmenter: Segmenter) -> None:
        super().__init__()
        self.segmenter = segmenter

    def forward(self, images: Tensor) -> Tensor:
        return self.segmenter.logits(images)


class TrainStep:
    """Network in training, its optimizer, and the EMA of its weights."""

    def __init__(
        self,
        accelerator: Accelerator,
        segmenter: Segmenter,
        augment: Augmentation,
        loss: LossConfig,
        optim: OptimConfig,
        ema_decay: float,
        compiled: bool = False,
    ) -> None:
        """Prepare `segmenter` for training on all processes; `ema_decay` 0 for no average. A collective."""
        self.accelerator, self.augment, self.loss, self.optim = accelerator, augment, loss, optim
        self.segmenter = segmenter.to(accelerator.device)
        self.ema = deepcopy(segmenter).eval().requires_grad_(False) if ema_decay else None
        self.ema_decay, self.compiled = ema_decay, compiled
        self.class_weights = class_weight_tensor(loss, accelerator.device)
        self.not_finite: Tensor | None = None
        network: nn.Module = TrainingNetwork(segmenter)
        if accelerator.device.type == "cuda" and accelerator.num_processes > 1:
            network = nn.SyncBatchNorm.convert_sync_batchnorm(network)
        if compiled:
            network.compile(dynamic=False)
        groups = [
            {"params": parameters, "weight_decay": optim.weight_decay if decays else 0.0}
            for parameters, decays in zip(parameter_groups(segmenter.network), itertools.cycle(DECAYS), strict=False)
        ]
        optimizer = torch.optim.AdamW(groups, lr=optim.lr, fused=True)
        self.network, self.optimizer = accelerator.prepare(network, optimizer)
        # Only now: with several processes, preparing gives the weights other memory.
        self.averages, self.followed = _followed(self.ema or segmenter), _followed(segmenter)
        if accelerator.num_processes > 1:
            self._order_buckets()

    @property
    def result(self) -> Segmenter:
        """Model to evaluate and to keep: the EMA where there is one, else the weights themselves."""
        return self.ema or self.segmenter

    # ---------------------------------------------------------------- one step

    def __call__(self, batch: StepBatch, step: int, learning_rate: float, requests: Requests) -> PendingStats:
        """Take step `step`, the first is 1; where loss or gradient is not finite, no weight moves. A collective."""
        loss = self.backward(batch)
        unlabelled = self.backward_unlabelled(batch.unlabelled, weight_at(step)) if batch.unlabelled else None
        norm = self.clip_gradient()
        stats = PendingStats(self.accelerator, step, batch, learning_rate, loss, norm, requests, unlabelled)
        self.update(learning_rate, skip=stats.not_finite)
        average_buffers(self.accelerator, self.segmenter, batch.share)
        self.update_ema(step)
        return stats

    def backward(self, batch: StepBatch) -> Tensor:
        """Compute gradients of the mean loss over the whole batch; return this process's part of it, detached."""
        self.network.train()
        self.optimizer.zero_grad()
        total = self._batch_total(batch) if self.loss.reduction == "batch" else None
        loss = torch.zeros((), device=self.accelerator.device)
        for number, micro in enumerate(batch.micro, start=1):
            last = number == len(batch.micro) and batch.unlabelled is None
            with nullcontext() if last else self.accelerator.no_sync(self.network):
                terms, weights = self._terms(batch, micro)
                part, share = objective(terms, weights, batch.samples, self.loss, total, self._all_reduce)
                # Processes' gradients are averaged; the parts of a sum must be added.
                self.accelerator.backward(part * self.accelerator.num_processes)
            loss += share.detach()
        return loss

    def backward_unlabelled(self, part: Part, weight: float) -> Tensor:
        """Add the gradients of `weight` times the mean loss over the unlabelled images; after `backward`.

        Returns this process's part of that loss and of the share of confident pixels, [2], detached.
        """
        assert self.ema is not None, "images without labels need train.ema"
        values = torch.zeros(2, device=self.accelerator.device)
        for number, micro in enumerate(part.micro, start=1):
            last = number == len(part.micro)
            with nullcontext() if last else self.accelerator.no_sync(self.network):
                micro = micro.to(self.accelerator.device)
                images, masks = self._strong_with_targets(micro, part)
                confident = (masks != IGNORE).float().mean(dim=(1, 2))
                losses = unlabelled_losses(
                    loss_terms(self.network(images), masks, self.class_weights), confident, self.loss
                )
                shares = torch.stack([losses, confident]) @ micro.weights / part.samples
                self.accelerator.backward(weight * shares[0] * self.accelerator.num_processes)
            values += shares.detach()
        return values

    @torch.no_grad()
    def _strong_with_targets(self, micro: MicroBatch, part: Part) -> tuple[Tensor, Tensor]:
        """Unlabelled images, strongly changed, float32 [B, 3, S, S], and their targets, uint8 [B, S, S].

        The teacher sees the images as they are; its targets move with the image, and with the boxes that each of the B
        images receives from the next one.
        """
        assert self.ema is not None
        given, places = (part.epoch, micro.rows, part.side), len(micro.weights)
        images, nothing = micro.batch.images, micro.batch.masks
        plain, _ = augment(images, nothing, "off", self.augment.seed, *given)
        with self.accelerator.autocast():
            found = targets(self.ema.logits(plain))
        images, masks = augment(images, found, "strong", self.augment.seed, *given)
        boxes = torch.from_numpy(draw_boxes(part.side, self.augment.seed, part.epoch, micro.rows[:places]))
        boxes = boxes.to(images.device, non_blocking=True)
        return (
            torch.where(boxes[:, None], images[1:], images[:places]),
            torch.where(boxes, masks[1:], masks[:places]),
        )

    def clip_gradient(self) -> Tensor:
        """Scale the gradient down to optim.clip_norm where it is longer; return its length before, a scalar."""
        longest = self.optim.clip_norm or float("inf")
        norm: Tensor = self.accelerator.clip_grad_norm_(self.network.parameters(), longest)
        return norm

    def update(self, learning_rate: float, skip: Tensor | None = None) -> None:
        """Move the weights. They stay from the first step on for which `skip`, bool scalar on the device, is true."""
        for number, group in enumerate(self.optimizer.param_groups):
            of_encoder = number >= len(DECAYS)
            group["lr"] = learning_rate * (self.optim.encoder_lr if of_encoder else 1.0)
        if skip is not None and self.accelerator.scaler is None:
            skip = skip.float()
            self.not_finite = skip if self.not_finite is None else torch.maximum(self.not_finite, skip)
            # Attribute with which a gradient scaler has a fused optimizer leave out a step unknown to the CPU.
            self.optimizer.optimizer.found_inf = self.not_finite
        self.optimizer.step()

    def update_ema(self, step: int) -> None:
        """Move the EMA towards the weights that step `step` left."""
        if self.ema:
            decay = min(self.ema_decay, step / (step + 9))  # short at first, so that the initial weights fade quickly
            torch._foreach_lerp_(self.averages, self.followed, 1 - decay)

    # ---------------------------------------------------------------- around the steps

    def measure(self, batch: StepBatch, times: int = 3) -> float:
        """Seconds that a step takes here, the median of `times` after a first one that compiles. Changes nothing."""
        with self.measuring(batch) as step_s:
            return statistics.median([step_s() for _ in range(times + 1)][1:])

    @contextmanager
    def measuring(self, batch: StepBatch) -> Iterator[Callable[[], float]]:
        """Give a function that takes a step and returns its seconds. After the block, nothing has changed.

        The optimizer takes part before the first step of a training alone: later it has a state, which must not move.
        """
        scaler, first = self.accelerator.scaler, not self.optimizer.optimizer.state
        scale = scaler.state_dict() if scaler else None

        def step_s() -> float:
            began = time.perf_counter()
            self.backward(batch)
            if batch.unlabelled:
                self.backward_unlabelled(batch.unlabelled, weight=1.0)
            norm = self.clip_gradient()
            if first:
                self.update(learning_rate=0.0)
            float(norm)  # waits for the device
            return time.perf_counter() - began

        with _same_buffers(self.network):
            yield step_s
        if first:
            self.optimizer.optimizer.state.clear()
        if scaler:
            scaler.load_state_dict(scale)

    def snapshot(self) -> dict[str, Any]:
        """Copy the fields of a Checkpoint that change here."""
        scaler = self.accelerator.scaler
        return {
            "weights": copy_tensors(self.segmenter.state_dict()),
            "ema": copy_tensors(self.ema.state_dict()) if self.ema else {},
            "optimizer": copy_optimizer(self.optimizer.state_dict()),
            "scaler": scaler.state_dict() if scaler else None,
        }

    def restore(self, checkpoint: Checkpoint) -> None:
        """Load weights, EMA and optimizer from a checkpoint."""
        self.segmenter.load_state_dict(checkpoint.weights)
        if self.ema:
            self.ema.load_state_dict(checkpoint.ema)
        self.optimizer.load_state_dict(checkpoint.optimizer)
        if self.accelerator.scaler is not None and checkpoint.scaler is not None:
            self.accelerator.scaler.load_state_dict(checkpoint.scaler)

    # ---------------------------------------------------------------- parts of a step

    def _terms(self, batch: StepBatch, micro: MicroBatch) -> tuple[LossTerms, Tensor]:
        micro = micro.to(self.accelerator.device)
        images, masks = self.augment(micro, batch.epoch, batch.side)
        return loss_terms(self.network(images), masks, self.class_weights), micro.weights

    def _all_reduce(self, sums: Tensor) -> Tensor:
        total: Tensor = self.accelerator.reduce(sums, "sum")
        return total

    @torch.no_grad()
    def _batch_total(self, batch: StepBatch) -> Tensor | None:
        """Dice sums of the whole batch, [3, F], by a pass without gradients; None where one pass is enough."""
        if len(batch.micro) == 1:  # and so on all processes
            return None
        with _same_buffers(self.network):  # batch norm counts each image once
            sums = [batch_sums(*self._terms(batch, micro)) for micro in batch.micro]
        return self._all_reduce(torch.stack(sums).sum(dim=0))

    def _order_buckets(self) -> None:
        """Have DDP sort its gradient buckets before the first step, by a backward pass that leaves no trace.

        DDP sorts them anew after the first backward pass of each start, and more than two processes add up a bucket's
        numbers in an order that depends on their places in it. So the first step after a resume would differ from the
        same step of a training that was never interrupted.
        """
        side = 2 * self.segmenter.contract.stride  # batch norm needs more than one pixel at the network's bottom
        self.network.train()
        with torch.compiler.set_stance("force_eager"), _same_buffers(self.network):  # no compiling for this size
            images = torch.zeros(2, self.segmenter.contract.input_channels, side, side, device=self.accelerator.device)
            self.accelerator.backward(0 * self.network(images).sum())
        self.optimizer.zero_grad()


@contextmanager
def _same_buffers(network: nn.Module) -> Iterator[None]:
    """Restore the statistics of batch norm after a block whose forward passes move them."""
    buffers = [buffer.clone() for buffer in network.buffers()]
    yield
    with torch.no_grad():
        for buffer, before in zip(network.buffers(), buffers, strict=True):
            buffer.copy_(before)


def _followed(segmenter: Segmenter) -> list[Tensor]:
    """Tensors that the EMA follows: weights and running statistics."""
    return [value for value in segmenter.state_dict().values() if value.is_floating_point()]
