"""Samples in their own pixels, of which windows are read: from a file with all of them, or from the image files.

Beside the cache's facts.npy stand pixels.bin, the images' uint8 bands and the masks' class ids one after another;
places.npy, where each is; and points.npy, some labelled pixels of each class in each mask, to choose crops by.
"""

import errno
import os
import threading
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from trainer import IGNORE
from trainer.data.image_io import AnyLevels
from trainer.data.resize import scale_image
from trainer.data.resize_mask import scale_mask
from trainer.data.sample import Sample
from trainer.data.value_map import ValueMap
from trainer.data.view import View

PIXELS, PLACES, POINTS = "pixels.bin", "places.npy", "points.npy"

PLACE = np.dtype([("offset", "<i8"), ("size", "<u4", 2), ("first", "<i8"), ("points", "<u4")])
"""Place of a sample: offset in bytes of its image in PIXELS, which its mask follows; H, W; its part of POINTS."""

POINTS_PER_CLASS = 64
"""Pixels of each class that are kept of a mask."""

Pixels = tuple[np.ndarray, np.ndarray]
"""Image uint8 [H, W, C] and mask uint8 [H, W]."""


def _clip(size: tuple[int, int], top: int, left: int, side: int) -> tuple[slice, slice]:
    """Rows and columns of a window that lie inside an image."""
    rows, columns = (
        slice(min(max(0, start), length), max(0, min(start + side, length)))
        for start, length in zip((top, left), size, strict=True)
    )
    return rows, columns


def _framed(pixels: Pixels, rows: slice, columns: slice, top: int, left: int, side: int) -> Pixels:
    """Window of a sample, of which `pixels` are those that lie inside the image."""
    if rows.stop - rows.start == columns.stop - columns.start == side:
        return pixels
    image, mask = np.zeros((side, side, pixels[0].shape[2]), np.uint8), np.full((side, side), IGNORE, np.uint8)
    inside = slice(rows.start - top, rows.stop - top), slice(columns.start - left, columns.stop - left)
    if rows.start < rows.stop and columns.start < columns.stop:
        image[inside], mask[inside] = pixels
    return image, mask


@dataclass(frozen=True)
class FullSize(ABC):
    """N samples at the scale of a view of tiles. Reading is safe from any thread and process."""

    view: View
    facts: np.ndarray
    """FACTS [N]."""

    places: np.ndarray
    """PLACE [N]."""

    all_points: np.ndarray
    """Int32 [P, 3]."""

    reading_seconds: float
    """Seconds that this process has read the files for; 0 where an earlier one did."""

    def size(self, row: int) -> tuple[int, int]:
        """Height and width of a sample in pixels."""
        height, width = self.places["size"][row].tolist()
        return height, width

    def points(self, row: int) -> np.ndarray:
        """Some labelled pixels of a sample, int32 [P, 3]: class id, row and column."""
        place = self.places[row]
        return self.all_points[int(place["first"]) :][: int(place["points"])]

    @abstractmethod
    def image(self, row: int) -> np.ndarray:
        """Image of a sample, uint8 [H, W, C]."""

    @abstractmethod
    def mask(self, row: int) -> np.ndarray:
        """Mask of a sample, class ids, uint8 [H, W]."""

    @abstractmethod
    def window(self, row: int, top: int, left: int, side: int) -> Pixels:
        """Square part of a sample, `side` pixels wide; outside the image it is black, and ignored."""


@dataclass(frozen=True)
class CachedFullSize(FullSize):
    """Samples whose pixels lie in a file."""

    file: "PixelFile"

    def image(self, row: int) -> np.ndarray:
        height, width = self.size(row)
        content = self.file.read(int(self.places["offset"][row]), self.view.channels * height * width)
        return content.reshape(height, width, self.view.channels)

    def mask(self, row: int) -> np.ndarray:
        height, width = self.size(row)
        offset = int(self.places["offset"][row]) + self.view.channels * height * width
        return self.file.read(offset, height * width).reshape(height, width)

    def window(self, row: int, top: int, left: int, side: int) -> Pixels:
        height, width = size = self.size(row)
        rows, columns = _clip(size, top, left, side)
        offset, channels = int(self.places["offset"][row]), self.view.channels
        image = self._part(offset, width, rows, columns, channels)
        mask = self._part(offset + channels * height * width, width, rows, columns, 1)[..., 0]
        return _framed((image, mask), rows, columns, top, left, side)

    def _part(self, offset: int, width: int, rows: slice, columns: slice, channels: int) -> np.ndarray:
        """Rows and columns of the array, uint8 [H, width, channels], that begins at `offset`."""
        count = max(0, columns.stop - columns.start)
        result = np.empty((max(0, rows.stop - rows.start), count, channels), np.uint8)
        for place, number in enumerate(range(rows.start, rows.stop)):
            start = offset + channels * (number * width + columns.start)
            result[place] = self.file.read(start, channels * count).reshape(count, channels)
        return result


@dataclass(frozen=True)
class UncachedFullSize(FullSize):
    """Samples decoded each time they are read: slower, without need of disk."""

    samples: Sequence[Sample]
    values: ValueMap
    levels: AnyLevels | None

    def image(self, row: int) -> np.ndarray:
        sample = self.samples[row]
        with sample.contents() as contents:
            image = sample.read_image(contents.image, self.levels)
        return scale_image(image, self.view.scaled(image.shape))

    def mask(self, row: int) -> np.ndarray:
        sample = self.samples[row]
        with sample.contents() as contents:
            mask = sample.read_mask(self.values, contents.mask)
        return scale_mask(mask, self.view.scaled(mask.shape))

    def window(self, row: int, top: int, left: int, side: int) -> Pixels:
        sample = self.samples[row]
        with sample.contents() as contents:
            image = sample.read_image(contents.image, self.levels)
            size = self.view.scaled(image.shape)
            rows, columns = _clip(size, top, left, side)
            image = scale_image(image, size)[rows, columns].copy()
            mask = scale_mask(sample.read_mask(self.values, contents.mask), size)[rows, columns]
        return _framed((image, mask), rows, columns, top, left, side)


class PixelFile:
    """File of pixels, read on demand. Reading is safe from any thread."""

    def __init__(self, path: Path) -> None:
        self.descriptor = os.open(path, os.O_RDONLY)

    def read(self, offset: int, count: int) -> np.ndarray:
        """Copy some bytes, uint8 [count]."""
        result = np.empty(count, np.uint8)
        view, done = result.data, 0
        while done < count:  # the system reads at most 2 GB at once
            got = os.preadv(self.descriptor, [view[done:]], offset + done)
            if got == 0:
                raise OSError(errno.EIO, "the cache is shorter than it was")
            done += got
        return result

    def __del__(self) -> None:
        os.close(self.descriptor)


class FullSizeWriter:
    """Writes the files of a folder of CachedFullSize; from any threads, in any order."""

    def __init__(self, folder: Path, count: int, view: View, pixels: bool) -> None:
        """`pixels`: whether they are kept too, beside places and points."""
        self.folder, self.view = folder, view
        self.places = np.zeros(count, PLACE)
        self.points: dict[int, np.ndarray] = {}
        self.end = 0
        self.lock = threading.Lock()
        flags = os.O_WRONLY | os.O_CREAT
        self.descriptor = os.open(folder / PIXELS, flags, 0o644) if pixels else None

    def store(self, row: int, image: np.ndarray, mask: np.ndarray) -> None:
        """Write one sample: `image` uint8 [H, W, C] and `mask` uint8 [H, W], at their own size."""
        size = self.view.scaled(mask.shape)
        scaled = scale_mask(mask, size)
        points = choose_points(scaled, row)
        with self.lock:
            offset, self.end = self.end, self.end + (self.view.channels + 1) * scaled.size
            self.points[row] = points
        self.places[row] = offset, size, 0, len(points)
        if self.descriptor is not None:
            self._write(scale_image(image, size), offset)
            self._write(scaled, offset + self.view.channels * scaled.size)

    def _write(self, array: np.ndarray, offset: int) -> None:
        assert self.descriptor is not None
        content = np.ascontiguousarray(array).reshape(-1).data
        while len(content):
            written = os.pwrite(self.descriptor, content, offset)
            content, offset = content[written:], offset + written

    def close(self) -> None:
        """Write places and points."""
        if self.descriptor is not None:
            os.close(self.descriptor)
        rows = range(len(self.places))
        parts = [self.points.get(row, np.zeros((0, 3), np.int32)) for row in rows]
        self.places["first"] = np.cumsum([0, *map(len, parts)])[:-1]
        np.save(self.folder / PLACES, self.places)
        np.save(self.folder / POINTS, np.concatenate([*parts, np.zeros((0, 3), np.int32)]))


def choose_points(mask: np.ndarray, row: int) -> np.ndarray:
    """Some pixels of each foreground class of a mask, uint8 [H, W], as int32 [P, 3]; a function of mask and `row`."""
    random, parts = np.random.default_rng([row, 29]), []
    flat = mask.reshape(-1)
    for number in _present(mask):
        if number == 0:
            continue
        found = np.flatnonzero(flat == number)
        chosen = found[np.unique(random.integers(len(found), size=POINTS_PER_CLASS))]
        places = np.stack(np.unravel_index(chosen, mask.shape), axis=1)
        parts.append(np.column_stack([np.full(len(places), number), places]).astype(np.int32))
    return np.concatenate([*parts, np.zeros((0, 3), np.int32)])


def _present(mask: np.ndarray) -> np.ndarray:
    """Class ids that a mask has, row by row: `np.bincount` makes int64 of all pixels first."""
    seen = np.zeros(256, bool)
    for line in mask:
        seen[line] = True
    return np.flatnonzero(seen[:IGNORE])
