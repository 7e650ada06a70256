"""Training as the terminal shows it: a progress bar, one row for each evaluation, tables."""

import shlex
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.table import Table

from trainer import redact

MOST_WARNINGS = 9


class Display:
    """Speaks to the person in front of the terminal; a quiet one for the other processes says nothing."""

    def __init__(self, quiet: bool = False) -> None:
        self.console = Console(quiet=quiet, stderr=False, highlight=False)
        self.progress: Progress | None = None
        self.header_shown = False
        self.bars: list[Progress] = []

    def log(self, text: str, style: str = "") -> None:
        """A line of text, taken literally; it never breaks a path in two."""
        self.console.print(redact(text), style=style, markup=False, soft_wrap=True)

    def warnings(self, texts: Sequence[str], command: Sequence[str]) -> None:
        """The first lines of what was noticed about the data; `command` shows the rest."""
        for text in texts[:MOST_WARNINGS]:
            self.log(f"warning: {text}", "yellow")
        if len(texts) > MOST_WARNINGS:
            more = f"... and {len(texts) - MOST_WARNINGS} more warnings; check.json in the run folder has them all"
            self.log(f"{more}, and\n  {shlex.join(command)}", "yellow")

    def settings(self, values: Mapping[str, Any], defaults: Mapping[str, Any]) -> None:
        """The resolved configuration as a table; what differs from the defaults is marked."""
        table = Table(title="Settings", title_justify="left", box=None, pad_edge=False)
        table.add_column("key")
        table.add_column("value", overflow="fold")
        for key, value in values.items():
            changed = value != defaults[key]
            table.add_row(key, redact(f"{value}") + ("  *" if changed else ""), style="bold" if changed else "dim")
        self.console.print(table)
        self.log("* differs from the default", "dim")

    def progress_bar(self, what: str, total: int) -> Callable[[], None]:
        """Show that `what` is being done `total` times; the function returned counts one."""
        bar = Progress(
            TextColumn("{task.description}"), BarColumn(), TextColumn("{task.completed:.0f}/{task.total:.0f}"),
            TimeRemainingColumn(), console=self.console, transient=True, disable=not self.console.is_terminal,
        )  # fmt: skip
        task = bar.add_task(what, total=total)
        bar.start()
        self.bars.append(bar)
        done = [0]

        def advance() -> None:
            bar.advance(task)
            done[0] += 1
            if done[0] >= total:
                bar.stop()

        return advance

    def start_training(self, total_steps: int, step: int) -> None:
        self.progress = Progress(
            TextColumn("training"), BarColumn(), TextColumn("{task.completed:.0f}/{task.total:.0f} steps"),
            TextColumn("{task.fields[figures]}"), TimeElapsedColumn(), TextColumn("left"), TimeRemainingColumn(),
            console=self.console, transient=True, disable=not self.console.is_terminal,
            refresh_per_second=2,  # rich's ten would take CPU time from the steps
        )  # fmt: skip
        self.task = self.progress.add_task("training", total=total_steps, completed=step, figures="")
        self.progress.start()
        self.began_s, self.losses = time.perf_counter(), [0.0, 0.0]

    def step(self, step: int, values: Mapping[str, float], memory_gib: Callable[[], float]) -> None:
        assert self.progress is not None
        self.losses = [self.losses[0] + values["train/loss"], self.losses[1] + 1]
        figures = (
            f"loss {values['train/loss']:.3f}  {values['train/images_per_second']:.1f} images/s  {memory_gib():.1f} GiB"
        )
        self.progress.update(self.task, completed=step, figures=figures)

    def evaluation(
        self, step: int, epoch: float, values: Mapping[str, float], scores: Mapping[str, float], best: bool
    ) -> None:
        """One row of the table of evaluations; the header comes with the first."""
        shown = dict(list(scores.items())[:6]) if len(scores) > 1 else {}
        names = ["step", "epoch", "train loss", "val loss", "val mIoU", "val Dice", *shown]
        mean = self.losses[0] / self.losses[1] if self.progress and self.losses[1] else None
        numbers = [mean, values.get("val/loss"), values.get("val/miou"), values.get("val/dice"), *shown.values()]
        widths = [max(10, len(name) + 2) for name in names]
        cells = [f"{step}", f"{epoch:g}", *("-" if number is None else f"{number:.4f}" for number in numbers)]
        if not self.header_shown:
            self.log("".join(name.rjust(width) for name, width in zip(names, widths, strict=True)), "bold")
            self.header_shown = True
        row = "".join(cell.rjust(width) for cell, width in zip(cells, widths, strict=True))
        self.log(row + ("  best" if best else ""), "green" if best else "")
        self.losses = [0.0, 0.0]

    def close(self) -> None:
        """Leave the terminal as it was; what is said from now on stands below."""
        for bar in self.bars:
            bar.stop()
        if self.progress is not None:
            self.progress.stop()
            self.progress = None
