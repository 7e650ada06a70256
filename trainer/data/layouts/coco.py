"""COCO: JSON files with instance segmentations, in the folders of COCO itself, Roboflow and CVAT.

    annotations/instances_train2017.json  with  train2017/, images/train2017/ or images/
    result.json or any other JSON file    beside the images, or above them
    train/_annotations.coco.json and valid/_annotations.coco.json, beside the images

The instances of an image become one mask: smaller ones lie over larger ones, and crowds are ignored (255).
"""

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PureWindowsPath

import numpy as np

from trainer import InputError
from trainer.data.files import list_folders
from trainer.data.image_header import read_header
from trainer.data.layouts.base import PARTS, Found, match_labels, merge_parts
from trainer.data.layouts.coco_json import Instances, Record, read_images, read_instances, read_record
from trainer.data.layouts.coco_masks import MOST_OUTLINES, draw_instances, need_pycocotools, outline_length
from trainer.data.layouts.image_names import ImageNames
from trainer.data.layouts.json_heads import few_json_files, is_coco
from trainer.data.sample import RecordedSample
from trainer.data.value_map import BACKGROUND, ValueMap

BESIDE = "_annotations.coco.json"
"""Name of Roboflow's JSON file, which lies beside the images."""

TRIED = 100
"""Number of image entries that are looked up to find out which folder holds the images."""


@dataclass(frozen=True, slots=True)
class CocoSample(RecordedSample):
    """An image whose mask is drawn from its instances. `mask` is the JSON file."""

    size: tuple[int, int]
    """Size of the image as the JSON file states it: H, W in pixels."""

    instances: bytes = field(repr=False)
    """JSON list of [class id, segmentation], sorted; it takes a tenth of the memory of the parsed lists."""

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
        instances = json.loads(self.instances)
        length = sum(outline_length(segmentation) for _, segmentation in instances)
        if length > MOST_OUTLINES:
            raise InputError(f"{self.image}: outlines of {length:,} pixels in {self.mask}, more than {MOST_OUTLINES:,}")
        return draw_instances(instances, self.size)


def fits(root: Path) -> bool:
    return bool(_part_files(root))


def find(root: Path, classes: Sequence[str] | None) -> Found:
    """Make one sample of each image entry; an image without segmentations is background.

    Classes are the categories in the order of their ids, or those of `classes`. Samples in parts are named
    `<part>/<file name without suffix>`. Raises InputError where pycocotools or the JSON file is missing, a file is
    malformed, or the categories of two parts differ.
    """
    need_pycocotools(root)
    files = _part_files(root) or find_records(root) or {"": _only_file(root)}
    parts: dict[str, Found] = {}
    for part, file in files.items():  # one record at a time: that of the original COCO takes gigabytes
        record = read_record(file)
        if not parts:
            categories = record.categories
            names, class_ids, notes = _match_categories(record, classes)
        elif record.categories != categories:
            raise InputError(f"{file} and {next(iter(files.values()))}: different categories; make them the same")
        parts[part] = _find_samples(record, _image_folder(root, part, record), ImageNames(root), class_ids)
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


def find_records(root: Path) -> dict[str, Path]:
    """Part -> its JSON file, told by what is in it; empty unless there is just one, or one for each of several parts.

    They lie in `root`, or else in its folder annotations.
    """
    for folder in (root, root / "annotations"):
        files = [file for file in few_json_files(folder) if is_coco(file)]
        parts = {file.stem: file for file in files if file.stem.lower() in PARTS}
        if files:
            return {"": files[0]} if len(files) == 1 else parts if len(parts) == len(files) else {}
    return {}


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
    usual = [root / part, root / "images" / part, root / part / "images", root / "images", root / "data", root]
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


def _find_samples(record: Record, folder: Path, names: ImageNames, class_ids: Mapping[int, int | None]) -> Found:
    images, problems = read_images(record, folder, names)
    instances = read_instances(record, images, class_ids)
    found, mask_file = Found(problems=problems + instances.problems, records=[record.file]), str(record.file)
    for image in images:
        text = f"[{','.join(instances.texts.get(image.image_id, []))}]".encode()
        found.samples.append(CocoSample(image.name, str(image.path), mask_file, image.size, text))
    found.notes += _notes(record, instances, names)
    if instances.empty:
        found.notes.append(f"{record.file}: {instances.empty} outlines have fewer than three points; they are left out")
    unlabelled = sum(image.image_id not in instances.texts for image in images)
    if unlabelled:
        found.notes.append(f"{record.file}: {unlabelled} images have no outlines; they are background")
    return found


def _notes(record: Record, instances: Instances, names: ImageNames) -> list[str]:
    """Notes about crowds, and about paths that lead to no file, a line each."""
    notes = []
    if instances.marked:
        notes.append(
            f"{record.file}: {instances.marked} masks are marked iscrowd, as CVAT marks those of its brush; they "
            "count as their class"
        )
    if instances.crowds:
        pixels = f" ({instances.crowd_pixels:,} pixels)" if instances.crowd_pixels else ""
        notes.append(
            f'{record.file}: {instances.crowds} outlines{pixels} are marked as crowds and ignored; write "iscrowd": 0 '
            "where one is a single object"
        )
    if names.found:
        notes.append(
            f"{record.file}: {names.found} images are found by their name alone, such as {names.example}; the paths "
            "there lead elsewhere"
        )
    return notes
