"""Ranking of models by tables of scores: on the images that all were scored on, each statement with its doubt."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from trainer import InputError
from trainer.model.comparison import Comparison, Interval, class_intervals, compare_scores, score_interval
from trainer.model.score_table import ScoredImage, ScoreTable
from trainer.system.text import count_of, show

LEAST_COMMON = 8
"""Images that tables of different validation sets must share to be compared by those alone: fewer say little."""

MOST_CLASSES = 3
"""Classes that a sentence names."""

MOST_LISTED = 12
"""Classes of a model that a refusal lists."""

LONGEST_NAME = 60
"""Characters of a model's or a class's name in a sentence."""


class OtherClassesError(InputError):
    """Models that know other classes, so that their scores mean different things."""


class TooFewCommonError(InputError):
    """Models that were scored on different images, of which too few are the same."""


@dataclass(frozen=True)
class Pair:
    """Two models on the same images."""

    first: str
    second: str
    comparison: Comparison
    """Second model against the first."""

    def sentence(self) -> str:
        """Outcome in plain words, with the classes that differ most."""
        names = show(self.first, LONGEST_NAME), show(self.second, LONGEST_NAME)
        text, gains = self.comparison.sentence(*names), self.comparison.classes
        differing = [(name, gain) for name, gain in gains.items() if gain.excludes_zero]
        if len(gains) < 2 or not differing:
            return text
        differing.sort(key=lambda one: -abs(one[1].value))
        listed = ", ".join(f"{show(name, LONGEST_NAME)} {_signed(gain)}" for name, gain in differing[:MOST_CLASSES])
        more = f" and {len(differing) - MOST_CLASSES} more" if len(differing) > MOST_CLASSES else ""
        return f"{text}; IoU of {names[1]} by class: {listed}{more}"


def _signed(gain: Interval) -> str:
    return f"{gain.value:+.3f} [{gain.low:+.3f}, {gain.high:+.3f}]"


@dataclass(frozen=True)
class Ranking:
    """Models scored on the same images."""

    tables: Mapping[str, ScoreTable]
    """Name of the model -> its table, restricted to the common images, all in the same order."""

    notes: tuple[str, ...] = ()
    """Restrictions that a reader must know."""

    @cached_property
    def images(self) -> tuple[ScoredImage, ...]:
        """The common images, as the first table has them."""
        return next(iter(self.tables.values())).images

    @cached_property
    def class_names(self) -> tuple[str, ...]:
        """K names, the background's first."""
        return next(iter(self.tables.values())).class_names

    @cached_property
    def counts(self) -> dict[str, np.ndarray]:
        """Name of the model -> `class_counts` of each image, int64 [N, K, 3]."""
        return {name: table.counts() for name, table in self.tables.items()}

    @cached_property
    def scores(self) -> dict[str, Interval]:
        """Name of the model -> mIoU; nan where no foreground class is in the masks."""
        return {name: score_interval(counts) for name, counts in self.counts.items()}

    @cached_property
    def classes(self) -> dict[str, dict[str, Interval]]:
        """Name of the model -> IoU of each class that has pixels in the masks."""
        return {name: class_intervals(counts, self.class_names) for name, counts in self.counts.items()}

    @cached_property
    def image_iou(self) -> np.ndarray:
        """Score of each model on each image by itself, float64 [M, N]."""
        return np.stack([image_iou(counts) for counts in self.counts.values()])

    @property
    def best_first(self) -> list[str]:
        """Names by mIoU, the best first; of equals the one that was given first."""
        return sorted(self.tables, key=lambda name: -np.nan_to_num(self.scores[name].value))

    @cached_property
    def pairs(self) -> list[Pair]:
        """Each model against the first, and the best against the second best."""
        first, *others = self.tables
        wanted = [(first, other) for other in others]
        best = self.best_first[1::-1]
        if len(best) == 2 and not {tuple(best), (best[1], best[0])} & set(wanted):
            wanted.append((best[0], best[1]))
        return [self._pair(one, other) for one, other in wanted]

    def _pair(self, first: str, second: str) -> Pair:
        try:
            found = compare_scores(self.counts[first], self.counts[second], self.class_names)
        except ValueError as error:
            raise InputError(
                f"{show(first)} and {show(second)}: tables of scores that contradict each other about the same masks"
            ) from error
        return Pair(first, second, found)

    def disagreements(self, most: int) -> list[int]:
        """Places of the images on which the models differ most, the worst first, at most `most`; none where none do."""
        spread = self.image_iou.max(axis=0) - self.image_iou.min(axis=0)
        order = np.argsort(-spread, kind="stable")[:most]
        return [int(place) for place in order if spread[place] > 0]


def rank(tables: Mapping[str, ScoreTable]) -> Ranking:
    """Rank models by the images that all tables have with the same mask.

    Raises OtherClassesError where the models know other classes, and TooFewCommonError where their tables are of
    different images and have too few in common.
    """
    require_same_classes({name: table.class_names for name, table in tables.items()})
    if any(not table.images for table in tables.values()):
        empty = ", ".join(show(name, LONGEST_NAME) for name, table in tables.items() if not table.images)
        raise TooFewCommonError(f"scored on no image: {empty}")
    keys = shared_images(list(tables.values()))
    notes = []
    if len({table.digest for table in tables.values()}) > 1:
        text = _explain_difference(tables, len(keys))
        if len(keys) < LEAST_COMMON:
            raise TooFewCommonError(f"not ranked: {text}; {LEAST_COMMON} are the least")
        notes.append(f"{text}: all that follows is about these alone")
    return Ranking({name: table.restrict(keys) for name, table in tables.items()}, tuple(notes))


def shared_images(tables: Sequence[ScoreTable]) -> list[tuple[str, str]]:
    """Hashes of image and mask of what all tables have, sorted, so that no order of files or models matters.

    An image that is in each table twice counts twice, as in training.
    """
    found = Counter(tables[0].keys())
    for table in tables[1:]:
        found &= Counter(table.keys())
    return sorted(found.elements())


def image_iou(counts: np.ndarray) -> np.ndarray:
    """Mean IoU of each image by itself, float64 [N], over its true and its wrongly found classes.

    `counts`: int64 [N, K, 3]. 1 where there is nothing to find, and nothing was found.
    """
    correct, predicted, true = np.moveaxis(counts[:, 1:], 2, 0).astype(np.float64)
    union = predicted + true - correct
    there = union > 0
    iou = np.where(there, correct / np.where(there, union, 1.0), 0.0)
    number = there.sum(axis=1)
    return np.where(number > 0, iou.sum(axis=1) / np.maximum(number, 1), 1.0)


def require_same_classes(models: Mapping[str, tuple[str, ...]]) -> None:
    """Raise OtherClassesError where models know other classes; `models`: name -> K class names."""
    known: dict[tuple[str, ...], list[str]] = {}
    for name, classes in models.items():
        known.setdefault(classes[1:], []).append(show(name, LONGEST_NAME))
    if len(known) > 1:
        parts = [f"{', '.join(names)} knows {_listed(classes)}" for classes, names in known.items()]
        raise OtherClassesError(f"not ranked, since the classes differ: {'; '.join(parts)}")


def _listed(classes: Sequence[str]) -> str:
    shown = ", ".join(show(name, LONGEST_NAME) for name in classes[:MOST_LISTED])
    return shown + (f" and {len(classes) - MOST_LISTED} more" if len(classes) > MOST_LISTED else "")


def _explain_difference(tables: Mapping[str, ScoreTable], common: int) -> str:
    """Sentence on validation sets that differ: how large they are, and what is the same in them."""
    listed = ", ".join(f"{show(name, LONGEST_NAME)} has {len(table.images)}" for name, table in tables.items())
    pictures = [Counter(one.image for one in table.images) for table in tables.values()]
    same = pictures[0]
    for other in pictures[1:]:
        same &= other
    relabelled = same.total() - common
    more = f", {count_of(relabelled, 'more image')} with another mask" if relabelled else ""
    are = "is" if common == 1 else "are"
    return f"the validation images differ ({listed}); {count_of(common, 'image')} {are} common to all{more}"
