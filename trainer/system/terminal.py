"""Output to the terminal: lines, tables, progress bars and one row for each evaluation."""

import time
from collections.abc import Callable, Mapping, Sequence
from datetime import timedelta
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from trainer import printable, redact
from trainer.system.pace import Pace
from trainer.system.text import join, one_line, show

MOST_WARNINGS = 9
"""Warnings about the data that are shown."""


_bars: list[Progress] = []
"""Progress bars that were started in this process."""


def close_bars() -> None:
    """Remove all progress bars, and show the cursor again."""
    while _bars:
        _bars.pop().stop()


class Display:
    """Terminal output of a program; a quiet one, for processes other than the main process, prints nothing."""

    def __init__(self, quiet: bool = False) -> None:
        self.console = Console(quiet=quiet, stderr=False, highlight=False)
        self.progress: Progress | None = None
        self.pace = Pace()
        self.header_shown = False
        self.loss_sum, self.loss_count = 0.0, 0  # since the last evaluation

    def log(self, text: str, style: str = "") -> None:
        """Print text literally, without wrapping, so that no path is broken in two."""
        self.console.print(printable(redact(text)), style=style, markup=False, soft_wrap=True)

    def warnings(self, texts: Sequence[str], command: Sequence[str]) -> None:
        """Print the first warnings about the data, and `command`, which shows all of them."""
        for text in texts[:MOST_WARNINGS]:
            self.log(f"warning: {text}", "yellow")
        if len(texts) > MOST_WARNINGS:
            more = f"... and {len(texts) - MOST_WARNINGS} more warnings; check.json in the run folder has them all"
            self.log(f"{more}, and\n  {join(command)}", "yellow")

    def settings(self, values: Mapping[str, Any], defaults: Mapping[str, Any]) -> None:
        """Print the settings that differ from their defaults."""
        changed = {key: value for key, value in values.items() if value != defaults[key]}
        width = max(map(len, changed), default=0)
        self.log(f"settings that differ from the defaults{':' if changed else ': none'}", "bold")
        for key, value in changed.items():
            self.log(f"  {key:{width}}  {one_line(redact(str(value)))}")

    def progress_bar(self, description: str, total: int) -> Callable[[], None]:
        """Start a progress bar of `total` units; return a function that advances it by one."""
        counter = TextColumn("{task.completed:.0f}/{task.total:.0f}")
        columns = TextColumn("{task.description}"), BarColumn(), counter, TimeRemainingColumn()
        bar = Progress(*columns, console=self.console, transient=True, disable=not self.console.is_terminal)
        task = bar.add_task(description, total=total)
        bar.start()
        _bars.append(bar)
        done = 0

        def advance() -> None:
            nonlocal done
            bar.advance(task)
            done += 1
            if done >= total:
                bar.stop()

        return advance

    def start_training(self, total_steps: int, step: int) -> None:
        """Start the progress bar of training after `step` of `total_steps` steps."""
        self.progress = Progress(
            TextColumn("training"),
            BarColumn(),
            TextColumn("{task.completed:.0f}/{task.total:.0f} steps"),
            TextColumn("{task.fields[figures]}"),
            TimeElapsedColumn(),
            TextColumn("{task.fields[left]}"),
            console=self.console,
            transient=True,
            disable=not self.console.is_terminal,
            refresh_per_second=2,  # rich's default of 10 takes CPU time from the steps
        )
        self.task = self.progress.add_task("training", total=total_steps, completed=step, figures="", left="")
        self.progress.start()
        _bars.append(self.progress)
        self.total_steps, self.pace = total_steps, Pace()
        self.loss_sum, self.loss_count = 0.0, 0

    def step(self, step: int, values: Mapping[str, float], memory_gib: Callable[[], float]) -> None:
        """Advance the progress bar of training to `step`, with the step's metrics."""
        assert self.progress is not None
        self.loss_sum, self.loss_count = self.loss_sum + values["train/loss"], self.loss_count + 1
        figures = (
            f"loss {values['train/loss']:.3f}  {values['train/images_per_second']:.1f} images/s  {memory_gib():.1f} GiB"
        )
        self.pace.step(time.monotonic())
        seconds = self.pace.left_s(self.total_steps - step)
        left = "" if seconds is None else f"{timedelta(seconds=round(seconds))} left"
        self.progress.update(self.task, completed=step, figures=figures, left=left)

    def plan(self, total_steps: int) -> None:
        """Show another number of steps than before, where the progress bar has been started."""
        self.total_steps = total_steps
        if self.progress is not None:
            self.progress.update(self.task, total=total_steps)

    def evaluation(
        self, step: int, epoch: float, values: Mapping[str, float], scores: Mapping[str, float], best: bool
    ) -> None:
        """Print one row of the table of evaluations; the first row comes with the header."""
        shown = {show(name, 24): score for name, score in list(scores.items())[:6]} if len(scores) > 1 else {}
        names = ["step", "epoch", "train loss", "val loss", "val mIoU", "val Dice", *shown]
        mean = self.loss_sum / self.loss_count if self.progress and self.loss_count else None
        numbers = [mean, values.get("val/loss"), values.get("val/miou"), values.get("val/dice"), *shown.values()]
        widths = [max(10, len(name) + 2) for name in names]
        cells = [f"{step}", f"{epoch:g}", *("-" if number is None else f"{number:.4f}" for number in numbers)]
        if not self.header_shown:
            self.log("".join(name.rjust(width) for name, width in zip(names, widths, strict=True)), "bold")
            self.header_shown = True
        row = "".join(cell.rjust(width) for cell, width in zip(cells, widths, strict=True))
        self.log(row + ("  best" if best else ""), "green" if best else "")
        self.loss_sum, self.loss_count = 0.0, 0
        self.pace.evaluation()

    def close(self) -> None:
        """Remove the progress bars."""
        close_bars()
        self.progress = None
