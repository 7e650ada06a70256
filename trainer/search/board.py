"""Terminal output of a sweep: a line for each event, and a progress bar."""

from collections.abc import Sequence
from datetime import timedelta

from optuna.trial import FrozenTrial, TrialState
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from trainer.search.study import Study
from trainer.system.terminal import Display


class Board:
    """Lines about the trials, and below them how many have ended, the best score, and the time that is left."""

    def __init__(self, display: Display, trials: int, jobs: int) -> None:
        self.display, self.trials, self.jobs = display, trials, jobs
        self.progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            TextColumn("{task.fields[best]}"),
            TimeElapsedColumn(),
            TextColumn("{task.fields[left]}"),
            console=display.console,
            transient=True,
            disable=not display.console.is_terminal,
            refresh_per_second=2,
        )
        self.task = self.progress.add_task("trials", total=trials, best="", left="")

    def start(self) -> None:
        """Show the bar."""
        self.progress.start()

    def log(self, text: str, style: str = "") -> None:
        """Print a line."""
        self.display.log(text, style)

    def show(self, study: Study, running: int, limit_s: float | None) -> None:
        """Update the bar; `limit_s`: seconds until the sweep has to end, None without a limit."""
        if self.progress.disable:
            return
        trials = study.trials()
        ended = [one for one in trials if one.state.is_finished()]
        best = study.best()
        left = self._left_s(ended, limit_s)
        self.progress.update(
            self.task,
            completed=len(ended),
            description=f"trial {min(self.trials, len(ended) + running)} of {self.trials}",
            best=f"best {best.values[0]:.4f} (trial {best.number})" if best else "",
            left="" if left is None else f"{timedelta(seconds=round(left))} left",
        )

    def _left_s(self, ended: Sequence[FrozenTrial], limit_s: float | None) -> float | None:
        """Seconds that the trials left take by the mean of those so far, but no more than the limit."""
        counted = [one for one in ended if one.state in (TrialState.COMPLETE, TrialState.PRUNED)]
        times = [one.duration.total_seconds() for one in counted if one.duration]
        if not times:
            return limit_s
        left = sum(times) / len(times) * (self.trials - len(ended)) / self.jobs
        return left if limit_s is None else min(left, limit_s)

    def close(self) -> None:
        """Remove the bar."""
        self.progress.stop()
