"""Doubt about predictions: how sure the model is of one image, and warnings about all images of a call.

The bounds are measured; .github/RESULTS.md has the tables.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor

from trainer.data.appearance import appearance
from trainer.model.segmenter import Contract

UNSURE_SHARE = 0.2
"""Share of the validation images whose certainty is marked as low."""

LEAST_IMAGES = 5
"""Fewest images whose mean certainty is compared with that of the validation images."""

CERTAINTY_DEVIATIONS, CERTAINTY_NOISE = 2.0, 0.1
"""Drop of the mean certainty of n images that is said: these standard deviations of single images, and this / sqrt(n).
"""

LOOK_DEVIATIONS, LOOK_NOISE = 1.5, 2.0
"""Median deviation of n images from those that trained that is said: this and this / sqrt(n), in standard deviations.
"""

MOST_UNSURE = 0.9
"""Share of the images of a call, from which it is said how many are unsure; of the validation images, a fifth are."""

BLANK = 1.0
"""Standard deviation of levels below which an image has one colour everywhere."""

LEAST_DEVIATION = 5.0
"""Least standard deviation of a number of `appearance`, in levels: of nearly equal images none is far from another."""

SMALLER = 4
"""Images whose sides are this many times shorter than the shortest that trained are said to be small.

Large ones are not: the network sees every image at its own size."""

SQUEEZED = 2
"""Images that are this many times wider, or higher, than any that trained are said to be squeezed to a square.

Not where they are filled up to one, nor in tiles."""

LEAST_EMPTY_SHARE, LEAST_CHANCE = 0.05, 0.05
"""Empty masks are said where their chance is below: that of a single one to the power of n, at least the former."""

LOOK_NAMES = ("red", "green", "blue", "contrast in red", "contrast in green", "contrast in blue", "colourfulness")
"""The numbers of `appearance`, for people."""

BRIGHTNESS, CONTRAST = slice(0, 3), slice(3, 6)
"""Those of all three colours, which are one thing where all of them differ."""

UNLIKE = "are they pictures of the kind that it was trained on?"


@dataclass
class Certainty:
    """Mean probability of the pixels that are found in one image, summed up strip by strip."""

    found: int = 0
    """Pixels of the foreground."""

    total: float = 0.0
    """Sum of their probabilities."""

    highest: float = 0.0
    """Highest probability of the foreground, where none is found."""

    def add(self, probabilities: Tensor, classes: Tensor, confidence: Tensor) -> None:
        """Add a strip: probabilities [1, C, h, w], class ids [1, h, w] and their probabilities [1, h, w]."""
        found = int(torch.count_nonzero(classes))
        if found:
            self.found += found
            self.total += float((confidence * classes.clamp(max=1)).sum())
        elif not self.found:
            others = probabilities if probabilities.shape[1] == 1 else probabilities[:, 1:]
            self.highest = max(self.highest, float(others.amax()))

    def value(self, contract: Contract) -> float:
        """Certainty in 0..1. That there is nothing to find is only believed if labelled images had nothing."""
        if self.found:
            return self.total / self.found
        return 0.0 if contract.empty_share == 0 else 1 - self.highest


def is_unsure(certainty: float, contract: Contract) -> bool:
    """Return whether an image of this certainty is one to look at first."""
    return contract.unsure_below is not None and certainty <= contract.unsure_below


@dataclass
class Doubts:
    """Notes on the images of a call, for its warnings. `note` may be called by several threads.

    Certainties and looks are of the images that this call predicts; sizes and classes also of those done before.
    """

    contract: Contract
    certainties: list[float] = field(default_factory=list)
    sides: list[tuple[int, int]] = field(default_factory=list)
    looks: list[np.ndarray] = field(default_factory=list)
    brightest: list[int] = field(default_factory=list)
    """Highest level of each image."""

    uniform: list[int] = field(default_factory=list)
    """Class of each mask that has one class everywhere, -1 of others."""

    def note(self, certainty: float, mask: np.ndarray, seen: np.ndarray) -> None:
        """Note an image: its certainty, its class ids, uint8 [H, W], and what the network saw, uint8 [S, S, 3]."""
        first = int(mask.flat[0])
        self.uniform.append(first if first == mask[-1, -1] and (mask == first).all() else -1)
        self.certainties.append(certainty)
        self.sides.append((mask.shape[0], mask.shape[1]))
        self.looks.append(appearance(seen))
        self.brightest.append(int(seen.max()))

    def note_done(self, row: Mapping[str, Any]) -> None:
        """Note an image that an earlier call has done, by its row of the report: its size, and what was found."""
        counts = [row["pixels"].get(name, 0) for name in self.contract.class_names]
        pixels = row["height"] * row["width"]
        self.uniform.append(counts.index(pixels) if pixels in counts else -1)
        self.sides.append((row["height"], row["width"]))

    def warnings(self) -> list[str]:
        """Texts about what is unlike the training, each with its likely cause."""
        if not self.sides:
            return []
        found = [self._uniform(), self._certainty(), self._sides(), self._looks()]
        return [text for text in found if text]

    def _uniform(self) -> str:
        count, kinds = len(self.uniform), set(self.uniform)
        if len(kinds) > 1 or kinds == {-1}:
            return ""
        (kind,) = kinds
        if kind == 0:
            share = max(self.contract.empty_share or 0.0, LEAST_EMPTY_SHARE)
            return f"nothing is found in {_pictures(count)}; {UNLIKE}" if share**count < LEAST_CHANCE else ""
        if count == 1:  # may show just that
            return ""
        return f"{self.contract.class_names[kind]} is all that is found, everywhere in {_pictures(count)}; {UNLIKE}"

    def _certainty(self) -> str:
        known, count = self.contract.certainty, len(self.certainties)
        if known is None or count < LEAST_IMAGES:
            return ""
        mean = float(np.mean(self.certainties))
        unsure = sum(is_unsure(certainty, self.contract) for certainty in self.certainties)
        numbers = f"{mean:.2f} on average, {known[0]:.2f} on"
        if unsure >= MOST_UNSURE * count:
            return (
                f"the model is unsure of {unsure} of {count}: {numbers} those that validated, a fifth unsure; {UNLIKE}"
            )
        if known[0] - mean > CERTAINTY_DEVIATIONS * known[1] + CERTAINTY_NOISE / count**0.5:
            return f"the model is unsure: {numbers} its validation pictures; {UNLIKE}"
        return ""

    def _sides(self) -> str:
        if self.contract.training_sides is None:
            return ""
        height, width = sorted(self.sides, key=lambda sides: sides[1] / sides[0])[len(self.sides) // 2]
        if squeezed := self._squeezed(width / height):
            return (
                f"these pictures are {width}x{height} pixels, {squeezed}; cut them into parts, or train with "
                "--data.view tiles"
            )
        medians = np.median(self.sides, axis=0)
        size = f"{medians[1]:.0f}x{medians[0]:.0f} pixels"
        least = [sides[0] for sides in self.contract.training_sides]
        if all(SMALLER * median >= side for median, side in zip(medians, least, strict=True)):
            return ""
        return (
            f"these pictures are small, {size}; those that trained had at least "
            f"{least[1]}x{least[0]}: give larger ones, or train on such small ones"
        )

    def _squeezed(self, form: float) -> str:
        """Say that images whose width is `form` times their height are squeezed more than any that trained."""
        (low, _, high), (narrow, _, wide) = self.contract.training_sides or ((1, 1, 1), (1, 1, 1))
        if self.contract.view == "tiles" or self.contract.keep_aspect:
            return ""
        where = "wider" if form > SQUEEZED * wide / low else "narrower" if form * SQUEEZED < narrow / high else ""
        return where and f"far {where} than all that trained, and squeezed to a square for the network"

    def _looks(self) -> str:
        if not self.contract.training_look or not self.looks:
            return ""
        mean, std = np.array(self.contract.training_look).T
        looks = np.array(self.looks)
        deviations = np.median((looks - mean) / np.maximum(std, LEAST_DEVIATION), axis=0)
        most = LOOK_DEVIATIONS + LOOK_NOISE / len(looks) ** 0.5
        place = int(np.abs(deviations).argmax())
        if abs(deviations[place]) <= most:
            return ""
        text = "these pictures look unlike those that trained: "
        if np.median(looks[:, CONTRAST].max(axis=1)) < BLANK:
            return f"{text}one colour everywhere, as in damaged files or those of a wrong export"
        brightest, usual = float(np.median(self.brightest)), float(mean[:3].mean())
        if 2 * brightest < usual:
            # The file cannot say it: a camera's 12 bits are stored in 16. A model of such files has their range.
            deep = self.contract.range_of_levels is None
            advice = "if the files have 16 bits and use fewer, stretch the levels to all of them" if deep else UNLIKE
            return (
                f"these pictures are nearly black, {brightest:.0f} of 255 at their brightest, where those that trained "
                f"have {usual:.0f} on average; {advice}"
            )
        chosen, name = slice(place, place + 1), LOOK_NAMES[place]
        for numbers, together in ((BRIGHTNESS, "brightness"), (CONTRAST, "contrast")):
            if min(deviations[numbers]) > most or max(deviations[numbers]) < -most:
                chosen, name = numbers, together
                break
        level, usual = np.median(looks[:, chosen].mean(axis=1)), mean[chosen].mean()
        return (
            f"{text}{name} {level:.0f} of 255, usually {usual:.0f}; light, camera or colours may differ: label some of "
            "them and train again"
        )


def _pictures(count: int) -> str:
    return "the picture" if count == 1 else f"all {count} pictures"


def bound_of_unsure(certainties: Sequence[float]) -> float:
    """Certainty that UNSURE_SHARE of the images do not exceed."""
    return float(np.quantile(certainties, UNSURE_SHARE))
