"""Which pictures there are, which mask belongs to which, and who validates."""

import mmap
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from trainer.data.cache import ResizedSamples, open_resized
from trainer.data.checks.class_ids import check_values
from trainer.data.checks.finding import WARNING, Finding
from trainer.data.checks.report import Report, check_samples
from trainer.data.sample import Sample
from trainer.data.sources import Sources
from trainer.data.split import Split, dataset_digest
from trainer.data.value_map import ValueMap
from trainer.system.parallel import Progress


@dataclass(frozen=True)
class Dataset:
    """The data of a run: what it is, and where its pixels are."""

    sources: Sources
    resized: ResizedSamples
    size: int
    """Side of the squares in pixels."""

    names: tuple[str, ...]
    """K class names, the background's first."""

    digest: str
    warnings: list[Finding]
    """What was noticed while the data was opened."""

    folder: Path
    """Where what is worked out of the pictures is kept for the next start."""

    @property
    def title(self) -> str:
        return self.sources.title

    @property
    def split(self) -> Split:
        return self.sources.split

    def samples(self, rows: Sequence[int]) -> list[Sample]:
        return [self.sources.samples[row] for row in rows]

    def pixels(self) -> np.ndarray:
        """Labelled pixels that train, of each class: int64 [K]."""
        counts = self.resized.facts["counts"][list(self.split.train), : len(self.names)]
        total: np.ndarray = counts.sum(axis=0, dtype=np.int64)
        release_pages(self.resized.facts)
        return total

    def shares(self) -> list[float]:
        """Each class's share of the labelled pixels that train; K numbers."""
        pixels = self.pixels()
        return [float(count) for count in pixels / max(1, pixels.sum())]

    @cached_property
    def report(self) -> Report:
        """What the data is, and what in it may be wrong."""
        report = check_samples(self.sources, self.resized.facts, self.names, self.size, self.folder)
        release_pages(self.resized.facts)
        return Report(report.summary, [*self.warnings, *report.findings])

    def content(self) -> dict[str, Any]:
        """What makes two datasets the same: the digest of their contents, and who trains and who validates, by name."""
        parts = {part: [one.name for one in self.samples(getattr(self.split, part))] for part in ("train", "val")}
        return {"digest": self.digest} | parts


def release_pages(facts: np.ndarray) -> None:
    """Have a mapped file no longer count as the process's memory: 1.4 KB a picture. Reading it works as before."""
    if isinstance(facts.base, mmap.mmap):
        facts.base.madvise(mmap.MADV_DONTNEED)


def open_dataset(sources: Sources, size: int, folder: Path, progress: Progress) -> Dataset:
    """Decode and check what `plan` found. Raises one InputError with all unreadable files and impossible values."""
    resized, warnings = open_resized(sources, size, folder, progress)
    names, more = check_values(sources.samples, resized.facts, sources.names, sources.values)
    digests = [digest.decode() for digest in resized.facts["digest"]]
    identity = dataset_digest(digests, sources.split, names, sources.values)
    release_pages(resized.facts)
    notes = [Finding(WARNING, "note", note) for note in (*sources.notes, *warnings, *more)]
    return Dataset(sources, resized, size, names, identity, notes, folder)


@dataclass(frozen=True)
class ValidationSet:
    """The samples that validate, and where their pixels are."""

    samples: Sequence[Sample]
    rows: Sequence[int]  # of these samples among the squares
    resized: ResizedSamples
    values: ValueMap
