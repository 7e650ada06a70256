"""Table of what a model counted on each image: the file by which models are compared without the images.

An image is known by a hash of its pixels and its mask by one of its class ids, so that a renamed file or another
format of the same picture is the same image.
"""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from trainer import InputError
from trainer.model.metrics import Scores, scores_of_counts
from trainer.system.atomic import write_json
from trainer.system.run_folder import read_object

Counts = tuple[tuple[int, int, int], ...]
"""`class_counts` of one image: correct, predicted and true pixels of each of the K classes."""

OF_SEEDS = "of_seeds"
"""Key of `ScoreTable.model` where the counts are means over several models, and the registered one is one of them."""

OUT_OF_FOLD = "out_of_fold"
"""Key of `ScoreTable.model` where each image was counted by a model of folds that did not see it, and the registered
model is another one: that may have trained on them all."""

SCHEMA = 1
"""Version of the file's form."""


@dataclass(frozen=True)
class ScoredImage:
    """One image of a table."""

    name: str
    """Name of the sample."""

    image: str
    """Hash of the image's pixels, 16 hexadecimal digits."""

    mask: str
    """Hash of the mask's class ids, 16 hexadecimal digits."""

    height: int
    width: int

    counts: Counts
    """`class_counts` of the image: correct, predicted and true pixels of each of the K classes."""


@dataclass(frozen=True)
class ScoreTable:
    """All images that a model was scored on."""

    class_names: tuple[str, ...]
    """K names, the background's first."""

    images: tuple[ScoredImage, ...]
    model: Mapping[str, str]
    """Where the model is from: run_id, name, version, dataset_digest, where known."""

    def counts(self) -> np.ndarray:
        """`class_counts` of each image, int64 [N, K, 3]."""
        return np.array([image.counts for image in self.images], np.int64).reshape(-1, len(self.class_names), 3)

    def in_order(self) -> "ScoreTable":
        """Return the table with its images sorted by their hashes.

        An interval is found by drawing images by their places: in this order, the same images have the same interval
        in training, evaluation and comparison, however their files are called.
        """
        images = sorted(self.images, key=lambda one: (one.image, one.mask))
        return ScoreTable(self.class_names, tuple(images), self.model)

    def scores(self) -> Scores:
        """Scores over all pixels of the images, as training computes them."""
        return scores_of_counts(torch.from_numpy(self.counts().sum(axis=0)), self.class_names)

    @property
    def digest(self) -> str:
        """Identity of the images and masks, whatever their names and order; 16 hexadecimal digits."""
        keys = sorted(f"{one.image} {one.mask}" for one in self.images)
        return hashlib.sha256("\n".join([*self.class_names, *keys]).encode()).hexdigest()[:16]

    def restrict(self, keys: Sequence[tuple[str, str]]) -> "ScoreTable":
        """Return the table of those (image, mask) hashes alone, in their order."""
        known = {(one.image, one.mask): one for one in self.images}
        return ScoreTable(self.class_names, tuple(known[key] for key in keys), self.model)

    def keys(self) -> list[tuple[str, str]]:
        """Hashes of image and mask of each image."""
        return [(one.image, one.mask) for one in self.images]

    def write(self, file: Path) -> None:
        """Write the table as JSON, whole or not at all."""
        images = [
            {"name": one.name, "image": one.image, "mask": one.mask, "height": one.height, "width": one.width}
            | {"counts": [list(row) for row in one.counts]}
            for one in self.images
        ]
        head = {"schema_version": SCHEMA, "model": dict(self.model), "class_names": list(self.class_names)}
        write_json(file, head | {"digest": self.digest, "images": images})


def common_images(one: ScoreTable, other: ScoreTable) -> list[tuple[str, str]]:
    """Hashes of the images that both tables have with the same mask, in the order of the first."""
    there = set(other.keys())
    return [key for key in dict.fromkeys(one.keys()) if key in there]


def read_table(file: Path) -> ScoreTable:
    """Read a table. Raises InputError where the file is none, or of a newer program."""
    found: dict[str, Any] = read_object(file)
    if found.get("schema_version") != SCHEMA:
        raise InputError(f"{file}: schema_version {found.get('schema_version')}; this program reads {SCHEMA}")
    try:
        names = tuple(str(name) for name in found["class_names"])
        images = tuple(_scored_image(one, len(names)) for one in found["images"])
        return ScoreTable(names, images, {str(key): str(value) for key, value in found["model"].items()})
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise InputError(f"{file}: not a table of scores ({type(error).__name__}: {error})") from error


def _scored_image(one: Mapping[str, Any], classes: int) -> ScoredImage:
    counts = tuple((int(row[0]), int(row[1]), int(row[2])) for row in one["counts"])
    if len(counts) != classes or min(min(row) for row in counts) < 0:
        raise ValueError(f"counts of {one['name']} are not those of {classes} classes")
    places = str(one["name"]), str(one["image"]), str(one["mask"]), int(one["height"]), int(one["width"])
    return ScoredImage(*places, counts)
