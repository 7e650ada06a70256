"""Sheet of a comparison: one HTML file with everything in it, which opens without a network and runs no script."""

import base64
import io
import math
import warnings
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from PIL import Image

from trainer.drawing.charts import Chart, line_chart
from trainer.drawing.figures import PANEL

MOST_IMAGE_BYTES = 3_400_000
"""Bytes of all pictures in a sheet: as text they take a third more, and a file of 5 MB passes most mail servers."""

LEAST_SIDE = 96
"""Side in pixels below which a panel is not made smaller to save bytes."""

MOST_CLASSES = 12
"""Classes whose bars and curves are drawn."""

MOST_PICTURES = 8
"""Pictures that are shown side by side, of each list."""

COLOURS = 7
"""Colours of series in the template's style; further series have the same ones in dashes."""

METRICS = (
    *("best/miou", "best/step", "val/miou", "val/dice", "val/loss", "train/loss", "calibration/ece_after"),
    *("train/images_per_second", "time/training_s"),
)
"""Metrics beside the settings, each by its last value."""

WIDEST = 4 * 4096
"""Longest side of a picture that is read, in pixels."""

Pictures = Mapping[tuple[str, str], Mapping[str, bytes]]
"""(hash or empty, name of an image) -> name of a run -> PNG file of its panels."""


@dataclass(frozen=True)
class Panels:
    """Panels that one run made of an image: data URIs of them, or of the whole picture where it has other panels."""

    prediction: str
    errors: str = ""


@dataclass(frozen=True)
class Row:
    """One image, and what each run made of it."""

    name: str
    image: str
    mask: str
    runs: list[tuple[int, str, Panels | None]]
    """Number and name of each run."""


def render(content: Mapping[str, Any], watched: Pictures, differing: Pictures) -> str:
    """Draw a comparison as an HTML page.

    `content`: as `describe_comparison` gives it; `watched`: pictures of the watch lists; `differing`: of the images on
    which the models differ most, where there are any. Texts may hold anything.
    """
    names = [run["name"] for run in content["runs"]]
    numbers = {name: number for number, name in enumerate(names)}
    differs = {one["hash"]: place for place, one in enumerate(content["disagreements"])}
    order = sorted(watched, key=lambda key: differs.get(key[0], len(differs)))
    watched = {key: watched[key] for key in order[:MOST_PICTURES]}
    rows, differing_rows = _rows_within_budget([watched, differing], numbers)
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"number": _number, "short": _short, "signed": _signed, "interval": _interval}
    return environment.get_template("sheet.html.j2").render(
        content=content,
        names=names,
        numbers=numbers,
        metrics=[key for key in METRICS if any(key in run["metrics"] for run in content["runs"])],
        recorded=_recorded_differs(content),
        winners=_winners(content, numbers),
        gains={pair["second"]: pair["difference"] for pair in content["pairs"] if pair["first"] == names[0]},
        colours=COLOURS,
        charts=_charts(content, numbers),
        classes=_classes(content)[:MOST_CLASSES],
        more_classes=max(0, len(_classes(content)) - MOST_CLASSES),
        watched=rows,
        differing={row.name: row for row in differing_rows},
    )


# ---------------------------------------------------------------- numbers


def _number(value: float | None, digits: int = 3) -> str:
    return "-" if value is None else f"{value:.{digits}f}"


def _short(value: float | None) -> str:
    return "-" if value is None else f"{value:.4g}"


def _signed(value: float | None) -> str:
    return "-" if value is None else f"{value:+.3f}".replace("-", "\N{MINUS SIGN}")


def _interval(value: Mapping[str, float | None]) -> str:
    return f"[{_number(value['low'])}, {_number(value['high'])}]"


def _recorded_differs(content: Mapping[str, Any]) -> bool:
    """Return whether a score that a run has recorded itself is another one than that of the comparison."""
    for run in content["runs"]:
        recorded = run["metrics"].get("best/miou", run["metrics"].get("val/miou"))
        shown = run.get("miou", {}).get("value")
        if recorded is not None and _number(recorded) != _number(shown):
            return True
    return False


def _winners(content: Mapping[str, Any], numbers: Mapping[str, int]) -> list[int | None]:
    """Number of the better model for each sentence; None where there is none."""
    winners: list[int | None] = []
    for pair in content["pairs"]:
        low, high = pair["difference"]["low"] or 0.0, pair["difference"]["high"] or 0.0
        winners.append(numbers[pair["second"]] if low > 0 else numbers[pair["first"]] if high < 0 else None)
    return winners or [None] * len(content["verdict"])


def _classes(content: Mapping[str, Any]) -> list[str]:
    """Names of the classes that have a score in some run."""
    return list(dict.fromkeys(name for run in content["runs"] for name in run.get("iou", ())))


def _charts(content: Mapping[str, Any], numbers: Mapping[str, int]) -> list[tuple[str, Chart]]:
    """Titles and charts of the curves."""
    wanted = ["val/miou", "train/loss", "val/loss"]
    classes = [key for key in content["curves"] if key.startswith("val/iou/")]
    keys = wanted + (classes[:MOST_CLASSES] if len(classes) > 1 else [])
    charts = []
    for key in keys:
        series = {numbers[name]: points for name, points in content["curves"].get(key, {}).items()}
        chart = line_chart(series, share=key.startswith(("val/miou", "val/iou/")))
        if chart is not None:
            charts.append((key, chart))
    return charts


# ---------------------------------------------------------------- pictures


def _rows_within_budget(lists: Iterable[Pictures], numbers: Mapping[str, int]) -> list[list[Row]]:
    """Pictures of some lists as data URIs, smaller where all together would have too many bytes."""
    decoded = [
        [(name, {run: _panels(png) for run, png in runs.items()}) for (_, name), runs in pictures.items()]
        for pictures in lists
    ]
    side = PANEL
    while True:
        rows = [[_row(name, panels, numbers, side) for name, panels in part] for part in decoded]
        size = sum(len(uri) for part in rows for row in part for uri in _uris(row)) * 3 / 4
        if size <= MOST_IMAGE_BYTES or side <= LEAST_SIDE:
            return rows
        side = max(LEAST_SIDE, int(side * 0.9 * math.sqrt(MOST_IMAGE_BYTES / size)))


def _uris(row: Row) -> list[str]:
    return [row.image, row.mask, *(uri for _, _, one in row.runs if one for uri in (one.prediction, one.errors))]


def _row(name: str, panels: Mapping[str, list[np.ndarray]], numbers: Mapping[str, int], side: int) -> Row:
    whole = next((one for one in panels.values() if len(one) == 4), None)
    image, mask = (_data_uri(whole[3], side), _data_uri(whole[1], side)) if whole else ("", "")
    made: list[tuple[int, str, Panels | None]] = []
    for run, number in numbers.items():
        drawn = panels.get(run, [])
        shown = None
        if len(drawn) == 4:
            shown = Panels(_data_uri(drawn[0], side), _data_uri(drawn[2], side))
        elif drawn:
            shown = Panels(_data_uri(drawn[0], 2 * side))
        made.append((number, run, shown))
    return Row(name, image, mask, made)


def _panels(png: bytes) -> list[np.ndarray]:
    """Four panels of `watch_panels`, each uint8 RGB [S, S, 3]; one picture where it is of another form; or none."""
    try:
        with warnings.catch_warnings(), Image.open(io.BytesIO(png), formats=("PNG",)) as opened:
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            if max(opened.size) > WIDEST:
                return []
            picture = np.array(opened.convert("RGB"))
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError, Image.DecompressionBombWarning):
        return []
    height, width = picture.shape[:2]
    if width != 4 * height:
        return [picture]
    return [picture[:, place * height : (place + 1) * height] for place in range(4)]


def as_png(picture: np.ndarray) -> bytes:
    """Content of a PNG file of a picture, uint8 RGB [H, W, 3]."""
    content = io.BytesIO()
    Image.fromarray(picture).save(content, "PNG", compress_level=1)
    return content.getvalue()


def _data_uri(picture: np.ndarray, side: int) -> str:
    """Picture, uint8 RGB [H, W, 3], as a WebP of at most `side` pixels a side, in text."""
    image = Image.fromarray(picture)
    image.thumbnail((side, side), Image.Resampling.LANCZOS)
    content = io.BytesIO()
    image.save(content, "WEBP", quality=80, method=2)
    return f"data:image/webp;base64,{base64.b64encode(content.getvalue()).decode()}"
