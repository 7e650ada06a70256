"""Annotations of little size that would take much memory or time: refused by file, or drawn in bounds."""

import json
import math
import random
import resource
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageDraw

from tests.support.coco import annotate, annotation, box
from tests.support.labelme import base64_text, png, record, shape
from tests.support.layouts import find_in, save_image
from tests.support.planted import png_header
from trainer import InputError
from trainer.data.layouts import labelme_shapes
from trainer.data.layouts.coco_masks import MOST_OUTLINE, check_segmentation
from trainer.data.layouts.labelme_json import draw_annotation, read_annotation
from trainer.data.layouts.labelme_shapes import Shape, draw_shapes
from trainer.data.value_map import ValueMap

IDS = {"cat": 1}

MEMORY_BYTES = 250_000_000
"""Growth of the peak; each bomb would take gigabytes."""

SECONDS = 30.0
"""Bound that a busy machine keeps, too; each bomb would take minutes."""


@pytest.fixture(autouse=True)
def bounded() -> Any:
    """Measure the memory and the time of a test."""
    before, began = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.process_time()
    yield
    assert (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024 < MEMORY_BYTES
    assert time.process_time() - began < SECONDS


def write(folder: Path, *shapes: dict[str, Any], size: tuple[int, int] = (100, 100)) -> Path:
    """Write an image and its JSON file."""
    save_image(folder / "a.png", np.zeros((*size, 3), np.uint8))
    (folder / "a.json").write_text(json.dumps(record("a.png", *shapes, imageHeight=size[0], imageWidth=size[1])))
    return folder / "a.json"


@pytest.mark.parametrize("read", [draw_annotation, read_annotation])
def test_masks_larger_than_their_picture_are_refused_by_their_headers(
    read: Callable[..., object], tmp_path: Path
) -> None:
    text = base64_text(png_header(13_000, 13_000))
    file = write(tmp_path, *(shape("mask", [0, 0], [9, 9], mask=text) for _ in range(20)))
    with pytest.raises(InputError) as error:
        read(file, tmp_path, IDS)
    lines = str(error.value).splitlines()
    assert len(lines) == 20
    assert lines[3] == (
        f"{file}: shape 4 (cat), mask: 13000x13000 pixels, its picture has 100x100; draw it again or delete it"
    )


def test_masks_of_one_file_are_bounded_together(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(labelme_shapes, "MOST_CROPPED", 50_000)
    text = base64_text(png(np.ones((100, 100), np.uint8)))
    good = write(tmp_path, *(shape("mask", [0, 0], [99, 99], mask=text) for _ in range(5)))
    assert draw_annotation(good, tmp_path, IDS).shape == (100, 100)
    file = write(tmp_path, *(shape("mask", [0, 0], [99, 99], mask=text) for _ in range(100)))
    with pytest.raises(InputError, match=r"a\.json: shape 6: the shapes up to here are too much to draw") as error:
        draw_annotation(file, tmp_path, IDS)
    assert len(str(error.value).splitlines()) == 1


def test_ten_thousand_large_circles_are_drawn(tmp_path: Path) -> None:
    circles = [shape("circle", [-90_000 + number, 50], [50, 50]) for number in range(10_000)]
    mask = draw_annotation(write(tmp_path, *circles), tmp_path, IDS)
    assert mask[:, :40].all()
    assert not mask[:, 60:].any()


@pytest.mark.parametrize(
    "one",
    [
        shape("circle", [500, 500], [999, 500]),
        shape("rectangle", [0, 0], [999, 999]),
        shape("linestrip", *([50, 999 * (number % 2)] for number in range(500))),
        shape("polygon", *([number % 999, 999 * (number % 2)] for number in range(500))),
    ],
    ids=lambda one: str(one["shape_type"]),
)
def test_work_on_one_file_is_bounded(one: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(labelme_shapes, "MOST_WORK", 120_000_000)
    assert draw_annotation(write(tmp_path, one, size=(1000, 1000)), tmp_path, IDS).any()
    file = write(tmp_path, *[one] * (2 if len(one["points"]) > 2 else 150), size=(1000, 1000))
    with pytest.raises(InputError, match=r"a\.json: shape \d+: the shapes up to here are too much to draw"):
        draw_annotation(file, tmp_path, IDS)


def test_circles_far_larger_than_the_image_are_drawn_as_pillow_draws_them() -> None:
    """But for single pixels of the rim."""
    for seed in range(60):
        random_ = random.Random(seed)
        height, width = random_.randint(5, 60), random_.randint(5, 60)
        points = ((random_.uniform(-3000, 3000), random_.uniform(-3000, 3000)), (random_.uniform(0, width), height / 2))
        radius = math.dist(*points)
        expected = Image.new("L", (width, height))
        (x, y), _ = points
        ImageDraw.Draw(expected).ellipse([x - radius, y - radius, x + radius, y + radius], fill=1, outline=1)
        found = draw_shapes([Shape("cat", "circle", points)], IDS, (height, width))
        assert np.count_nonzero(found != np.array(expected)) <= 2 * max(height, width)


def test_an_outline_of_a_million_points_is_refused(tmp_path: Path) -> None:
    """It would take 40 GB."""
    random_ = np.random.default_rng(0)
    polygon = random_.integers(0, 2000, 2_000_000).tolist()
    with pytest.raises(InputError, match=r"annotation 5: an outline of [\d,]+ pixels, more than"):
        check_segmentation([polygon], (2000, 2000), "annotation 5")


def test_a_long_but_plain_outline_is_drawn() -> None:
    angles = np.linspace(0, 2 * np.pi, 100_000)
    polygon = np.stack([1000 + 900 * np.cos(angles), 1000 + 900 * np.sin(angles)], axis=1).ravel().tolist()
    assert check_segmentation([polygon], (2000, 2000), "annotation 5") == [polygon]


def test_outlines_of_one_image_are_bounded_together(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sample = find_in(annotate(tmp_path, *(annotation(box(4, 3, 20, 9)) for _ in range(10)))).samples[0]
    assert sample.read_mask(ValueMap()).any()
    monkeypatch.setattr("trainer.data.layouts.coco.MOST_OUTLINES", 400)
    with pytest.raises(
        InputError, match=r"a\.png: outlines of 480 pixels in .*_annotations\.coco\.json, more than 400"
    ):
        sample.read_mask(ValueMap())
    assert MOST_OUTLINE > 100_000


@pytest.mark.parametrize("counts", [[10**30], [2**63, -(2**63)], [10**9] * 3, [600, 10**12], "o" * 10_000, "~" * 100])
def test_run_lengths_of_huge_counts_are_refused(counts: object, tmp_path: Path) -> None:
    found = find_in(annotate(tmp_path, annotation({"size": [20, 30], "counts": counts})))
    assert len(found.problems) == 1
    assert "_annotations.coco.json: annotation 5: run lengths" in found.problems[0]
