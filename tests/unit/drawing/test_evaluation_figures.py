"""Figures of an evaluation: PNG files of any names, from any thread, without matplotlib's state."""

import io
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from PIL import Image

from trainer.drawing import evaluation_figures as figures
from trainer.drawing.figures import watch_panels
from trainer.drawing.gallery import LINE, gallery

ODD = [
    "_background_",
    "$cat_{1}$",
    "Straße " * 20,
    "\u732b",
    "a\nb",
    "__",
    "%s{}\\",
    *(f"class {n}" for n in range(60)),
]
"""Names that are a formula, long, without letters in the font, in two lines, hidden from a legend, and many."""

THRESHOLDS = [0.25, 0.5, 0.75]


def draw(classes: int, rng: np.random.Generator) -> dict[str, bytes]:
    """Every figure, of the first `classes` names."""
    names = ODD[:classes]
    nan = np.array([0.5, 0.75, np.nan])
    curves = {name: (nan, np.array([1.0, 0.5, 0.0]), np.array([0.2, 0.6, 0.1])) for name in names[1:]}
    rows = [{"from": 0.4, "to": 0.5, "pixels": 10, "confidence": 0.45, "accuracy": 0.4}]
    rows.append({"from": 0.9, "to": 1.0, "pixels": 90, "confidence": 0.99, "accuracy": 1.0})
    objects = np.stack([rng.integers(1, classes, 50), rng.integers(16, 4000, 50), rng.random(50)], axis=1)
    sizes = [
        {"from": 16, "below": 64, "objects": 3, "iou": 0.0},
        {"from": 1024, "below": 4096, "objects": 9, "iou": 1.0},
    ]
    matrix = rng.integers(0, 50, (classes, classes))
    matrix[1] = 0
    return {
        "precision_recall": figures.precision_recall(curves, THRESHOLDS, dict.fromkeys(curves, 1), 0.5),
        "reliability": figures.reliability(rows, 0.01),
        "sizes": figures.object_sizes(objects.astype(float), names, sizes),
        "confusion": figures.confusion(matrix, names),
    }


@pytest.mark.parametrize("classes", [2, 60])
def test_figures_of_any_names_are_pictures(classes: int) -> None:
    for name, png in draw(classes, np.random.default_rng(0)).items():
        image = np.array(Image.open(io.BytesIO(png)).convert("RGB"))
        assert min(image.shape[:2]) > 300, name
        assert max(image.shape[:2]) < 3000, name
        assert len(np.unique(image.reshape(-1, 3), axis=0)) > 10, name


def test_threads_draw_the_same() -> None:
    with ThreadPoolExecutor(2) as pool:
        one, other = pool.map(lambda _: draw(3, np.random.default_rng(0)), range(2))
    assert one == other


def test_a_color_tells_more_right_pixels() -> None:
    """The darker a cell, the larger its share."""
    matrix = np.array([[90, 10], [50, 50]])
    image = np.array(Image.open(io.BytesIO(figures.confusion(matrix, ["a", "b"]))).convert("L")).astype(int)
    rows, columns = image.shape
    cells = [image[rows * y // 100, columns * x // 100] for y, x in ((25, 28), (25, 62), (72, 28), (72, 62))]
    assert cells[0] < cells[2] == cells[3] < cells[1]


def test_no_state_of_pyplot_is_touched() -> None:
    code = "import sys; from trainer.drawing import evaluation_figures as f; import numpy as np\n"
    code += "f.confusion(np.eye(2, dtype=int), ['a', 'b']); assert 'matplotlib' in sys.modules\n"
    code += "assert 'matplotlib.pyplot' not in sys.modules"
    done = subprocess.run([sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, timeout=280)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""


def test_a_gallery_shows_each_image_under_its_line() -> None:
    flat = np.full((40, 80, 3), 90, np.uint8)
    mask = np.zeros((40, 80), np.uint8)
    panels = [watch_panels(flat + 10 * number, mask, mask) for number in range(3)]
    drawn = gallery(panels, ["first \x1b", "second", "a" * 1000])
    height = 160 + LINE  # images of half the panel's height, without the margins
    assert drawn.shape[1] == panels[0].shape[1]
    assert abs(drawn.shape[0] - (3 * height + LINE)) <= 6
    levels = [int(drawn[LINE + place * height + LINE + 80, -40, 0]) for place in range(3)]
    assert levels == [90, 100, 110]
