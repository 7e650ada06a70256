"""labelmap.txt: what the colours in masks stand for, as CVAT writes it beside its Pascal VOC and mask exports."""

import re
from collections.abc import Sequence
from pathlib import Path

from trainer import InputError
from trainer.data.files import read_lines
from trainer.data.layouts.base import choose
from trainer.data.value_map import BACKGROUND, BACKGROUNDS, UNMAPPED

LABELMAP = "labelmap.txt"
LINE = re.compile(r"([^:]+):\s*(\d{1,3})\s*,\s*(\d{1,3})\s*,\s*(\d{1,3})\s*(?::.*)?")
"""`name:r,g,b:parts:actions`; the last two may be empty or missing."""

IGNORED = ("ignore", "__ignore__", "void")


def read_labelmap(
    file: Path, classes: Sequence[str] | None
) -> tuple[tuple[str, ...] | None, dict[int | str, str], list[str]]:
    """The K class names (None where `classes` has them), the value map for data.value_map, and notes.

    Colours and, for palette masks, the places of the lines stand for the classes. `classes`: the K names that are
    wanted, where they are known; the other lines are background. Raises InputError naming the file and the line.
    """
    colours: dict[str, int] = {}
    for line in read_lines(file):
        if line.startswith("#"):
            continue
        parts = LINE.fullmatch(line)
        if not parts or max(int(number) for number in parts.groups()[1:]) > 255:
            raise InputError(f"{file}: {line!r} is no label; write name:r,g,b:: with red, green and blue from 0 to 255")
        name, colour = parts[1].strip(), int(parts[2]) << 16 | int(parts[3]) << 8 | int(parts[4])
        if name in colours or colour in colours.values():
            raise InputError(f"{file}: {line!r}: a name or colour that an earlier line has; make them different")
        colours[name] = colour
    own = [name for name in colours if name not in (*BACKGROUNDS, *IGNORED)]
    if not 0 < len(own) < UNMAPPED:
        raise InputError(f"{file}: {len(own)} labels besides the background; name 1 to {UNMAPPED - 1}, one a line")
    stands, notes = choose(own, classes, file)
    stands |= dict.fromkeys(BACKGROUNDS, "background") | dict.fromkeys(IGNORED, "ignore")
    if 0 not in colours.values() and not any(name in colours for name in BACKGROUNDS):
        colours = {"background": 0, **colours}
    entries: dict[int | str, str] = {f"#{colour:06x}": stands[name] for name, colour in colours.items()}
    # A grey colour is read as its value, which then is no place.
    greys = {colour & 255 for colour in colours.values() if colour == (colour & 255) * 0x010101}
    entries |= {place: stands[name] for place, name in enumerate(colours) if place not in greys}
    entries |= {} if 255 in greys else {255: "ignore"}
    return (None if classes is not None else (BACKGROUND, *own)), entries, notes
