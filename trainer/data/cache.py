"""Cache of resized samples: decoded, checked and resized once, then read from two files by all processes.

A folder `mlruns/cache/<key>/` holds images.npy uint8 [N, S, S, C], masks.npy uint8 [N, S, S] and facts.npy. The key
comes from the contents of all files, so a changed image makes another folder. Of samples that are shown in tiles it
holds what `full_size.py` says instead.
"""

import hashlib
import shutil
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path

import numpy as np
from filelock import FileLock

from trainer import InputError
from trainer.data.bands import BandLevels
from trainer.data.checks.inspect import inspect
from trainer.data.checks.scan import Faults, facts_type, levels_of, scan
from trainer.data.file_index import FileIndex, digests_of
from trainer.data.full_size import (
    PIXELS,
    PLACE,
    PLACES,
    POINTS,
    CachedFullSize,
    FullSizeWriter,
    PixelFile,
    UncachedFullSize,
)
from trainer.data.image_header import count_pixels
from trainer.data.image_io import AnyLevels
from trainer.data.resize import shrink_image
from trainer.data.resize_mask import shrink_mask
from trainer.data.sample import Sample
from trainer.data.sources import Sources, raise_all
from trainer.data.stored_samples import CachedSamples, Rows, StoredSamples, UncachedSamples
from trainer.data.value_map import ValueMap
from trainer.data.view import View
from trainer.system.atomic import atomic_folder, leftovers, why_not_written
from trainer.system.parallel import Progress

FORMAT = 4  # to be raised when the same files give other arrays
RESERVE_BYTES = 1_000_000_000
"""Bytes that a cache must leave free on its disk: checkpoints go there too."""

LARGE_BYTES = 5_000_000_000
"""Size in bytes from which a new cache is mentioned."""


def open_samples(
    sources: Sources, view: View, folder: Path, progress: Progress, levels: AnyLevels | None = None
) -> tuple[StoredSamples, list[str]]:
    """Open the samples as `view` shows them, from the cache or by decoding them now; also returns warnings.

    `levels`: those of another dataset for images of more than 8 bits; by default these samples' own. Raises one
    InputError for all unreadable files, masks of another size than their image, and problems of `sources`.
    """
    folder.mkdir(parents=True, exist_ok=True)
    cache, seconds = _find_or_build(sources, view, folder, progress, levels)
    facts = np.load(cache / "facts.npy", mmap_mode="r")
    file = cache / (PIXELS if view.tiles else "images.npy")
    cached = file.is_file()
    warnings = []
    if not cached:
        advice = "Pictures are decoded at every step instead, which is slower"
        warnings.append(f"{folder}: too little free space for the cache. {advice}")
    elif seconds and file.stat().st_size >= LARGE_BYTES:
        size = f"{file.stat().st_size / 1e9:.1f} GB"
        warnings.append(f"{cache}: the cache of these pictures takes {size}; it may be deleted at any time")
    decoded = sources.samples, sources.values, levels or levels_of(facts)
    if view.tiles:
        placed = view, facts, np.load(cache / PLACES), np.load(cache / POINTS, mmap_mode="r"), seconds
        if cached:
            return CachedFullSize(*placed, PixelFile(cache / PIXELS)), warnings
        return UncachedFullSize(*placed, *decoded), warnings
    if cached:
        images, masks = Rows(cache / "images.npy"), Rows(cache / "masks.npy")
        return CachedSamples(images, masks, facts, view, seconds), warnings
    samples, values, levels = decoded
    return UncachedSamples(samples, view, values, facts, levels, seconds), warnings


def decoded_samples(samples: Sequence[Sample], view: View, values: ValueMap, levels: AnyLevels | None) -> StoredSamples:
    """Samples as `view` shows them, decoded each time they are read, for one that no cache was made for.

    Their records and points are empty.
    """
    facts = np.zeros(len(samples), facts_type(view.channels))
    if not view.tiles:
        return UncachedSamples(samples, view, values, facts, levels)
    places, points = np.zeros(len(samples), PLACE), np.zeros((0, 3), np.int32)
    return UncachedFullSize(view, facts, places, points, 0.0, samples, values, levels)


def _find_or_build(
    sources: Sources, view: View, folder: Path, progress: Progress, levels: AnyLevels | None
) -> tuple[Path, float]:
    """Folder of the cache of these samples in `folder`, built if there is none, and the seconds that took."""
    if sources.problems:  # nothing is cached; they are raised with those of the files
        digests = np.array([b""])
    else:
        index = FileIndex(sources.samples, folder)
        with index.lock:
            if (index.load() == b"").any() and not _may_fit(folder, len(sources.samples), view):
                return _build_first(index, sources, view, folder, progress, levels)
        digests = digests_of(sources.samples, index, progress)
    cache = folder / _key(digests, sources, view, levels)
    with FileLock(cache.with_suffix(".lock")):
        return cache, 0.0 if cache.is_dir() else _build(cache, sources, view, progress, levels)


def _build_first(
    index: FileIndex, sources: Sources, view: View, folder: Path, progress: Progress, levels: AnyLevels | None
) -> tuple[Path, float]:
    """Build a cache of files whose digests are not known: each is read once, for its pixels and its digest.

    Returns its folder, and the seconds that took. The caller holds the lock of `index`. Raises InputError for faults of
    the files.
    """
    unnamed = folder / f".{index.file.stem}.new"
    shutil.rmtree(unnamed, ignore_errors=True)
    seconds = _build(unnamed, sources, view, progress, levels)
    digests = np.load(unnamed / "facts.npy", mmap_mode="r")["digest"]
    cache = folder / _key(digests, sources, view, levels)
    with FileLock(cache.with_suffix(".lock")):
        _remove_leftovers(cache)
        if cache.is_dir():
            shutil.rmtree(unnamed, ignore_errors=True)
        else:
            unnamed.rename(cache)
    index.store(digests)
    return cache, seconds


def _key(digests: np.ndarray, sources: Sources, view: View, levels: AnyLevels | None) -> str:
    """Name of the cache of samples with these digests, S64 [N]."""
    scaled = levels_key(levels)
    settings = f"{FORMAT} {view.key} {sources.values.key} {scaled}".encode()
    return hashlib.sha256(settings + b" ".join(digests.tolist())).hexdigest()[:16]


def levels_key(levels: AnyLevels | None) -> str:
    """Text that differs wherever the ranges of levels do, with a space behind each number."""
    several = levels.bands if isinstance(levels, BandLevels) else (levels,) if levels else ()
    return "".join(f"{one.low} {one.high} " for one in several)


def _may_fit(folder: Path, count: int, view: View) -> bool:
    """Return False where no cache in `folder` holds `count` samples of this view, whatever they are."""
    for file in folder.glob("[!.]*/facts.npy"):
        images = file.with_name("images.npy")
        with suppress(OSError, ValueError, EOFError):  # removed in the meantime, or damaged
            if view.tiles or file.with_name(PLACES).exists():
                same_view = view.tiles and file.with_name(PLACES).exists()
            else:
                same_view = not images.exists() or np.load(images, mmap_mode="r").shape[2:] == (
                    view.size,
                    view.channels,
                )
            if same_view and len(np.load(file, mmap_mode="r")) == count:
                return True
    return False


def _remove_leftovers(target: Path) -> None:
    for leftover in leftovers(target):
        shutil.rmtree(leftover, ignore_errors=True)


def _build(target: Path, sources: Sources, view: View, progress: Progress, levels: AnyLevels | None) -> float:
    """Decode everything into the folder `target`, whose lock the caller holds; return the seconds that took."""
    began = time.perf_counter()
    _remove_leftovers(target)
    try:
        with atomic_folder(target) as partial:
            _fill(partial, sources, view, progress, levels)
    except OSError as error:
        raise InputError(why_not_written(target, error)) from error
    return time.perf_counter() - began


def _fill(folder: Path, sources: Sources, view: View, progress: Progress, levels: AnyLevels | None) -> None:
    count = len(sources.samples)
    facts = np.lib.format.open_memmap(folder / "facts.npy", "w+", facts_type(view.channels), (count,))
    fits = shutil.disk_usage(folder).free - _bytes_needed(sources, view) >= RESERVE_BYTES

    def read(store: Callable[[int, np.ndarray, np.ndarray], None]) -> Faults:
        return scan(sources.samples, sources.values, facts, progress, store, levels)

    if sources.problems or not (fits or view.tiles):
        faults = read(lambda _index, _image, _mask: None)
    elif view.tiles:
        writer = FullSizeWriter(folder, count, view, pixels=fits)
        faults = read(writer.store)
        writer.close()
    else:
        size, keep_aspect = view.size, view.keep_aspect
        images = Rows.make(folder / "images.npy", (count, size, size, view.channels))
        masks = Rows.make(folder / "masks.npy", (count, size, size))

        def store(index: int, image: np.ndarray, mask: np.ndarray) -> None:
            images[index] = shrink_image(image, size, keep_aspect)
            masks[index] = shrink_mask(mask, size, keep_aspect)

        faults = read(store)
    if sources.problems or faults:
        raise_all([error.text for error in inspect(sources, facts, faults).errors])
    facts.flush()


def _bytes_needed(sources: Sources, view: View) -> int:
    """Bytes of the pixels in a cache of this view."""
    if not view.tiles:
        return (view.channels + 1) * len(sources.samples) * view.size**2
    pixels = 0
    for sample in sources.samples:
        with suppress(InputError, OSError):  # reported where it is read
            pixels += sample.pixels() if view.channels == 3 else count_pixels(sample.image_file)
    return int((view.channels + 1) * pixels * view.scale**2)
