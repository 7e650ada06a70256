"""Charts of a sweep, as PNG files. matplotlib draws them without a screen."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

COMPLETE, BEST, PRUNED, FAILED = "#0072b2", "#000000", "#e69f00", "#d55e00"
"""Colours that colour-blind people tell apart (Okabe and Ito 2008)."""

COLUMNS = 3
"""Charts in a row of `draw_slices`."""

DPI = 100
"""Pixels of an inch."""


@dataclass(frozen=True)
class Point:
    """One trial of a chart."""

    number: int
    score: float | None
    """mIoU; of a pruned trial its last one, of a failed one None."""

    state: str
    """complete, pruned or failed."""

    settings: Mapping[str, Any]


def draw_history(points: Sequence[Point], file: Path) -> None:
    """Draw the score of each trial, and the best one so far."""
    figure, axes = _figure(1, 1, 8, 4.5)
    chart = axes[0]
    for state, colour, marker in (("complete", COMPLETE, "o"), ("pruned", PRUNED, "x")):
        some = [one for one in points if one.state == state and one.score is not None]
        places = [one.number for one in some], [one.score for one in some]
        chart.scatter(*places, c=colour, marker=marker, label=state if some else "", zorder=3)
    best: list[float] = []
    numbers: list[int] = []
    for one in points:
        if one.state == "complete" and one.score is not None:
            numbers.append(one.number)
            best.append(max([one.score, *best[-1:]]))
    if numbers:
        last = max(one.number for one in points)
        chart.step([*numbers, last], [*best, best[-1]], where="post", c=BEST, lw=1, label="best so far")
    failed = [one.number for one in points if one.state == "failed"]
    for place, number in enumerate(failed):
        chart.axvline(number, c=FAILED, ls=":", lw=1, label="" if place else "failed")
    chart.set(xlabel="trial", ylabel="mIoU")
    chart.xaxis.get_major_locator().set_params(integer=True)
    if chart.get_legend_handles_labels()[0]:
        chart.legend(loc="lower left", bbox_to_anchor=(0, 1), ncols=4, frameon=False)  # above, where no point is
    figure.savefig(file, dpi=DPI)


def draw_importance(shares: Mapping[str, float], file: Path) -> None:
    """Draw how much each setting matters, 0 to 1, the most important one at the top."""
    figure, axes = _figure(1, 1, 8, 1.2 + 0.4 * max(1, len(shares)))
    names = sorted(shares, key=lambda name: shares[name])
    bars = axes[0].barh(names, [shares[name] for name in names], color=COMPLETE)
    axes[0].bar_label(bars, fmt="%.2f", padding=3)
    axes[0].set(xlabel="importance", xlim=(0, max([*shares.values(), 0.01]) * 1.15))
    figure.savefig(file, dpi=DPI)


def draw_slices(points: Sequence[Point], logarithmic: Sequence[str], file: Path) -> None:
    """Draw the scores by the value of each setting, a chart for each; `logarithmic`: settings on such a scale."""
    keys = list(points[0].settings) if points else []
    rows = max(1, -(-len(keys) // COLUMNS))
    columns = max(1, min(COLUMNS, len(keys)))
    figure, axes = _figure(rows, columns, 3.6 * columns, 3.0 * rows)
    for key, chart in zip(keys, axes, strict=False):
        numeric = all(isinstance(one.settings[key], int | float) for one in points)
        numeric = numeric and not any(isinstance(one.settings[key], bool) for one in points)
        for state, colour, marker in (("complete", COMPLETE, "o"), ("pruned", PRUNED, "x")):
            some = [one for one in points if one.state == state and one.score is not None]
            places = [one.settings[key] if numeric else f"{one.settings[key]}" for one in some]
            chart.scatter(places, [one.score for one in some], c=colour, marker=marker, s=25)
        chart.set(xlabel=key, ylabel="mIoU")
        if key in logarithmic:
            chart.set_xscale("log")
    for chart in axes[len(keys) :]:
        chart.set_axis_off()
    figure.savefig(file, dpi=DPI)


def _figure(rows: int, columns: int, width: float, height: float) -> tuple[Figure, list[Any]]:
    """Figure of some inches, and its charts row by row."""
    figure = Figure(figsize=(width, height), layout="constrained")
    axes = figure.subplots(rows, columns, squeeze=False)
    for chart in axes.flat:
        chart.spines[["top", "right"]].set_visible(False)
        chart.grid(alpha=0.2)
    return figure, list(axes.flat)
