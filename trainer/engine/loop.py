"""The training loop: step, evaluate, remember the best, save."""

import dataclasses
import math
import time
from collections import deque
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager, suppress

from torch import Tensor

from trainer.data.loader import StepBatch, TrainLoader
from trainer.engine.budget import START_SHARE, Budget
from trainer.engine.callback import Callback
from trainer.engine.checkpoint.format import Checkpoint, TrainState, copy_tensors
from trainer.engine.curve import levelled_off
from trainer.engine.distributed.collectives import all_reduce_min
from trainer.engine.evaluate import Evaluation, EvaluationStopped
from trainer.engine.memory import StepSize, explain_out_of_memory
from trainer.engine.schedule import Plan, Schedule
from trainer.engine.step import TrainStep
from trainer.engine.step_stats import PendingStats, Requests
from trainer.engine.stopping import Interrupted, NonFiniteLoss, NotWritten, TrainingStopped
from trainer.engine.threads import AutoThreads
from trainer.model.metrics import Scores
from trainer.model.segmenter import Segmenter

DRAWN_AT = (0.1, 0.25, 0.5, 0.75)
"""Shares of the course of a training after which the watch list is drawn, beside its first and its last evaluation:
the same steps in all runs of a length, so that MLflow's UI shows them side by side."""


class Trainer:
    """Trains a segmenter. Every process makes one, from finished parts, and calls `fit`."""

    def __init__(
        self,
        train_step: TrainStep,
        loader: TrainLoader,
        schedule: Schedule,
        size: StepSize,
        evaluate: Callable[[Segmenter], Evaluation],
        callback: Callback,
        make_checkpoint: Callable[..., Checkpoint],
        stop_requested: Callable[[], bool] = lambda: False,
        threads: AutoThreads | None = None,
    ) -> None:
        """`make_checkpoint` adds what this does not know: contract, settings, environment."""
        self.train_step, self.loader, self.schedule, self.size = train_step, loader, schedule, size
        self.evaluate, self.callback, self.make_checkpoint = evaluate, callback, make_checkpoint
        self.stop_requested, self.threads = stop_requested, threads or AutoThreads()
        self.state = TrainState()
        self.saved: TrainState | None = None
        self.best: dict[str, Tensor] = {}
        self.requests = Requests()
        self.start_s = 0.0
        """Seconds that the start of the program has taken, which count as part of train.minutes."""
        self.budget = Budget(schedule.minutes, loader.sides, schedule.evaluation_interval)
        self.batches: Iterator[StepBatch] = iter(())
        self.pending: deque[tuple[PendingStats, float]] = deque()
        """Statistics of the last steps that are not reported yet, and the seconds that each step took."""
        # A GPU works on while the numbers of a step travel; a CPU has nothing to overlap.
        self.lag = 1 if train_step.accelerator.device.type == "cuda" else 0

    # ---------------------------------------------------------------- the whole run

    def restore(self, checkpoint: Checkpoint) -> None:
        """Continue from a checkpoint. Every process calls this with the same one, before `fit`."""
        self.train_step.restore(checkpoint)
        self.state, self.best = dataclasses.replace(checkpoint.state), checkpoint.best
        self.saved = checkpoint.state
        self.threads.resume(checkpoint.environment)

    def fit(self) -> TrainState:
        """Train to the end or to early stop. Afterwards `best` holds the best weights, and the last ones are saved.

        Raises TrainingStopped, on all processes after the same step, where training ends before.
        """
        minutes, sides = self.schedule.minutes, self.loader.sides
        spent_s = self.state.spent_s or min(self.start_s, START_SHARE * 60 * minutes)
        self.budget = Budget(minutes, sides, self.schedule.evaluation_interval, spent_s)
        try:
            self._choose_threads()
            self._at_boundary()
            self._plan()
            self._read_ahead()
            while not self._finished():
                self._step()
                self._at_boundary()
            self._save_last()
        finally:
            self.callback.wait()
        return self.state

    def _save_last(self) -> None:
        """Save the last checkpoint; raises on all processes where it, or something before, could not be written."""
        with suppress(NotWritten):  # it is the callback's error now
            self._save(wait=True)
        error = self.callback.error()
        if not all_reduce_min(self.train_step.accelerator, int(error is None)):
            raise error or TrainingStopped("the main process could not write to its disk")

    def _plan(self) -> None:
        """Decide the number of steps, where an earlier start of the run has not. A collective."""
        if not self.state.total_steps:
            planned = self.schedule.planned_steps
            if self.schedule.minutes:
                sides, measure = self.loader.sides, self.train_step.measure
                small_s = self.threads.step_s or measure(self.loader.read(0, sides.small))
                self.budget.measured(small_s, measure(self.loader.read(0, sides.full)))
                planned = min(planned, self._steps_left(Plan(planned, planned)))
            self.state.plan = Plan(planned, planned)
        self.callback.on_train_begin(self.state)

    def _choose_threads(self) -> None:
        """Decide the number of threads, where an earlier start of the run has not. A collective."""
        if self.threads.number == 0:
            self.threads.begin()
            if self.threads.worth_measuring(self.schedule.planned_steps):
                self._measure_threads(self.loader.sides.small, self.schedule.planned_steps)

    def _measure_threads(self, side: int, steps_left: int) -> None:
        """Measure steps with several numbers of threads, and take the fastest. Changes no weight. A collective."""
        left_s = 60 * self.schedule.minutes - self.budget.spent_s() if self.schedule.minutes else math.inf
        batch = self.loader.read(self.state.step, side)
        out_of_memory = explain_out_of_memory(self.size, f"before step {self.state.step + 1}")
        with out_of_memory, self.train_step.measuring(batch) as step_s:
            text = self.threads.measure(step_s, side, steps_left, left_s, self.stop_requested)
        if text:
            self.callback.on_threads(self.threads.number, text)

    def _plan_again(self) -> None:
        """Change the number of steps where others fit into train.minutes by now. A collective."""
        before, left = self.state.plan, self._steps_left(self.state.plan)
        if left:
            self.state.plan = self.budget.plan_again(before, self.state.step, left, self.schedule.planned_steps)
        if self.state.plan != before:
            self._read_ahead()
            self.callback.on_plan(self.state)

    def _end_by_curve(self, scores: Scores) -> str:
        """Cut the rest of the steps short where the curve of val/miou has levelled off; return why. A collective."""
        state, interval = self.state, self.schedule.evaluation_interval
        state.scores = [*state.scores, scores.miou or 0.0]
        complete = state.step == interval * len(state.scores)  # not in a checkpoint from before there were scores
        verdict = levelled_off(state.scores, interval, state.plan, 0.0 in scores.iou.values()) if complete else None
        if all_reduce_min(self.train_step.accelerator, int(verdict is not None)) == 0 or verdict is None:
            return ""
        state.plan = state.plan.changed(state.step, verdict.total_steps)
        return verdict.reason

    def _steps_left(self, plan: Plan) -> int:
        """Steps that fit into what is left of train.minutes, the same on all processes; 0 where that is unknown."""
        left = self.budget.steps_left(plan, self.state.step) or 0
        return all_reduce_min(self.train_step.accelerator, left)

    def _read_ahead(self) -> None:
        """Read the images of the steps that are planned, in the background."""
        plan, sides = self.state.plan, self.loader.sides
        if isinstance(self.batches, Generator):
            self.batches.close()
        self.batches = self.loader.batches(
            self.state.step, plan.total_steps, lambda step: sides.of_step(plan.place(step), plan.length)
        )

    def _step(self) -> None:
        state, began_s = self.state, time.perf_counter()
        with self._saved_on_failure():
            batch = next(self.batches)
        waited_s = time.perf_counter() - began_s
        state.waited_s += waited_s
        rate = self.schedule.learning_rate(state.step, state.plan)
        with explain_out_of_memory(self.size, f"in step {state.step + 1}"):
            stats = self.train_step(batch, state.step + 1, rate, self._own_requests())
        state.step += 1
        self._wait_for_earlier(stats)
        seconds = time.perf_counter() - began_s
        state.seconds += seconds
        self.threads.count_step(batch.side, seconds - waited_s)
        if self.schedule.minutes:
            self.budget.count_step(batch.side, seconds)
            state.spent_s = self.budget.spent_s()
        self.pending.append((stats, seconds))
        self._report_pending(self.lag)

    def _at_boundary(self) -> None:
        """Evaluate, save, or stop between two steps, where it is time to. All processes agree on that."""
        if self._evaluation_due() and self.state.evaluated_step != self.state.step:
            self._report_pending()
            with self._saved_on_failure():
                self._evaluate()
            self.requests = dataclasses.replace(self.requests, plan=True)
            # Before a checkpoint is taken, which holds the number for all steps that follow.
            steps_left = self.state.total_steps - self.state.step
            if not (self.requests.stop or self._finished()) and self.threads.due(steps_left):
                side = self.loader.sides.of_step(self.state.plan.place(self.state.step), self.state.plan.length)
                self._measure_threads(side, steps_left)
        if self.requests.abort:
            raise self.callback.error() or TrainingStopped("the main process could not write to its disk")
        if self.requests.stop:
            self._save(wait=True)
            raise Interrupted(f"stopped after step {self.state.step}")
        if self.requests.plan and self.schedule.minutes and 0 < self.state.step < self.state.total_steps:
            self._plan_again()
        if self.requests.checkpoint and not self._finished():
            self._save(wait=False)
        # Done; on a GPU, the next step's requests arrive one step later.
        self.requests = dataclasses.replace(self.requests, plan=False, checkpoint=False)

    def _finished(self) -> bool:
        return self._last_step() or self._early_stop()

    def _last_step(self) -> bool:
        return 0 < self.state.total_steps <= self.state.step

    def _evaluation_due(self) -> bool:
        return self.state.step % self.schedule.evaluation_interval == 0 or self._last_step()

    def _early_stop(self) -> bool:
        return 0 < self.schedule.patience <= self.state.evaluations_without_better

    # ---------------------------------------------------------------- statistics of the steps

    def _own_requests(self) -> Requests:
        failed = self.callback.error() is not None
        return Requests(self.stop_requested(), self.callback.checkpoint_due(), failed, self.budget.due())

    def _report(self, pending: PendingStats, seconds: float) -> None:
        """Report the numbers of a step, and note what is requested after it. Raises where they are not finite.

        Requests are acted upon after the step, whose forward pass has moved the statistics of batch norm.
        """
        stats = pending.stats
        if stats.bad_processes:
            self.state.step = pending.step - 1  # neither this step nor one after it has moved a weight
            raise self._non_finite(pending.step, stats.bad_processes)
        self.requests = stats.requests
        values = {"train/loss": stats.loss, "train/lr": pending.learning_rate, "train/grad_norm": stats.gradient_norm}
        values["train/images_per_second"] = pending.images / seconds
        values |= zip(("train/unlabelled_loss", "train/confident"), stats.unlabelled, strict=False)
        self.callback.on_step(pending.step, values)

    def _wait_for_earlier(self, stats: PendingStats) -> None:
        """Wait for the numbers that are reported after this step: its own, or with a lag those of an earlier one."""
        (self.pending[0][0] if self.lag and self.pending else stats).wait()

    def _report_pending(self, lag: int = 0) -> None:
        """Report all steps but the last `lag`."""
        while len(self.pending) > lag:
            self._report(*self.pending.popleft())

    def _non_finite(self, step: int, processes: list[int]) -> NonFiniteLoss:
        count = self.loader.processes
        rows = [int(row) for process in processes for row in self.loader.rows_of(step - 1, process)]
        text = f"step {step}: the loss or its gradient is not a finite number"
        where = f" on process {', '.join(map(str, processes))}" if count > 1 else ""
        return NonFiniteLoss(f"{text}{where}; lower optim.lr, or look at the pictures of this step", processes, rows)

    # ---------------------------------------------------------------- around the steps

    def _evaluate(self) -> None:
        began_s = time.perf_counter()
        try:
            evaluation = self.evaluate(self.train_step.result)
        except EvaluationStopped:
            self.requests = dataclasses.replace(self.requests, stop=True)
            return
        evaluation_s = time.perf_counter() - began_s
        self._compare_with_best(evaluation.scores.miou)
        reason = self._end_by_curve(evaluation.scores) if self.schedule.by_curve and self.state.step else ""
        values = {
            "val/loss": evaluation.loss,
            "time/evaluation_s": evaluation_s,
            "time/training_s": self.state.seconds,
            "time/waiting_for_data_s": self.state.waited_s,
        }
        self.callback.on_evaluation(dataclasses.replace(self.state), values, evaluation)
        if reason:
            self._read_ahead()
            self.callback.on_plan(self.state, reason)
        self._draw(evaluation, last=self._finished())
        if self.schedule.minutes:
            self.budget.count_evaluation(time.perf_counter() - began_s)
            self.state.spent_s = self.budget.spent_s()

    def _compare_with_best(self, miou: float | None) -> None:
        """Copy the weights where they are the best so far."""
        state, before = self.state, self.state.best_miou
        better = before is None or miou is None or miou > before
        # While nothing is found at all, patience has not begun: 0 after 0 is a start, not a standstill.
        state.evaluations_without_better = 0 if better or not before else state.evaluations_without_better + 1
        if better or miou == before:  # of equals the one trained longer
            state.best_step, state.best_miou = state.step, miou
            self.best = copy_tensors(self.train_step.result.state_dict())
        state.evaluated_step = state.step

    def _draw(self, evaluation: Evaluation, last: bool) -> None:
        """Draw the watch list at step 0, at the last evaluation, and at the first one after each of DRAWN_AT."""
        step, interval = self.state.step, self.schedule.evaluation_interval
        before, now = (self.state.plan.share(at) for at in (max(0, step - 1) // interval * interval, step))
        if step == 0 or last or any(before < share <= now for share in DRAWN_AT):
            self.callback.on_images(self.train_step.result, evaluation.counts, step)

    def _save(self, wait: bool) -> None:
        self._report_pending()
        if self.state != self.saved:
            self.callback.save(self.snapshot, wait)
            self.saved = dataclasses.replace(self.state)

    @contextmanager
    def _saved_on_failure(self) -> Iterator[None]:
        """Save what the steps so far have reached where a block between two of them fails, such as for a lost file."""
        try:
            yield
        except Exception:
            with suppress(TrainingStopped):
                self._save(wait=True)
            raise

    def snapshot(self) -> Checkpoint:
        """Copy everything that the run resumes from."""
        return self.make_checkpoint(**self.train_step.snapshot(), best=self.best, state=dataclasses.replace(self.state))
