"""What the values and colours in mask files stand for."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from trainer import IGNORE, InputError
from trainer.config import NEAREST, OTHER, parse_key

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

    other: int | None = UNMAPPED
    """The class id of colours that are not named; None for that of the nearest one."""

    given: bool = False
    """False: stored values are class ids already."""

    @property
    def key(self) -> str:
        """Two maps of the same key give the same masks."""
        parts = [self.table.tobytes().hex()]
        parts += [f"{self.colours}"] if self.colours else []
        parts += [f"{self.other}"] if self.other != UNMAPPED else []
        return " ".join(parts)

    def ids(self, stored: np.ndarray, lossy: bool = False) -> np.ndarray:
        """Class ids, uint8 [H, W], of `stored`: uint8 values [H, W], or RGB [H, W, 3].

        A colour stands for the class of exactly that colour; of the nearest one where compression has changed it
        (`lossy`), or where `other` says so. Raises UnknownColours where no colours are named.
        """
        if stored.ndim == 2:
            return self.table[stored]
        packed = (stored.astype(np.int32) << np.array([16, 8, 0])).sum(axis=2, dtype=np.int32)
        if not self.colours:
            raise UnknownColours(_count(packed))
        known = np.array([colour for colour, _ in self.colours], dtype=np.int32)
        ids = np.array([number for _, number in self.colours], dtype=np.uint8)
        if lossy or self.other is None:
            return ids[_nearest(stored, known)]
        place = np.minimum(np.searchsorted(known, packed), len(known) - 1)
        return np.where(known[place] == packed, ids[place], np.uint8(self.other))


def _nearest(stored: np.ndarray, known: np.ndarray) -> np.ndarray:
    """Index, int64 [H, W], of the known colour with the smallest Euclidean distance to each pixel."""
    pixels = stored.astype(np.int32)
    distances = [((pixels - [colour >> 16, colour >> 8 & 255, colour & 255]) ** 2).sum(axis=2) for colour in known]
    return np.argmin(distances, axis=0)


def _count(packed: np.ndarray) -> Counter[int]:
    colours, pixels = np.unique(packed, return_counts=True)
    largest = np.argsort(pixels, kind="stable")[::-1][:MOST_COLOURS]
    return Counter({int(colours[place]): int(pixels[place]) for place in largest})


def value_map(
    entries: Mapping[int, str] | Mapping[int | str, str] | None, names: tuple[str, ...] | None
) -> tuple[ValueMap, tuple[str, ...] | None]:
    """What each stored value becomes, and the K class names, made from the map where there are none yet.

    `entries`: value, range, colour or `other` -> class name, `background` or `ignore`; `other` may be `nearest`, too.
    Without `other`, stored values that are left out become 254, which no class can have, so that the check reports
    them.
    """
    if not entries:
        return ValueMap(), names
    rest = next((name for key, name in entries.items() if key == OTHER), None)
    read_class_names = [name for key, name in entries.items() if (key, name) != (OTHER, NEAREST)]
    foreground = [name for name in read_class_names if name not in (*BACKGROUNDS, "ignore")]
    known = names or (BACKGROUND, *dict.fromkeys(foreground))
    if len(known) < 2:
        raise InputError("data.value_map: no value stands for a class; name at least one")
    strange = sorted(set(foreground) - set(known))
    if strange:
        raise InputError(f"data.value_map: {', '.join(strange)} is no class; the classes are {', '.join(known[1:])}")
    ids = {name: number for number, name in enumerate(known)} | {"background": 0, "ignore": IGNORE}
    table = np.full(256, UNMAPPED, dtype=np.uint8)
    named = np.zeros(256, dtype=bool)
    colours = {}
    for key, name in entries.items():
        stands = parse_key(key)
        if isinstance(stands, int):
            colours[stands] = ids[name]
        elif stands is not None and named[stands].any():
            raise InputError(f"data.value_map: {key} is named twice; name each value once")
        elif stands is not None:
            table[stands], named[stands] = ids[name], True
    for colour, number in colours.items():  # a colour picture without colour is read as grey
        grey = colour & 255
        if colour == grey * 0x010101 and not named[grey]:
            table[grey], named[grey] = number, True
    other = None if rest == NEAREST else UNMAPPED if rest is None else ids[rest]
    _fill(table, named, other)
    return ValueMap(table, tuple(sorted(colours.items())), other, given=True), known


def _fill(table: np.ndarray, named: np.ndarray, other: int | None) -> None:
    """Give the values that are not `named` what `other` says, in place."""
    if other is not None:
        table[~named] = other
    elif named.any():
        places = np.flatnonzero(named)
        nearest = np.abs(np.arange(256)[:, None] - places).argmin(axis=1)
        table[:] = table[places[nearest]]
