"""One mask file for each class: images/x.jpg with masks/cat/x.png or masks/x_cat.png, perhaps in train/ and val/."""

import os
import re
import unicodedata
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np

from trainer import InputError
from trainer.data.files import (
    Reason,
    is_hidden,
    list_folders,
    list_images,
    read_bytes,
    scan_folder,
    why_no_image,
)
from trainer.data.image_io import read_stored
from trainer.data.layouts.base import PARTS, Found, by_stem, match_labels, merge_parts
from trainer.data.layouts.folders import IMAGES, MASKS, first_filled, holds_images
from trainer.data.sample import DrawnSample
from trainer.data.value_map import BACKGROUND, UNMAPPED, ValueMap
from trainer.system.text import label, same_form

TRIED = 200
"""Number of masks whose names are looked at to find out what they are."""

SEPARATORS = "_-. "
MASK_WORDS = {"mask", "masks", "gt", "label", "labels", "seg", "segmentation", "annotation", "ann"}
"""Parts of a mask's name that name no class, in lower case."""

OTHER_WORDS = {
    *("color", "colour", "colors", "overlay", "vis", "rgb", "blend", "preview", "depth", "edge", "edges", "contour"),
    *("instance", "instances", "instanceids", "labelids", "labeltrainids", "field", "fov"),
}
"""Endings of files beside masks that are no masks of a class, in lower case."""


UNWANTED = Reason("of classes that are not wanted")
UNLABELLED = Reason("without a mask of any class", "label them", warn=True, unlabelled=True)


@dataclass(frozen=True, slots=True)
class ClassMasksSample(DrawnSample):
    """An image whose mask is put together from files of one class each; smaller objects lie over larger ones."""

    class_files: tuple[tuple[str, int], ...]
    """(path, class id) of each mask file; `mask_file` is the first."""

    @property
    def files(self) -> tuple[str, ...]:
        return self.image_file, *(path for path, _ in self.class_files)

    def own_content(self) -> bytes:
        return repr([class_id for _, class_id in self.class_files]).encode()

    def mask_content(self) -> bytes:
        return b"".join(read_bytes(Path(path)) for path, _ in self.class_files) + self.own_content()

    def read_mask(self, values: ValueMap, content: bytes | None = None) -> np.ndarray:
        covers = [(read_cover(Path(path)), class_id) for path, class_id in self.class_files]
        for (path, _), (cover, _) in zip(self.class_files, covers, strict=True):
            if cover.shape != covers[0][0].shape:
                raise InputError(f"{path}: not of the size of {self.mask_file}; make them the same size")
        mask = np.zeros(covers[0][0].shape, np.uint8)
        for cover, class_id in sorted(covers, key=lambda pair: -np.count_nonzero(pair[0])):
            mask[cover] = class_id
        return mask


def read_cover(path: Path) -> np.ndarray:
    """Read a mask file of two values: bool [H, W], True for the brighter one. Raises InputError for more values.

    Values that smooth edges or compression have scattered between two are taken for the nearer one.
    """
    stored = read_stored(path)
    values = stored.values.max(axis=2) if stored.values.ndim == 3 else stored.values
    used = np.unique(values)
    if len(used) > 2 and (stored.palette is not None or used[-1] < 128):
        raise InputError(f"{path}: values {used[:8].tolist()}; the mask of one class has two; repair it")
    if stored.palette is not None:
        brightness = stored.palette.colours.max(axis=1)
        values = brightness[values] if len(np.unique(brightness[used])) > 1 else values
    top = values.max()
    if top == 0:
        return np.zeros(values.shape, bool)
    darkest = int(values.min()) if len(used) == 2 else 0  # the background may be any colour
    return values > (darkest + int(top)) / 2


def fits(root: Path) -> bool:
    return any(_find_masks(place, TRIED) for place in _places(root).values())


def find(root: Path, classes: Sequence[str] | None) -> Found:
    """Make one sample of each image that has a mask of some class. Classes are sorted by name, or those of `classes`.

    Samples in parts are named `train/<stem>` and `val/<stem>`.
    """
    places = _places(root)
    masks = {part: _find_masks(place) for part, place in places.items()}
    labels = sorted({label for by_stem in masks.values() for entries in by_stem.values() for label, _ in entries})
    if not 0 < len(labels) < UNMAPPED:
        raise InputError(
            f"{root}: {len(labels)} classes; needs images/ and masks/ with a folder for each class, or with masks "
            "whose names end in the class"
        )
    class_of, notes = match_labels(labels, classes, root)
    names = (BACKGROUND, *labels) if classes is None else tuple(classes)
    ids = {label: names.index(name) for label, name in class_of.items() if name in names}
    parts = {part: _make_samples(places[part], masks[part], ids) for part in places}
    found = parts[""] if "" in parts else merge_parts(parts, root)
    found.names = names
    found.notes += [f"{root}: one mask file for each class: {', '.join(labels)}", *notes]
    return found


def _make_samples(place: Path, masks: Mapping[str, Sequence[tuple[str, Path]]], ids: Mapping[str, int]) -> Found:
    """Samples of one part. `masks`: image stem -> (label, file) of each mask; `ids`: label -> class id."""
    folder = first_filled(place, IMAGES)
    images, problems = by_stem(list_images(folder) if folder else [])
    found = Found(problems=problems)
    for stem, image in images.items():
        entries = sorted(masks.get(stem, ()))
        files = tuple((str(file), ids[label]) for label, file in entries if label in ids)
        unwanted = [file for label, file in entries if label not in ids]
        found.leave_out(UNWANTED, *unwanted)
        if files or unwanted:
            first = files[0][0] if files else str(unwanted[0])
            found.samples.append(ClassMasksSample(stem, str(image), first, files or ((first, 0),)))
        else:
            found.leave_out(UNLABELLED, image)
    return found


def _places(root: Path) -> dict[str, Path]:
    """Part -> folder that holds its images and masks; the only part is "" where the folder has no parts."""
    parts = {folder.name: folder for folder in list_folders(root) if folder.name.lower() in PARTS}
    inside = {part: folder for part, folder in parts.items() if first_filled(folder, IMAGES)}
    return inside or {"": root}


def _find_masks(place: Path, most: int | None = None) -> dict[str, list[tuple[str, Path]]]:
    """Image stem -> (label, file) of each of its masks; empty where there is not one mask for each class.

    `most`: number of mask files to look at, by default all.
    """
    images = first_filled(place, IMAGES)
    if images is None:
        return {}
    find_stem = _stem_finder(images)
    folders = {folder.name.lower(): folder for folder in list_folders(place) if not is_hidden(folder.name)}
    for folder in (folders[name] for name in MASKS if name in folders):
        by_stem = _by_ending if holds_images(folder) else _by_folder
        found = by_stem(folder, images, find_stem, most)
        if found:
            return found
    return {}


def _by_folder(
    folder: Path, images: Path, find_stem: Callable[[str], str], most: int | None
) -> dict[str, list[tuple[str, Path]]]:
    """Masks in folders that are named as their class; parts and folders of images are none, nor is a single one."""
    inner = {path.name for path in list_folders(images)}
    places = [path for path in list_folders(folder) if not is_hidden(path.name) and path.name not in inner]
    found: dict[str, list[tuple[str, Path]]] = {}
    for place in places:
        for file in _first_images(place, most):
            stem, ending = _split(file.stem, find_stem)
            if place.name.lower() not in PARTS and stem and label_of(ending) is None:
                found.setdefault(stem, []).append((label(place.name), file))
    several = len({name for entries in found.values() for name, _ in entries}) > 1
    return found if several else {}


def _by_ending(
    folder: Path, images: Path, find_stem: Callable[[str], str], most: int | None
) -> dict[str, list[tuple[str, Path]]]:
    """Masks whose names end in their class; empty where some do not, or the endings are not those of classes."""
    found: dict[str, list[tuple[str, Path]]] = {}
    counts: Counter[str] = Counter()
    for file in _first_images(folder, most):
        stem, ending = _split(file.stem, find_stem)
        name = label_of(ending)
        if name is None or not stem:
            return {}
        found.setdefault(stem, []).append((name, file))
        counts[name] += 1
    # Endings that occur once each are rather a part of a name, such as a date.
    return found if 1 < len(counts) <= sum(counts.values()) / 2 else {}


def _first_images(folder: Path, most: int | None) -> list[Path]:
    """Image files of a folder, sorted; not more than `most` of them, of the first that the system lists."""
    if most is None:
        return list_images(folder)
    names = (entry.name for entry in scan_folder(folder) if why_no_image(entry) is None)
    return [folder / name for name in islice(names, most)]


def _stem_finder(images: Path) -> Callable[[str], str]:
    """Function from a text to the stem of a file in `images` that is the same but for its Unicode form; "" for none.

    It does not list the folder, which may be large.
    """
    suffixes = {file.suffix for file in _first_images(images, TRIED)}

    def find_stem(text: str) -> str:
        forms = [text] if text.isascii() else [text, same_form(text), unicodedata.normalize("NFD", text)]
        exists = (stem for stem in forms for suffix in suffixes if os.path.isfile(images / f"{stem}{suffix}"))
        return next(exists, "")

    return find_stem


def _split(name: str, find_stem: Callable[[str], str]) -> tuple[str, str]:
    """Stem of the image that the longest start of `name` means, and the ending after it; "" for none."""
    ends = [len(name), *(place for place in range(len(name) - 1, 0, -1) if name[place] in SEPARATORS)]
    return next(((stem, name[end:]) for end in ends if (stem := find_stem(name[:end]))), ("", name))


def label_of(ending: str) -> str | None:
    """Class that the ending of a mask's name tells; None where it tells none, as `_mask` or `_mask_1`."""
    words = [word for word in re.split(rf"[{re.escape(SEPARATORS)}]+", ending) if word]
    words = [word for word in words if word.lower() not in MASK_WORDS]
    while words and words[-1].isdecimal():  # several objects of one class
        words.pop()
    name = label("_".join(words))
    return None if not name or any(word.lower() in OTHER_WORDS for word in words) or name.isdecimal() else name
