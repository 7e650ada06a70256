"""The training loop: step, evaluate, keep the best, save."""

import dataclasses
import time
from collections.abc import Callable, Iterator

from accelerate import Accelerator
from torch import Tensor

from trainer.config import Config, flatten
from trainer.data.cache import ResizedSamples
from trainer.data.dataset import ValidationSet
from trainer.data.loader import StepBatch, TrainLoader
from trainer.engine import memory
from trainer.engine.auto import steps_that_fit
from trainer.engine.callback import Callback, NullCallback
from trainer.engine.checkpoint.format import Checkpoint, TrainState, copied
from trainer.engine.distributed.collectives import smallest
from trainer.engine.evaluate import Evaluation, EvaluationStopped, evaluate
from trainer.engine.schedule import learning_rate
from trainer.engine.step import TrainStep
from trainer.engine.step_stats import Ballot, Pending, Votes
from trainer.engine.stopping import Interrupted, NonFiniteLoss, TrainingStopped
from trainer.model.segmenter import Segmenter

STEPS_BETWEEN_EVALUATIONS = 50
"""At least, where epochs are shorter than that."""


class Trainer:
    """Trains a segmenter. Every process makes one and calls `fit`."""

    def __init__(
        self,
        config: Config,
        accelerator: Accelerator,
        segmenter: Segmenter,
        resized: ResizedSamples,
        train_rows: tuple[int, ...],
        validation: ValidationSet,
        stop_requested: Callable[[], bool],
        world: dict[str, str],
    ) -> None:
        self.config, self.accelerator, self.segmenter = config, accelerator, segmenter
        self.validation, self.stop_requested, self.world = validation, stop_requested, world
        self.watcher: Callback = NullCallback()
        self.stopping = self.checkpoint_due = self.trouble = False
        self.position = TrainState()
        self.saved: TrainState | None = None
        self.best: dict[str, Tensor] = {}
        self.pictures_due_s = self.evaluation_s = 0.0
        classes = len(segmenter.contract.class_names)
        process, processes = accelerator.process_index, accelerator.num_processes
        self.batches = TrainLoader(config, resized, train_rows, classes, process, processes)
        self.sides = [self.batches.side(step, 2) for step in (0, 1)]
        self.stepper = TrainStep(config, accelerator, segmenter, len(train_rows), self.sides)
        self.batches.micro_batch_size = self.stepper.micro_batch_size
        self.batches.padded = self.stepper.compiled  # a batch of another size would be compiled anew
        self.batches.pinned = accelerator.device.type == "cuda"
        # A GPU works on while its numbers travel; a CPU has nothing to overlap.
        self.heard_late = accelerator.device.type == "cuda"
        self.pending: Pending | None = None

    # ---------------------------------------------------------------- the whole run

    def restore(self, checkpoint: Checkpoint) -> None:
        """Go on from a checkpoint. Every process calls this with the same one, before `fit`."""
        self.stepper.restore(checkpoint)
        self.position, self.best = dataclasses.replace(checkpoint.position), checkpoint.best
        self.saved = checkpoint.position

    def fit(self, watcher: Callback) -> TrainState:
        """Train to the end or to early stop. Afterwards `best` holds the best weights, and the last ones are saved.

        Raises LeftTogether, on all processes after the same step, where training ends before.
        """
        self.watcher = watcher
        self.began_s = time.perf_counter()
        try:
            self._at_boundary()
            self._plan()
            batches = self.batches.ahead(self.position.step, self.position.total_steps)
            while not self._finished():
                self._step(batches)
                self._at_boundary()
            self._save(wait=True)
        finally:
            watcher.settle()
        return self.position

    def _plan(self) -> None:
        """Settle how many steps there will be, once in a run."""
        if not self.position.total_steps:
            planned, minutes = self._planned_steps(), self.config.train.minutes
            self.position.total_steps = min(planned, self._steps_in(minutes)) if minutes else planned
        self.watcher.on_train_begin(self.position)

    def _planned_steps(self) -> int:
        epochs = self.config.train.epochs
        assert epochs != "auto"  # settled once the data are known
        return epochs * self.batches.steps_per_epoch

    def _steps_in(self, minutes: float) -> int:
        """Steps that fit into `minutes`, by the time that a few take here, the same on all processes. A collective."""
        small_s, full_s = (self.stepper.measure(self.batches.read(0, side)) for side in self.sides)
        evaluations_s = self.evaluation_s / self._steps_between_evaluations()
        left_s = 60 * minutes - (time.perf_counter() - self.began_s) - self.evaluation_s
        return smallest(self.accelerator, steps_that_fit(left_s, small_s, full_s, evaluations_s))

    def _step(self, batches: Iterator[StepBatch]) -> None:
        began = time.perf_counter()
        batch = next(batches)
        self.position.waited_s += time.perf_counter() - began
        step = self.position.step + 1
        optim, total = self.config.optim, self.position.total_steps
        rate = learning_rate(step - 1, total, optim.lr, optim.warmup)
        with memory.explain_out_of_memory(self.config, self.stepper.micro_batch_size, f"in step {step}"):
            loss = self.stepper.backward(batch)
            ballot = self._vote(batch, loss, self.stepper.clip_gradient())
            mine, earlier = Pending(step, batch.samples, rate, ballot), self.pending
            if not self.heard_late:
                self._check(mine)
            self.stepper.update(batch, step, rate, ballot.bad if self.heard_late else None)
        self.position.step = step
        self.pending = mine
        if earlier:
            self._hear(earlier)
        mine.seconds = time.perf_counter() - began
        self.position.seconds += mine.seconds
        if not self.heard_late:
            self._hear_all()

    def _at_boundary(self) -> None:
        """Between two steps: evaluate, save, or leave, where it is time to. All processes agree on that."""
        if self._evaluation_due() and self.position.evaluated_step != self.position.step:
            self._hear_all()
            self._evaluate()
        if self.trouble:
            raise self.watcher.trouble() or TrainingStopped("the main process could not write to its disk")
        if self.stopping:
            self._save(wait=True)
            raise Interrupted(f"stopped after step {self.position.step}")
        if self.checkpoint_due and not self._finished():
            self._save(wait=False)

    def _finished(self) -> bool:
        return self._last_step() or self._early_stop()

    def _last_step(self) -> bool:
        return 0 < self.position.total_steps <= self.position.step

    def _evaluation_due(self) -> bool:
        return self.position.step % self._steps_between_evaluations() == 0 or self._last_step()

    def _steps_between_evaluations(self) -> int:
        wanted, steps = self.config.train.eval_every, self.batches.steps_per_epoch
        return steps * (max(1, round(STEPS_BETWEEN_EVALUATIONS / steps)) if wanted == "auto" else int(wanted))

    def _early_stop(self) -> bool:
        patience = self.config.train.patience
        return patience > 0 and self.position.evaluations_without_better >= patience

    # ---------------------------------------------------------------- what a step came to

    def _vote(self, batch: StepBatch, loss: Tensor, norm: Tensor) -> Ballot:
        due = self.watcher.checkpoint_due(), self.watcher.trouble() is not None
        return Ballot(self.accelerator, batch.own, loss, norm, self.stop_requested(), *due)

    def _check(self, pending: "Pending") -> Votes:
        """The votes of a step. Raises, on all processes together, where its numbers are bad."""
        votes = pending.ballot.votes
        assert votes.samples == pending.samples, f"a step of {pending.samples} pictures saw {votes.samples}"
        if votes.bad_losses or votes.bad_gradient:
            raise self._non_finite(pending.step, votes.bad_losses or list(range(self.accelerator.num_processes)))
        return votes

    def _hear(self, pending: "Pending") -> None:
        """Tell the numbers of a step, and note what is due after it.

        Whether to stop is acted upon after the step, whose forward pass has moved the statistics of batch norm.
        """
        votes = self._check(pending)
        self.stopping, self.checkpoint_due, self.trouble = votes.stop, votes.save, votes.trouble
        values = {"train/loss": votes.loss, "train/lr": pending.rate, "train/grad_norm": votes.norm}
        values["train/images_per_second"] = pending.samples / pending.seconds
        self.watcher.on_step(pending.step, values)

    def _hear_all(self) -> None:
        if self.pending:
            pending, self.pending = self.pending, None
            self._hear(pending)

    def _non_finite(self, step: int, processes: list[int]) -> NonFiniteLoss:
        count = self.accelerator.num_processes
        theirs = [int(row) for process in processes for row in self.batches.rows_of(step - 1, process)]
        text = f"step {step}: the loss or its gradient is not a finite number"
        where = f" on process {', '.join(map(str, processes))}" if count > 1 else ""
        return NonFiniteLoss(f"{text}{where}; lower optim.lr, or look at the pictures of this step", processes, theirs)

    # ---------------------------------------------------------------- around the steps

    def _evaluate(self) -> None:
        began = time.perf_counter()
        accelerator = self.accelerator
        try:
            result = evaluate(
                self.stepper.result,
                self.validation,
                self.config.loss,
                accelerator.process_index,
                accelerator.num_processes,
                lambda own: accelerator.reduce(own, "sum"),
                self.stop_requested,
            )
        except EvaluationStopped:
            self.stopping = True
            return
        self.evaluation_s = time.perf_counter() - began
        self._note(result, self.evaluation_s)
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
            self.best = copied(self.stepper.result.state_dict())
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
            self.watcher.on_images(self.stepper.result, self.position.step)
            self.pictures_due_s = time.perf_counter() + 60

    def _save(self, wait: bool) -> None:
        self._hear_all()
        if self.position != self.saved:
            self.watcher.save(self._snapshot, wait)
            self.saved = dataclasses.replace(self.position)

    def _snapshot(self) -> Checkpoint:
        parts = self.stepper.snapshot()
        position = dataclasses.replace(self.position)
        contract, config = self.segmenter.contract, flatten(self.config)
        return Checkpoint(contract, **parts, best=self.best, position=position, world=self.world, config=config)
