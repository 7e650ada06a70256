"""Rare classes: weights and sampling that `auto` chooses for them, and advice about those not found on the way."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from trainer import InputError
from trainer.config import Config
from trainer.system.text import join

Sampling = Literal["auto", "even", "foreground"]

SMALL_SHARE = 0.01
"""Share of the labelled pixels below which a class is small, so that the classes are weighted."""

FEW_PICTURES = 0.1
"""Share of the training pictures below which a class is seldom, so that those with it are shown more often."""

TOLD_AFTER = 1 / 3
"""Share of the course of a training after which the classes that it has not found are named."""


LEAST_PICTURES = 10
"""Training pictures with a class below which more of them are advised, whatever their share."""

MOST_LISTED = 12
"""Classes that a line names."""

MOST_SIDE = 8192
"""Largest data.image_size."""


@dataclass(frozen=True)
class ClassCounts:
    """Contents of the training data by each of K classes, the background first."""

    names: Sequence[str]
    pixels: Sequence[int]
    """Labelled pixels."""

    pictures: Sequence[int]
    """Pictures with a pixel of it."""

    of: int
    """Number of training pictures."""


def class_weights(setting: list[float] | str | None, counts: ClassCounts) -> tuple[list[float] | None, str]:
    """Weights of the K classes in the cross-entropy, and the reason; None where all are alike.

    Raises InputError where the setting lists another number of them.
    """
    if isinstance(setting, list):
        if len(setting) != len(counts.pixels):
            raise InputError(
                f"loss.class_weights: {len(setting)} weights, but there are {len(counts.pixels)} classes with the "
                "background; give one for each"
            )
        return setting, ""
    small = _small_classes(counts)
    if setting is None or (setting == "auto" and not small):
        return None, ""
    weights = balancing_weights(counts.pixels)
    reason = f"loss.class_weights {weights}, 1 / sqrt(share of the pixels)"
    if setting == "auto":
        reason += f": {_listed(small)} below {SMALL_SHARE:.0%} of them"
    return weights, reason


def sampling(setting: Sampling, counts: ClassCounts) -> tuple[Sampling, str]:
    """Kind of sampling, and the reason, which is empty where pictures are shown alike."""
    if setting != "auto":
        return setting, ""
    seldom = [
        f"{name} ({count} of {counts.of})"
        for name, count in zip(counts.names[1:], counts.pictures[1:], strict=True)
        if 0 < count < FEW_PICTURES * counts.of
    ]
    if not seldom:
        return "even", ""
    return "foreground", f"data.sampling foreground: {_listed(seldom)} in less than {FEW_PICTURES:.0%} of the pictures"


def balancing_weights(pixels: Sequence[int]) -> list[float]:
    """Weight of each of K classes from its number of pixels: 1 / sqrt(share), scaled so that the mean pixel has 1.

    The square root keeps a class of a few pixels from drowning all others. A class without a pixel gets 0.
    """
    total = sum(pixels)
    raw = [(total / count) ** 0.5 if count else 0.0 for count in pixels]
    mean = sum(weight * count for weight, count in zip(raw, pixels, strict=True)) / max(1, total)
    return [round(weight / mean, 4) if mean else 1.0 for weight in raw]


@dataclass(frozen=True)
class Advice:
    """Words about classes that a training has not found yet, with settings that help; they can be pasted."""

    counts: ClassCounts
    config: Config
    """Resolved settings."""

    picture_side: int
    """Shorter side of the usual training picture, in pixels."""

    def not_found(self, names: Sequence[str], step: int, total_steps: int) -> str:
        """Warning that names the classes without a right pixel in validation after `step` steps."""
        held = [(name, self.counts.pictures[self.counts.names.index(name)]) for name in names]
        lines = [f"not found yet after {step} of {total_steps} steps, IoU 0: {_listed(list(names))}. What helps:"]
        if options := self._options():
            lines.append(f"  a new run with {join(options)}")
        of = self.counts.of
        few = [f"{name} {count}" for name, count in held if count < max(LEAST_PICTURES, FEW_PICTURES * of)]
        if few:
            lines.append(f"  more pictures that have it; of {of} that train there are: {_listed(few)}")
        if not options and not few:
            lines.append(f"  more time: --train.epochs {2 * int(self.config.train.epochs)}")
        return "\n".join(lines)

    def _options(self) -> list[str]:
        """Settings that differ from those of the run and show a rare class more often, heavier or larger."""
        data, options = self.config.data, list[str]()
        if self.config.loss.class_weights is None:
            options += ["--loss.class_weights", "balanced"]
        if data.sampling != "foreground":
            options += ["--data.sampling", "foreground"]
        larger = 2 * data.image_size
        if larger <= min(MOST_SIDE, self.picture_side):
            options += ["--data.image_size", f"{larger}"]
        return options


def _small_classes(counts: ClassCounts) -> list[str]:
    """Foreground classes of several with little of the pixels, each with its share."""
    total = max(1, sum(counts.pixels))
    shares = [(name, count / total) for name, count in zip(counts.names[1:], counts.pixels[1:], strict=True)]
    return [f"{name} {share:.2%}" for name, share in shares if 0 < share < SMALL_SHARE] if len(shares) > 1 else []


def _listed(texts: Sequence[str]) -> str:
    """The first few of some texts, and how many more there are."""
    more = f" and {len(texts) - MOST_LISTED} more" if len(texts) > MOST_LISTED else ""
    return ", ".join(texts[:MOST_LISTED]) + more
