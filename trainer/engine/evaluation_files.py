"""Files of an evaluation: JSON and CSV of its numbers, figures, and a gallery of the worst and the best images."""

import importlib.util
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from trainer.config import install_command
from trainer.data.dataset import ValidationSet
from trainer.drawing import evaluation_figures as figures
from trainer.drawing.gallery import gallery
from trainer.engine.evaluation_command import SUMMARY
from trainer.engine.reporter import watch_image, watched_part
from trainer.inference.report import csv_line
from trainer.model.calibration import THRESHOLDS
from trainer.model.scorecard import Row, Scorecard
from trainer.model.segmenter import Segmenter
from trainer.system.atomic import atomic_file, write_json, write_text
from trainer.system.text import cell, valid
from trainer.tracking.run import Run
from trainer.tracking.tables import table_json

SCORES = "scores.json"
"""Table of scores by which models are compared."""

TABLES = ("images", "classes")
"""Tables, each as CSV, and as JSON in the form in which MLflow's UI sorts it."""

GALLERY = 4
"""Images of a gallery, by default."""

DIGITS = 6
"""Digits behind the point in the tables."""


def write_results(folder: Path, card: Scorecard, facts: Mapping[str, Any]) -> list[Path]:
    """Write the numbers of an evaluation into `folder`, which is made; return the files. Raises OSError.

    `facts`: what the summary says of model, data and program.
    """
    folder.mkdir(parents=True, exist_ok=True)
    card.table.write(folder / SCORES)
    write_json(folder / SUMMARY, dict(facts) | card.summary())
    written = [folder / SCORES, folder / SUMMARY]
    for name, rows in zip(TABLES, (card.images, card.class_rows()), strict=True):
        written += write_rows(folder, name, rows)
    return written


def write_rows(folder: Path, name: str, rows: Sequence[Row]) -> tuple[Path, Path]:
    """Write a table, whose columns are the keys of its rows, as CSV and in MLflow's form; return both files."""
    titles = list(rows[0]) if rows else []
    write_text(folder / f"{name}.csv", _csv(titles, rows))
    write_table(table_file(folder, name), titles, rows)
    return folder / f"{name}.csv", table_file(folder, name)


def record_results(
    run: Run, card: Scorecard, facts: Mapping[str, Any], step: int, model: Mapping[str, str] | None = None
) -> None:
    """Write the numbers of an evaluation into the folder of `run`, and record them at `step`. Raises OSError.

    `facts`: as `write_results` has them; `model`: the model of MLflow that the scores are linked to, as
    `Run.metrics` has it.
    """
    folder = run.folder.evaluation
    files = write_results(folder, card, facts)
    tables = [table_file(folder, name) for name in TABLES]
    for file in files:
        if file not in tables:
            run.artifact(file, folder.name)
    run.tables(tables, folder.name)
    run.metrics(card.metrics(), step, model)
    run.tags({"evaluation.digest": card.table.digest})


def table_file(folder: Path, name: str) -> Path:
    """File of one of TABLES in MLflow's form."""
    return folder / f"{name}.json"


def _csv(titles: Sequence[str], rows: Sequence[Row]) -> str:
    lines = [[cell(valid(title)) for title in titles]]
    lines += [[_cell(row[title]) for title in titles] for row in rows]
    return "".join(csv_line(line) for line in lines)


def write_table(file: Path, titles: Sequence[str], rows: Sequence[Row]) -> None:
    """Write rows in the form in which MLflow's UI sorts them."""
    write_text(file, table_json(titles, [[_rounded(row[title]) for title in titles] for row in rows]))


def _rounded(value: object) -> object:
    if isinstance(value, float):
        return round(value, DIGITS)
    return valid(value) if isinstance(value, str) else value


def _cell(value: object) -> object:
    shown = _rounded(value)
    return "" if shown is None else cell(shown) if isinstance(shown, str) else shown


def draw_figures(folder: Path, card: Scorecard, warn: Callable[[str], None]) -> list[Path]:
    """Draw the figures of an evaluation into `folder`; return their files.

    What cannot be drawn or written is said by `warn`: an evaluation is complete without figures.
    """
    if importlib.util.find_spec("matplotlib") is None:
        warn(f"no figures are drawn: matplotlib is missing; {install_command('train')}")
        return []
    totals, names = card.tally.totals, card.class_names
    curves = {name: (curve.precision, curve.recall, curve.iou) for name, curve in card.curves.items()}
    best, error = {name: curve.best for name, curve in card.curves.items()}, card.calibration_error
    wanted: dict[str, Callable[[], bytes]] = {}
    if curves:
        wanted["precision_recall"] = lambda: figures.precision_recall(curves, THRESHOLDS, best, card.threshold)
    if error is not None:
        wanted["calibration"] = lambda: figures.reliability(card.reliability(), error)
        wanted["confusion"] = lambda: figures.confusion(totals.confusion, names)
    if card.sizes():
        wanted["sizes"] = lambda: figures.object_sizes(card.objects, names, card.sizes())
    written = []
    for name, draw in wanted.items():
        try:
            with atomic_file(folder / f"{name}.png") as file:
                file.write(draw())
            written.append(folder / f"{name}.png")
        except Exception as problem:  # of the library that draws, or of the disk
            warn(f"the figure {name} is not drawn ({type(problem).__name__}: {problem})")
    return written


def draw_galleries(
    folder: Path, card: Scorecard, segmenter: Segmenter, data: ValidationSet, count: int = GALLERY
) -> list[Path]:
    """Draw up to `count` of the worst images, and as many of the best, as worst.png and best.png; return the files.

    `data`: the images of `card`, in the same order. Raises OSError.
    """
    order = card.order
    worst = order[: min(count, -(-len(order) // 2))]
    best = order[::-1][: min(count, len(order) - len(worst))]
    written = []
    for name, places in (("worst", worst), ("best", best)):
        if places:
            panels = [draw_panels(segmenter, data, place) for place in places]
            captions = [f"IoU {card.images[place]['iou']:.3f}   {card.images[place]['image']}" for place in places]
            with atomic_file(folder / f"{name}.png") as file:
                Image.fromarray(gallery(panels, captions)).save(file, "PNG")
            written.append(folder / f"{name}.png")
    return written


def draw_panels(segmenter: Segmenter, data: ValidationSet, place: int) -> np.ndarray:
    """Four panels of an image: prediction, mask, errors, image; uint8 RGB [H, W, 3]."""
    segmenter.eval()
    image = data.samples[place].read_image(levels=segmenter.contract.range_of_levels)
    mask = data.read_mask(place)
    if segmenter.contract.view == "tiles":
        image, mask = image[part := watched_part(mask, segmenter.contract)], mask[part]
    return watch_image(segmenter, image, mask)
