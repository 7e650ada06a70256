"""The data of a run: samples, split, classes, digest, and their pixels as the network is shown them."""

import dataclasses
import mmap
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from trainer.data.bands import normalisation
from trainer.data.cache import decoded_samples, open_samples
from trainer.data.checks.finding import WARNING, Finding
from trainer.data.checks.inspect import Inspection, inspect
from trainer.data.checks.report import Report, make_report
from trainer.data.checks.scan import levels_of
from trainer.data.image_io import AnyLevels
from trainer.data.sample import Sample
from trainer.data.sources import Sources, raise_all
from trainer.data.split import Split, all_train, dataset_digest
from trainer.data.stored_samples import StoredSamples
from trainer.data.unlabelled import refuse_labelled
from trainer.data.value_map import ValueMap
from trainer.data.view import View
from trainer.system.parallel import Progress


@dataclass(frozen=True)
class ValidationSet:
    """Samples that validate, and where their pixels are."""

    samples: Sequence[Sample]
    rows: Sequence[int]
    """Rows of `stored` that hold these samples."""

    stored: StoredSamples
    values: ValueMap
    levels: AnyLevels | None = None
    """Range of the levels with which images of more than 8 bits were read."""

    class_ids: tuple[int, ...] | None = None
    """Class id of a model that each id in the masks, 0 to 255, stands for; None: the same."""

    def read_mask(self, place: int) -> np.ndarray:
        """Mask of a sample at its own size, uint8 [H, W], in the class ids of the model."""
        mask = self.samples[place].read_mask(self.values)
        return mask if self.class_ids is None else np.array(self.class_ids, np.uint8)[mask]

    def part(self, places: Sequence[int]) -> "ValidationSet":
        """Some of the samples."""
        some = [self.samples[place] for place in places]
        return dataclasses.replace(self, samples=some, rows=[self.rows[place] for place in places])

    def at(self, view: View, levels: AnyLevels | None) -> "ValidationSet":
        """These samples as another model is shown them: from the cache where it wants the same, or decoded anew."""
        if (view.key, levels) == (self.stored.view.key, self.levels):
            return self
        anew = decoded_samples(self.samples, view, self.values, levels)
        return ValidationSet(self.samples, range(len(self.samples)), anew, self.values, levels, self.class_ids)


@dataclass(frozen=True)
class Dataset:
    """Samples, split, classes, digest and pixels of a run."""

    sources: Sources
    stored: StoredSamples
    names: tuple[str, ...]
    """K class names, the background's first."""

    digest: str
    inspection: Inspection
    levels: AnyLevels | None
    """Range of the images of more than 8 bits, None without any; or of each band where these are not three."""

    cache: Path
    """Folder where near-duplicates that were found are stored for the next start."""

    unlabelled: StoredSamples | None = None
    """Images that train without labels; None without any."""

    @property
    def whole_digest(self) -> str:
        """Digest of the labelled images, masks and classes, however they are split."""
        digests = [digest.decode() for digest in self.stored.facts["digest"]]
        release_pages(self.stored.facts)
        whole = all_train(self.sources.samples)
        return dataset_digest(digests, whole, self.names, self.sources.values, self.levels)

    @property
    def title(self) -> str:
        """Name of the data folders, for people."""
        return self.sources.title

    @property
    def split(self) -> Split:
        """Rows that train and rows that validate."""
        return self.sources.split

    def samples(self, rows: Sequence[int]) -> list[Sample]:
        """Samples of these rows."""
        return [self.sources.samples[row] for row in rows]

    @cached_property
    def validation(self) -> ValidationSet:
        """Samples that validate, with their pixels."""
        rows = self.split.val
        return ValidationSet(self.samples(rows), rows, self.stored, self.sources.values, self.levels)

    @cached_property
    def pixels(self) -> np.ndarray:
        """Labelled training pixels of each class, int64 [K]."""
        total: np.ndarray = self._counts().sum(axis=0, dtype=np.int64)
        release_pages(self.stored.facts)
        return total

    @cached_property
    def pictures(self) -> np.ndarray:
        """Training images that have a pixel of each class, int64 [K]."""
        total: np.ndarray = (self._counts() > 0).sum(axis=0, dtype=np.int64)
        release_pages(self.stored.facts)
        return total

    @property
    def usual_side(self) -> int:
        """Shorter side of the median training image, in pixels."""
        side = int(np.median(self.stored.facts["size"][list(self.split.train)].min(axis=1)))
        release_pages(self.stored.facts)
        return side

    def _counts(self) -> np.ndarray:
        """Labelled pixels of each class in each training image, int [N, K]."""
        counts: np.ndarray = self.stored.facts["counts"][list(self.split.train), : len(self.names)]
        return counts

    def training_hashes(self) -> tuple[list[int], list[int]]:
        """Hashes of the pixels of all images that train, 64 bits each: the labelled ones, and those without labels."""
        labelled = self.stored.facts["image"][list(self.split.train)].tolist()
        unlabelled = [] if self.unlabelled is None else self.unlabelled.facts["image"].tolist()
        release_pages(self.stored.facts)
        return labelled, unlabelled

    def shares(self) -> list[float]:
        """Share of each class in the labelled training pixels, K numbers."""
        return [float(count) for count in self.pixels / max(1, self.pixels.sum())]

    def normalisation(self) -> tuple[tuple[float, ...], tuple[float, ...]] | None:
        """Mean and standard deviation of the levels 0..255 of each band in what trains; None for pictures."""
        if self.stored.view.channels == 3:
            return None
        facts = self.stored.facts[list(self.split.train)]
        return normalisation(facts["mean"], facts["square"])

    @cached_property
    def report(self) -> Report:
        """Summary of the data, and what may be wrong with it."""
        enlarged_to = 0 if self.stored.view.tiles else self.stored.view.size
        report = make_report(self.sources, self.stored.facts, self.inspection, enlarged_to, self.cache)
        release_pages(self.stored.facts)
        return report

    def content(self) -> dict[str, Any]:
        """Identity of the data, as JSON: the digest of its contents, and the names that train and that validate."""
        parts = {part: [one.name for one in self.samples(getattr(self.split, part))] for part in ("train", "val")}
        return {"digest": self.digest} | parts


def open_dataset(sources: Sources, view: View, cache: Path, progress: Progress) -> Dataset:
    """Decode and check what `find_sources` found, as `view` shows it, or take it from the folder `cache`.

    Raises one InputError with all unreadable files and impossible values.
    """
    stored, warnings = open_samples(sources, view, cache, progress)
    inspection = inspect(sources, stored.facts)
    raise_all([error.text for error in inspection.errors])
    assert inspection.names is not None
    digests = [digest.decode() for digest in stored.facts["digest"]]
    levels = levels_of(stored.facts)
    unlabelled, unlabelled_digests = _open_unlabelled(sources, stored, cache, progress, levels)
    digest = dataset_digest(digests, sources.split, inspection.names, sources.values, levels, unlabelled_digests)
    release_pages(stored.facts)
    notes = [*inspection.notes, *(Finding(WARNING, "note", text) for text in warnings)]
    names, inspection = inspection.names, dataclasses.replace(inspection, notes=notes)
    return Dataset(sources, stored, names, digest, inspection, levels, cache, unlabelled)


def _open_unlabelled(
    sources: Sources, labelled: StoredSamples, cache: Path, progress: Progress, levels: AnyLevels | None
) -> tuple[StoredSamples | None, list[str]]:
    """Open the images that train without labels; None without any. Returns also their digests.

    Raises InputError where one cannot be read, or is a labelled one.
    """
    samples = sources.unlabelled
    if not samples:
        return None, []
    alone = Sources(sources.title, list(samples), Split((), ()), None, ValueMap())
    # A folder of its own: digests are stored by the folders of the images, where labelled ones may lie too.
    stored, _ = open_samples(alone, labelled.view, cache / "unlabelled", progress, levels)
    hashes = stored.facts["image"], labelled.facts["image"]
    refuse_labelled(samples, hashes[0], sources.samples, hashes[1], set(sources.split.val))
    digests = [digest.decode() for digest in stored.facts["digest"]]
    release_pages(stored.facts)
    return stored, digests


def release_pages(facts: np.ndarray) -> None:
    """Stop a mapped file from counting as the process's memory, 1.4 KB a sample; it can still be read."""
    if isinstance(facts.base, mmap.mmap):
        facts.base.madvise(mmap.MADV_DONTNEED)
