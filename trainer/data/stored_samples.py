"""Samples of a run, as they are read: resized ones in two files or decoded anew, or in their own pixels for tiles.

Rows are read and written with `pread` and `pwrite`, not through a memory map: the pages of a map count as the process's
memory, which would then grow with the number of images.
"""

import errno
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
import torch

from trainer.data.full_size import FullSize
from trainer.data.image_io import AnyLevels
from trainer.data.resize import shrink_image
from trainer.data.resize_mask import shrink_mask
from trainer.data.sample import Sample
from trainer.data.value_map import ValueMap
from trainer.data.view import View


class Rows:
    """Rows of an array in an .npy file, read on demand. Safe from any thread."""

    def __init__(self, path: Path, writable: bool = False) -> None:
        with path.open("rb") as file:
            version = np.lib.format.read_magic(file)
            assert version == (1, 0)
            self.shape, _, self.dtype = np.lib.format.read_array_header_1_0(file)
            self.start = file.tell()
        self.row_bytes = int(np.prod(self.shape[1:])) * self.dtype.itemsize
        self.descriptor = os.open(path, os.O_RDWR if writable else os.O_RDONLY)

    @classmethod
    def make(cls, path: Path, shape: tuple[int, ...]) -> "Rows":
        """Make a file for uint8 rows of this shape, to be filled."""
        np.lib.format.open_memmap(path, "w+", np.uint8, shape, version=(1, 0))
        return cls(path, writable=True)

    def __setitem__(self, row: int, value: np.ndarray) -> None:
        content = np.ascontiguousarray(value, self.dtype).data
        if os.pwrite(self.descriptor, content, self.start + row * self.row_bytes) < self.row_bytes:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    def __getitem__(self, row: int) -> np.ndarray:
        content = os.pread(self.descriptor, self.row_bytes, self.start + int(row) * self.row_bytes)
        return np.frombuffer(content, self.dtype).reshape(self.shape[1:])

    def take(self, rows: Sequence[int]) -> np.ndarray:
        """Copy some rows, [B, ...]."""
        result = np.empty((len(rows), *self.shape[1:]), self.dtype)
        for place, row in enumerate(rows):
            result[place] = self[row]
        return result

    def __del__(self) -> None:
        os.close(self.descriptor)


class ResizedSamples(Protocol):
    """N samples, resized to one size. Reading is safe from any thread and process."""

    @property
    def facts(self) -> np.ndarray:
        """FACTS [N]."""
        ...

    @property
    def view(self) -> View:
        """Way in which they are shown; its size is S."""
        ...

    @property
    def reading_seconds(self) -> float:
        """Seconds that this process has read the files for; 0 where an earlier one did."""
        ...

    def read(self, indices: Sequence[int] | np.ndarray) -> tuple[torch.Tensor, torch.Tensor]:
        """Images uint8 [B, C, S, S] (channels last in memory) and masks uint8 [B, S, S]."""
        ...


@dataclass(frozen=True)
class CachedSamples:
    """Resized samples on the disk."""

    images: Rows
    """uint8 [N, S, S, C]."""

    masks: Rows
    """uint8 [N, S, S] class ids."""

    facts: np.ndarray
    view: View
    reading_seconds: float = 0.0

    def read(self, indices: Sequence[int] | np.ndarray) -> tuple[torch.Tensor, torch.Tensor]:
        rows = [int(index) for index in indices]
        images, masks = self.images.take(rows), self.masks.take(rows)
        return torch.from_numpy(images).permute(0, 3, 1, 2), torch.from_numpy(masks)


@dataclass(frozen=True)
class UncachedSamples:
    """Samples decoded and resized each time they are read: slower, without need of disk."""

    samples: Sequence[Sample]
    view: View
    values: ValueMap
    facts: np.ndarray
    levels: AnyLevels | None
    reading_seconds: float = 0.0

    def read(self, indices: Sequence[int] | np.ndarray) -> tuple[torch.Tensor, torch.Tensor]:
        chosen = [self.samples[int(index)] for index in indices]
        size, keep_aspect = self.view.size, self.view.keep_aspect
        images = np.empty((len(chosen), size, size, self.view.channels), np.uint8)
        masks = np.empty((len(chosen), size, size), np.uint8)
        for place, sample in enumerate(chosen):
            with sample.contents() as contents:
                images[place] = shrink_image(sample.read_image(contents.image, self.levels), size, keep_aspect)
                masks[place] = shrink_mask(sample.read_mask(self.values, contents.mask), size, keep_aspect)
        return torch.from_numpy(images).permute(0, 3, 1, 2), torch.from_numpy(masks)


StoredSamples = ResizedSamples | FullSize
"""Samples of a view: whole ones resized, or in their own pixels for tiles."""
