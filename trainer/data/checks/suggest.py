"""Suggestion of the `--data.value_map` option that makes masks of other tools usable, from the values in them."""

from collections import Counter
from collections.abc import Iterator
from itertools import pairwise

import numpy as np

from trainer import IGNORE
from trainer.config import NAN, NEAREST, OTHER
from trainer.system.text import option

SCATTER = 24
"""Levels by which compression and smooth edges scatter the colours of one class."""

SMALLEST_SHARE = 0.0004
"""Share of all pixels below which a value or colour is scatter, not a class."""

VALLEY_DEPTH = 3
"""Factor by which the smaller of two peaks must exceed some value between them, to be a class of its own."""

PEAK_FACTORS = (5, 3)
"""Factor by which the value of a class is more frequent than the median of all values. The second one is used if the
first leaves only the background, because objects are thin."""

EXACT = 32
"""Colours or values in masks without smooth edges or compression, at most."""


def suggest_values(total: np.ndarray, names: tuple[str, ...] | None, noisy: bool) -> str | None:
    """Suggest the option to paste for masks of these values; None if fewer than two values can be told apart.

    `total`: pixels of each stored value over all masks, int64 [256]. `names`: the K class names if they are known.
    `noisy`: compression or smooth edges have scattered the values, so ranges are named.
    """
    found = _peaks(total) if noisy else [int(value) for value in np.flatnonzero(total)]
    if len(found) < 2:
        return None
    ranges = [(value, value) for value in found]
    if noisy:
        middles = [(low + high) // 2 for low, high in pairwise(found)]
        ranges = list(zip([0, *(middle + 1 for middle in middles)], [*middles, 255], strict=True))
    background = 0 if total[0] or not found else max(found, key=lambda value: total[value])
    has_ignore = not noisy and bool(total[1:IGNORE].any())  # with 0 and 255 alone, 255 is a class
    meant = zip(ranges, _assign_names(found, background, names, has_ignore), strict=True)
    return option("data.value_map", {low if low == high else f"{low}-{high}": name for (low, high), name in meant})


def suggest_wide(values: Counter[float | None], names: tuple[str, ...] | None) -> str | None:
    """Suggest the option to paste for masks with values that are not whole, negative or above 255; None for scatter.

    `values`: pixels of each value over all masks; None: not finite. `names`: the K class names if they are known.
    """
    found = sorted(int(value) for value in values if value is not None and value == int(value))
    finite = sum(value is not None for value in values)
    if len(found) < finite or not 0 < len(found) <= EXACT or finite + (None in values) < 2:
        return None
    positive = [value for value in found if value >= 0]
    background = 0 if 0 in found else max(positive or found, key=lambda value: values[value])
    has_ignore = any(0 < value < IGNORE for value in found)
    entries: dict[int | str, str] = dict(zip(found, _assign_names(found, background, names, has_ignore), strict=True))
    return option("data.value_map", entries | ({NAN: "ignore"} if None in values else {}))


def suggest_colours(colours: Counter[int], names: tuple[str, ...] | None, lossy: bool = False) -> str | None:
    """Suggest the option to paste for masks of these colours; None if fewer than two can be told apart.

    `colours`: pixels of each colour, 0xRRGGBB. `names`: the K class names if they are known. `lossy`: compression has
    changed the colours; they are then mapped to the nearest one even without `other: nearest`.
    """
    scattered = lossy or len(colours) > EXACT
    smallest = SMALLEST_SHARE * sum(colours.values()) if scattered else 0
    distinct: list[int] = []
    for colour, count in colours.most_common():
        if count < smallest or len(distinct) == IGNORE - 1:
            break
        if not scattered or all(_colour_distance(colour, other) > SCATTER for other in distinct):
            distinct.append(colour)
    if len(distinct) < 2:
        return None
    background = 0 if 0 in distinct else distinct[0]
    foreground = iter(names[1:] if names else ())
    placeholders = _placeholders()
    entries = {f"#{background:06x}": "background"}
    for colour in sorted(distinct):
        if colour != background:
            name = next(foreground, None) or ("ignore" if names else next(placeholders))
            entries[f"#{colour:06x}"] = name
    if scattered and not lossy:
        entries[OTHER] = NEAREST
    return option("data.value_map", entries)


def _colour_distance(first: int, second: int) -> int:
    """Largest difference of two colours, 0xRRGGBB, in red, green or blue."""
    return max(abs((first >> shift & 255) - (second >> shift & 255)) for shift in (16, 8, 0))


def _peaks(total: np.ndarray) -> list[int]:
    """Values, ascending, that the others are scattered around."""
    strict, loose = (_peaks_above(total, factor) for factor in PEAK_FACTORS)
    return strict if len(strict) > 1 else loose


def _peaks_above(total: np.ndarray, factor: int) -> list[int]:
    """Values, ascending, more frequent than `factor` times the median, with a valley before any more frequent one."""
    smooth = np.convolve(total, np.ones(5), "same")  # some compressors skip every second value
    smallest = max(SMALLEST_SHARE * total.sum(), factor * np.median(smooth[smooth > 0]))
    peaks: list[int] = []
    for value in np.argsort(smooth, kind="stable")[::-1]:
        if smooth[value] < smallest:
            break
        near = slice(max(0, value - 2), value + 3)
        peak = near.start + int(np.argmax(total[near]))
        between = [smooth[min(peak, other) : max(peak, other) + 1] for other in peaks]
        if all(len(part) > 6 and part.min() * VALLEY_DEPTH <= smooth[value] for part in between):
            peaks.append(peak)
    return sorted(peaks)


def _assign_names(found: list[int], background: int, names: tuple[str, ...] | None, has_ignore: bool) -> Iterator[str]:
    """Yield a class for each value: its own if it is a class id, else an unused one, else a placeholder or ignore."""
    from_one = background != 0 and names is not None and max(found) <= len(names)  # ids that start at 1
    unused = [name for class_id, name in enumerate(names or ()) if class_id and (from_one or class_id not in found)]
    placeholders = _placeholders()
    for value in found:
        if value == background:
            yield "background"
        elif (value < 0 <= background) or (value == IGNORE and has_ignore):
            yield "ignore"
        elif names and value < len(names) and not from_one:
            yield names[value]
        else:
            yield unused.pop(0) if unused else "ignore" if names else next(placeholders)


def _placeholders() -> Iterator[str]:
    """Yield names for classes without one: class_1, class_2 and so on."""
    return (f"class_{number}" for number in range(1, 256))
