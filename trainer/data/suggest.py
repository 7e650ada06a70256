"""The `--data.value_map` line that makes masks of other tools usable, worked out from what is in them."""

from collections import Counter
from collections.abc import Iterator
from itertools import pairwise

import numpy as np

from trainer import IGNORE

NEAR = 24
"""Levels within which compression and smoothed edges scatter the values of one class."""

SMALLEST_SHARE = 0.002
"""Of all pixels: less is scatter, not a class."""


def suggest_values(total: np.ndarray, names: tuple[str, ...] | None, noisy: bool) -> str:
    """The option to paste for masks of these values.

    `total` int64 [256]: pixels of each stored value over all masks; `names`: the K classes where they are known;
    `noisy`: compression or smoothed edges have scattered the values, so ranges are named.
    """
    found = _peaks(total) if noisy else [int(value) for value in np.flatnonzero(total)]
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


def suggest_colours(colours: Counter[int], names: tuple[str, ...] | None) -> str:
    """The option to paste for masks of these colours: 0xRRGGBB -> pixels."""
    pixels = sum(colours.values())
    kept: list[int] = []
    for colour, count in colours.most_common():
        if count < SMALLEST_SHARE * pixels or len(kept) == IGNORE - 1:
            break
        if all(_apart(colour, other) > NEAR for other in kept):
            kept.append(colour)
    background = 0 if 0 in kept else kept[0]
    foreground = iter(names[1:] if names else ())
    made = (f"class_{number}" for number in range(1, 256))
    entries = [f"'#{background:06x}': background"]
    entries += [
        f"'#{colour:06x}': {next(foreground, None) or next(made)}" for colour in sorted(kept) if colour != background
    ]
    return _option(entries)


def _option(entries: list[str]) -> str:
    return f'--data.value_map "{{{", ".join(entries)}}}"'


def _apart(first: int, second: int) -> int:
    """Largest difference of two colours in red, green or blue."""
    return max(abs((first >> shift & 255) - (second >> shift & 255)) for shift in (16, 8, 0))


def _peaks(total: np.ndarray) -> list[int]:
    """The values, ascending, that the others are scattered around."""
    kept: list[int] = []
    for value in np.argsort(total, kind="stable")[::-1]:
        own = total[max(0, value - 4) : value + 5].sum()
        if own < SMALLEST_SHARE * total.sum() or total[value] == 0:
            continue
        if all(abs(int(value) - other) > NEAR for other in kept):
            kept.append(int(value))
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
