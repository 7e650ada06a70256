"""COCO: JSON files with instance segmentations, in the folders of COCO itself, Roboflow and CVAT.

    annotations/instances_train2017.json  with  train2017/, images/train2017/ or images/
    train/_annotations.coco.json and valid/_annotations.coco.json, beside the images

The instances of an image become one mask: smaller ones lie over larger ones, and crowds are ignored (255).
"""

import importlib.util
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PureWindowsPath

import numpy as np

from trainer import InputError
from trainer.data.files import list_folders
from trainer.data.image_io import read_header
from trainer.data.layouts.base import Found, match_labels, merge_parts
from trainer.data.layouts.coco_json import Record, read_images, read_instances, read_record
from trainer.data.layouts.coco_masks import draw_instances
from trainer.data.sample import Sample
from trainer.data.value_map import BACKGROUND, ValueMap

BESIDE = "_annotations.coco.json"
"""Name of Roboflow's JSON file, which lies beside the images."""

TRIED = 100
"""Number of image entries that are looked up to find out which folder holds the images."""


@dataclass(frozen=True, slots=True)
class CocoSample(Sample):
    """An image whose mask is drawn from its instances. `mask` is the JSON file."""

    size: tuple[int, int]
    """Size of the image as the JSON file states it: H, W in pixels."""

    instances: bytes = field(repr=False)
    """JSON list of [class id, segmentation], sorted; it takes a tenth of the memory of the parsed lists."""

    @property
    def files(self) -> tuple[str, ...]:
        return (self.image_file,)

    def mask_content(self) -> bytes:
        return self.own_content()

    def own_content(self) -> bytes:
        return repr(self.size).encode() + self.instances

    def read_mask(self, values: ValueMap, content: bytes | None = None) -> np.ndarray:
        size = read_header(self.image, self.image_content()).size
        if size != self.size:
            actual, stated = (f"{width}x{height}" for height, width in (size, self.size))
            raise InputError(
                f"{self.image}: {actual} pixels, {self.mask} says {stated}; the outlines belong to "
                "another picture, or to this one before it was turned or resized"
            )
        return draw_instances(json.loads(self.instances), self.size)

    @property
    def lossy(self) -> bool:
        return False


def fits(root: Path) -> bool:
    return bool(_part_files(root))


def find(root: Path, classes: Sequence[str] | None) -> Found:
    """Make one sample of each image entry; an image without segmentations is background.

    Classes are the categories in the order of their ids, or those of `classes`. Samples in parts are named
    `<part>/<file name without suffix>`. Raises InputError where pycocotools or the JSON file is missing, a file is
    malformed, or the categories of two parts differ.
    """
    if importlib.util.find_spec("pycocotools") is None:
        raise InputError(
            f"{root}: COCO's outlines need pycocotools; install it with\n"
            "  pip install -c launch/constraints.txt -e '.[coco]'"
        )
    files = _part_files(root) or {"": _only_file(root)}
    parts: dict[str, Found] = {}
    for part, file in files.items():  # one record at a time: that of the original COCO takes gigabytes
        record = read_record(file)
        if not parts:
            categories = record.categories
            names, class_ids, notes = _match_categories(record, classes)
        elif record.categories != categories:
            raise InputError(f"{file} and {next(iter(files.values()))}: different categories; make them the same")
        parts[part] = _find_samples(record, _image_folder(root, part, record), class_ids)
    found = parts[""] if "" in parts else merge_parts(parts, root)
    found.names = names
    found.notes += notes
    return found


def _part_files(root: Path) -> dict[str, Path]:
    """Part -> its JSON file; the only part is "" for a single file beside the images."""
    instances = {file.stem.removeprefix("instances_"): file for file in _json_files(root / "annotations", "instances_")}
    if instances:
        return instances
    roboflow = {folder.name: folder / BESIDE for folder in list_folders(root) if (folder / BESIDE).is_file()}
    return roboflow or ({"": root / BESIDE} if (root / BESIDE).is_file() else {})


def _only_file(root: Path) -> Path:
    """Single JSON file of a folder, whatever its name, for a layout that the user has named."""
    files = [*_json_files(root), *_json_files(root / "annotations")]
    if len(files) != 1:
        raise InputError(f"{root}: needs annotations/instances_*.json, or {BESIDE} beside the images")
    return files[0]


def _json_files(folder: Path, start: str = "") -> list[Path]:
    return sorted(folder.glob(f"{start}*.json")) if folder.is_dir() else []


def _image_folder(root: Path, part: str, record: Record) -> Path:
    """Folder that the file names start from: the first usual one that holds one of the first images."""
    usual = [root / part, root / "images" / part, root / part / "images", root / "images", root]
    if record.file.name == BESIDE:
        usual = [record.file.parent, record.file.parent / "images"]
    entries = [entry.get("file_name") for entry in record.images[:TRIED]]
    names = [PureWindowsPath(name).as_posix() for name in entries if isinstance(name, str) and name]
    # os.path returns False where pathlib raises, as for names that are too long.
    holders = (folder for name in names for folder in usual if os.path.isfile(folder / name))
    return next(holders, next((folder for folder in usual if folder.is_dir()), root))


def _match_categories(
    record: Record, classes: Sequence[str] | None
) -> tuple[tuple[str, ...], dict[int, int | None], list[str]]:
    """K class names, category id -> class id (None: not a wanted class, drawn as background), and notes."""
    class_of, notes = match_labels(record.foreground, classes, record.file)
    names = (BACKGROUND, *record.foreground) if classes is None else tuple(classes)
    class_ids = {
        category_id: names.index(class_of[name]) if class_of.get(name) in names else None
        for category_id, name in record.categories.items()
    }
    return names, class_ids, notes


def _find_samples(record: Record, folder: Path, class_ids: Mapping[int, int | None]) -> Found:
    images, problems = read_images(record, folder)
    instances = read_instances(record, images, class_ids)
    found, mask_file = Found(problems=problems + instances.problems), str(record.file)
    for image in images:
        text = f"[{','.join(instances.texts.get(image.image_id, []))}]".encode()
        found.samples.append(CocoSample(image.name, str(image.path), mask_file, image.size, text))
    if instances.empty:
        found.notes.append(f"{record.file}: {instances.empty} outlines have fewer than three points; they are left out")
    unlabelled = sum(image.image_id not in instances.texts for image in images)
    if unlabelled:
        found.notes.append(f"{record.file}: {unlabelled} images have no outlines; they are background")
    return found
