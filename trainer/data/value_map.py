"""Mapping of the values and colours stored in mask files to class ids."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from trainer import IGNORE, InputError
from trainer.config import NEAREST, OTHER, parse_key
from trainer.system.text import label

BACKGROUND = "_background_"
"""Name of class 0."""

BACKGROUNDS = (BACKGROUND, "background")
"""Names that stand for class 0 in settings and files."""

UNMAPPED = 254
"""Mask value of stored values that data.value_map leaves out; no class has this id, so the check reports it."""

MOST_COLOURS = 4096
"""Colours of a mask that are counted, the most frequent ones; a mask with more is a photograph."""


class UnknownColours(InputError):
    """A colour mask without a map from its colours to classes."""

    def __init__(self, colours: Counter[int]) -> None:
        super().__init__("a colour picture, not class ids; name its colours in data.value_map")
        self.colours = colours
        """Pixels of each colour, 0xRRGGBB."""


@dataclass(frozen=True)
class ValueMap:
    """Map from the values or colours stored in a mask file to class ids."""

    table: np.ndarray = field(default_factory=lambda: np.arange(256, dtype=np.uint8))
    """Class id of each stored value, uint8 [256]."""

    colours: tuple[tuple[int, int], ...] = ()
    """Pairs of (0xRRGGBB, class id), ascending."""

    other: int | None = UNMAPPED
    """Class id of colours that are not named; None for that of the nearest named colour."""

    given: bool = False
    """True if a map was configured; False if stored values are class ids already."""

    @property
    def key(self) -> str:
        """Text that identifies the map: maps with equal keys give equal masks."""
        parts = [self.table.tobytes().hex()]
        parts += [f"{self.colours}"] if self.colours else []
        parts += [f"{self.other}"] if self.other != UNMAPPED else []
        return " ".join(parts)

    def ids(self, stored: np.ndarray, lossy: bool = False) -> np.ndarray:
        """Map `stored`, uint8 values [H, W] or RGB [H, W, 3], to class ids, uint8 [H, W].

        A colour gets the class of exactly that colour, or of the nearest named one if compression has changed the
        colours (`lossy`) or `other` is None. Raises UnknownColours if no colours are named.
        """
        if stored.ndim == 2:
            return self.table[stored]
        packed = (stored.astype(np.int32) << np.array([16, 8, 0])).sum(axis=2, dtype=np.int32)
        if not self.colours:
            raise UnknownColours(_count_colours(packed))
        colours = np.array([colour for colour, _ in self.colours], dtype=np.int32)
        ids = np.array([class_id for _, class_id in self.colours], dtype=np.uint8)
        if lossy or self.other is None:
            return ids[_nearest(stored, colours)]
        index = np.minimum(np.searchsorted(colours, packed), len(colours) - 1)
        return np.where(colours[index] == packed, ids[index], np.uint8(self.other))


def _nearest(stored: np.ndarray, colours: np.ndarray) -> np.ndarray:
    """Index, int64 [H, W], of the colour with the smallest Euclidean distance to each pixel of RGB [H, W, 3]."""
    pixels = stored.astype(np.int32)
    distances = [((pixels - [colour >> 16, colour >> 8 & 255, colour & 255]) ** 2).sum(axis=2) for colour in colours]
    return np.argmin(distances, axis=0)


def _count_colours(packed: np.ndarray) -> Counter[int]:
    """Count the pixels of the most frequent colours of `packed`, int32 [H, W] of 0xRRGGBB."""
    colours, pixels = np.unique(packed, return_counts=True)
    most_frequent = np.argsort(pixels, kind="stable")[::-1][:MOST_COLOURS]
    return Counter({int(colours[index]): int(pixels[index]) for index in most_frequent})


def value_map(
    entries: Mapping[int, str] | Mapping[int | str, str] | None, names: tuple[str, ...] | None
) -> tuple[ValueMap, tuple[str, ...] | None]:
    """Build the map from data.value_map, and the K class names, taken from the map where `names` is None.

    `entries`: value, range, colour or `other` -> class name, `background` or `ignore`; `other` may be `nearest`, too.
    Without `other`, stored values that are left out become 254 (`UNMAPPED`). Raises InputError naming the entry.
    """
    if not entries:
        return ValueMap(), names
    entries = {key: label(name) for key, name in entries.items()}
    rest = next((name for key, name in entries.items() if key == OTHER), None)
    class_names = [name for key, name in entries.items() if (key, name) != (OTHER, NEAREST)]
    foreground = [name for name in class_names if name not in (*BACKGROUNDS, "ignore")]
    known = names or (BACKGROUND, *dict.fromkeys(foreground))
    if len(known) < 2:
        raise InputError("data.value_map: no value stands for a class; name at least one")
    unknown = sorted(set(foreground) - set(known))
    if unknown:
        raise InputError(f"data.value_map: {', '.join(unknown)} is no class; the classes are {', '.join(known[1:])}")
    ids = {name: class_id for class_id, name in enumerate(known)} | {"background": 0, "ignore": IGNORE}
    table, named, colours = _read_entries(entries, ids)
    other = None if rest == NEAREST else UNMAPPED if rest is None else ids[rest]
    _fill(table, named, other)
    return ValueMap(table, tuple(sorted(colours.items())), other, given=True), known


def _read_entries(
    entries: Mapping[int, str] | Mapping[int | str, str], ids: Mapping[str, int]
) -> tuple[np.ndarray, np.ndarray, dict[int, int]]:
    """Table of class ids, uint8 [256]; values that the entries name, bool [256]; class id of each named colour."""
    table = np.full(256, UNMAPPED, dtype=np.uint8)
    named = np.zeros(256, dtype=bool)
    colours: dict[int, int] = {}
    for key, name in entries.items():
        stored = parse_key(key)
        if isinstance(stored, int):
            colours[stored] = ids[name]
        elif stored is not None and named[stored].any():
            raise InputError(f"data.value_map: {key} is named twice; name each value once")
        elif stored is not None:
            table[stored], named[stored] = ids[name], True
    for colour, class_id in colours.items():  # a colour mask without colour is decoded as grey values
        grey = colour & 255
        if colour == grey * 0x010101 and not named[grey]:
            table[grey], named[grey] = class_id, True
    return table, named, colours


def _fill(table: np.ndarray, named: np.ndarray, other: int | None) -> None:
    """Set the values of `table` that are not `named` to `other`; for None to the class of the nearest named value."""
    if other is not None:
        table[~named] = other
    elif named.any():
        values = np.flatnonzero(named)
        nearest = np.abs(np.arange(256)[:, None] - values).argmin(axis=1)
        table[:] = table[values[nearest]]
