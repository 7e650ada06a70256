"""Mapping of the values and colours stored in mask files to class ids."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from trainer import IGNORE, InputError
from trainer.config import NAN, NEAREST, OTHER, parse_key
from trainer.drawing.palette import palette as own_palette
from trainer.system.strips import strips
from trainer.system.text import label

BACKGROUND = "_background_"
"""Name of class 0."""

BACKGROUNDS = (BACKGROUND, "background")
"""Names that stand for class 0 in settings and files."""

UNMAPPED = 254
"""Mask value of stored values that data.value_map leaves out; no class has this id, so the check reports it."""

MOST_COLOURS = 4096
"""Colours of a mask that are counted, the most frequent ones; a mask with more is a photograph."""


SAME = np.arange(256, dtype=np.uint8)
"""Table of values that are class ids already."""


class UnknownColours(InputError):
    """A colour mask without a map from its colours to classes."""

    def __init__(self, colours: Counter[int]) -> None:
        super().__init__("a colour picture, not class ids; name its colours in data.value_map")
        self.colours = colours
        """Pixels of each colour, 0xRRGGBB."""


class UnknownValues(InputError):
    """A mask with values that are not whole or not from 0 to 255, without a map from them to classes."""

    def __init__(self, values: Counter[float | None]) -> None:
        super().__init__("mask values that are not class ids; class ids are whole, 0 to 255")
        self.values = values
        """Pixels of each value; None for those that are not finite."""


@dataclass(frozen=True)
class ValueMap:
    """Map from the values or colours stored in a mask file to class ids."""

    table: np.ndarray = field(default_factory=SAME.copy)
    """Class id of each stored value, uint8 [256]."""

    colours: tuple[tuple[int, int], ...] = ()
    """Pairs of (0xRRGGBB, class id), ascending."""

    other: int | None = UNMAPPED
    """Class id of values and colours that are not named; None for that of the nearest named one."""

    given: bool = False
    """True if a map was configured; False if stored values are class ids already."""

    numbers: np.ndarray = field(default_factory=lambda: np.ones(256, dtype=bool))
    """True for values of the table that were named as numbers, bool [256], not as the grey of a colour."""

    wide: tuple[tuple[int, int, int], ...] = ()
    """Triples of (first value, last value, class id), for ranges that are not within 0..255."""

    nan: int | None = None
    """Class id of values that are not finite; None for `other`."""

    @property
    def key(self) -> str:
        """Text that identifies the map: maps with equal keys give equal masks."""
        parts = [self.table.tobytes().hex()]
        parts += [f"{self.colours}"] if self.colours else []
        parts += [f"{self.other}"] if self.other != UNMAPPED else []
        parts += [f"{self.wide} {self.nan}"] if self.wide or self.nan is not None else []
        return " ".join(parts)

    def ids(self, stored: np.ndarray, lossy: bool = False, palette: np.ndarray | None = None) -> np.ndarray:
        """Map `stored`, values [H, W] or uint8 RGB [H, W, 3], to class ids, uint8 [H, W].

        A colour gets the class of exactly that colour, or of the nearest named one if compression has changed the
        colours (`lossy`) or `other` is None. With a `palette`, uint8 RGB [n, 3], named colours count as those of RGB
        do. Raises UnknownColours if no colours are named, and UnknownValues if there is no map.
        """
        if stored.ndim == 3:
            if not self.colours:
                raise UnknownColours(_count_colours(stored))
            result = np.empty(stored.shape[:2], np.uint8)
            for rows in strips(*stored.shape[:2]):
                result[rows] = self._ids_of_colours(stored[rows], lossy)
            return result
        if stored.dtype != np.uint8:
            return self._ids_of_wide(stored)
        table = self.table if palette is None or not self.colours else self._palette_table(stored, palette, lossy)
        return stored if table.tobytes() == SAME.tobytes() else table[stored]

    def _ids_of_colours(self, stored: np.ndarray, lossy: bool) -> np.ndarray:
        packed = pack(stored)
        colours = np.array([colour for colour, _ in self.colours], dtype=np.int32)
        ids = np.array([class_id for _, class_id in self.colours], dtype=np.uint8)
        if lossy or self.other is None:
            return ids[_nearest(stored, colours)]
        index = np.minimum(np.searchsorted(colours, packed), len(colours) - 1)
        return np.where(colours[index] == packed, ids[index], np.uint8(self.other))

    def _palette_table(self, stored: np.ndarray, palette: np.ndarray, lossy: bool) -> np.ndarray:
        """Class id of each index, uint8 [256].

        An index that is named as a number has its class if its colour is not named, and no colour contradicts the
        numbers, which happens where a program has sorted the palette anew. In this program's own masks numbers come
        first.
        """
        count, own = len(palette), np.array_equal(palette, own_palette())
        of_colours, exact = self._ids_of_colours(palette[None], lossy)[0], np.isin(pack(palette), [*dict(self.colours)])
        contradictions = np.flatnonzero(exact & self.numbers[:count] & (of_colours != self.table[:count]))
        sorted_anew = not own and any((stored == index).any() for index in contradictions.tolist())
        by_number = self.numbers & (not sorted_anew)
        table = np.where(by_number, self.table, self._rest)
        by_colour = ~by_number[:count] if own else exact | ~by_number[:count]
        table[:count][by_colour] = of_colours[by_colour]
        return table

    @property
    def _rest(self) -> np.uint8:
        """Class id of what is neither named nor near to anything named."""
        return np.uint8(UNMAPPED if self.other is None else self.other)

    def _ids_of_wide(self, stored: np.ndarray) -> np.ndarray:
        """Map values that do not all fit into uint8."""
        values, places = np.unique(stored, return_inverse=True, equal_nan=True)
        if not self.given:
            raise UnknownValues(_count_values(values, np.bincount(places.ravel())))
        spans = [(value, value, int(self.table[value])) for value in np.flatnonzero(self.numbers).tolist()]
        spans += self.wide
        finite = np.isfinite(values)
        ids = np.full(len(values), self._rest)
        if self.other is None and spans:
            numbers = np.where(finite, values, 0).astype(np.float64)
            distances = [np.maximum(np.maximum(first - numbers, numbers - last), 0) for first, last, _ in spans]
            ids = np.array([class_id for *_, class_id in spans], np.uint8)[np.argmin(distances, axis=0)]
        for first, last, class_id in spans:
            ids[finite & (values >= first) & (values <= last)] = class_id
        ids[~finite] = self._rest if self.nan is None else self.nan
        return ids[places].reshape(stored.shape)


def pack(rgb: np.ndarray) -> np.ndarray:
    """Colours, uint8 RGB [..., 3], as int32 [...] of 0xRRGGBB."""
    return (rgb.astype(np.int32) << np.array([16, 8, 0])).sum(axis=-1, dtype=np.int32)


def _nearest(stored: np.ndarray, colours: np.ndarray) -> np.ndarray:
    """Index, int64 [H, W], of the colour with the smallest Euclidean distance to each pixel of RGB [H, W, 3]."""
    pixels = stored.astype(np.int32)
    distances = [((pixels - [colour >> 16, colour >> 8 & 255, colour & 255]) ** 2).sum(axis=2) for colour in colours]
    return np.argmin(distances, axis=0)


def _count_colours(stored: np.ndarray) -> Counter[int]:
    """Count the pixels of the most frequent colours 0xRRGGBB of `stored`, uint8 RGB [H, W, 3]."""
    total = Counter[int]()
    for rows in strips(*stored.shape[:2]):
        colours, pixels = np.unique(pack(stored[rows]), return_counts=True)
        most_frequent = np.argsort(pixels, kind="stable")[::-1][:MOST_COLOURS]
        total.update({int(colours[index]): int(pixels[index]) for index in most_frequent})
    return Counter(dict(total.most_common(MOST_COLOURS)))


def _count_values(values: np.ndarray, pixels: np.ndarray) -> Counter[float | None]:
    """Counter of the most frequent `values`; those that are not finite are counted as None."""
    counted: Counter[float | None] = Counter()
    for index in np.argsort(pixels, kind="stable")[::-1][:MOST_COLOURS].tolist():
        counted[values[index].item() if np.isfinite(values[index]) else None] += int(pixels[index])
    return counted


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
        wrong = "is not a class" if len(unknown) == 1 else "are not classes"
        raise InputError(f"data.value_map: {', '.join(unknown)} {wrong}; the classes are {', '.join(known[1:])}")
    ids = {name: class_id for class_id, name in enumerate(known)} | {"background": 0, "ignore": IGNORE}
    other = None if rest == NEAREST else UNMAPPED if rest is None else ids[rest]
    return _make_map(entries, ids, other), known


def _make_map(
    entries: Mapping[int, str] | Mapping[int | str, str], ids: Mapping[str, int], other: int | None
) -> ValueMap:
    """Map of `entries`; `ids`: class id of each name in them, `other`: that of the rest."""
    table = np.full(256, UNMAPPED, dtype=np.uint8)
    numbers = np.zeros(256, dtype=bool)
    colours: dict[int, int] = {}
    ranges: list[tuple[range, int]] = []
    nan = None
    for key, name in entries.items():
        stored = parse_key(key)
        if isinstance(stored, int):
            colours[stored] = ids[name]
        elif stored is not None:
            if any(stored.start < one.stop and one.start < stored.stop for one, _ in ranges):
                raise InputError(f"data.value_map: {key} is named twice; name each value once")
            ranges.append((stored, ids[name]))
        elif str(key).strip() == NAN:
            nan = ids[name]
    for stored, class_id in ranges:
        within = slice(max(0, stored.start), max(0, min(256, stored.stop)))
        table[within], numbers[within] = class_id, True
    named = numbers.copy()
    for colour, class_id in colours.items():  # a colour mask without colour is decoded as grey values
        grey = colour & 255
        if colour == grey * 0x010101 and not named[grey]:
            table[grey], named[grey] = class_id, True
    _fill(table, named, other)
    wide = tuple((one.start, one.stop - 1, class_id) for one, class_id in ranges if one.start < 0 or one.stop > 256)
    return ValueMap(table, tuple(sorted(colours.items())), other, True, numbers, wide, nan)


def _fill(table: np.ndarray, named: np.ndarray, other: int | None) -> None:
    """Set the values of `table` that are not `named` to `other`; for None to the class of the nearest named value."""
    if other is not None:
        table[~named] = other
    elif named.any():
        values = np.flatnonzero(named)
        nearest = np.abs(np.arange(256)[:, None] - values).argmin(axis=1)
        table[:] = table[values[nearest]]
