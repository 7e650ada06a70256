"""What in readable pictures and masks a person should look at, worked out from their records alone."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from trainer import IGNORE
from trainer.data.checks.duplicates import cached_near_pairs, groups
from trainer.data.checks.finding import MOST_FILES, WARNING, Finding
from trainer.data.sample import Sample

MOST_ENLARGED = 4
MOST_EMPTY = 0.5
"""Share of pictures without any foreground; fewer are ordinary counter-examples."""

RARE_PIXELS, RARE_PICTURES = 0.0005, 0.01
"""Shares below which a class is rare."""

MOST_GROUPS = 100
"""Duplicates that are listed one by one, of each kind."""

MOST_PAIRS = 10_000
"""Near-duplicates after which no more are looked for."""


@dataclass(frozen=True)
class ScannedSamples:
    """The N samples that could be read."""

    samples: Sequence[Sample]
    facts: np.ndarray
    """FACTS [N]."""

    trains: np.ndarray
    """bool [N]: whether it trains; it validates otherwise."""

    names: tuple[str, ...]
    """K class names, the background's first."""

    mapped: bool
    """Whether data.value_map says what the stored values mean."""

    image_size: int
    folder: Path | None = None
    """Where near-duplicates that were found are kept for the next time."""

    @property
    def counts(self) -> np.ndarray:
        """Pixels of each class id, uint32 [N, 256]."""
        return self.facts["counts"]

    def about(self, kind: str, which: np.ndarray, text: str, of_image: bool = False) -> list[Finding]:
        """The finding about the masks, or the images, of samples `which`, bool [N]; none where there are none."""
        rows = np.flatnonzero(which)
        if not len(rows):
            return []
        samples = [self.samples[row] for row in rows[:MOST_FILES].tolist()]
        files = [sample.image_file if of_image else sample.mask_file for sample in samples]
        others = f" and {len(rows) - 1} more" if len(rows) > 1 else ""
        return [Finding(WARNING, kind, f"{files[0]}{others}: {text}", tuple(files))]


def run_rules(pictures: ScannedSamples) -> list[Finding]:
    """Warnings, the gravest first."""
    return [*_repeated(pictures), *_mask_values(pictures), *_classes(pictures), *_images(pictures)]


# ------------------------------------------------------------------------------------------------ the same again


def _repeated(pictures: ScannedSamples) -> Iterator[Finding]:
    images, trains = pictures.facts["image"], pictures.trains
    same = groups(images)
    leaks = [rows for rows in same if trains[rows].any() and not trains[rows].all()]
    text = "the same picture trains and validates, which makes the score too good; keep one of them"
    yield from _each(pictures, "leak", leaks, text)
    text = (
        "nearly the same picture trains and validates (saved again, resized, or taken a moment later), which makes the "
        "score too good; keep one of them, or put both into one of ImageSets/Segmentation/train.txt and val.txt"
    )
    yield from _each(pictures, "near", _nearly_leaks(pictures), text)
    differ = [rows for rows in same if len(np.unique(pictures.facts["mask"][rows])) > 1]
    yield from _each(pictures, "contradiction", differ, "the same picture with different masks; keep the right one")
    twice = [rows for rows in same if trains[rows].all() or not trains[rows].any()]
    twice = [rows for rows in twice if len(np.unique(pictures.facts["mask"][rows])) == 1]
    text = "the same picture more than once, so it counts more than the others; keep one of them"
    yield from _each(pictures, "duplicate", twice, text)


def _nearly_leaks(pictures: ScannedSamples) -> list[np.ndarray]:
    """[validating row, training row] of pictures that are nearly, and not quite, the same."""
    images, thumbnails = pictures.facts["image"], pictures.facts["thumbnail"]
    train, val = np.flatnonzero(pictures.trains), np.flatnonzero(~pictures.trains)
    val = val[~np.isin(images[val], images[train])]
    pairs = cached_near_pairs(thumbnails[val], thumbnails[train], MOST_PAIRS, pictures.folder)
    return list(np.stack([val[pairs[:, 0]], train[pairs[:, 1]]], axis=1))


def _each(pictures: ScannedSamples, kind: str, same: Sequence[np.ndarray], text: str) -> Iterator[Finding]:
    """A finding for each group of rows; the last one counts those that are too many to list."""
    for number, rows in enumerate(same[:MOST_GROUPS], start=1):
        files = [pictures.samples[row].image_file for row in rows[:MOST_FILES].tolist()]
        others = f" and {len(rows) - 2} more" if len(rows) > 2 else ""
        unlisted = len(same) - MOST_GROUPS if number == MOST_GROUPS else 0
        rest = f" (and so with {unlisted} other groups of pictures)" if unlisted else ""
        yield Finding(WARNING, kind, f"{files[0]}, {files[1]}{others}: {text}{rest}", tuple(files))


# ------------------------------------------------------------------------------------------------ masks


def _mask_values(pictures: ScannedSamples) -> Iterator[Finding]:
    """Masks of one value all over, or that seem to mean something else than the others."""
    counts, names = pictures.counts, pictures.names
    pixels = pictures.facts["size"].prod(axis=1, dtype=np.int64)
    ignored, background = counts[:, IGNORE] > 0, counts[:, 0] > 0
    classes = (counts[:, 1:IGNORE] > 0).sum(axis=1)
    nothing = counts[:, IGNORE] == pixels
    text = "every pixel is 255, ignore, so nothing can be learnt from it; label the picture or take it out"
    yield from pictures.about("ignored", nothing, text)
    whole = (classes == 1) & ~background
    if whole.all() or background.mean() > 0.5:
        text = "the mask is of one class all over, without background; if the picture shows more, label it again"
        yield from pictures.about("whole", whole, text)
    if not pictures.mapped and classes.any() and not (ignored & (classes > 0)).any():
        drawn = np.array([sample.mask_file.endswith(".json") for sample in pictures.samples])
        text = (
            "the mask is of 0 and 255 only, while others hold class ids. 255 means ignore; if it is your class here, "
            "save the mask with its id"
        )
        yield from pictures.about("scaled", ignored & background & (classes == 0) & ~drawn, text)
    if len(names) > 2 and not background.any() and not counts[:, len(names) - 1].any():
        text = (
            f"no mask has a pixel of 0, the background, or of {len(names) - 1}, {names[-1]}: the ids seem to count "
            "from 1. If 1 is the background, say so with --data.value_map"
        )
        yield from pictures.about("shifted", ~background, text)
    empty = (classes == 0) & ~nothing
    if empty.mean() > MOST_EMPTY:
        text = f"{empty.mean():.0%} of the pictures have no pixel of any class; take out those not labelled yet"
        yield from pictures.about("empty", empty, text)


# ------------------------------------------------------------------------------------------------ classes


def _classes(pictures: ScannedSamples) -> Iterator[Finding]:
    """Classes that one part has not, or that there is very little of; `check_values` tells of those in neither."""
    counts, trains = pictures.counts, pictures.trains
    holds = counts[:, 1 : len(pictures.names)] > 0
    training, validating = holds[trains].any(axis=0), holds[~trains].any(axis=0)
    advice = "label more, or move pictures between the parts (another --data.fold, or ImageSets/Segmentation/)"
    for part, lost, effect in (
        ("validating", validating & ~training, "nothing can be learnt of it"),
        ("training", training & ~validating, "its IoU cannot be measured"),
    ):
        names = [pictures.names[number + 1] for number in np.flatnonzero(lost)]
        text = f"only {part} pictures, such as this one, have a pixel of {', '.join(names)}, so {effect}; {advice}"
        yield from pictures.about("absent", np.any(holds[:, lost], axis=1), text)
    labelled = max(1, int(counts[:, :IGNORE].sum(dtype=np.int64)))
    shares = counts[:, 1 : len(pictures.names)].sum(axis=0, dtype=np.int64) / labelled
    for column in np.flatnonzero(training & validating).tolist():
        if shares[column] < RARE_PIXELS or holds[:, column].mean() < RARE_PICTURES:
            text = (
                f"{pictures.names[column + 1]} is rare: {shares[column]:.3%} of the labelled pixels, in "
                f"{holds[:, column].sum()} of {len(counts)} pictures; label more of it, or leave the class out"
            )
            yield from pictures.about("rare", holds[:, column], text)


# ------------------------------------------------------------------------------------------------ images


def _images(pictures: ScannedSamples) -> Iterator[Finding]:
    """Images that are too small, or show nothing."""
    sizes, thumbnails = pictures.facts["size"], pictures.facts["thumbnail"]
    text = (
        f"fewer than {pictures.image_size // MOST_ENLARGED} pixels wide and high, so they are enlarged more than "
        f"{MOST_ENLARGED} times; use larger pictures, or a smaller --data.image_size"
    )
    small = sizes.max(axis=1) * MOST_ENLARGED < pictures.image_size
    yield from pictures.about("small", small, text, of_image=True)
    flat = thumbnails.max(axis=(1, 2)) == thumbnails.min(axis=(1, 2))
    text = "the picture is of one colour all over; replace it or take it out"
    yield from pictures.about("blank", flat, text, of_image=True)
