"""CVAT's labelmap.txt: the classes of the colours in its Pascal VOC and mask exports."""

import re
from collections.abc import Sequence
from pathlib import Path

from trainer import InputError
from trainer.data.files import read_lines
from trainer.data.layouts.base import match_labels
from trainer.data.value_map import BACKGROUND, BACKGROUNDS, UNMAPPED
from trainer.system.text import label

LABELMAP = "labelmap.txt"
LINE = re.compile(r"([^:]+):\s*(\d{1,3})\s*,\s*(\d{1,3})\s*,\s*(\d{1,3})\s*(?::.*)?")
"""`name:r,g,b:parts:actions`; the last two may be empty or missing."""

IGNORED = ("ignore", "__ignore__", "void")
"""Labels of pixels that are ignored."""


def read_labelmap(
    file: Path, classes: Sequence[str] | None
) -> tuple[tuple[str, ...] | None, dict[int | str, str], list[str]]:
    """Read the K class names (None where `classes` is given), the entries for data.value_map, and notes.

    Colours stand for the classes, those of palettes too; so do line numbers from 0, which are the indices in palette
    masks of other colours. `classes`: the K wanted names, where known; other labels become background. Raises
    InputError naming the file and the line.
    """
    colours = _read_colours(file)
    foreground = [name for name in colours if name not in (*BACKGROUNDS, *IGNORED)]
    if not 0 < len(foreground) < UNMAPPED:
        raise InputError(
            f"{file}: {len(foreground)} labels besides the background; name 1 to {UNMAPPED - 1}, one a line"
        )
    class_of, notes = match_labels(foreground, classes, file)
    class_of |= dict.fromkeys(BACKGROUNDS, "background") | dict.fromkeys(IGNORED, "ignore")
    if 0 not in colours.values() and not any(name in colours for name in BACKGROUNDS):
        colours = {"background": 0, **colours}
    entries: dict[int | str, str] = {f"#{colour:06x}": class_of[name] for name, colour in colours.items()}
    # A grey colour is stored as its grey value, which then cannot be the index of another line.
    entries |= {index: class_of[name] for index, name in enumerate(colours)}
    greys = {name: colour & 255 for name, colour in colours.items() if colour == (colour & 255) * 0x010101}
    entries |= {grey: class_of[name] for name, grey in greys.items()}
    entries |= {} if 255 in greys.values() else {255: "ignore"}
    return (None if classes is not None else (BACKGROUND, *foreground)), entries, notes


def _read_colours(file: Path) -> dict[str, int]:
    """Label -> colour 0xRRGGBB, in the order of the lines."""
    colours: dict[str, int] = {}
    for line in read_lines(file):
        if line.startswith("#"):
            continue
        parts = LINE.fullmatch(line)
        if not parts or max(int(number) for number in parts.groups()[1:]) > 255:
            raise InputError(f"{file}: {line!r} is not a label; write name:r,g,b:: with red, green, blue from 0 to 255")
        name, colour = label(parts[1]), int(parts[2]) << 16 | int(parts[3]) << 8 | int(parts[4])
        if name in colours or colour in colours.values():
            raise InputError(f"{file}: {line!r}: a name or colour that an earlier line has; make them different")
        colours[name] = colour
    return colours
