"""The training loop: read, augment, step, evaluate, keep the best."""

import dataclasses
import functools
import math
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
import torch
from accelerate import Accelerator
from accelerate.utils import broadcast_object_list
from torch import Tensor, nn

from trainer.config import Config, flatten
from trainer.data.augment import augment
from trainer.data.cache import Squares
from trainer.data.sampler import Sampler, foreground_weights, micro_batches, share
from trainer.engine import memory
from trainer.engine.checkpoint import Checkpoint, Position, copied, copied_optimizer
from trainer.engine.evaluate import Abandoned, Evaluation, ValidationSet, class_weights, evaluate, network_logits
from trainer.engine.hardware import average_buffers, smallest
from trainer.engine.leaving import Interrupted, LeftTogether, NonFiniteLoss
from trainer.engine.readahead import read_ahead
from trainer.engine.schedule import learning_rate
from trainer.engine.watcher import IdleWatcher, Watcher
from trainer.model.loss import batch_dice, batch_dice_part, batch_sums, image_losses, loss_terms
from trainer.model.segmenter import Segmenter

T = TypeVar("T")


def told_by_main(value: T | None) -> T:
    """What the main process has, on all processes; the others give None. A collective."""
    told = [value]
    broadcast_object_list(told)
    assert told[0] is not None
    return told[0]


class TrainingView(nn.Module):
    """The segmenter as training calls it: RGB levels [B, 3, S, S] to logits [B, C, S, S].

    A module of its own, because Accelerate replaces `forward` of what it prepares, and evaluation wants the bare one.
    """

    def __init__(self, segmenter: Segmenter) -> None:
        super().__init__()
        self.segmenter = segmenter

    def forward(self, squares: Tensor) -> Tensor:
        return network_logits(self.segmenter, squares)


@dataclass(frozen=True)
class MicroBatch:
    """Some of the samples of one step."""

    samples: np.ndarray  # int64 [B], rows of the cache
    weights: Tensor  # float32 [B]: 1, or 0 for a sample that only keeps an empty-handed process in step
    images: Tensor  # uint8 [B, 3, S, S]
    masks: Tensor  # uint8 [B, S, S]


@dataclass(frozen=True)
class StepBatch:
    """This process's part of one optimizer step."""

    micro: list[MicroBatch]
    own: int  # samples of this process
    samples: int  # of the whole step, over all processes


class Loop:
    """Trains a segmenter. Every process makes one and calls `fit`."""

    def __init__(
        self,
        config: Config,
        accelerator: Accelerator,
        segmenter: Segmenter,
        squares: Squares,
        train_rows: tuple[int, ...],
        validation: ValidationSet,
        stop_requested: Callable[[], bool],
        world: dict[str, str],
    ) -> None:
        self.config, self.accelerator, self.segmenter = config, accelerator, segmenter
        self.squares, self.train_rows, self.validation = squares, np.array(train_rows), validation
        self.stop_requested, self.world = stop_requested, world
        self.watcher: Watcher = IdleWatcher()
        self.stopping = self.save_due = self.trouble = False
        self.sampler = self._sampler()
        self.total_steps = config.train.epochs * self.sampler.steps_per_epoch
        self.position = Position()
        self.saved: Position | None = None
        self.best: dict[str, Tensor] = {}
        self.pictures_due_s = 0.0
        self._prepare()

    def _sampler(self) -> Sampler:
        data, train = self.config.data, self.config.train
        weights = None
        if data.sampling == "foreground":
            classes = len(self.segmenter.contract.class_names)
            weights = foreground_weights(self.squares.facts["counts"][self.train_rows, :classes])
        return Sampler(len(self.train_rows), train.batch_size, train.seed, data.drop_last, weights)

    def _prepare(self) -> None:
        config, accelerator = self.config, self.accelerator
        self.segmenter.to(accelerator.device)
        view: nn.Module = TrainingView(self.segmenter)
        self.micro_batch_size = self._fitting_micro_batch(view)
        if accelerator.device.type == "cuda" and accelerator.num_processes > 1:
            view = nn.SyncBatchNorm.convert_sync_batchnorm(view)
        if self._compile_pays():
            view.compile()
        decayed = [weight for weight in self.segmenter.network.parameters() if weight.ndim > 1]
        others = [weight for weight in self.segmenter.network.parameters() if weight.ndim <= 1]
        groups = [
            {"params": decayed, "weight_decay": config.optim.weight_decay},
            {"params": others, "weight_decay": 0.0},
        ]
        optimizer = torch.optim.AdamW(groups, lr=config.optim.lr, fused=True)
        self.view, self.optimizer = accelerator.prepare(view, optimizer)

    def _fitting_micro_batch(self, view: nn.Module) -> int:
        """Pictures that every process can send through the network at once; all processes agree on the number."""
        config, accelerator = self.config, self.accelerator
        if config.train.micro_batch_size != "auto":
            return int(config.train.micro_batch_size)
        largest_share = math.ceil(min(config.train.batch_size, self.sampler.samples) / accelerator.num_processes)
        if not memory.can_be_tried(accelerator.device):
            return largest_share
        side = config.data.image_size
        attempt = functools.partial(memory.attempt_step, view, side, accelerator.autocast)
        found = smallest(accelerator, memory.largest_micro_batch(largest_share, attempt))
        if not found:
            raise memory.advise(config, 1, "before the first step")
        return found

    def _compile_pays(self) -> bool:
        if self.config.train.compile != "auto":
            return self.config.train.compile == "on"
        # On a CPU the first compiled step takes minutes, on a GPU some ten seconds. Both need a compiler.
        return self.accelerator.device.type == "cuda" and self.total_steps >= 500 and shutil.which("gcc") is not None

    # ---------------------------------------------------------------- the whole run

    def restore(self, checkpoint: Checkpoint) -> None:
        """Go on from a checkpoint. Every process calls this with the same one, before `fit`."""
        self.segmenter.load_state_dict(checkpoint.weights)
        self.optimizer.load_state_dict(checkpoint.optimizer)
        if self.accelerator.scaler is not None and checkpoint.scaler is not None:
            self.accelerator.scaler.load_state_dict(checkpoint.scaler)
        self.position, self.best = dataclasses.replace(checkpoint.position), checkpoint.best
        self.saved = checkpoint.position

    def fit(self, watcher: Watcher) -> Position:
        """Train to the end or to early stop. Afterwards `best` holds the best weights, and the last ones are saved.

        Raises LeftTogether, on all processes after the same step, where training ends before.
        """
        self.watcher = watcher
        batches = self._batches()
        try:
            self._at_boundary()
            while not self._finished():
                self._step(batches)
                self._at_boundary()
            self._save(wait=True)
        finally:
            watcher.settle()
        return self.position

    def _step(self, batches: Iterator[StepBatch]) -> None:
        began = time.perf_counter()
        batch = next(batches)
        waited = time.perf_counter() - began
        with memory.explained(self.config, self.micro_batch_size, f"in step {self.position.step + 1}"):
            values = self._train_step(batch)
        self.position.step += 1
        seconds = time.perf_counter() - began
        values["train/images_per_second"] = batch.samples / seconds
        self.position.waited_s += waited
        self.position.seconds += seconds
        self.watcher.on_step(self.position.step, values)

    def _at_boundary(self) -> None:
        """Between two steps: evaluate, save, or leave, where it is time to. All processes agree on that."""
        if self._evaluation_due() and self.position.evaluated_step != self.position.step:
            self._evaluate()
        if self.trouble:
            raise self.watcher.trouble() or LeftTogether("the main process could not write to its disk")
        if self.stopping:
            self._save(wait=True)
            raise Interrupted(f"stopped after step {self.position.step}")
        if self.save_due and not self._finished():
            self._save(wait=False)

    def _finished(self) -> bool:
        return self.position.step >= self.total_steps or self._early_stop()

    def _evaluation_due(self) -> bool:
        epoch, rest = divmod(self.position.step, self.sampler.steps_per_epoch)
        return rest == 0 and (epoch % self.config.train.eval_every == 0 or self.position.step == self.total_steps)

    def _early_stop(self) -> bool:
        patience = self.config.train.patience
        return patience > 0 and self.position.evaluations_without_better >= patience

    # ---------------------------------------------------------------- one step

    def _train_step(self, batch: StepBatch) -> dict[str, float]:
        rate = self._set_learning_rate()
        self.optimizer.zero_grad()
        own = self._backward(batch)
        norm = self._clip_gradient()
        loss = self._agree(batch, own, norm)
        self.optimizer.step()
        average_buffers(self.accelerator, self.segmenter, batch.own / batch.samples)
        return {"train/loss": loss, "train/lr": rate, "train/grad_norm": norm}

    def _set_learning_rate(self) -> float:
        optim = self.config.optim
        rate = learning_rate(self.position.step, self.total_steps, optim.lr, optim.warmup)
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        return rate

    def _backward(self, batch: StepBatch) -> Tensor:
        """Gradients of the mean loss over the whole batch; returns this process's part of that loss, detached."""
        self.view.train()
        total = self._batch_total(batch) if self.config.loss.reduction == "batch" else None
        loss = torch.zeros((), device=self.accelerator.device)
        for number, micro in enumerate(batch.micro, start=1):
            last = number == len(batch.micro)
            with nullcontext() if last else self.accelerator.no_sync(self.view):
                terms, weights = self._terms(micro)
                part, shown = self._objective(terms, weights, batch.samples, total)
                # Processes' gradients are averaged; the parts of a sum must be added.
                self.accelerator.backward(part * self.accelerator.num_processes)
            loss += shown.detach()
        return loss

    def _terms(self, micro: MicroBatch) -> tuple[Any, Tensor]:
        device = self.accelerator.device
        epoch = self.position.step // self.sampler.steps_per_epoch
        images, masks = augment(
            micro.images.to(device, non_blocking=True),
            micro.masks.to(device, non_blocking=True),
            self.config.data.augment,
            self.config.train.seed,
            epoch,
            micro.samples,
        )
        weights = class_weights(self.config.loss, device)
        return loss_terms(self.view(images), masks, weights), micro.weights.to(device)

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
        sums = [batch_sums(*self._terms(micro)) for micro in batch.micro]
        for buffer, before in zip(self.view.buffers(), buffers, strict=True):
            buffer.copy_(before)  # batch norm counts each picture once
        return self.accelerator.reduce(torch.stack(sums).sum(dim=0), "sum")

    def _clip_gradient(self) -> float:
        largest = self.config.optim.clip_norm or float("inf")
        return float(self.accelerator.clip_grad_norm_(self.view.parameters(), largest))

    def _agree(self, batch: StepBatch, loss: Tensor, norm: float) -> float:
        """The batch's loss. All processes together raise where one has a bad number, and note what is due.

        Whether to stop is acted upon after this step, whose forward pass has moved the statistics of batch norm.
        """
        accelerator = self.accelerator
        scaled = accelerator.mixed_precision == "fp16"  # whose scaler skips steps with infinite gradients
        finite = bool(torch.isfinite(loss))
        own = [float(loss) if finite else 0.0, self.stop_requested()]
        own += [self.watcher.save_due(), self.watcher.trouble() is not None, not (scaled or np.isfinite(norm))]
        bad_losses = [index == accelerator.process_index and not finite for index in range(accelerator.num_processes)]
        votes = torch.tensor([batch.own, *own, *bad_losses], dtype=torch.float64)
        if accelerator.num_processes > 1:
            votes = accelerator.reduce(votes.float().to(accelerator.device), "sum")
        samples, total, stop, save, trouble, bad_norm, *bad_losses = votes.tolist()
        assert samples == batch.samples, f"a step of {batch.samples} pictures saw {samples:g}"
        if bad_norm or any(bad_losses):
            # One process's bad loss is in the gradient of all; without one, nobody knows whose pictures they were.
            losers = [index for index, vote in enumerate(bad_losses) if vote]
            raise self._non_finite(losers or list(range(accelerator.num_processes)))
        self.stopping, self.save_due, self.trouble = stop > 0, save > 0, trouble > 0
        return total

    def _non_finite(self, processes: list[int]) -> NonFiniteLoss:
        rows, count = self._rows(self.position.step), self.accelerator.num_processes
        theirs = [int(row) for process in processes for row in share(rows, process, count)]
        text = f"step {self.position.step + 1}: the loss or its gradient is not a finite number"
        where = f" on process {', '.join(map(str, processes))}" if count > 1 else ""
        return NonFiniteLoss(f"{text}{where}; lower optim.lr, or look at the pictures of this step", processes, theirs)

    # ---------------------------------------------------------------- around the steps

    def _batches(self) -> Iterator[StepBatch]:
        steps = range(self.position.step, self.total_steps)
        return read_ahead(iter(steps), self._read, self.config.data.workers)

    def _rows(self, step: int) -> np.ndarray:
        """The rows of the cache that make the step after `step` finished ones, over all processes."""
        return self.train_rows[self.sampler.batch(*divmod(step, self.sampler.steps_per_epoch))]

    def _read(self, step: int) -> StepBatch:
        accelerator, batch = self.accelerator, self._rows(step)
        mine = share(batch, accelerator.process_index, accelerator.num_processes)
        micro = []
        for piece in micro_batches(mine, len(batch), accelerator.num_processes, self.micro_batch_size):
            # Whoever has none joins in with a picture that weighs nothing.
            rows, weight = (piece, 1.0) if len(piece) else (batch[:1], 0.0)
            micro.append(MicroBatch(rows, torch.full([len(rows)], weight), *self.squares.read(rows)))
        return StepBatch(micro, len(mine), len(batch))

    def _evaluate(self) -> None:
        began = time.perf_counter()
        accelerator = self.accelerator
        try:
            result = evaluate(
                self.segmenter,
                self.validation,
                self.config.loss,
                accelerator.process_index,
                accelerator.num_processes,
                lambda own: accelerator.reduce(own, "sum"),
                self.stop_requested,
            )
        except Abandoned:
            self.stopping = True
            return
        self._note(result, time.perf_counter() - began)
        self._draw(last=self._finished())

    def _note(self, result: Evaluation, seconds: float) -> None:
        """Keep the weights where they are the best so far, and tell the scores."""
        position, miou = self.position, result.scores.miou
        before = position.best_miou
        better = before is None or miou is None or miou > before
        # While nothing is found at all, patience has not begun: 0 after 0 is a start, not a standstill.
        position.evaluations_without_better = 0 if better or not before else position.evaluations_without_better + 1
        if better or miou == before:  # of equals the one trained longer
            position.best_step, position.best_miou = position.step, miou
            self.best = copied(self.segmenter.state_dict())
        position.evaluated_step = position.step
        values = {
            "val/loss": result.loss,
            "time/evaluation_s": seconds,
            "time/training_s": position.seconds,
            "time/waiting_for_data_s": position.waited_s,
        }
        self.watcher.on_evaluation(dataclasses.replace(position), values, result)

    def _draw(self, last: bool) -> None:
        """Pictures of the watch list: at step 0, at the last evaluation, and at most every 60 s between."""
        if self.position.step == 0 or last or time.perf_counter() >= self.pictures_due_s:
            self.watcher.on_pictures(self.segmenter, self.position.step)
            self.pictures_due_s = time.perf_counter() + 60

    def _save(self, wait: bool) -> None:
        if self.position != self.saved:
            self.watcher.save(self._snapshot, wait)
            self.saved = dataclasses.replace(self.position)

    def _snapshot(self) -> Checkpoint:
        scaler = self.accelerator.scaler
        return Checkpoint(
            contract=self.segmenter.contract,
            weights=copied(self.segmenter.state_dict()),
            optimizer=copied_optimizer(self.optimizer.state_dict()),
            best=self.best,
            position=dataclasses.replace(self.position),
            world=self.world,
            config=flatten(self.config),
            scaler=None if scaler is None else scaler.state_dict(),
        )
