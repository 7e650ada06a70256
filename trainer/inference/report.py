"""Reports of a call: report.json, report.csv, objects.csv and coco.json, written whole each time.

report.json and report.csv are written again and again while the call works, so that they hold what is done whenever it
is killed.
"""

import csv
import io
import json
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from trainer import redact_all
from trainer.inference.journal import Entry
from trainer.system.atomic import atomic_file, write_text
from trainer.system.text import cell, one_line

SECONDS, SHARE = 3.0, 0.02
"""Least time between two writings of the reports, in seconds, and the share of all time that they may take."""

ORIGIN = ("name", "version", "alias", "run_id", "commit", "dataset_digest", "threshold", "program")
"""Facts about the model that are columns of the tables."""

FIRST = ("file", "width", "height")
FILES = ("mask", "overlay", "confidence_map", "probabilities", "labelme")
"""Files that rows name, below the output folder."""

Row = dict[str, Any]


class Report:
    """Rows of the images that are done, in the order of all images, and the files that hold them."""

    def __init__(self, output: Path, model: Mapping[str, Any], names: Sequence[str], left_out: list[Row]) -> None:
        """`model`: facts, among them `classes`; `names`: those of all images, in order; `left_out`: other files."""
        self.output, self.names = output, names
        self.model = redact_all(dict(model))
        self.left_out = redact_all(left_out)
        self.rows: dict[str, Row] = {}
        self.texts: dict[str, tuple[str, str]] = {}
        """JSON and CSV of each row, made once: the reports are written many times."""

        self.columns = columns(self.model)
        self.written_s, self.took_s = 0.0, 0.0

    def add(self, entry: Entry) -> None:
        """Add the row of an image."""
        row = redact_all(entry.row)
        line = csv_line([read(row) for _, read in self.columns])
        self.rows[entry.name] = row
        self.texts[entry.name] = json.dumps(row, ensure_ascii=False), line

    def write_when_due(self) -> None:
        """Write the reports if they are old, and writing them takes a small share of the time."""
        since = time.monotonic() - self.written_s
        if since > max(SECONDS, self.took_s / SHARE):
            self.write(complete=False)

    def write(self, complete: bool) -> None:
        """Write report.json and report.csv. `complete`: all images are in them."""
        began = time.monotonic()
        done = [name for name in self.names if name in self.rows]
        head = {"model": self.model, "complete": complete, "pictures": len(self.names), "totals": self.totals()}
        texts = [json.dumps(head, indent=1, ensure_ascii=False).removesuffix("\n}")]
        texts.append(',\n "files": [\n  ' + ",\n  ".join(self.texts[name][0] for name in done) + "\n ],\n")
        texts.append(f' "left_out": {json.dumps(self.left_out, ensure_ascii=False)}\n}}')
        write_text(self.output / "report.json", "".join(texts))
        titles = csv_line([title for title, _ in self.columns])
        write_text(self.output / "report.csv", titles + "".join(self.texts[name][1] for name in done))
        self.written_s = time.monotonic()
        self.took_s = self.written_s - began

    def totals(self) -> dict[str, Any]:
        """Sums over the images that are done."""
        rows = list(self.rows.values())
        done = [row for row in rows if "error" not in row]
        return {
            "done": len(done),
            "failed": len(rows) - len(done),
            "classes": {
                name: {
                    "pixels": sum(row["pixels"][name] for row in done),
                    "objects": sum(row.get("objects", {}).get(name, 0) for row in done),
                    "pictures": sum(row["pixels"][name] > 0 for row in done),
                }
                for name in self.model["classes"]
            },
        }


Column = tuple[str, Callable[[Row], object]]
"""Title, and how a row's value is found."""


def columns(model: Mapping[str, Any]) -> list[Column]:
    """Columns of report.csv."""
    names = model["classes"]

    def fact(key: str) -> Column:
        return key, lambda row: "yes" if row.get(key) is True else cell(row.get(key))

    def of_class(key: str, name: str) -> Column:
        return one_line(f"{key} {name}"), lambda row: row.get(key, {}).get(name, "")

    def constant(key: str) -> Column:
        value = cell(model.get(key))
        return ("model" if key == "name" else key), lambda _row: value

    shares = [of_class("share", name) for name in names]
    counts = [of_class(key, name) for key, chosen in (("pixels", names), ("objects", names[1:])) for name in chosen]
    rest = [fact(key) for key in ("confidence", "unsure", "seconds", "error", *FILES)]
    return [*map(fact, FIRST), *shares, *rest, *counts, *map(constant, ORIGIN)]


def csv_line(values: Sequence[object]) -> str:
    """A line of a table."""
    file = io.StringIO(newline="")
    csv.writer(file).writerow(values)
    return file.getvalue()


# ---------------------------------------------------------------- objects

OBJECT_TITLES = (
    *("file", "class", "area", "x", "y", "width", "height", "centre x", "centre y", "confidence"),
    *("mask", "model", "version"),
)


def write_objects(file: Path, entries: Iterable[Entry], model: Mapping[str, Any]) -> None:
    """Write a line for each object of `entries`."""
    names, origin = model["classes"], [cell(model.get("name")), cell(model.get("version"))]
    with atomic_file(file) as target:
        target.write(csv_line(OBJECT_TITLES).encode())
        for entry in entries:
            row = redact_all(entry.row)
            for one in entry.objects:
                values = [names[one["class"]], one["area"], *one["box"], *one["centroid"], one["confidence"]]
                line = csv_line([cell(value) for value in (row["file"], *values, row.get("mask"))] + origin)
                target.write(line.encode(errors="backslashreplace"))


def write_coco(file: Path, entries: Callable[[], Iterator[Entry]], model: Mapping[str, Any]) -> None:
    """Write the objects of `entries` as COCO's instances with compressed run lengths; `entries` is called twice."""
    with atomic_file(file) as target:
        stream_coco(target.write, entries, model)


def stream_coco(
    write: Callable[[bytes], object], entries: Callable[[], Iterator[Entry]], model: Mapping[str, Any]
) -> None:
    """Hand what `write_coco` writes to `write`, piece by piece."""
    facts = {key: value for key in ORIGIN if (value := model.get(key)) not in (None, "")}
    categories = [
        {"id": number, "name": name, "supercategory": ""} for number, name in enumerate(model["classes"]) if number
    ]
    images = (
        {"id": number, "file_name": redact_all(one.row["file"]), "width": one.row["width"], "height": one.row["height"]}
        for number, one in enumerate(entries(), start=1)
    )
    info = {"description": "predicted", **facts}
    write(f'{{"info": {json.dumps(info)},\n "licenses": [],\n "categories": '.encode())
    write(f'{json.dumps(categories)},\n "images": ['.encode())
    _write_list(write, images)
    write(b'],\n "annotations": [')
    _write_list(write, _annotations(entries()))
    write(b"]}\n")


def _annotations(entries: Iterator[Entry]) -> Iterator[dict[str, Any]]:
    number = 0
    for image, entry in enumerate(entries, start=1):
        for one in entry.objects:
            number += 1
            yield {
                "id": number,
                "image_id": image,
                "category_id": one["class"],
                "segmentation": {"size": [entry.row["height"], entry.row["width"]], "counts": one["runs"]},
                "area": one["area"],
                "bbox": one["box"],
                "iscrowd": 0,
                "score": one["confidence"],
            }


def _write_list(write: Callable[[bytes], object], items: Iterator[dict[str, Any]]) -> None:
    for number, item in enumerate(items):
        write((",\n  " if number else "\n  ").encode() + json.dumps(item).encode())
