"""Training and validation parts of a dataset, and the digest of its contents."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from trainer import InputError
from trainer.data.bands import BandLevels
from trainer.data.image_io import AnyLevels
from trainer.data.sample import Sample
from trainer.data.value_map import ValueMap


@dataclass(frozen=True)
class Split:
    """Training and validation part, as ascending indices into the list of samples."""

    train: tuple[int, ...]
    val: tuple[int, ...]


def all_train(samples: Sequence[Sample]) -> Split:
    """Split without a validation part."""
    return Split(tuple(range(len(samples))), ())


def split_samples(samples: Sequence[Sample], parts: Mapping[str, str], val_fraction: float, fold: int) -> Split:
    """Divide samples into a training and a validation part.

    `parts`, sample name -> "train" or "val", decides for the samples that it names. The others are ranked by a hash of
    their name and cut into round(1 / val_fraction) folds of nearly equal size; fold `fold` validates. The rank does not
    depend on the machine, the order of files or the seed. Raises InputError if a part would be empty.
    """
    train: list[int] = []
    val: list[int] = []
    unassigned: list[int] = []
    for index, sample in enumerate(samples):
        part = parts.get(sample.name)
        (unassigned if part is None else train if part == "train" else val).append(index)
    unassigned.sort(key=lambda index: hashlib.sha256(_bytes(samples[index].name)).digest())
    folds = np.array_split(np.array(unassigned, dtype=np.int64), round(1 / val_fraction)) if val_fraction else []
    if not val_fraction:
        train += unassigned
    for number, members in enumerate(folds):
        (val if number == fold else train).extend(int(index) for index in members)
    if not train:
        raise InputError(f"data: {len(samples)} labelled pictures leave none for training; label at least 2")
    if not val:
        raise InputError(
            f"data: {len(samples)} labelled pictures leave none for validation; "
            "label more, lower data.fold, or raise data.val_fraction"
        )
    return Split(tuple(sorted(train)), tuple(sorted(val)))


def _bytes(name: str) -> bytes:
    return name.encode(errors="surrogateescape")  # a file's name may be no UTF-8


def dataset_digest(
    digests: Sequence[str],
    split: Split,
    names: Sequence[str],
    values: ValueMap,
    levels: AnyLevels | None = None,
    unlabelled: Sequence[str] = (),
) -> str:
    """Digest of the contents, 32 hexadecimal digits: samples, classes, maps and split, but not file names.

    `digests` of the samples, and of the `unlabelled` images.
    """
    parts = [sorted(digests[index] for index in indices) for indices in (split.train, split.val)]
    several = levels.bands if isinstance(levels, BandLevels) else (levels,) if levels else ()
    scaled = [end for one in several for end in (one.low, one.high)]
    more = [sorted(unlabelled)] if unlabelled else []
    return hashlib.sha256(repr((parts, list(names), values.key, *scaled, *more)).encode()).hexdigest()[:32]
