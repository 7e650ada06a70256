"""Suggested options for masks of other tools: which values they map, and that they work."""

import io
import re
import shlex
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageDraw

from trainer.cli import parse
from trainer.data.checks.suggest import suggest_colours, suggest_values
from trainer.data.image_io import read_mask
from trainer.data.value_map import ValueMap, value_map

Value = int | tuple[int, int, int]
SIZE = 160


def drawn(values: list[Value], seed: int, smooth: bool = False, width: int = 0) -> tuple[Image.Image, np.ndarray]:
    """Mask of discs, or of lines of a width, in stored values, and its truth as indices into `values`."""
    scale = 4 if smooth else 1
    random = np.random.default_rng(seed)
    mode = "L" if isinstance(values[0], int) else "RGB"
    stored, truth = Image.new(mode, (SIZE * scale,) * 2, values[0]), Image.new("L", (SIZE * scale,) * 2)
    for index, value in enumerate(values[1:], start=1):
        left, top = random.integers(0, SIZE * scale * 2 // 3, 2)
        reach = random.integers(SIZE * scale // 5, SIZE * scale // 3)
        for pil_image, fill in ((stored, value), (truth, index)):
            pen = ImageDraw.Draw(pil_image)
            if width:
                pen.line([left, top, left + reach, top + reach // 2], fill=fill, width=width * scale)
            else:
                pen.ellipse([left, top, left + reach, top + reach], fill=fill)
    if smooth:
        stored = stored.resize((SIZE, SIZE), Image.Resampling.LANCZOS)
    return stored, np.array(truth)[scale // 2 :: scale, scale // 2 :: scale]


def encoded(pil_image: Image.Image, format: str) -> np.ndarray:
    """Values read back after encoding as PNG, or JPEG of a quality."""
    buffer = io.BytesIO()
    name, _, quality = format.partition(" ")
    pil_image.save(buffer, format=name, **({"quality": int(quality)} if quality else {}))
    return read_mask(Path("mask"), buffer.getvalue())


def entries_of(option: str | None) -> dict[int | str, str]:
    """Parse an option of the command line as the shell and the program do."""
    assert option is not None
    entries = parse(shlex.split(option)).data.value_map
    assert entries is not None
    return entries


def agreement(masks: list[np.ndarray], truths: list[np.ndarray], values: ValueMap, lossy: bool) -> float:
    """Smallest share of a class's pixels that are mapped right, with the classes matched by overlap."""
    found = np.concatenate([values.ids(mask, lossy).ravel() for mask in masks])
    truth = np.concatenate([one.ravel() for one in truths])
    classes = np.unique(truth)
    table = np.array([[((found == one) & (truth == other)).sum() for other in classes] for one in np.unique(found)])
    assert len(set(table.argmax(axis=0).tolist())) == len(classes), table  # each class has its own value
    return float((table.max(axis=0) / table.sum(axis=0)).min())


GREYS: dict[str, list[Value]] = {
    "two": [0, 255],
    "three": [0, 128, 255],
    "palette as grey": [0, 38, 75, 113, 15],
    "close": [0, 20, 40],
    "white below": [255, 90, 0],
}
SCATTERED = [("JPEG 90", False), ("JPEG 75", False), ("JPEG 50", True), ("PNG", True)]


@pytest.mark.parametrize(
    ("format", "smooth"), SCATTERED, ids=[f"{format} {'smooth' * smooth}" for format, smooth in SCATTERED]
)
@pytest.mark.parametrize("values", GREYS.values(), ids=GREYS)
def test_scattered_greys(values: list[Value], format: str, smooth: bool) -> None:
    pairs = [drawn(values, seed, smooth) for seed in range(6)]
    masks = [encoded(stored, format) for stored, _ in pairs]
    total = np.bincount(np.concatenate([mask.ravel() for mask in masks]), minlength=256)
    entries = entries_of(suggest_values(total, None, noisy=True))
    assert len(entries) == len(values)
    assert agreement(masks, [truth for _, truth in pairs], value_map(entries, None)[0], lossy=True) > 0.9


RGB: dict[str, list[Value]] = {
    "VOC": [(0, 0, 0), (128, 0, 0), (0, 128, 0), (128, 128, 0), (0, 0, 128)],
    "on white": [(255, 255, 255), (250, 50, 83), (51, 221, 255), (0, 0, 0)],
    "two": [(0, 0, 0), (255, 0, 0)],
    "VOC, near": [(0, 0, 0), (128, 0, 0), (64, 0, 0), (192, 0, 0)],
}


FORMATS = [("PNG", False), ("PNG", True), ("JPEG 95", False), ("JPEG 75", False)]


@pytest.mark.parametrize(
    ("kind", "format", "smooth"),
    # JPEG blends near colours, and a blend may look like one more class.
    [(kind, *format) for kind in RGB for format in FORMATS if kind != "VOC, near" or format[0] == "PNG"],
)
def test_colours(kind: str, format: str, smooth: bool) -> None:
    values = RGB[kind]
    pairs = [drawn(values, seed, smooth) for seed in range(6)]
    masks = [encoded(stored, format) for stored, _ in pairs]
    lossy = format != "PNG"
    packed = (np.concatenate([mask.reshape(-1, 3) for mask in masks]).astype(int) << np.array([16, 8, 0])).sum(axis=1)
    colours = Counter(dict(zip(*(part.tolist() for part in np.unique(packed, return_counts=True)), strict=True)))
    entries = entries_of(suggest_colours(colours, None, lossy))
    assert len(entries) == len(values) + smooth
    assert ("other" in entries) == smooth
    made = value_map(entries, None)[0]
    agreed = agreement(masks, [truth for _, truth in pairs], made, lossy)
    assert agreed == 1 if not smooth and not lossy else agreed > 0.9
    assert not any((made.ids(mask, lossy) == 254).any() for mask in masks)


def test_few_pixels_of_an_exact_value_or_colour_are_a_class() -> None:
    total = np.zeros(256, np.int64)
    total[[0, 50, 100]] = 10_000_000, 1, 3
    assert suggest_values(total, None, noisy=False) == '--data.value_map "{0: background, 50: class_1, 100: class_2}"'
    colours = Counter({0: 10_000_000, 0xFF0000: 1})
    assert suggest_colours(colours, None) == "--data.value_map \"{'#000000': background, '#ff0000': class_1}\""


@pytest.mark.parametrize("format", ["JPEG 90", "JPEG 75"])
def test_thin_objects_are_found(format: str) -> None:
    """Lines with less than a hundredth of the pixels."""
    pairs = [drawn([0, 255], seed, width=3) for seed in range(6)]
    masks = [encoded(stored, format) for stored, _ in pairs]
    total = np.bincount(np.concatenate([mask.ravel() for mask in masks]), minlength=256)
    assert total[200:].sum() < 0.01 * total.sum()
    entries = entries_of(suggest_values(total, None, noisy=True))
    assert len(entries) == 2
    assert agreement(masks, [truth for _, truth in pairs], value_map(entries, None)[0], lossy=True) > 0.9


def test_indistinguishable_values_have_no_suggestion() -> None:
    """JPEG destroys the ids 0, 1 and 2."""
    masks = [encoded(drawn([0, 1, 2], seed)[0], "JPEG 75") for seed in range(4)]
    total = np.bincount(np.concatenate([mask.ravel() for mask in masks]), minlength=256)
    assert suggest_values(total, None, noisy=True) is None
    assert suggest_values(np.eye(256, dtype=np.int64)[7], None, noisy=False) is None
    assert suggest_colours(Counter({5: 9}), None) is None


EXACT: dict[str, tuple[dict[int, int], tuple[str, ...] | None, str]] = {
    "0 is the background, however rare": ({0: 10, 50: 90}, None, "0: background, 50: class_1"),
    "without 0 the most frequent": ({50: 10, 90: 90}, None, "50: class_1, 90: background"),
    "255 beside others": ({0: 9, 128: 9, 255: 9}, None, "0: background, 128: class_1, 255: ignore"),
    "255 alone": ({0: 9, 255: 9}, None, "0: background, 255: class_1"),
    "ids stay": ({0: 9, 1: 9, 200: 9}, ("_background_", "cat", "dog"), "0: background, 1: cat, 200: dog"),
    "more values than names": ({0: 9, 9: 9, 99: 9}, ("_background_", "cat"), "0: background, 9: cat, 99: ignore"),
}


@pytest.mark.parametrize(("pixels", "names", "entries"), EXACT.values(), ids=EXACT)
def test_names_of_exact_values(pixels: dict[int, int], names: tuple[str, ...] | None, entries: str) -> None:
    total = np.zeros(256, np.int64)
    total[list(pixels)] = list(pixels.values())
    assert suggest_values(total, names, noisy=False) == f'--data.value_map "{{{entries}}}"'


def test_black_is_the_background_however_rare() -> None:
    option = suggest_colours(Counter({0xFFFFFF: 90, 0xFF0000: 20, 0: 10}), None)
    assert option == "--data.value_map \"{'#000000': background, '#ff0000': class_1, '#ffffff': class_2}\""


def test_no_more_colours_than_classes() -> None:
    steps = range(0, 252, 36)
    colours = Counter({red << 16 | green << 8 | blue: 9 for red in steps for green in steps for blue in steps})
    assert len(colours) > 255
    assert len(set(entries_of(suggest_colours(colours, None, lossy=True)).values())) == 254


def test_ids_that_start_at_one_keep_the_order_of_the_names() -> None:
    total = np.zeros(256, np.int64)
    total[[1, 2, 3]] = 90, 5, 9
    option = suggest_values(total, ("_background_", "cat", "dog"), noisy=False)
    assert option == '--data.value_map "{1: background, 2: cat, 3: dog}"'


def test_surplus_colours_are_ignored() -> None:
    colours = Counter({0: 100, 0xFF0000: 50, 0x00FF00: 40})
    named = suggest_colours(colours, ("_background_", "cat"))
    assert named is not None
    assert re.findall("'(#......)': (\\w+)", named) == [
        ("#000000", "background"),
        ("#00ff00", "cat"),
        ("#ff0000", "ignore"),
    ]
    assert value_map(entries_of(named), ("_background_", "cat"))[1] == ("_background_", "cat")
