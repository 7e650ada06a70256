"""Geometry of charts: from numbers to places in a drawing, for whatever draws them."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

WIDTH, HEIGHT = 420, 240
"""Size of a chart, in its own units."""

LEFT, RIGHT, TOP, BOTTOM = 44, 24, 12, 28
"""Margins for the numbers at the axes and at the ends of the lines, in the same units."""

LABEL_GAP = 13
"""Least distance of two labels at the ends of lines."""

Points = Sequence[tuple[float, float]]


@dataclass(frozen=True)
class Line:
    """One line of a chart."""

    series: int
    """Number of the series, from 0."""

    points: str
    """Places "x,y x,y ..." of a polyline."""

    label_y: float
    """Height of the label at its end."""


@dataclass(frozen=True)
class Chart:
    """Lines and axes of a chart of WIDTH x HEIGHT."""

    lines: list[Line]
    x_ticks: list[tuple[float, str]]
    """Places and texts."""

    y_ticks: list[tuple[float, str]]
    width: int = WIDTH
    height: int = HEIGHT
    left: int = LEFT
    right: int = WIDTH - RIGHT
    top: int = TOP
    bottom: int = HEIGHT - BOTTOM


def line_chart(series: Mapping[int, Points], share: bool) -> Chart | None:
    """Lay out lines over a common axis; None without a point.

    `series`: number -> points (x, y), finite. `share`: the values are shares, so that the axis begins at 0 and ends at
    1; otherwise it fits the values.
    """
    every = [point for points in series.values() for point in points]
    if not every:
        return None
    x_low, x_high = min(x for x, _ in every), max(x for x, _ in every)
    y_low, y_high = (0.0, 1.0) if share else _padded(min(y for _, y in every), max(y for _, y in every))
    x_scale = (WIDTH - LEFT - RIGHT) / ((x_high - x_low) or 1)
    y_scale = (HEIGHT - TOP - BOTTOM) / (y_high - y_low)

    def place(x: float, y: float) -> tuple[float, float]:
        y = min(max(y, y_low), y_high)
        return round(LEFT + (x - x_low) * x_scale, 1), round(HEIGHT - BOTTOM - (y - y_low) * y_scale, 1)

    lines = []
    for number, points in series.items():
        if points:
            places = [place(x, y) for x, y in sorted(points)]
            if len(places) == 1:  # a line needs two ends to be seen
                places.append((places[0][0] + 3, places[0][1]))
            lines.append(Line(number, " ".join(f"{x:g},{y:g}" for x, y in places), places[-1][1]))
    x_ticks = [(place(x, y_low)[0], f"{x:,g}") for x in ticks(x_low, x_high, 4) if float(x).is_integer()]
    y_ticks = [(place(x_low, y)[1], f"{y:.6g}") for y in ticks(y_low, y_high, 5)]
    return Chart(_apart(lines), x_ticks, y_ticks)


def _padded(low: float, high: float) -> tuple[float, float]:
    room = 0.06 * (high - low) or abs(high) * 0.1 or 1.0
    return low - room, high + room


def _apart(lines: list[Line]) -> list[Line]:
    """Move labels that would lie over each other down, and where there is no room left, all of them up."""
    moved, last = [], -math.inf
    for line in sorted(lines, key=lambda line: line.label_y):
        last = max(line.label_y, last + LABEL_GAP)
        moved.append(Line(line.series, line.points, last))
    over = max(0.0, last - (HEIGHT - BOTTOM))
    return [Line(line.series, line.points, max(TOP, line.label_y - over)) for line in moved]


def ticks(low: float, high: float, most: int) -> list[float]:
    """Round numbers between `low` and `high`, at most `most` + 1, at distances of 1, 2 or 5 times a power of ten."""
    if not high > low:
        return [low]
    rough = (high - low) / most
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(power * factor for factor in (1, 2, 5, 10) if power * factor >= rough * (1 - 1e-9))
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    return [round(number * step, 10) for number in range(first, last + 1)]
