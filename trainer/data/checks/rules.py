"""Rules that give warnings about readable images and masks, computed from their records alone."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from trainer import IGNORE
from trainer.data.checks.duplicates import cached_near_pairs, groups
from trainer.data.checks.finding import MOST_FILES, WARNING, Finding
from trainer.data.checks.scan import ANIMATION, levels_of
from trainer.data.levels import Levels
from trainer.data.sample import Sample
from trainer.system.text import one_line

MOST_ENLARGED = 4
"""Factor by which an image may be enlarged without a warning."""

MOST_EMPTY = 0.5
"""Share of images without foreground that gives no warning: counter-examples are useful."""

RARE_PIXELS = 0.0005
"""Share of the labelled pixels below which a class is rare."""

RARE_IMAGES = 0.01
"""Share of the images below which a class is rare."""

LEAST_USE = 0.05
"""Share of the range of levels below which an image is nearly of one brightness."""

MOST_GROUPS = 100
"""Groups of duplicates that are listed one by one, of each kind."""

MOST_PAIRS = 10_000
"""Pairs of near-duplicates after which the search ends."""


@dataclass(frozen=True)
class Parts:
    """Way in which a person says which samples validate."""

    by: str = ""
    """Folders or lists of the layout, as `Found.parts_by` has them."""

    fixed: bool = False
    """True where these say it of all samples, so that no fold is chosen."""

    @property
    def ways(self) -> str:
        """Ways to change it, for a message; empty where none is known."""
        return ", or ".join(["another --data.fold"] * (not self.fixed) + [self.by] * bool(self.by))


@dataclass(frozen=True)
class ScannedSamples:
    """The N samples that could be read, and their records."""

    samples: Sequence[Sample]
    facts: np.ndarray
    """Records of the samples, FACTS [N]."""

    trains: np.ndarray
    """True for training samples and False for validation samples, bool [N]."""

    names: tuple[str, ...]
    """K class names, the background's first."""

    mapped: bool
    """True if data.value_map maps the stored values to classes."""

    image_size: int
    """Side of the images that the network is trained on, in pixels."""

    folder: Path | None = None
    """Cache folder for pairs of near-duplicates; None for no cache."""

    parts: Parts = Parts()

    @property
    def counts(self) -> np.ndarray:
        """Pixels of each class id, uint32 [N, 256]."""
        return self.facts["counts"]

    def warn(self, kind: str, selected: np.ndarray, text: str, of_image: bool = False) -> list[Finding]:
        """One warning about the masks, or the images, of the samples `selected`, bool [N]; empty if there are none."""
        rows = np.flatnonzero(selected)
        if not len(rows):
            return []
        samples = [self.samples[row] for row in rows[:MOST_FILES].tolist()]
        files = [sample.image_file if of_image else sample.mask_file for sample in samples]
        others = f" and {len(rows) - 1} more" if len(rows) > 1 else ""
        return [Finding(WARNING, kind, f"{one_line(files[0])}{others}: {text}", tuple(files))]


def run_rules(scanned: ScannedSamples, values_known: bool = True) -> list[Finding]:
    """Apply all rules; return their warnings, the gravest first.

    `values_known`: False where an error says that the masks' values are not classes, so that nothing else can be said
    of them.
    """
    of_masks = [*_mask_rules(scanned), *_class_rules(scanned)] if values_known else []
    return [*_duplicate_rules(scanned), *of_masks, *_image_rules(scanned)]


# ------------------------------------------------------------------------------------------------ duplicates


def _duplicate_rules(scanned: ScannedSamples) -> Iterator[Finding]:
    """Images that occur more than once, or nearly so in both parts."""
    image_hashes, mask_hashes, trains = scanned.facts["image"], scanned.facts["mask"], scanned.trains
    same = groups(image_hashes)
    leaks = [rows for rows in same if trains[rows].any() and not trains[rows].all()]
    text = "the same picture trains and validates, which makes the score too good; keep one of them"
    yield from _each(scanned, "leak", leaks, text)
    text = (
        "nearly the same picture trains and validates (saved again, resized, or taken a moment later), which makes the "
        "score too good; keep one of them"
    ) + (f", or put both into the same part, by {scanned.parts.by}" if scanned.parts.by else "")
    yield from _each(scanned, "near", _near_leaks(scanned), text)
    contradictions = [rows for rows in same if len(np.unique(mask_hashes[rows])) > 1]
    text = "the same picture with different masks; keep the right one"
    yield from _each(scanned, "contradiction", contradictions, text)
    in_one_part = [rows for rows in same if trains[rows].all() or not trains[rows].any()]
    duplicates = [rows for rows in in_one_part if len(np.unique(mask_hashes[rows])) == 1]
    text = "the same picture more than once, so it counts more than the others; keep one of them"
    yield from _each(scanned, "duplicate", duplicates, text)


def _near_leaks(scanned: ScannedSamples) -> list[np.ndarray]:
    """Pairs of [validation row, training row] of near-duplicates; exact ones are left out."""
    image_hashes, thumbnails = scanned.facts["image"], scanned.facts["thumbnail"]
    train, val = np.flatnonzero(scanned.trains), np.flatnonzero(~scanned.trains)
    val = val[~np.isin(image_hashes[val], image_hashes[train])]
    pairs = cached_near_pairs(thumbnails[val], thumbnails[train], MOST_PAIRS, scanned.folder)
    return list(np.stack([val[pairs[:, 0]], train[pairs[:, 1]]], axis=1))


def _each(scanned: ScannedSamples, kind: str, same: Sequence[np.ndarray], text: str) -> Iterator[Finding]:
    """One warning for each group of rows; the last one counts the groups that are not listed."""
    for number, rows in enumerate(same[:MOST_GROUPS], start=1):
        files = [scanned.samples[row].image_file for row in rows[:MOST_FILES].tolist()]
        others = f" and {len(rows) - 2} more" if len(rows) > 2 else ""
        unlisted = len(same) - MOST_GROUPS if number == MOST_GROUPS else 0
        rest = f" (and so with {unlisted} other groups of pictures)" if unlisted else ""
        yield Finding(WARNING, kind, f"{one_line(files[0])}, {one_line(files[1])}{others}: {text}{rest}", tuple(files))


# ------------------------------------------------------------------------------------------------ masks


def _mask_rules(scanned: ScannedSamples) -> Iterator[Finding]:
    """Masks of a single value, and masks whose values seem to have another meaning than in the others."""
    counts, names = scanned.counts, scanned.names
    pixels = scanned.facts["size"].prod(axis=1, dtype=np.int64)
    ignored, background = counts[:, IGNORE] > 0, counts[:, 0] > 0
    classes = (counts[:, 1:IGNORE] > 0).sum(axis=1)
    all_ignored = counts[:, IGNORE] == pixels
    text = "every pixel is 255, ignore, so nothing can be learnt from it; label the picture or take it out"
    yield from scanned.warn("ignored", all_ignored, text)
    whole = (classes == 1) & ~background
    if whole.all() or background.mean() > 0.5:
        text = "the mask is of one class all over, without background; if the picture shows more, label it again"
        yield from scanned.warn("whole", whole, text)
    if not scanned.mapped and classes.any() and not (ignored & (classes > 0)).any():
        drawn = np.array([sample.drawn for sample in scanned.samples])
        text = (
            "the mask is of 0 and 255 only, while others hold class ids. 255 means ignore; if it is your class here, "
            "save the mask with its id"
        )
        yield from scanned.warn("scaled", ignored & background & (classes == 0) & ~drawn, text)
    if not scanned.mapped and len(names) > 2 and not background.any() and not counts[:, len(names) - 1].any():
        text = (
            f"no mask has a pixel of 0, the background, or of {len(names) - 1}, {names[-1]}: the ids seem to count "
            "from 1. If 1 is the background, say so with --data.value_map"
        )
        yield from scanned.warn("shifted", ~background, text)
    empty = (classes == 0) & ~all_ignored
    if empty.mean() > MOST_EMPTY:
        text = f"{empty.mean():.0%} of the pictures have no pixel of any class; take out those not labelled yet"
        yield from scanned.warn("empty", empty, text)


# ------------------------------------------------------------------------------------------------ classes


def _class_rules(scanned: ScannedSamples) -> Iterator[Finding]:
    """Classes that are missing in one part, or rare; `check_values` reports those that are missing in both."""
    counts, trains = scanned.counts, scanned.trains
    holds = counts[:, 1 : len(scanned.names)] > 0
    training, validating = holds[trains].any(axis=0), holds[~trains].any(axis=0)
    ways = f" ({scanned.parts.ways})" if scanned.parts.ways else ""
    advice = f"label more, or move pictures between the parts{ways}"
    for part, absent, effect in (
        ("validating", validating & ~training, "nothing can be learnt about it"),
        ("training", training & ~validating, "its IoU cannot be measured"),
    ):
        names = [scanned.names[column + 1] for column in np.flatnonzero(absent)]
        text = f"only {part} pictures, such as this one, have a pixel of {', '.join(names)}, so {effect}; {advice}"
        yield from scanned.warn("absent", np.any(holds[:, absent], axis=1), text)
    labelled = max(1, int(counts[:, :IGNORE].sum(dtype=np.int64)))
    shares = counts[:, 1 : len(scanned.names)].sum(axis=0, dtype=np.int64) / labelled
    for column in np.flatnonzero(training & validating).tolist():
        if shares[column] < RARE_PIXELS or holds[:, column].mean() < RARE_IMAGES:
            text = (
                f"{scanned.names[column + 1]} is rare: {shares[column]:.3%} of the labelled pixels, in "
                f"{holds[:, column].sum()} of {len(counts)} pictures; label more of it, or leave the class out"
            )
            yield from scanned.warn("rare", holds[:, column], text)


# ------------------------------------------------------------------------------------------------ images


def _image_rules(scanned: ScannedSamples) -> Iterator[Finding]:
    """Images that are too small or of a single colour."""
    sizes, thumbnails = scanned.facts["size"], scanned.facts["thumbnail"]
    text = (
        f"fewer than {scanned.image_size // MOST_ENLARGED} pixels wide and high, so they are enlarged more than "
        f"{MOST_ENLARGED} times; use larger pictures, or a smaller --data.image_size"
    )
    small = sizes.max(axis=1) * MOST_ENLARGED < scanned.image_size
    yield from scanned.warn("small", small, text, of_image=True)
    flat = thumbnails.max(axis=(1, 2)) == thumbnails.min(axis=(1, 2))
    animated = np.char.endswith(scanned.facts["kind"], ANIMATION.encode())
    text = "a picture or mask of several frames; the first one is used, the others are left out"
    yield from scanned.warn("frames", animated, text, of_image=True)
    text = "the picture is of one colour all over; replace it or take it out"
    yield from scanned.warn("blank", flat, text, of_image=True)
    yield from _level_rules(scanned)


def _level_rules(scanned: ScannedSamples) -> Iterator[Finding]:
    """Images that use little of the range of their levels, and pixels without data."""
    facts = scanned.facts
    deep, lowest, highest = facts["deep"], facts["range"][:, 1], facts["range"][:, 2]
    levels = levels_of(facts)
    # The record of an image of bands has its levels 0..255.
    top = np.where(deep, levels.high - levels.low, 255) if isinstance(levels, Levels) else np.full(len(facts), 255)
    dim = (highest > lowest) & (highest - lowest < LEAST_USE * top)
    text = (
        f"all levels of the picture are within {LEAST_USE:.0%} of the range, so it is nearly of one brightness; if it "
        "is darker than the others, export it again with their exposure and number of bits"
    )
    yield from scanned.warn("dim", dim, text, of_image=True)
    missing = facts["missing"] > 0
    text = (
        f"{int(facts['missing'].sum())} pixels without data (NaN, infinite, or the number for it) are taken as black; "
        "nothing is learnt there where the masks have 255, ignore"
    )
    yield from scanned.warn("missing", missing, text, of_image=True)
