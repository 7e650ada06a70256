"""YOLO segmentation: images/ and labels/ with a text file for each image, data.yaml or classes.txt with the names.

A line is the class's number and the corners of a polygon, x y x y ..., as shares of width and height. Smaller objects
lie over larger ones, and an image without a text file is background, as YOLO has it.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from trainer import InputError
from trainer.data.files import list_files, list_folders, list_images, read_lines, read_text, scan_folder
from trainer.data.image_header import read_header
from trainer.data.layouts.base import NO_IMAGE, Found, by_stem, match_labels, merge_parts
from trainer.data.layouts.coco_masks import Segmentation, check_segmentation, draw_instances, need_pycocotools
from trainer.data.layouts.labelme_shapes import abbreviate
from trainer.data.sample import DrawnSample
from trainer.data.value_map import BACKGROUND, UNMAPPED, ValueMap
from trainer.system.text import count_of, label, match_names

IMAGES, LABELS = "images", "labels"
NAME_FILES = ("classes.txt", "obj.names")
"""Files with the names of the classes, one a line, in the folder or among its labels, where there is no YAML file."""

ROLES = {"train": "train", "val": "val", "valid": "val", "validation": "val", "test": "test"}
"""Key of the YAML file -> name of the part whose folder it gives."""

TRIED = 100
"""Number of files of a folder that are looked at for labels."""


@dataclass(frozen=True, slots=True)
class YoloSample(DrawnSample):
    """An image whose mask is drawn from the polygons in a text file, which is `mask`; it may be missing."""

    ids: tuple[int, ...]
    """Class id of each class's number; 0 for one that is not wanted."""

    labelled: bool
    """False if there is no text file."""

    @property
    def files(self) -> tuple[str, ...]:
        return (self.image_file, self.mask_file) if self.labelled else (self.image_file,)

    def own_content(self) -> bytes:
        return repr(self.ids).encode()

    def mask_content(self) -> bytes:
        content = DrawnSample.mask_content(self) if self.labelled else b""  # `super()` fails in classes with slots
        return content + self.own_content()

    def read_mask(self, values: ValueMap, content: bytes | None = None) -> np.ndarray:
        size = read_header(self.image, self.image_content()).size
        return draw_instances(read_polygons(self.mask, size, self.ids) if self.labelled else [], size)


def read_polygons(file: Path, size: tuple[int, int], ids: Sequence[int]) -> list[tuple[int, Segmentation]]:
    """Read (class id, polygon in pixels) pairs. Raises InputError that lists all faults, a line each.

    `size`: H, W of the image. `ids`: class id of each class's number.
    """
    polygons: list[tuple[int, Segmentation]] = []
    problems = []
    for number, line in enumerate(read_lines(file), start=1):
        try:
            polygons += _read_polygon(line.split(), size, ids, f"{file}, line {number}")
        except InputError as error:
            problems.append(str(error))
    if problems:
        raise InputError("\n".join(problems))
    return polygons


def _read_polygon(
    cells: Sequence[str], size: tuple[int, int], ids: Sequence[int], where: str
) -> list[tuple[int, Segmentation]]:
    try:
        class_number, *shares = (float(cell) for cell in cells)
    except ValueError:
        raise InputError(f"{where}: not a line of numbers; write CLASS x y x y ...") from None
    if class_number not in range(len(ids)):
        raise InputError(f"{where}: class {cells[0]}; there are 0 to {len(ids) - 1}")
    if len(shares) in (4, 5):
        raise InputError(f"{where}: a box, no outline; export the data for segmentation, with polygons")
    if len(shares) < 6 or len(shares) % 2:
        raise InputError(f"{where}: {len(shares)} numbers after the class; a polygon has x y for three corners or more")
    if not all(-0.5 <= share <= 1.5 for share in shares):  # NaN fails the comparison too
        raise InputError(f"{where}: corners are not shares of width and height, from 0 to 1; export the data again")
    points = [share * size[1 - axis % 2] for axis, share in enumerate(shares)]
    segmentation = check_segmentation([points], size, where)
    return [] if segmentation is None else [(ids[int(class_number)], segmentation)]


def fits(root: Path) -> bool:
    return any(_holds_text(labels) for _, labels in _find_parts(root).values())


def find(root: Path, classes: Sequence[str] | None) -> Found:
    """Make one sample of each image. Parts are those that the YAML file names, or else those of the folders' names."""
    need_pycocotools(root)
    folders = _find_parts(root)
    if not folders:
        raise InputError(f"{root}: needs the folders {IMAGES}/ and {LABELS}/, or these in or with train/ and val/")
    labels, content, record = _read_names(root)
    roles = _read_roles(root, content, [images for images, _ in folders.values()])
    class_of, notes = match_labels(labels, classes, record)
    names = (BACKGROUND, *labels) if classes is None else tuple(classes)
    ids = tuple(names.index(class_of[label]) if class_of[label] in names else 0 for label in labels)
    parts = {roles.get(images, part): _make_samples(images, texts, ids) for part, (images, texts) in folders.items()}
    found = parts[""] if set(parts) == {""} else merge_parts(parts, root)
    found.names = names
    found.notes += notes
    found.records.append(record)
    return found


def _find_parts(root: Path) -> dict[str, tuple[Path, Path]]:
    """Part -> its folder of images and its folder of labels; the only part is "" where there are no parts."""
    images, labels = root / IMAGES, root / LABELS
    inside = {path.name: (path, labels / path.name) for path in list_folders(images)}
    around = {path.name: (path / IMAGES, path / LABELS) for path in list_folders(root)}
    for parts in (inside, around, {"": (images, labels)}):
        pairs = {part: pair for part, pair in parts.items() if all(folder.is_dir() for folder in pair)}
        if pairs:
            return pairs
    return {}


def _holds_text(folder: Path) -> bool:
    return any(entry.name.lower().endswith(".txt") for entry in islice(scan_folder(folder), TRIED))


def _make_samples(images: Path, texts: Path, ids: tuple[int, ...]) -> Found:
    files, problems = by_stem(list_images(images))
    found = Found(problems=problems)
    missing = 0
    stored = {text.stem: text for text in list_files(texts, (".txt",)) if text.name not in NAME_FILES}
    meant = match_names(stored, files)
    text_of = {meant[stem]: text for stem, text in stored.items() if stem in meant}
    for stem, image in files.items():
        text = text_of.get(stem, texts / f"{stem}.txt")
        missing += stem not in text_of
        found.samples.append(YoloSample(stem, str(image), str(text), ids, stem in text_of))
    found.leave_out(NO_IMAGE, *(text for stem, text in stored.items() if stem not in meant))
    if missing:
        found.notes.append(f"{texts}: {count_of(missing, 'image')} without a text file; taken as background")
    return found


def _read_names(root: Path) -> tuple[list[str], Mapping[str, Any], Path]:
    """Names of the classes by their number, the content of the YAML file, and the file that the names are from."""
    for file in sorted([*root.glob("*.yaml"), *root.glob("*.yml")]):
        content = _read_yaml(file)
        names = content.get("names")
        if isinstance(names, dict) and set(names) == {str(number) for number in range(len(names))}:
            names = [names[str(number)] for number in range(len(names))]
        if isinstance(names, list) and all(isinstance(name, str) for name in names):
            return _checked_names(names, file), content, file
        if names is not None:
            raise InputError(f"{file}: names {abbreviate(names)}; number the classes from 0 without a gap")
    for file in (place / name for place in (root, root / LABELS) for name in NAME_FILES):
        if file.is_file():
            return _checked_names(read_lines(file), file), {}, file
    raise InputError(f"{root}: no names of the classes; write data.yaml with `names: [cat, dog]`")


def _read_yaml(file: Path) -> Mapping[str, Any]:
    """Content of a YAML file, in which every value is a text: a class may be called `no`. Raises InputError."""
    try:
        content = yaml.load(read_text(file), Loader=yaml.BaseLoader)
    except (yaml.YAMLError, RecursionError) as error:
        problem = getattr(error, "problem", None) or "nested too deeply"
        raise InputError(f"{file}: not valid YAML ({problem}); fix it") from None
    return content if isinstance(content, dict) else {}


def _checked_names(names: list[str], file: Path) -> list[str]:
    names = [label(name) for name in names]
    if not 0 < len(names) < UNMAPPED or len(set(names)) < len(names) or not all(names):
        raise InputError(f"{file}: names {names[:8]}; give 1 to {UNMAPPED - 1} classes, each its own name")
    return names


def _read_roles(root: Path, content: Mapping[str, Any], folders: Sequence[Path]) -> dict[Path, str]:
    """Folder of images -> its part, as the YAML file has it; empty where it does not name one folder for each part."""
    start = content.get("path")
    starts = [root / start, root] if isinstance(start, str) else [root]
    known = {folder.resolve(): folder for folder in folders}
    roles: dict[Path, str] = {}
    for key, role in ROLES.items():
        value = content.get(key)
        if isinstance(value, str):
            # Roboflow writes ../train/images for a folder beside the YAML file.
            paths = [place / text for place in starts for text in (value, value.removeprefix("../"))]
            folder = next((known[path.resolve()] for path in paths if path.resolve() in known), None)
            if folder is None or folder in roles or role in roles.values():
                return {}
            roles[folder] = role
    return roles if len(roles) == len(folders) else {}
