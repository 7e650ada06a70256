"""The `--data.value_map` line that makes masks of other tools usable, worked out from what is in them."""

from collections import Counter
from collections.abc import Iterator
from itertools import pairwise

import numpy as np

from trainer import IGNORE
from trainer.config import NEAREST, OTHER

NEAR = 24
"""Levels within which compression and smoothed edges scatter the values of one class."""

SMALLEST_SHARE = 0.0004
"""Of all pixels: less is scatter, not a class."""

DEEPEST = 3
"""A value stands for a class of its own where it is so many times as frequent as some value on the way to the next."""

STANDS_OUT = (5, 3)
"""A value of a class is so many times as frequent as the values that scatter leaves, by their median; the second where
the first leaves only the background, because things are thin."""

EXACT = 32
"""Masks of more colours or values than this have smooth edges or were compressed."""


def suggest_values(total: np.ndarray, names: tuple[str, ...] | None, noisy: bool) -> str | None:
    """The option to paste for masks of these values; None where but one value can be told.

    `total` int64 [256]: pixels of each stored value over all masks; `names`: the K classes where they are known;
    `noisy`: compression or smoothed edges have scattered the values, so ranges are named.
    """
    found = _peaks(total) if noisy else [int(value) for value in np.flatnonzero(total)]
    if len(found) < 2:
        return None
    ranges = [(value, value) for value in found]
    if noisy:
        middles = [(low + high) // 2 for low, high in pairwise(found)]
        ranges = list(zip([0, *(middle + 1 for middle in middles)], [*middles, 255], strict=True))
    background = 0 if total[0] or not found else max(found, key=lambda value: total[value])
    ignoring = not noisy and bool(total[1:IGNORE].any())  # 0 and 255 alone: 255 is a class
    given = _names(found, background, names, ignoring)
    entries = [
        f"{low}: {name}" if low == high else f"'{low}-{high}': {name}"
        for (low, high), name in zip(ranges, given, strict=True)
    ]
    return _option(entries)


def suggest_colours(colours: Counter[int], names: tuple[str, ...] | None, lossy: bool = False) -> str | None:
    """The option to paste for masks of these colours, 0xRRGGBB -> pixels; None where but one colour can be told.

    `lossy`: compression has changed them; they are then read as the nearest one without being told to.
    """
    scattered = lossy or len(colours) > EXACT
    smallest = SMALLEST_SHARE * sum(colours.values()) if scattered else 0
    kept: list[int] = []
    for colour, count in colours.most_common():
        if count < smallest or len(kept) == IGNORE - 1:
            break
        if not scattered or all(_apart(colour, other) > NEAR for other in kept):
            kept.append(colour)
    if len(kept) < 2:
        return None
    background = 0 if 0 in kept else kept[0]
    foreground = iter(names[1:] if names else ())
    made = (f"class_{number}" for number in range(1, 256))
    entries = [f"'#{background:06x}': background"]
    for colour in sorted(kept):
        if colour != background:
            name = next(foreground, None) or ("ignore" if names else next(made))
            entries.append(f"'#{colour:06x}': {name}")
    if scattered and not lossy:
        entries.append(f"{OTHER}: {NEAREST}")
    return _option(entries)


def _option(entries: list[str]) -> str:
    return f'--data.value_map "{{{", ".join(entries)}}}"'


def _apart(first: int, second: int) -> int:
    """Largest difference of two colours in red, green or blue."""
    return max(abs((first >> shift & 255) - (second >> shift & 255)) for shift in (16, 8, 0))


def _peaks(total: np.ndarray) -> list[int]:
    """The values, ascending, that the others are scattered around."""
    strict, loose = (_standing_out(total, times) for times in STANDS_OUT)
    return strict if len(strict) > 1 else loose


def _standing_out(total: np.ndarray, times: int) -> list[int]:
    """The values, ascending, that stand out from the scatter, each with a valley before any more frequent one."""
    smooth = np.convolve(total, np.ones(5), "same")  # some compressors leave every second value out
    smallest = max(SMALLEST_SHARE * total.sum(), times * np.median(smooth[smooth > 0]))
    kept: list[int] = []
    for value in np.argsort(smooth, kind="stable")[::-1]:
        if smooth[value] < smallest:
            break
        near = slice(max(0, value - 2), value + 3)
        place = near.start + int(np.argmax(total[near]))
        ways = [smooth[min(place, other) : max(place, other) + 1] for other in kept]
        if all(len(way) > 6 and way.min() * DEEPEST <= smooth[value] for way in ways):
            kept.append(place)
    return sorted(kept)


def _names(found: list[int], background: int, names: tuple[str, ...] | None, ignoring: bool) -> Iterator[str]:
    """A class for each value: its own where it is an id, one left over where it is not, or a placeholder."""
    shifted = background != 0 and names is not None and max(found) <= len(names)  # ids that start at 1
    free = [name for number, name in enumerate(names or ()) if number and (shifted or number not in found)]
    made = (f"class_{number}" for number in range(1, 256))
    for value in found:
        if value == background:
            yield "background"
        elif value == IGNORE and ignoring:
            yield "ignore"
        elif names and value < len(names) and not shifted:
            yield names[value]
        else:
            yield free.pop(0) if free else "ignore" if names else next(made)
