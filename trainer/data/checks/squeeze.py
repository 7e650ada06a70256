"""Loss of masks whose images are squeezed into one square: measured on some of them, before anything is read.

Two numbers for each class: IoU of the masks resized there and back, which no network that sees the squeezed image can
be expected to pass; and the share of its pixels in things that become thinner than two pixels.
"""

import hashlib
import math
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from trainer import IGNORE, InputError
from trainer.data.resize_mask import scale_mask, shrink_mask
from trainer.data.sample import Sample
from trainer.data.value_map import ValueMap
from trainer.system.atomic import write_json
from trainer.system.parallel import Progress, on_all_cores
from trainer.system.run_folder import read_object

MEASURED = 32
"""Number of samples that are measured, spread over all."""

THIN = 2.0
"""Width in pixels of the squeezed image below which a thing is thin."""

MOST = 0.9
"""Share of a class's pixels that is in things of at least the width that `width_of_most` gives."""

WIDTHS = (1, 2, 3, 4, 6, 8, 11, 16, 23, 32, 45, 64)
"""Widths in pixels that things are told apart by."""

MEASURED_WIDTHS = 8
"""Number of samples whose widths are measured: that takes as long as many others."""


@dataclass(frozen=True)
class Squeeze:
    """Measurements of some samples for one side of the square."""

    ratio: float
    """Longer side over the shorter one, of the median image."""

    side: int
    """Longer side of the median image, in pixels."""

    iou: dict[int, float]
    """IoU of the masks resized there and back, by class id."""

    thin: dict[int, float]
    """Share of the pixels in things that become thin, 0 to 1, by class id."""

    measured: int
    """Number of samples."""

    @property
    def ceiling(self) -> float:
        """Mean of `iou`; 1 without a class."""
        return sum(self.iou.values()) / len(self.iou) if self.iou else 1.0


def spread(samples: Sequence[Sample], count: int = MEASURED) -> list[Sample]:
    """Choose the samples that are measured: `count` of them, evenly."""
    return [samples[place] for place in sorted({*np.linspace(0, len(samples) - 1, count).astype(int).tolist()})]


def measure(samples: Sequence[Sample], values: ValueMap, size: int, folder: Path | None, progress: Progress) -> Squeeze:
    """Measure some samples for a square of `size` pixels; stored in `folder`, if any, for the next start.

    Samples that cannot be read are left out: they are reported where all are read.
    """
    chosen = spread(samples)
    file = folder and folder / f"squeeze-{_key(chosen, values, size)}.json"
    stored = _from_json(read_object(file)) if file else None
    if stored is not None:
        return stored
    advance = progress("measuring things", len(chosen))
    counts = [one for one in on_all_cores(lambda sample: _measure_one(sample, values, size, advance), chosen) if one]
    result = _join(counts)
    if file:
        file.parent.mkdir(parents=True, exist_ok=True)
        write_json(file, vars(result))
    return result


def width_of_most(samples: Sequence[Sample], values: ValueMap, progress: Progress, folder: Path | None = None) -> float:
    """Width in pixels that MOST of the pixels of the thinnest class are not below, in some samples; 0 without a class.

    Each pixel is in a thing as wide as the largest square inside its class that covers it (Matheron 1967,
    granulometry, with squares). Stored in `folder`, if any, for the next start.
    """
    left = np.zeros((256, len(WIDTHS)), np.int64)
    chosen = spread(samples, MEASURED_WIDTHS)
    file = folder and folder / f"widths-{_key(chosen, values, MEASURED_WIDTHS)}.json"
    stored = read_object(file).get("width") if file else None
    if isinstance(stored, float):
        return stored
    advance = progress("measuring widths", len(chosen))

    def add(sample: Sample) -> np.ndarray:
        found = np.zeros_like(left)
        with suppress(InputError, OSError), sample.contents() as contents:
            mask = sample.read_mask(values, contents.mask)
            for number in np.flatnonzero(np.bincount(mask.ravel(), minlength=256)[: IGNORE - 1]).tolist():
                if number:
                    found[number] = _survivors(mask == number)
        advance()
        return found

    for found in on_all_cores(add, chosen):
        left += found
    classes = np.flatnonzero(left[:, 0])
    wide = [WIDTHS[int((left[number] >= MOST * left[number, 0]).sum()) - 1] for number in classes]
    width = float(min(wide, default=0))
    if file:
        file.parent.mkdir(parents=True, exist_ok=True)
        write_json(file, {"width": width})
    return width


def _survivors(inside: np.ndarray) -> list[int]:
    """Pixels of a shape, bool [H, W], that squares of each of WIDTHS inside it cover."""
    inside = np.pad(inside[_bounds(inside)], 1)
    counts = [0] * len(WIDTHS)
    for place, width in enumerate(WIDTHS):
        counts[place] = int(_opened(inside, width).sum())
        if not counts[place]:
            break
    return counts


@dataclass
class _Counts:
    shape: tuple[int, int]
    overlap: np.ndarray
    """Pixels of each class whose class survives the way there and back, int64 [256]."""

    true: np.ndarray
    back: np.ndarray
    """Pixels of each class before and after it, int64 [256]."""

    thin: dict[int, int]
    """Pixels of each class in things that become thin."""


def _measure_one(sample: Sample, values: ValueMap, size: int, advance: Callable[[], None]) -> _Counts | None:
    try:
        with sample.contents() as contents:
            mask = sample.read_mask(values, contents.mask)
    except (InputError, OSError):
        return None
    finally:
        advance()
    mask = np.where(mask >= IGNORE - 1, IGNORE, mask).astype(np.uint8)
    back = scale_mask(shrink_mask(mask, size), mask.shape)
    counted = mask != IGNORE
    true, after = (np.bincount(array[counted], minlength=256) for array in (mask, back))
    overlap = np.bincount(mask[counted & (mask == back)], minlength=256)
    narrow = THIN * max(mask.shape) / size
    classes = [number for number in np.flatnonzero(true).tolist() if number]
    thin = {number: _thinner(mask == number, math.ceil(narrow)) for number in classes}
    return _Counts((mask.shape[0], mask.shape[1]), overlap, true, after, thin)


def _thinner(inside: np.ndarray, side: int) -> int:
    """Pixels of a shape, bool [H, W], that no square of `side` pixels inside it covers."""
    inside = np.pad(inside[_bounds(inside)], 1)
    return int(inside.sum()) - int(_opened(inside, side).sum())


def _bounds(inside: np.ndarray) -> tuple[slice, slice]:
    """Smallest window that holds all of a shape."""
    rows, columns = (np.flatnonzero(inside.any(axis=axis)) for axis in (1, 0))
    if not len(rows):
        return slice(0, 0), slice(0, 0)
    return slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1)


def _opened(inside: np.ndarray, side: int) -> np.ndarray:
    """Part of a shape, bool [H, W], that squares of `side` pixels inside it cover."""
    if min(inside.shape) < side:
        return np.zeros_like(inside)
    fits = _window_sums(_window_sums(inside, side, 0) == side, side, 1) == side
    padded = np.pad(fits, side - 1)
    return _window_sums(_window_sums(padded, side, 0) > 0, side, 1) > 0


def _window_sums(array: np.ndarray, side: int, axis: int) -> np.ndarray:
    """Sum of each `side` neighbours along an axis, int32."""
    lines = array if axis else array.T
    sums = np.zeros((lines.shape[0], lines.shape[1] + 1), np.int32)
    np.cumsum(lines, axis=1, dtype=np.int32, out=sums[:, 1:])
    result = sums[:, side:] - sums[:, :-side]
    return result if axis else result.T


def _join(counts: Sequence[_Counts]) -> Squeeze:
    if not counts:
        return Squeeze(1.0, 0, {}, {}, 0)
    overlap, true, back = (sum(getattr(one, name) for one in counts) for name in ("overlap", "true", "back"))
    classes = [number for number in range(1, IGNORE - 1) if true[number]]
    shapes = np.array([one.shape for one in counts])
    return Squeeze(
        float(np.median(shapes.max(axis=1) / shapes.min(axis=1))),
        int(np.median(shapes.max(axis=1))),
        {number: float(overlap[number] / (true[number] + back[number] - overlap[number])) for number in classes},
        {number: sum(one.thin.get(number, 0) for one in counts) / int(true[number]) for number in classes},
        len(counts),
    )


def _key(samples: Sequence[Sample], values: ValueMap, size: int) -> str:
    """Name of the measurement of these files as they are now."""
    result = hashlib.sha256(f"{size} {values.key}".encode())
    for sample in samples:
        for file in sample.files:
            with suppress(OSError):
                status = Path(file).stat()
                result.update(f"{file} {status.st_size} {status.st_mtime_ns}".encode(errors="surrogateescape"))
        result.update(sample.own_content())
    return result.hexdigest()[:16]


def _from_json(content: dict[str, Any]) -> Squeeze | None:
    try:
        by_class = {name: {int(key): float(value) for key, value in content[name].items()} for name in ("iou", "thin")}
        return Squeeze(content["ratio"], content["side"], **by_class, measured=content["measured"])
    except (KeyError, TypeError, ValueError, AttributeError):
        return None
