"""Every picture decoded, checked and resized once, then read from two memory-mapped files by all processes.

A folder `mlruns/cache/<key>/` holds images.npy uint8 [N, S, S, 3], masks.npy uint8 [N, S, S] and index.json. The key
comes from the contents of all files, so a changed picture makes another folder. A folder appears by renaming a
finished one: it is there whole or not at all.
"""

import hashlib
import json
import os
import shutil
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from filelock import FileLock

from trainer import InputError
from trainer.data.classes import check_values
from trainer.data.dataset import Progress, Sample, Sources, Split, dataset_digest, raise_all
from trainer.data.files import read_image, read_mask
from trainer.model.segmenter import resize_images

FORMAT = 1  # raise it when the same files give other arrays


@dataclass(frozen=True)
class Cache:
    """N samples at one size. Reading is safe from any thread and process."""

    images: np.ndarray
    """uint8 [N, S, S, 3], memory-mapped."""

    masks: np.ndarray
    """uint8 [N, S, S] class ids, memory-mapped."""

    digests: tuple[str, ...]
    """SHA-256 of each sample's image and mask file."""

    counts: np.ndarray
    """int64 [N, 256]: pixels of each class id at the mask's own size."""

    def read(self, indices: Sequence[int] | np.ndarray) -> tuple[torch.Tensor, torch.Tensor]:
        """Images uint8 [B, 3, S, S] (channels last in memory) and masks uint8 [B, S, S]."""
        rows = list(indices)
        return torch.from_numpy(self.images[rows]).permute(0, 3, 1, 2), torch.from_numpy(self.masks[rows])


def open_cache(samples: Sequence[Sample], size: int, table: np.ndarray, folder: Path, progress: Progress) -> Cache:
    """The samples at size x size pixels, from the cache where it has them, else decoded now.

    `table` uint8 [256] maps the values in mask files to class ids. Raises one InputError for all unreadable files and
    masks of another size than their image.
    """
    digests = _hash(samples, progress)
    key = hashlib.sha256(f"{FORMAT} {size} {table.tobytes().hex()} {' '.join(digests)}".encode()).hexdigest()[:16]
    folder.mkdir(parents=True, exist_ok=True)
    with FileLock(folder / f"{key}.lock"):
        if not (folder / key).is_dir():
            _build(folder / key, samples, digests, size, table, progress)
    counts = np.array(json.loads((folder / key / "index.json").read_text())["counts"], dtype=np.int64)
    images, masks = (np.load(folder / key / f"{name}.npy", mmap_mode="r") for name in ("images", "masks"))
    return Cache(images, masks, tuple(digests), counts)


def read_sample_mask(sample: Sample, table: np.ndarray) -> np.ndarray:
    """The mask at its own size, uint8 class ids [H, W]."""
    return table[read_mask(sample.mask)]


def _hash(samples: Sequence[Sample], progress: Progress) -> list[str]:
    advance = progress("reading", len(samples))

    def digest(sample: Sample) -> str:
        result = hashlib.sha256(sample.image.read_bytes())
        result.update(hashlib.sha256(sample.mask.read_bytes()).digest())
        advance()
        return result.hexdigest()

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        try:
            return list(pool.map(digest, samples))
        except OSError as error:
            raise InputError(f"{error.filename}: cannot be read ({error.strerror})") from error


def _build(
    target: Path, samples: Sequence[Sample], digests: Sequence[str], size: int, table: np.ndarray, progress: Progress
) -> None:
    advance = progress("decoding", len(samples))
    partial = target.with_name(f"{target.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)  # of a build that was killed; the lock is ours
    partial.mkdir()
    images = np.lib.format.open_memmap(partial / "images.npy", "w+", np.uint8, (len(samples), size, size, 3))
    masks = np.lib.format.open_memmap(partial / "masks.npy", "w+", np.uint8, (len(samples), size, size))
    counts = np.zeros((len(samples), 256), dtype=np.int64)

    def decode(index: int) -> str | None:
        try:
            image, mask = read_image(samples[index].image), table[read_mask(samples[index].mask)]
        except InputError as error:
            return str(error)
        finally:
            advance()
        if image.shape[:2] != mask.shape:
            sizes = [f"{array.shape[1]}x{array.shape[0]}" for array in (mask, image)]
            return f"{samples[index].mask}: {sizes[0]} pixels, its image has {sizes[1]}; make them the same size"
        images[index] = shrink_image(image, size)
        masks[index] = shrink_mask(mask, size)
        counts[index] = np.bincount(mask.ravel(), minlength=256)
        return None

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        problems = [problem for problem in pool.map(decode, range(len(samples))) if problem]
    if problems:
        shutil.rmtree(partial)
        raise_all(problems)
    images.flush()
    masks.flush()
    (partial / "index.json").write_text(json.dumps({"digests": list(digests), "counts": counts.tolist()}))
    partial.rename(target)


def shrink_image(image: np.ndarray, size: int) -> np.ndarray:
    """What the network will see of an image: uint8 [size, size, 3], resized exactly as in prediction."""
    tensor = torch.from_numpy(image).permute(2, 0, 1)[None]
    return resize_images(tensor, size)[0].permute(1, 2, 0).to(torch.uint8).numpy()


def shrink_mask(mask: np.ndarray, size: int) -> np.ndarray:
    """The class id at the centre of each pixel of the smaller mask, uint8 [size, size]."""
    rows, columns = (((np.arange(size) + 0.5) * side / size).astype(int) for side in mask.shape)
    return mask[rows[:, None], columns]


@dataclass(frozen=True)
class Dataset:
    """The data of a run: what it is, and where its pixels are."""

    sources: Sources
    cache: Cache
    names: tuple[str, ...]
    """K class names, the background's first."""

    digest: str
    warnings: list[str]

    @property
    def title(self) -> str:
        return self.sources.title

    @property
    def split(self) -> Split:
        return self.sources.split

    def samples(self, rows: Sequence[int]) -> list[Sample]:
        return [self.sources.samples[row] for row in rows]

    def shares(self) -> list[float]:
        """Each class's share of the labelled pixels that train; K numbers."""
        pixels = self.cache.counts[list(self.split.train), : len(self.names)].sum(axis=0)
        return [float(count) for count in pixels / max(1, pixels.sum())]

    def content(self) -> dict[str, Any]:
        """What makes two datasets the same: the digest of their contents, and who trains and who validates, by name."""
        parts = {part: [one.name for one in self.samples(getattr(self.split, part))] for part in ("train", "val")}
        return {"digest": self.digest} | parts

    def write_split(self, path: Path) -> None:
        path.write_text(json.dumps(self.content(), indent=1, ensure_ascii=False))


def open_dataset(sources: Sources, size: int, folder: Path, progress: Progress) -> Dataset:
    """Decode and check what `plan` found. Raises one InputError with all unreadable files and impossible values."""
    cache = open_cache(sources.samples, size, sources.table, folder, progress)
    names, warnings = check_values(
        [sample.mask for sample in sources.samples], cache.counts, sources.names, sources.mapped
    )
    return Dataset(sources, cache, names, dataset_digest(cache.digests, sources.split, names, sources.table), warnings)
