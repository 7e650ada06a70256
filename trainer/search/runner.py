"""Loop of a sweep: begins trials, watches them, and ends them."""

import os
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from optuna.trial import FrozenTrial, TrialState

from trainer import InputError
from trainer.config import Config
from trainer.search import results
from trainer.search.board import Board
from trainer.search.space import Space
from trainer.search.study import PRUNED_UNTIL, Study
from trainer.search.sweep_folder import Part, SweepFolder
from trainer.search.trial import MOST_STARTS, Outcome, TrialProcess, describe, same_reason, write_settings
from trainer.system.cpus import usable_cpus
from trainer.system.launcher import THREADS_VARIABLE
from trainer.system.run_folder import RunFolder, read_object
from trainer.tracking.run import Run

POLL_SECONDS = 0.5
"""Interval between two looks at the trainings, in seconds."""

HOPELESS = 3
"""Trials that fail first, all for one reason, after which the sweep ends."""

TAG_SECONDS = 10.0
"""Longest wait for the tracking server to take the tag of a pruned trial, in seconds."""


@dataclass(frozen=True)
class Limits:
    """What a sweep may take."""

    trials: int
    """Trials of all machines together."""

    jobs: int = 1
    """Trainings at once on this machine."""

    folds: int = 1
    """Trainings of each trial, each of which validates another part of the pictures; 1 as the settings say."""

    minutes: float = 0.0
    """Minutes from the start of this process; 0 for no limit."""


class Runner:
    """Trials of a sweep on this machine."""

    def __init__(
        self,
        study: Study,
        space: Space,
        folder: SweepFolder,
        run: Run,
        config: Config,
        limits: Limits,
        board: Board,
        stop_requested: Callable[[], bool],
    ) -> None:
        self.study, self.space, self.folder, self.run = study, space, folder, run
        self.config, self.limits, self.board, self.stop_requested = config, limits, board, stop_requested
        self.owner = {"participant": folder.participant(), "host": os.uname().nodename}
        self.slots: dict[int, TrialProcess] = {}
        study.adopt(self.owner)
        self.unfinished = [one for one in study.trials() if self._is_own(one) and one.state == TrialState.RUNNING]
        self.began_s = time.monotonic()
        self.failures: list[str] = []
        """Reasons of the trials that have failed since this start, while none has succeeded."""
        self.succeeded = False
        self.devices = visible_devices() if limits.jobs > 1 else []

    def _is_own(self, trial: FrozenTrial) -> bool:
        return bool(trial.user_attrs.get("owner", {}).get("participant") == self.owner["participant"])

    # ---------------------------------------------------------------- the loop

    def run_trials(self) -> None:
        """Run trials until there are enough, the time is over, a signal arrives, or all fail alike.

        No training outlives this call, however it ends.
        """
        try:
            self._loop()
        finally:
            for process in self.slots.values():
                process.stop("stopped")
            while any(process.ended() is None for process in self.slots.values()):
                time.sleep(POLL_SECONDS)

    def _loop(self) -> None:
        while True:
            if self.stop_requested() or self.hopeless or self._seconds_left() == 0:
                for process in self.slots.values():
                    process.stop("stopped")
            else:
                self._fill()
            if not self.slots:
                return
            for slot, process in list(self.slots.items()):
                self._look(slot, process)
            self.board.show(self.study, len(self.slots), self._seconds_left())
            time.sleep(POLL_SECONDS)

    @property
    def hopeless(self) -> str:
        """Reason for which the first trials have all failed; empty where that is not so."""
        first = self.failures[:HOPELESS]
        alike = len(first) == HOPELESS and all(same_reason(first[0], one) for one in first)
        return first[0] if alike and not self.succeeded else ""

    def _seconds_left(self) -> float | None:
        if not self.limits.minutes:
            return None
        return max(0.0, self.began_s + 60 * self.limits.minutes - time.monotonic())

    def _too_late_to_begin(self) -> bool:
        """Return whether less time is left than any complete trial has taken."""
        left = self._seconds_left()
        complete = [one for one in self.study.trials() if one.state == TrialState.COMPLETE]
        times = [one.duration.total_seconds() for one in complete if one.duration]
        return left is not None and bool(times) and left < min(times)

    def _fill(self) -> None:
        """Begin trials, or go on with those of an earlier start, where there is room."""
        for slot in range(self.limits.jobs):
            if slot in self.slots:
                continue
            if self.unfinished:
                trial = self.study.complete_values(self.space, self.unfinished.pop(0).number)
            elif self._too_late_to_begin():
                return
            elif (asked := self.study.ask(self.space, self.limits.trials, self.owner)) is not None:
                trial = asked
            else:
                return
            self.slots[slot] = self._begin(slot, trial, 0)
            again = "goes on" if self.slots[slot].run else "begins"
            self.board.log(f"trial {trial.number} {again}: {describe(self.space.settings(trial.params))}")

    def _begin(self, slot: int, trial: FrozenTrial, fold: int) -> TrialProcess:
        """Prepare a training of a trial; it starts at the next look."""
        part = Part(trial.number, fold if self.limits.folds > 1 else None)
        write_settings(self.folder, part, self.limits.folds, self.space.settings(trial.params))
        options = [] if self.threads is None else ["--train.threads", f"{self.threads}"]
        return TrialProcess(self.folder, part, self._environment(slot), options)

    @property
    def threads(self) -> int | None:
        """Threads of each training, where several share the CPUs; None where one runs alone, or a person sets them."""
        if self.limits.jobs == 1 or self.config.train.threads != "auto" or os.environ.get(THREADS_VARIABLE):
            return None
        return max(1, usable_cpus() // self.limits.jobs)

    def _environment(self, slot: int) -> dict[str, str]:
        """Variables of the training in a slot: of several GPUs, each training has one."""
        if len(self.devices) < 2:
            return {}
        return {"CUDA_VISIBLE_DEVICES": self.devices[slot % len(self.devices)]}

    # ---------------------------------------------------------------- one trial

    def _look(self, slot: int, process: TrialProcess) -> None:
        if process.starts == 0:
            if process.asked:  # it was still waiting for an earlier process
                del self.slots[slot]
            else:
                process.start()
            return
        course = process.read()
        if course and process.asked is None and process.part.fold is None and course.has_news():
            behind = self.study.report(process.part.trial, course.scores)
            if behind and course.share < PRUNED_UNTIL:
                process.stop("pruned")
        outcome = process.ended()
        if outcome is None:
            return
        del self.slots[slot]
        if outcome.kind == "killed" and self.stop_requested():  # by the signal that reached the sweep, too
            return
        if outcome.kind == "killed" and process.starts < MOST_STARTS:
            self.board.log(f"trial {process.part.trial} {outcome.reason}; it is started again", "yellow")
            self.slots[slot] = process
            process.start()
        elif outcome.kind != "stopped":
            outcome = self._checked(process, outcome)
            if process.part.fold is not None and outcome.kind == "complete":
                self._end_fold(slot, process)
            else:
                share = process.course.share if process.course else 0
                self._end(process, outcome, f"after {share} % of the training, val/miou {self._last(process):.4f}")

    def _end_fold(self, slot: int, process: TrialProcess) -> None:
        """Compare what is known of a trial after one of its folds, and begin the next one, or end it."""
        from trainer.search.folds import fold_scores  # loads torch

        number, fold = process.part.trial, process.part.fold or 0
        try:
            scores = fold_scores(self.folder, number, fold + 1)
        except InputError as error:
            return self._end(process, Outcome("failed", reason=f"{error}"), "")
        behind = self.study.report(number, scores.images)
        if fold + 1 == self.limits.folds:
            return self._end(process, Outcome("complete", scores.miou), "")
        if behind:
            text = f"after {fold + 1} of {self.limits.folds} folds, mIoU {scores.miou:.4f}"
            return self._end(process, Outcome("pruned", scores.miou), text)
        self.slots[slot] = self._begin(slot, self.study.trial(number), fold + 1)
        return None

    def _end(self, process: TrialProcess, outcome: Outcome, stopped: str) -> None:
        """Tell the study, the sweep's run and the person how a trial has ended; `stopped`: where it was pruned."""
        number = process.part.trial
        name = f"trial {number}"
        if outcome.kind == "complete" and outcome.score is not None:
            best = self.study.best()
            self.study.complete(number, outcome.score)
            better = best is None or outcome.score > best.values[0]
            self.succeeded = True
            self.board.log(
                f"{name}: best/miou {outcome.score:.4f}{'  best' if better else ''}", "green" if better else ""
            )
        elif outcome.kind == "pruned":
            self.study.prune(number, stopped, self._last(process) if outcome.score is None else outcome.score)
            self.succeeded = True
            if process.run:
                close_run(process.run, "KILLED", {"sweep.pruned": stopped})
            process.clear()
            self.board.log(f"{name}: pruned {stopped}")
        else:
            self.study.fail(number, outcome.reason)
            self.failures.append(outcome.reason)
            if process.run and outcome.kind == "killed":
                close_run(process.run, "FAILED", {"sweep.failed": outcome.reason})
            self.board.log(f"{name} failed: {outcome.reason}", "red")
            self.board.log(f"  its output: {self.folder.output(process.part)}", "dim")
        if best := self.study.best():
            values = {"sweep/best_miou": best.values[0]}
            values |= {"sweep/miou": outcome.score} if outcome.kind == "complete" and outcome.score else {}
            self.run.journal.append(metrics=values, step=number)
            if best.number == number:
                results.write_best(self.folder, self.config, self.space, best)

    def _last(self, process: TrialProcess) -> float:
        scores = process.course.scores if process.course else {}
        return scores[max(scores)] if scores else float("nan")

    def _checked(self, process: TrialProcess, outcome: Outcome) -> Outcome:
        """The outcome; a failure where the trial was trained on other data than the first one."""
        if outcome.score is None or process.run is None:
            return outcome
        digest = process.run.read_split().get("digest", "")
        kept = self.study.same_for_all(f"dataset {process.part.fold or 0}", digest)
        if kept == digest:
            return outcome
        return Outcome("failed", reason=f"other data than the first trial's: dataset {digest}, not {kept}")


def close_run(folder: RunFolder, status: str, tags: Mapping[str, Any]) -> None:
    """Record the end of a training that perhaps could not do so itself, and tags; sent where the store answers."""
    run = Run(folder, None, bool(read_object(folder.run).get("tracked")))
    run.tags(tags)
    run.end(status)
    run.flush(TAG_SECONDS)
    run.close()


def visible_devices() -> list[str]:
    """GPUs that trainings may use, by the names that CUDA_VISIBLE_DEVICES takes; empty without any."""
    given = os.environ.get("CUDA_VISIBLE_DEVICES")
    if given is not None:
        return [name.strip() for name in given.split(",") if name.strip()]
    import torch

    return [f"{number}" for number in range(torch.cuda.device_count())]
