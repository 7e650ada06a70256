"""Files of an evaluation: readable by csv, json and MLflow's table, whatever the names; drawn as far as that works."""

import csv
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from trainer.engine import evaluation_files as module
from trainer.engine.evaluation_files import draw_figures, write_results
from trainer.model.image_counts import ImageCounts, Tally, no_totals
from trainer.model.score_table import ScoredImage, ScoreTable, read_table
from trainer.model.scorecard import Scorecard

NAMES = ("_background_", "=cmd()", "Mücke, groß")


def card(*names: str, trained: frozenset[str] | None = None) -> Scorecard:
    """Scores of images that are known by their counts alone."""
    totals, images, scored = no_totals(3), [], []
    for place, name in enumerate(names):
        confusion = np.array([[80 - place, 3, 0], [1, 10, 0], [place, 0, 6]])
        totals.confusion[:] += confusion
        totals.above[:, 0, 3] += 80
        totals.above[:, 1, 30] += 10
        totals.reliability[12] += (100, 90, 90 * 2**20)
        counts = np.stack([confusion.diagonal(), confusion.sum(axis=0), confusion.sum(axis=1)], axis=1)
        objects = np.array([[1, 64, 60, 50], [2, 300, 200, 200], [2, 3, 0, 0]])
        image = ImageCounts(counts, np.array([[0, 0, 0, 0], [3, 6, 3, 4], [0, 0, 0, 0]]), objects)
        images.append(image)
        scored.append(ScoredImage(name, f"{place:016x}", "b" * 16, 10, 10, image.as_tuples()))
    return Scorecard(ScoreTable(NAMES, tuple(scored), {"run_id": "r"}), Tally(totals, tuple(images)), None, trained)


def test_names_of_any_kind_are_read_again(tmp_path: Path) -> None:
    names = ["=1+1", 'a,b\n"c"', "ä\udcff", "plain"]
    made = card(*names, trained=frozenset({f"{3:016x}"}))
    files = write_results(tmp_path / "evaluation", made, {"data": "d"})
    assert all(file.is_file() for file in files)
    with (tmp_path / "evaluation" / "images.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["image"] for row in rows] == ["'=1+1", 'a,b\\n"c"', "ä\\xff", "plain"]
    assert [row["trained"] for row in rows] == ["False", "False", "False", "True"]
    assert "iou Mücke, groß" in rows[0]
    assert "'=cmd()" not in rows[0]  # behind another word it is not a formula
    assert float(rows[0]["iou =cmd()"]) == pytest.approx(10 / 14, abs=1e-6)
    table = json.loads((tmp_path / "evaluation" / "images.json").read_text())
    assert table["columns"][:3] == ["image", "iou", "dice"]
    assert len(table["data"]) == 4
    assert float(table["data"][3][1]) == pytest.approx(made.images[3]["iou"], abs=1e-6)
    with (tmp_path / "evaluation" / "classes.csv").open(newline="") as file:
        assert [row["class"] for row in csv.DictReader(file)] == ["'=cmd()", "Mücke, groß"]
    assert read_table(tmp_path / "evaluation" / "scores.json").counts().shape == (4, 3, 3)
    summary = json.loads((tmp_path / "evaluation" / "summary.json").read_text())
    assert summary["trained_images"] == 1
    assert summary["classes"]["Mücke, groß"]["boundary_f1"] is None
    assert summary["classes"]["=cmd()"]["boundary_f1"] == pytest.approx(2 * 0.5 * 0.75 / 1.25)
    assert summary["sentence"].startswith("mIoU 0.7")
    assert [(row["from"], row["objects"]) for row in summary["sizes"]] == [(64, 4), (256, 4)]


def test_a_figure_that_fails_is_said_and_the_others_are_drawn(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_given: object) -> bytes:
        raise RuntimeError("no font")

    monkeypatch.setattr(module.figures, "confusion", fail)
    said: list[str] = []
    files = draw_figures(tmp_path, card("a", "b"), said.append)
    assert said == ["the figure confusion is not drawn (RuntimeError: no font)"]
    assert {file.name for file in files} == {"precision_recall.png", "calibration.png", "sizes.png"}
    assert all(Image.open(file).size[0] > 300 for file in files)
    assert {file.name for file in tmp_path.iterdir()} == {file.name for file in files}


def test_without_matplotlib_there_are_no_figures(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found: Callable[[str], object] = module.importlib.util.find_spec
    monkeypatch.setattr(module.importlib.util, "find_spec", lambda name: None if name == "matplotlib" else found(name))
    said: list[str] = []
    assert draw_figures(tmp_path, card("a"), said.append) == []
    assert "matplotlib is missing" in said[0]


def test_without_any_class_there_is_nothing_to_draw_but_the_confusion(tmp_path: Path) -> None:
    totals = no_totals(3)
    totals.confusion[0, 0] = 100
    totals.reliability[14] = (100, 100, 100 * 2**20)
    nothing = np.array([[100, 100, 100], [0, 0, 0], [0, 0, 0]])
    image = ImageCounts(nothing, np.zeros((3, 4), np.int64), np.zeros((0, 4), np.int64))
    table = ScoreTable(NAMES, (ScoredImage("a", "a", "b", 10, 10, image.as_tuples()),), {})
    empty = Scorecard(table, Tally(totals, (image,)), None)
    assert empty.sentence() == "no score: none of the classes is in the masks of 1 image"
    assert set(empty.metrics()) == {"evaluation/ece"}
    said: list[str] = []
    assert {file.name for file in draw_figures(tmp_path, empty, said.append)} == {"calibration.png", "confusion.png"}
    assert said == []
    write_results(tmp_path, empty, {})
    assert (tmp_path / "classes.csv").read_text().strip() == ""
