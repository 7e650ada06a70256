"""What the values and colours in mask files stand for."""

import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from trainer import IGNORE, InputError

BACKGROUND = "_background_"
BACKGROUNDS = (BACKGROUND, "background")
UNMAPPED = 254
"""What a value becomes that data.value_map leaves out; no class has it, so the check reports it."""

MOST_COLOURS = 4096  # a colour mask with more is a photograph; they are not counted one by one


class UnknownColours(InputError):
    """A colour mask, and no map says what its colours mean."""

    def __init__(self, colours: Counter[int]) -> None:
        super().__init__("a colour picture, not class ids; name its colours in data.value_map")
        self.colours = colours
        """0xRRGGBB -> pixels."""


@dataclass(frozen=True)
class ValueMap:
    """From what is stored in a mask file to class ids."""

    table: np.ndarray = field(default_factory=lambda: np.arange(256, dtype=np.uint8))
    """uint8 [256]: the class id of each stored value."""

    colours: tuple[tuple[int, int], ...] = ()
    """(0xRRGGBB, class id), ascending."""

    given: bool = False
    """False: stored values are class ids already."""

    @property
    def key(self) -> str:
        """Two maps of the same key give the same masks."""
        return f"{self.table.tobytes().hex()} {self.colours}" if self.colours else self.table.tobytes().hex()

    def ids(self, stored: np.ndarray, lossy: bool = False) -> np.ndarray:
        """Class ids, uint8 [H, W], of `stored`: uint8 values [H, W], or RGB [H, W, 3].

        A colour stands for the class of exactly that colour; of the nearest one where compression has changed it
        (`lossy`). Raises UnknownColours where no colours are named.
        """
        if stored.ndim == 2:
            return self.table[stored]
        packed = (stored.astype(np.int32) << np.array([16, 8, 0])).sum(axis=2, dtype=np.int32)
        if not self.colours:
            raise UnknownColours(_count(packed))
        known = np.array([colour for colour, _ in self.colours], dtype=np.int32)
        ids = np.array([number for _, number in self.colours], dtype=np.uint8)
        if lossy:
            return ids[_nearest(stored, known)]
        place = np.minimum(np.searchsorted(known, packed), len(known) - 1)
        return np.where(known[place] == packed, ids[place], np.uint8(UNMAPPED))


def _nearest(stored: np.ndarray, known: np.ndarray) -> np.ndarray:
    """Index, int64 [H, W], of the known colour with the smallest Euclidean distance to each pixel."""
    pixels = stored.astype(np.int32)
    distances = [((pixels - [colour >> 16, colour >> 8 & 255, colour & 255]) ** 2).sum(axis=2) for colour in known]
    return np.argmin(distances, axis=0)


def _count(packed: np.ndarray) -> Counter[int]:
    colours, pixels = np.unique(packed, return_counts=True)
    largest = np.argsort(pixels, kind="stable")[::-1][:MOST_COLOURS]
    return Counter({int(colours[place]): int(pixels[place]) for place in largest})


def parse_key(key: int | str) -> range | int:
    """The stored values that a key of data.value_map names, as a range, or its colour as 0xRRGGBB."""
    text = str(key).strip()
    if re.fullmatch(r"#[0-9a-fA-F]{6}", text):
        return int(text[1:], 16)
    numbers = re.fullmatch(r"(\d{1,3})(?:\s*-\s*(\d{1,3}))?", text)
    if numbers:
        first, last = int(numbers[1]), int(numbers[2] or numbers[1])
        if first <= last <= 255:
            return range(first, last + 1)
    raise InputError(f"data.value_map: {key!r} is no mask value; give 0 to 255, a range such as 128-255, or a colour "
                     "such as #ff0000")  # fmt: skip


def value_map(
    entries: Mapping[int, str] | Mapping[int | str, str] | None, names: tuple[str, ...] | None
) -> tuple[ValueMap, tuple[str, ...] | None]:
    """What each stored value becomes, and the K class names, made from the map where there are none yet.

    `entries`: value, range or colour -> class name, `background` or `ignore`. Stored values that it leaves out become
    254, which no class can have, so that the check reports them.
    """
    if not entries:
        return ValueMap(), names
    foreground = [name for name in entries.values() if name not in (*BACKGROUNDS, "ignore")]
    known = names or (BACKGROUND, *dict.fromkeys(foreground))
    if len(known) < 2:
        raise InputError("data.value_map: no value stands for a class; name at least one")
    strange = sorted(set(foreground) - set(known))
    if strange:
        raise InputError(f"data.value_map: {', '.join(strange)} is no class; the classes are {', '.join(known[1:])}")
    ids = {name: number for number, name in enumerate(known)} | {"background": 0, "ignore": IGNORE}
    table = np.full(256, UNMAPPED, dtype=np.uint8)
    colours = {}
    for key, name in entries.items():
        stands = parse_key(key)
        if isinstance(stands, int):
            colours[stands] = ids[name]
        elif (table[stands] != UNMAPPED).any():
            raise InputError(f"data.value_map: {key} is named twice; name each value once")
        else:
            table[stands] = ids[name]
    for colour, number in colours.items():  # a colour picture without colour is read as grey
        grey = colour & 255
        if colour == grey * 0x010101 and table[grey] == UNMAPPED:
            table[grey] = number
    return ValueMap(table, tuple(sorted(colours.items())), given=True), known
