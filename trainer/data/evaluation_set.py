"""Labelled images that a model is evaluated on: any part of the folders, with the classes matched by their names."""

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from trainer import IGNORE, InputError
from trainer.data.cache import open_samples
from trainer.data.checks.inspect import inspect
from trainer.data.checks.scan import levels_of
from trainer.data.dataset import ValidationSet, release_pages
from trainer.data.image_io import AnyLevels
from trainer.data.sources import Sources, raise_all
from trainer.data.split import Split, dataset_digest
from trainer.data.view import View
from trainer.system.parallel import Progress
from trainer.system.text import match_names, option

ClassIds = tuple[int, ...]
"""Class id of the model for each id in the masks, 0 to 255."""


@dataclass(frozen=True)
class EvaluationSet:
    """Images and masks for an evaluation."""

    images: ValidationSet
    title: str
    digest: str
    """Digest of the contents of all that is evaluated."""

    notes: tuple[str, ...]
    """What a person should know about classes and folders."""


def open_evaluation_set(
    sources: Sources,
    rows: Sequence[int],
    view: View,
    levels: AnyLevels | None,
    class_names: tuple[str, ...],
    cache: Path,
    progress: Progress,
) -> EvaluationSet:
    """Read and check the samples of `sources`, and take those of `rows`, as a model sees them.

    `view`, `levels` and `class_names` (K, the background's first) are the model's. Raises one InputError with all
    unreadable files, or where no class of the data is one of the model.
    """
    stored, warnings = open_samples(sources, view, cache, progress, levels)
    inspection = inspect(sources, stored.facts)
    raise_all([error.text for error in inspection.errors])
    assert inspection.names is not None
    ids, notes = match_classes(inspection.names, class_names)
    digests = [stored.facts["digest"][row].decode() for row in rows]
    of_files = levels or levels_of(stored.facts)
    digest = dataset_digest(digests, Split((), tuple(range(len(digests)))), inspection.names, sources.values, of_files)
    release_pages(stored.facts)
    samples = [sources.samples[row] for row in rows]
    images = ValidationSet(samples, list(rows), stored, sources.values, of_files, ids)
    said = [*(note.text for note in inspection.notes), *warnings, *notes]
    return EvaluationSet(images, sources.title, digest, tuple(said))


def take_rows(sources: Sources, part: str) -> tuple[Sources, list[int]]:
    """Rows of a part, all, train or val, of samples that may not have been divided."""
    every = range(len(sources.samples))
    rows = every if part == "all" else getattr(sources.split, part)
    return dataclasses.replace(sources, split=Split((), tuple(every))), list(rows)


def match_classes(names: tuple[str, ...], of_model: tuple[str, ...]) -> tuple[ClassIds | None, list[str]]:
    """Match the classes of masks with those of a model by name: ids, None where they are the same, and sentences.

    Both begin with the background. A class that the model does not know is background to it. Raises InputError where
    none is common.
    """
    meant = match_names(names[1:], of_model[1:])
    if not meant:
        ours, theirs = ", ".join(names[1:]), ", ".join(of_model[1:])
        same = len(names) == len(of_model)
        fix = f"; if they mean the same, give {option('data.classes', list(of_model[1:]))}" if same else ""
        raise InputError(f"classes: the model knows {theirs}, and the masks show {ours}: none is in both{fix}")
    places = {name: place for place, name in enumerate(of_model)}
    known = [0, *(places.get(meant.get(name, ""), 0) for name in names[1:])]
    ids = (*known, *([0] * (IGNORE - len(known))), IGNORE)
    unknown = [name for name in names[1:] if name not in meant]
    absent = [name for name in of_model[1:] if name not in meant.values()]
    notes = []
    if unknown:
        notes.append(f"{', '.join(unknown)}: not known to the model, and background in this evaluation")
    if absent:
        notes.append(f"{', '.join(absent)}: classes of the model, and not among those of the masks")
    return (None if known == list(range(len(known))) else ids), notes
