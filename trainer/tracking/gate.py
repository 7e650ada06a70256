"""Rule by which a new model replaces the one in use: pure arithmetic on what both counted on the same images."""

import json
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from trainer import InputError
from trainer.model.comparison import Interval, compare_scores, pooled_iou
from trainer.model.score_table import ScoreTable
from trainer.system.text import count_of

LEAST_GAIN = 0.001
"""Least difference of mIoU that counts as one: a model that is equal, or nearly, replaces none."""

LEAST_IMAGES = 2
"""Least number of images that two models are compared on: a single one shows no spread."""

MOST_NAMED = 3
"""Classes that a sentence names."""

LONGEST_TAG = 5000
"""Most characters of a tag."""


@dataclass(frozen=True)
class Rules:
    """Rules that a candidate must meet; settings `registry.margin` and `registry.max_class_drop`."""

    margin: float = 0.0
    """Least gain of mIoU; below LEAST_GAIN it is that."""

    max_class_drop: float = 0.05
    """Most that the IoU of a class may fall by."""

    @property
    def least_gain(self) -> float:
        """Gain of mIoU from which the candidate replaces the other model."""
        return max(self.margin, LEAST_GAIN)


@dataclass(frozen=True)
class ClassGain:
    """IoU of one class by both models, and the gain with its interval."""

    candidate: float
    other: float
    gain: Interval


@dataclass(frozen=True)
class Verdict:
    """Outcome of the comparison of a candidate with another model."""

    passes: bool
    """Whether the candidate is better by enough, and no class falls by too much."""

    reason: str
    """The outcome in words, which follow "it is"."""

    candidate: float
    """mIoU of the candidate, and of the other model, on the same images."""

    other: float
    interval: Interval | None = None
    """Gain of mIoU, candidate minus other; None where only the scores are known, not what was counted on each image."""

    classes: dict[str, ClassGain] = field(default_factory=dict)
    """Foreground classes that have pixels in the masks."""

    images: int = 0
    digest: str = ""
    """Identity of the images and masks, `ScoreTable.digest`."""

    @property
    def gain(self) -> float:
        """Gain of mIoU, candidate minus other."""
        return round(self.candidate - self.other, 9)

    def tags(self) -> dict[str, str]:
        """Numbers of the comparison as tags of a version."""
        found = {"difference": f"{self.interval or round(self.gain, 4)}"}
        if self.interval is not None:
            classes = {name: [round(one.candidate, 4), round(one.other, 4)] for name, one in self.classes.items()}
            text = json.dumps(classes, ensure_ascii=False)
            found |= {"images": f"{self.images}", "evaluation_digest": self.digest}
            found |= {"class_iou": text} if len(text) <= LONGEST_TAG else {}
        return found

    def to_json(self) -> dict[str, Any]:
        """All numbers of the comparison."""
        gain = self.interval
        return {
            "candidate_miou": self.candidate,
            "champion_miou": self.other,
            "difference": self.gain,
            "interval": [gain.low, gain.high] if gain else None,
            "images": self.images,
            "evaluation_digest": self.digest,
            "classes": {
                name: {"candidate": one.candidate, "champion": one.other, "interval": [one.gain.low, one.gain.high]}
                for name, one in self.classes.items()
            },
        }


def better(one: float | None, other: float | None, least: float = LEAST_GAIN) -> bool:
    """Return whether an mIoU is better than another by `least` or more; None counts as 0."""
    return round((one or 0.0) - (other or 0.0), 9) >= least


def judge(candidate: ScoreTable, other: ScoreTable, rules: Rules, title: str, where: str = "") -> Verdict:
    """Compare a candidate with another model by tables of the same images, in the same order.

    `title`: the other model in words; `where`: the images in words, by default their number. Raises InputError where
    the images are too few, or show no class to be scored by.
    """
    count = len(candidate.images)
    where = where or count_of(count, "picture")
    if count < LEAST_IMAGES:
        raise InputError(f"{count_of(count, 'picture')} to compare on, and {LEAST_IMAGES} is the least")
    names = candidate.class_names
    ours, theirs = pooled_iou(candidate.counts()), pooled_iou(other.counts())
    if not np.isfinite(ours).any():
        raise InputError(f"the masks of {where} show no class to be scored by")
    comparison = compare_scores(other.counts(), candidate.counts(), names)
    places = {name: names.index(name) - 1 for name in comparison.classes}
    classes = {
        name: ClassGain(float(ours[place]), float(theirs[place]), comparison.classes[name])
        for name, place in places.items()
    }
    fallen = {name: one for name, one in classes.items() if round(-one.gain.value, 9) > rules.max_class_drop}
    gain, scores = comparison.difference, (float(np.nanmean(ours)), float(np.nanmean(theirs)))
    reason = _in_words(gain, title, f"{where} ({scores[0]:.3f} against {scores[1]:.3f})", rules)
    if fallen and len(classes) > 1:  # of one class it is the same number again
        word = "but" if gain.value > 0 else "and"
        reason += f"; {word} {_drops(fallen)}, more than registry.max_class_drop {rules.max_class_drop:g}"
    passes = better(*scores, rules.least_gain) and not fallen
    return Verdict(passes, reason, *scores, gain, classes, count, candidate.digest)


def judge_recorded(candidate: float, other: float | None, rules: Rules, title: str) -> Verdict:
    """Compare by the val/miou that training recorded for both on the same data, without an interval."""
    reason = f"val/miou {candidate:.4f} against {other or 0:.4f} of {title}"
    return Verdict(better(candidate, other, rules.least_gain), reason, candidate, other or 0.0)


def _in_words(gain: Interval, title: str, where: str, rules: Rules) -> str:
    value = round(gain.value, 9)
    if abs(value) >= LEAST_GAIN and gain.excludes_zero:
        word, size = ("better", gain) if value > 0 else ("worse", Interval(-gain.value, -gain.high, -gain.low))
        text = f"{word} than {title} by {size} mIoU on {where}"
    elif value >= rules.least_gain:
        text = f"ahead of {title} by {gain} mIoU on {where}, which may be chance"
    else:
        text = f"no different from {title} as far as can be seen: {gain} mIoU on {where}"
    return f"{text}, less than registry.margin {rules.margin:g}" if LEAST_GAIN <= value < rules.least_gain else text


def _drops(fallen: dict[str, ClassGain]) -> str:
    worst = sorted(fallen, key=lambda name: fallen[name].gain.value)
    named = [f"{name} falls by {-fallen[name].gain.value:.3f}" for name in worst[:MOST_NAMED]]
    more = [f"{len(worst) - MOST_NAMED} more classes fall"] if len(worst) > MOST_NAMED else []
    return " and ".join([*named, *more])
