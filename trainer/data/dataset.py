"""Which pictures there are, which mask belongs to which, and who validates."""

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from filelock import FileLock

from trainer import InputError
from trainer.config import DataConfig
from trainer.data.classes import named_classes, value_table
from trainer.data.files import list_images, read_lines
from trainer.data.synthetic import write_voc

Progress = Callable[[str, int], Callable[[], None]]
"""Told what is done and how often; gives a function to call each time one is finished."""

MASK_FOLDERS = ("SegmentationClassPNG", "SegmentationClass")
SHOWN = 20  # problems listed in full; the rest is counted


@dataclass(frozen=True)
class Sample:
    """One picture and its mask."""

    name: str
    """The file stem; `<root folder>/<stem>` where there are several roots."""

    image: Path
    mask: Path


@dataclass(frozen=True)
class Split:
    """Indices into the list of samples."""

    train: tuple[int, ...]
    val: tuple[int, ...]


def find_samples(roots: Sequence[Path]) -> list[Sample]:
    """Pair the images and masks of VOC folders by stem, sorted by name. All problems are raised in one InputError."""
    samples, problems = [], []
    for root, label in zip(roots, _labels(roots), strict=True):
        found, wrong = _pair(root)
        prefix = f"{label}/" if len(roots) > 1 else ""
        samples += [Sample(prefix + stem, image, mask) for stem, image, mask in found]
        problems += wrong
    raise_all(problems)
    return sorted(samples, key=lambda sample: sample.name)


def _pair(root: Path) -> tuple[list[tuple[str, Path, Path]], list[str]]:
    """The (stem, image, mask) of one folder, and what is wrong with it."""
    if not root.is_dir():
        raise InputError(f"{root}: no such folder; give --data.root the folder that holds JPEGImages/")
    mask_folder = next((root / name for name in MASK_FOLDERS if (root / name).is_dir()), None)
    if mask_folder is None or not (root / "JPEGImages").is_dir():
        raise InputError(f"{root}: needs the folders JPEGImages/ and {MASK_FOLDERS[0]}/ (or {MASK_FOLDERS[1]}/)")
    images, image_problems = _by_stem(root / "JPEGImages")
    masks, mask_problems = _by_stem(mask_folder)
    problems = image_problems + mask_problems
    if not images:
        raise InputError(f"{root / 'JPEGImages'}: no images there")
    listed = _listed(root)
    wanted = set(listed) if listed else set(images) | set(masks)
    for stem in sorted(wanted):
        if stem not in images and stem not in masks:
            problems.append(f"{root}: ImageSets names {stem}, but there is no such image; take the line out")
        elif stem not in images:
            problems.append(f"{masks[stem]}: no image of that name in {root / 'JPEGImages'}; add it or remove the mask")
        elif stem not in masks:
            problems.append(f"{images[stem]}: no mask {stem}.png in {mask_folder}; label the picture or move it out")
    return [(stem, images[stem], masks[stem]) for stem in sorted(wanted & set(images) & set(masks))], problems


def _by_stem(folder: Path) -> tuple[dict[str, Path], list[str]]:
    files: dict[str, Path] = {}
    problems = []
    for path in list_images(folder):
        if path.stem in files:
            problems.append(f"{path}: {files[path.stem].name} has the same stem; rename or remove one")
        files[path.stem] = path
    return files, problems


def _labels(roots: Sequence[Path]) -> list[str]:
    """A name for each root: its last folder, with as many parents as it takes to tell them apart."""
    whole = [root.resolve() for root in roots]
    if len(set(whole)) < len(whole):
        raise InputError(f"data.root: {', '.join(map(str, roots))}: a folder is named twice; name it once")
    for parts in range(1, 20):
        labels = ["/".join(path.parts[-parts:]) for path in whole]
        if len(set(labels)) == len(labels):
            return labels
    return [str(path) for path in whole]


def _listed(root: Path) -> dict[str, str]:
    """Stem -> "train" or "val" from ImageSets/Segmentation; empty where there are no such lists."""
    folder = root / "ImageSets" / "Segmentation"
    if not ((folder / "train.txt").is_file() and (folder / "val.txt").is_file()):
        return {}
    lists = {part: read_lines(folder / f"{part}.txt") for part in ("train", "val")}
    both = sorted(set(lists["train"]) & set(lists["val"]))
    if both:
        raise InputError(f"{folder}: {', '.join(both[:5])} in both train.txt and val.txt; keep each in one")
    return {stem: part for part, stems in lists.items() for stem in stems}


def split_samples(samples: Sequence[Sample], roots: Sequence[Path], val_fraction: float, fold: int) -> Split:
    """Who trains and who validates: the lists in ImageSets where a root has them, else a hash of the name.

    Samples ranked by that hash are cut into round(1 / val_fraction) parts of nearly equal size; part `fold`
    validates. A sample's rank does not depend on the machine, the order of files or the seed.
    """
    listed = {root / "JPEGImages": _listed(root) for root in roots}
    train: list[int] = []
    val: list[int] = []
    free: list[int] = []
    for index, sample in enumerate(samples):
        part = listed[sample.image.parent].get(sample.image.stem)
        (free if part is None else train if part == "train" else val).append(index)
    free.sort(key=lambda index: hashlib.sha256(samples[index].name.encode()).digest())
    parts = np.array_split(np.array(free, dtype=np.int64), round(1 / val_fraction)) if val_fraction else []
    if not val_fraction:
        train += free
    for number, members in enumerate(parts):
        (val if number == fold else train).extend(int(index) for index in members)
    if not train:
        raise InputError(f"data: {len(samples)} labelled pictures leave none for training; label at least 2")
    if not val:
        raise InputError(
            f"data: {len(samples)} labelled pictures leave none for validation; "
            "label more, lower data.fold, or raise data.val_fraction"
        )
    return Split(tuple(sorted(train)), tuple(sorted(val)))


def generated_cats(count: int, cache: Path, progress: Progress) -> Path:
    """The folder of `count` generated scenes with cats, drawn now where it is not there yet."""
    folder = cache / f"generated-cats-{count}"
    cache.mkdir(parents=True, exist_ok=True)
    with FileLock(f"{folder}.lock"):
        if not folder.is_dir():
            advance = progress("drawing cats", count)
            write_voc(folder, count, progress=lambda _done: advance())
    return folder


def dataset_digest(digests: Sequence[str], split: Split, names: Sequence[str], table: np.ndarray) -> str:
    """32 hexadecimal digits that stand for the contents: files, classes, value map and split, not names of files."""
    parts = [sorted(digests[index] for index in indices) for indices in (split.train, split.val)]
    return hashlib.sha256(repr((parts, list(names), table.tolist())).encode()).hexdigest()[:32]


def raise_all(problems: Sequence[str]) -> None:
    """Raise one InputError that lists every problem, if there is any."""
    if problems:
        more = [f"... and {len(problems) - SHOWN} more"] if len(problems) > SHOWN else []
        raise InputError("\n".join([*problems[:SHOWN], *more]))


@dataclass(frozen=True)
class Sources:
    """All that is known of the data without decoding a picture."""

    title: str
    samples: list[Sample]
    split: Split
    names: tuple[str, ...] | None
    table: np.ndarray
    """uint8 [256]: the class id that each value in a mask file stands for."""

    mapped: bool


def plan(config: DataConfig, cache: Path, progress: Progress) -> Sources:
    """Find the pictures of data.root, or draw cats where it is unset. Raises InputError for all that is missing."""
    roots = config.roots or [generated_cats(config.generated_images, cache, progress)]
    samples = find_samples(roots)
    table, names = value_table(config.value_map, named_classes(roots, config.classes))
    split = split_samples(samples, roots, config.val_fraction, config.fold)
    title = "+".join(root.resolve().name for root in roots) if config.roots else "generated-cats"
    return Sources(title, samples, split, names, table, mapped=bool(config.value_map))
