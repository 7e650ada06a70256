"""Figures of an evaluation as PNG, drawn by matplotlib without its state, so that any thread may call them.

matplotlib comes with MLflow. Texts are drawn as they are: no name is taken for a formula.
"""

import io
import logging
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from trainer.drawing.fonts import drawable, find_font, font_for
from trainer.system.text import show

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

COLOURS = ("#0072b2", "#e69f00", "#009e73", "#d55e00", "#cc79a7", "#56b4e9", "#000000", "#a6761d")
"""Colours of the classes, which colour-blind people tell apart (Okabe 2008, Color universal design)."""

MOST_CLASSES = len(COLOURS)
"""Classes that a figure of curves shows."""

MOST_POINTS = 4000
"""Objects that are drawn as points; of more, some that are spread over all."""

MOST_NUMBERED, MOST_NAMED = 20, 50
"""Classes of a confusion matrix with numbers in its cells, and with names beside it."""

LONGEST = 24
"""Characters of a name."""

LETTER_SIZE = 12
"""Height of letters, in pixels, by which fonts are looked for."""

GREY = "#707070"


def precision_recall(
    curves: Mapping[str, tuple[np.ndarray, np.ndarray, np.ndarray]],
    thresholds: Sequence[float],
    best: Mapping[str, int],
    used: float | None,
) -> bytes:
    """Draw precision against recall, and IoU against the threshold of the probability.

    `curves`: of each class precision, recall and IoU at each of `thresholds`, nan where undefined; `best`: place of its
    best IoU; `used`: the model's own threshold, None where the most probable class wins.
    """
    figure, (left, right) = _figure(1, 2, (9.6, 4.2))
    shown = sorted(curves, key=lambda name: float(curves[name][2][best[name]]))[:MOST_CLASSES]
    shown = [name for name in curves if name in shown]
    for name, colour in zip(shown, COLOURS, strict=False):
        precision, recall, iou = curves[name]
        place = best[name]
        label = f"{_name(name)}: IoU {iou[place]:.3f} at {thresholds[place]:g}"
        left.plot(recall, precision, color=colour, linewidth=2)
        left.plot(recall[place], precision[place], "o", color=colour, markersize=7)
        right.plot(thresholds, iou, color=colour, linewidth=2, label=label)
        right.plot(thresholds[place], iou[place], "o", color=colour, markersize=7)
    _unit(left, "recall", "precision")
    _unit(right, "threshold of the probability", "IoU")
    if used is not None:
        right.axvline(used, color=GREY, linestyle="--", linewidth=1.5, label=f"the model's threshold, {used:g}")
    left.set_title("precision and recall; point: the best IoU")
    some = "" if len(shown) == len(curves) else f"; the {len(shown)} worst of {len(curves)} classes"
    right.set_title(f"IoU at all thresholds{some}")
    _legend_beside(right)
    return _png(figure)


def reliability(rows: Sequence[Mapping[str, Any]], error: float) -> bytes:
    """Draw accuracy against confidence, and how many pixels there are of each confidence.

    `rows`: bins with `from`, `to`, `pixels`, `confidence` and `accuracy`; `error`: expected calibration error.
    """
    figure, (left, right) = _figure(1, 2, (9.6, 4.2))
    edges = [row["from"] for row in rows]
    width = rows[0]["to"] - rows[0]["from"]
    left.plot([0, 1], [0, 1], color=GREY, linestyle="--", linewidth=1.5, label="as often right as it says")
    left.bar(edges, [row["accuracy"] for row in rows], width, align="edge", color="#56b4e9", edgecolor="white")
    confidence, accuracy = ([row[key] for row in rows] for key in ("confidence", "accuracy"))
    left.plot(confidence, accuracy, "o", color=COLOURS[0], label="the model's pixels")
    pixels = np.array([row["pixels"] for row in rows], np.float64)
    right.bar(edges, pixels / pixels.sum(), width, align="edge", color="#56b4e9", edgecolor="white")
    _unit(left, "confidence", "share of pixels that are right")
    _unit(right, "confidence", "share of all pixels")
    low = min(edges)
    for axes in (left, right):
        axes.set_xlim(low, 1)
    left.set_title(f"reliability: expected calibration error {error:.4f}")
    right.set_ylim(0, 1.1 * pixels.max() / pixels.sum())
    right.set_title("how sure the model is")
    left.legend(loc="upper left", fontsize=9)
    return _png(figure)


def object_sizes(objects: np.ndarray, class_names: Sequence[str], rows: Sequence[Mapping[str, Any]]) -> bytes:
    """Draw the IoU of each true object against its size, and the mean of each class of sizes.

    `objects`: class id, area in pixels and IoU, float64 [M, 3]; `class_names`: K, the background's first; `rows`:
    classes of areas with `from`, `below`, `objects` and `iou`, at least one.
    """
    figure, (axes,) = _figure(1, 1, (9.6, 4.4))
    chosen = objects[np.unique(np.linspace(0, len(objects) - 1, MOST_POINTS).round().astype(int))]
    numbers, counts = np.unique(objects[:, 0], return_counts=True)
    frequent = numbers[np.argsort(-counts, kind="stable")]
    named = frequent if len(frequent) <= MOST_CLASSES else frequent[: MOST_CLASSES - 1]
    groups = [(chosen[:, 0] == number, class_names[int(number)]) for number in named]
    if len(named) < len(frequent):
        groups.append((~np.isin(chosen[:, 0], named), "other classes"))
    for (some, name), colour in zip(groups, COLOURS, strict=False):
        sides = np.sqrt(chosen[some, 1])
        axes.scatter(sides, chosen[some, 2], s=18, color=colour, alpha=0.6, linewidths=0, label=_name(name))
    for place, row in enumerate(rows):
        low, high = row["from"] ** 0.5, row["below"] ** 0.5
        label = "mean of the size" if place == 0 else None
        axes.plot([low, high], [row["iou"]] * 2, color="black", linewidth=2.5, label=label)
        axes.annotate(
            f"{row['objects']}",
            ((low * high) ** 0.5, row["iou"]),
            (0, 6 if row["iou"] < 0.9 else -14),
            textcoords="offset points",
            ha="center",
            bbox={"boxstyle": "round,pad=0.15", "facecolor": "white", "edgecolor": "none", "alpha": 0.8},
        )
    edges = sorted({row[key] ** 0.5 for row in rows for key in ("from", "below")})
    axes.set_xscale("log")
    axes.minorticks_off()
    axes.set_xticks(edges, [f"{edge:g}" for edge in edges])
    axes.set_xlim(edges[0], edges[-1])
    _grid(axes, "size of the object: side of a square of its area, in pixels", "IoU of the object")
    axes.set_ylim(-0.03, 1.03)
    axes.set_title("IoU against object size; numbers: objects of the size")
    _legend_beside(axes)
    return _png(figure)


def confusion(matrix: np.ndarray, class_names: Sequence[str]) -> bytes:
    """Draw a confusion matrix, int64 [K, K]: of each true class (row) the shares predicted as each class."""
    count = len(class_names)
    side = min(12.0, 3.2 + 0.55 * count)
    figure, (axes,) = _figure(1, 1, (side + 1.2, side))
    total = matrix.sum(axis=1, keepdims=True)
    shares = np.divide(matrix, total, out=np.zeros(matrix.shape), where=total > 0)
    shown = axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    figure.colorbar(shown, ax=axes, shrink=0.8, label="share of the true class's pixels")
    if count <= MOST_NAMED:
        labels = [_name(name) for name in class_names]
        axes.set_xticks(range(count), labels, rotation=90 if count > 4 else 0)
        axes.set_yticks(range(count), labels)
    if count <= MOST_NUMBERED:
        for row, column in np.ndindex(matrix.shape):
            value = shares[row, column]
            if total[row, 0]:
                text = f"{value:.3f}" if count <= 8 else f"{value:.2f}"
                colour = "white" if value > 0.6 else "black"
                axes.text(column, row, text, ha="center", va="center", color=colour, fontsize=9)
    axes.set_xlabel("predicted")
    axes.set_ylabel("true")
    axes.set_title("confusion: shares of each row")
    return _png(figure)


def _figure(rows: int, columns: int, inches: tuple[float, float]) -> "tuple[Figure, list[Axes]]":
    logging.getLogger("matplotlib").setLevel(logging.ERROR)  # its folder of settings is nobody's concern here
    from matplotlib.figure import Figure

    figure = Figure(figsize=inches, dpi=110, layout="constrained")
    return figure, list(figure.subplots(rows, columns, squeeze=False).flat)


def _unit(axes: "Axes", x: str, y: str) -> None:
    """Axes from 0 to 1."""
    axes.set_xlim(0, 1)
    axes.set_ylim(0, 1.02)
    _grid(axes, x, y)


def _grid(axes: "Axes", x: str, y: str) -> None:
    axes.set_xlabel(x)
    axes.set_ylabel(y)
    axes.grid(color="#dddddd", linewidth=0.8)
    axes.set_axisbelow(True)


def _legend_beside(axes: "Axes") -> None:
    """Legend to the right of the axes, where it covers nothing."""
    axes.legend(loc="upper left", bbox_to_anchor=(1.02, 1.0), fontsize=9, borderaxespad=0)


def _name(name: str) -> str:
    """Name in letters that can be drawn, not too long; no underscore at its start, which hides it from legends."""
    drawn, _ = drawable(show(name, LONGEST), LETTER_SIZE)
    return drawn.strip("_") or drawn.replace("_", "-")


def _png(figure: "Figure") -> bytes:
    from matplotlib.font_manager import FontProperties
    from matplotlib.text import Text

    usual = getattr(find_font(LETTER_SIZE), "path", None)
    for text in figure.findobj(Text):
        text.set_parse_math(False)  # a class may be called $a$
        file = getattr(font_for(text.get_text(), LETTER_SIZE), "path", usual)
        if file != usual:
            text.set_fontproperties(FontProperties(fname=file, size=text.get_fontsize()))
    file = io.BytesIO()
    figure.savefig(file, format="png", bbox_inches="tight")
    return file.getvalue()
