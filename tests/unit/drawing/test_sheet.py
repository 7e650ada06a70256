"""The sheet of a comparison: whole by itself, safe whatever names hold, and small enough to be sent."""

import base64
import io
import re
from html.parser import HTMLParser
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tests.support.compared import panels
from tests.support.tables import make_table
from trainer.drawing.sheet import as_png, render
from trainer.model.ranking import rank
from trainer.model.score_table import ScoreTable
from trainer.tracking.comparison import describe_comparison
from trainer.tracking.run_reader import ComparedRun

EVIL = """<script>alert('1')</script> & "quoted" <img src=x onerror='alert(2)'>"""
VOID = {"meta", "img", "line", "rect", "polyline", "br"}


class Page(HTMLParser):
    """Tags, attributes and text of a page; fails where tags are not closed in order."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str]] = []
        self.text = ""
        self.feed(html)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += [(name, value or "") for name, value in attrs]
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if tag not in VOID:
            assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] != "style":
            self.text += data


def compared(name: str, table: ScoreTable | None, **more: Any) -> ComparedRun:
    curves = {"val/miou": [(0, 0.0), (10, 0.5)], "train/loss": [(step, 1 / (step + 1)) for step in range(10)]}
    return ComparedRun(name, run_id="1", metrics={"best/miou": 0.5}, curves=curves, table=table, **more)


def page_of(runs: list[ComparedRun], watched: dict[tuple[str, str], dict[str, bytes]] | None = None) -> str:
    tables = {run.name: run.table for run in runs if run.table}
    content = describe_comparison(runs, rank(tables) if tables else None, "", ["a note"])
    return render(content, watched or {}, {})


def test_names_of_any_kind_are_text() -> None:
    table = make_table(9, classes=3)
    named = ScoreTable(("_background_", EVIL, "b"), tuple(table.images), {})
    better = make_table(9, skill=3.0, classes=3)
    runs = [
        compared(EVIL, named, settings={EVIL: EVIL}, facts={EVIL: EVIL}, notes=(EVIL,), model=EVIL),
        compared("b", ScoreTable(named.class_names, better.images, {}), settings={EVIL: "other"}),
    ]
    page = Page(page_of(runs, {("", EVIL): {EVIL: as_png(panels(0)), "b": b"no png"}}))
    assert "script" not in page.tags
    assert not [name for name, _ in page.attributes if name.startswith("on")]
    assert page.tags.count("img") == 4, "image, mask, prediction and errors; of the broken file nothing"
    assert page.text.count("<script>alert('1')</script>") > 8


def test_it_opens_without_a_network_and_runs_nothing() -> None:
    html = page_of(
        [compared("a", make_table(9)), compared("b", make_table(9, 2.0))], {("", "x"): {"a": as_png(panels(0))}}
    )
    page = Page(html)
    assert not {"script", "link", "iframe", "object", "a"} & set(page.tags)
    places = [value for name, value in page.attributes if name in ("src", "href", "srcset")]
    assert places
    assert all(value.startswith("data:image/webp;base64,") for value in places)
    assert "default-src 'none'; img-src data:" in html
    assert not re.search(r"url\(|@import|https?:", html)


def test_scores_and_differences_are_in_it() -> None:
    tables = {"a": make_table(20, classes=3), "b": make_table(20, 2.5, classes=3)}
    text = Page(page_of([compared(name, table) for name, table in tables.items()])).text
    ranking = rank(tables)
    gain = ranking.pairs[0].comparison.difference
    for value in (*ranking.scores.values(), *ranking.classes["a"].values(), *ranking.classes["b"].values()):
        assert f"{value.value:.3f}" in text
        assert f"[{value.low:.3f}, {value.high:.3f}]" in text
    assert f"+{gain.value:.3f} [+{gain.low:.3f}, +{gain.high:.3f}]" in text
    assert ranking.pairs[0].sentence() in text
    assert "a note" in text
    assert text.count("0.500") == 2, "the recorded score of each"


@pytest.mark.parametrize("runs", [[compared("a", None)], [compared("a", make_table(9))], [ComparedRun("bare")]])
def test_one_run_alone_has_a_sheet_too(runs: list[ComparedRun]) -> None:
    assert runs[0].name in Page(page_of(runs)).text


def test_five_runs_with_noisy_pictures_stay_under_5_mb() -> None:
    random = np.random.default_rng(0)
    noise = [as_png(random.integers(0, 256, (320, 1280, 3), dtype=np.uint8)) for _ in range(3)]
    runs = [compared(f"run {number}", make_table(9, 1 + number / 9)) for number in range(5)]
    watched = {("", f"image {place}"): {run.name: noise[place % 3] for run in runs} for place in range(8)}
    html = page_of(runs, watched)
    assert len(html.encode()) < 5_000_000
    assert Page(html).tags.count("img") == 8 * (2 + 5 * 2)


def test_pictures_of_another_form_are_shown_whole() -> None:
    square = as_png(np.zeros((640, 640, 3), np.uint8))
    html = page_of([compared("a", None)], {("", "x"): {"a": square}})
    (uri,) = [value for name, value in Page(html).attributes if name == "src"]
    with Image.open(io.BytesIO(base64.b64decode(uri.partition(",")[2]))) as image:
        assert image.size == (640, 640)


def test_images_on_which_models_differ_most_come_first() -> None:
    one = make_table(3)
    worse = [one.images[0], one.images[1]]
    last = one.images[2]
    worse.append(type(last)(last.name, last.image, last.mask, 30, 40, (last.counts[0], (0, 0, last.counts[1][2]))))
    runs = [compared("a", one), compared("b", ScoreTable(one.class_names, tuple(worse), {}))]
    png = as_png(panels(0))
    watched = {(image.image, image.name): {"a": png, "b": png} for image in one.images}
    html = page_of(runs, watched)
    assert re.findall(r"<h3>(.*?)</h3>", html) == ["image 2", "image 0", "image 1"]
