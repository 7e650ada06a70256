"""Contact sheet of a dataset: small images with their masks, by which people find wrong labels."""

import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

from trainer import IGNORE, InputError
from trainer.config import DataConfig
from trainer.data.bands import BandLevels
from trainer.data.checks.report import Report
from trainer.data.image_io import AnyLevels
from trainer.data.levels import Levels
from trainer.data.resize_mask import nearest_pixels
from trainer.data.sample import Sample
from trainer.data.sources import find_sources
from trainer.data.value_map import BACKGROUND, ValueMap
from trainer.drawing.bands import to_rgb
from trainer.drawing.figures import PAPER, draw_outlined
from trainer.drawing.fonts import Font, drawable, find_font
from trainer.drawing.palette import palette
from trainer.system.atomic import atomic_file
from trainer.system.parallel import Progress, on_all_cores
from trainer.system.terminal import Display
from trainer.system.text import one_line

MOST_SAMPLES = 1000
"""Samples of one sheet: 90 MB of pixels, in which one can still find one's way."""

SIDE, CAPTION, LEGEND = 160, 18, 24
"""Side of an image, height of the line below it, and height of a line of the legend, in pixels."""

LETTERS = 24
"""Characters of a name that fit below an image; the end of a long name is shown."""

FORMATS = {".png": "PNG", ".jpg": "JPEG", ".jpeg": "JPEG", ".webp": "WEBP"}
"""Suffix of a sheet -> its format."""

INK, FAINT = (20, 20, 20), (200, 200, 200)


def check_sheet_file(file: Path) -> None:
    """Raise InputError where a sheet cannot be written to `file`, before any work."""
    if file.suffix.lower() not in FORMATS:
        raise InputError(f"--sheet {file}: a sheet is a picture; give a name that ends with {' or '.join(FORMATS)}")
    if not file.parent.is_dir() or file.is_dir():
        raise InputError(f"--sheet {file}: cannot be written there; give a file in a folder that exists")


def draw_sheet(config: DataConfig, report: Report, file: Path, display: Display) -> None:
    """Draw the contact sheet of the data that the report is about."""
    if not report.summary:
        display.log(f"no picture can be read, so {file} is not drawn")
        return
    sources = find_sources(config)
    names = sources.names or [row["name"] for row in report.summary.get("classes", ())]
    found = report.summary.get("levels")
    levels: Levels | BandLevels | None = Levels(found["black"], found["white"]) if found else None
    if bands := report.summary.get("bands"):
        levels = BandLevels(tuple(Levels(band["black"], band["white"]) for band in bands))
    count = write_sheet(sources.samples, sources.values, names, file, display.progress_bar, levels)
    of_all = f", evenly chosen of {len(sources.samples)}," if count < len(sources.samples) else ""
    display.log(f"{count} pictures{of_all} with their masks are in {file}")


def write_sheet(
    samples: Sequence[Sample],
    values: ValueMap,
    names: Sequence[str],
    file: Path,
    progress: Progress,
    levels: AnyLevels | None = None,
) -> int:
    """Draw up to MOST_SAMPLES samples, evenly chosen, with their masks and names, and a legend; return their number.

    `names`: K class names. `levels`: those of the dataset, where it has images of more than 8 bits. What cannot be read
    is a grey square. Memory: the sheet, and one image for each core.
    """
    rows = np.unique(np.linspace(0, len(samples) - 1, min(len(samples), MOST_SAMPLES)).round().astype(int)).tolist()
    columns = max(1, math.ceil(math.sqrt(len(rows) * (SIDE + CAPTION) / SIDE)))
    legend = draw_legend(names, columns * SIDE)
    height = len(legend) + math.ceil(len(rows) / columns) * (SIDE + CAPTION)
    sheet = np.full((height, columns * SIDE, 3), PAPER, np.uint8)
    sheet[: len(legend)] = legend
    advance = progress("drawing the sheet", len(rows))

    def draw(place: int) -> None:
        top = len(legend) + place // columns * (SIDE + CAPTION)
        left = place % columns * SIDE
        sheet[top : top + SIDE + CAPTION, left : left + SIDE] = draw_tile(samples[rows[place]], values, levels)
        advance()

    on_all_cores(draw, range(len(rows)))
    try:
        with atomic_file(file) as target:
            Image.fromarray(sheet).save(target, format=FORMATS[file.suffix.lower()])
    except OSError as error:
        raise InputError(f"--sheet {file}: cannot be written ({error.strerror or error}); give another file") from error
    return len(rows)


def draw_tile(sample: Sample, values: ValueMap, levels: AnyLevels | None = None) -> np.ndarray:
    """Draw a sample with its outlines, its name, and a square of each class that its mask has.

    The result is uint8 RGB [SIDE + CAPTION, SIDE, 3].
    """
    tile = np.full((SIDE + CAPTION, SIDE, 3), PAPER, np.uint8)
    present: list[int] = []
    try:
        image, mask = sample.read_image(levels=levels), sample.read_mask(values)
    except InputError:
        tile[1 : SIDE - 1, 1 : SIDE - 1] = FAINT
        text = "cannot be read"
    else:
        text = "" if image.shape[:2] == mask.shape else "mask of another size"
        present = [value for value in range(1, IGNORE) if (mask == value).any()] if mask.any() else []
        factor = (SIDE - 2) / max(image.shape[:2])
        height, width = (max(1, round(side * factor)) for side in image.shape[:2])
        small = np.array(Image.fromarray(to_rgb(image)).resize((width, height), Image.Resampling.BOX))
        top, left = (SIDE - height) // 2, (SIDE - width) // 2
        drawn = draw_outlined(small, mask[nearest_pixels(mask.shape, (height, width))])
        tile[top : top + height, left : left + width] = drawn
    pil_image = Image.fromarray(tile)
    drawer = ImageDraw.Draw(pil_image)
    if text:
        drawer.text((6, SIDE // 2), text, INK, font=find_font(12))
    for place, value in enumerate(present[:4]):
        drawer.rectangle((2 + 8 * place, SIDE + 4, 8 + 8 * place, SIDE + 12), tuple(palette()[value].tolist()))
    name, font = _drawable(sample.name, 11)
    drawer.text((4 + 8 * len(present[:4]), SIDE + 2), name, INK, font)
    return np.array(pil_image)


def draw_legend(names: Sequence[str], width: int) -> np.ndarray:
    """Draw the colours and names of the foreground classes in lines of `width` pixels; uint8 RGB [H, width, 3]."""
    entries = [(tuple(palette()[number].tolist()), name) for number, name in enumerate(names) if name != BACKGROUND]
    entries.append((FAINT, "hatched: ignored"))
    across = max(1, width // SIDE)
    pil_image = Image.new("RGB", (width, LEGEND * math.ceil(len(entries) / across)), PAPER)
    drawer = ImageDraw.Draw(pil_image)
    for place, (colour, name) in enumerate(entries):
        left, top = place % across * SIDE, place // across * LEGEND
        drawer.rectangle((left + 4, top + 5, left + 18, top + 19), colour)
        text, font = _drawable(name, 12, LETTERS - 4)
        drawer.text((left + 24, top + 5), text, INK, font)
    return np.array(pil_image)


def _drawable(name: str, size: int, most: int = LETTERS) -> tuple[str, Font]:
    """A name and its font, as `drawable` has them; of a long one the end."""
    text, font = drawable(one_line(name), size)
    return (text if len(text) <= most else f"...{text[3 - most :]}"), font
