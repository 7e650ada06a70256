"""File with the hashes of all images that trained a model, so that nobody scores the model on an image it has learnt.

It lies in the model folder and is registered with the model; prediction does not read it. Images are known by the
hashes of their pixels, as in a table of scores: a renamed file, or another mask for the same image, changes nothing.
"""

import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from trainer import InputError
from trainer.system.atomic import write_text
from trainer.system.regular_file import read_regular

TRAINING_IMAGES_FILE = "training_images.json"
"""Name of the file in a model folder, and in a run folder."""

SCHEMA = 1
"""Version of the file's form."""

PARTS = ("labelled", "unlabelled", "inherited")
"""Lists in the file."""

DIGITS = 16
"""Hexadecimal digits of a hash."""

MOST_IMAGES = 2_000_000
"""Most images that are listed; a model of more counts as one whose images are not known."""

MOST_BYTES = 40_000_000
"""Largest file that is read, in bytes: MOST_IMAGES take 34 MB."""


@dataclass(frozen=True)
class TrainingImages:
    """Hashes of the images that trained a model, each 16 hexadecimal digits."""

    labelled: frozenset[str] = frozenset()
    unlabelled: frozenset[str] = frozenset()
    """Images that trained without labels."""

    inherited: frozenset[str] = frozenset()
    """Images that trained the model whose weights this one started from, and those before that."""

    complete: bool = True
    """Whether these are all of them: not where the weights came from a model whose images are not known."""

    def all(self) -> set[str]:
        """Hashes of all the images."""
        return set(self.labelled | self.unlabelled | self.inherited)

    def after(self, ancestor: "TrainingImages | None") -> "TrainingImages":
        """These images, of a model that started from the weights of another one; None where that one's are unknown."""
        if ancestor is None:
            return TrainingImages(self.labelled, self.unlabelled, self.inherited, complete=False)
        inherited = self.inherited | ancestor.all()
        return TrainingImages(self.labelled, self.unlabelled, inherited, self.complete and ancestor.complete)


def of_hashes(labelled: Iterable[int], unlabelled: Iterable[int] = ()) -> TrainingImages:
    """Training images by the numbers of `facts["image"]`, each below 2**64."""
    return TrainingImages(_digits(labelled), _digits(unlabelled))


def hash_text(number: int) -> str:
    """Hash of an image's pixels, a number of `facts["image"]`, as it is written: 16 hexadecimal digits."""
    return f"{int(number):0{DIGITS}x}"


def _digits(numbers: Iterable[int]) -> frozenset[str]:
    return frozenset(hash_text(number) for number in numbers)


def write_training_images(folder: Path, images: TrainingImages) -> None:
    """Write the file of `images` into `folder`, whole or not at all; of too many, that they are not known."""
    if len(images.all()) > MOST_IMAGES:
        images = TrainingImages(complete=False)
    content: dict[str, object] = {"schema_version": SCHEMA, "complete": images.complete}
    for part in PARTS:
        content[part] = " ".join(sorted(getattr(images, part)))
    write_text(folder / TRAINING_IMAGES_FILE, json.dumps(content, indent=1))


def read_training_images(folder: Path) -> TrainingImages | None:
    """Read the file in `folder`; None where there is none, as an older program writes none.

    Raises InputError naming the file where it is damaged, or of a newer program.
    """
    file = folder / TRAINING_IMAGES_FILE
    if file.is_symlink() or not file.exists():
        return None
    try:
        content = json.loads(read_regular(file, MOST_BYTES))
        version = content["schema_version"]
        if version != SCHEMA:
            raise InputError(f"{file}: schema_version {version}; this program reads {SCHEMA}")
        labelled, unlabelled, inherited = (_read_part(content[part]) for part in PARTS)
        return TrainingImages(labelled, unlabelled, inherited, content["complete"] is True)
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise InputError(f"{file}: not a list of training images ({type(error).__name__}: {error})") from error


def _read_part(text: str) -> frozenset[str]:
    hashes = text.split()
    if any(len(one) != DIGITS or one.strip("0123456789abcdef") for one in hashes):
        raise ValueError("what is listed are not hashes")
    return frozenset(hashes)


def trained_on(folder: Path) -> set[str] | None:
    """Hashes of all images that trained the model in `folder`; None where they are not known.

    Compare them with `ScoredImage.image`, or with `facts["image"]` as 16 hexadecimal digits. Raises InputError as
    `read_training_images` does.
    """
    images = read_training_images(folder)
    return images.all() if images is not None and images.complete else None
