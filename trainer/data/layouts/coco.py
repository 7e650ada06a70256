"""COCO: JSON files with outlines of instances, as COCO itself, Roboflow and CVAT lay them out.

    annotations/instances_train2017.json  with  train2017/, images/train2017/ or images/
    train/_annotations.coco.json and valid/_annotations.coco.json, beside the images

Instances become one mask: smaller ones lie over larger ones, and crowds are ignored (255).
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
from trainer.data.layouts.base import Found, choose, split_parts
from trainer.data.layouts.coco_json import Record, read_images, read_instances, read_record
from trainer.data.layouts.coco_masks import draw_instances
from trainer.data.sample import Sample
from trainer.data.value_map import BACKGROUND, ValueMap

BESIDE = "_annotations.coco.json"
TRIED = 100
"""Images that are looked for to find out which folder they are in."""


@dataclass(frozen=True, slots=True)
class CocoSample(Sample):
    """A picture whose mask is drawn from its instances. `mask` is the JSON file."""

    size: tuple[int, int]
    """H, W as the JSON has them."""

    instances: bytes = field(repr=False)
    """JSON text: [class id, outline] of each, sorted. Text takes a tenth of the memory of the lists in it."""

    @property
    def files(self) -> tuple[str, ...]:
        return (self.image_file,)

    def mask_content(self) -> bytes:
        return self.own_content()

    def own_content(self) -> bytes:
        return repr(self.size).encode() + self.instances

    def read_mask(self, values: ValueMap, content: bytes | None = None) -> np.ndarray:
        true = read_header(self.image, self.image_content()).size
        if true != self.size:
            shown = [f"{width}x{height}" for height, width in (true, self.size)]
            raise InputError(f"{self.image}: {shown[0]} pixels, {self.mask} says {shown[1]}; the outlines belong to "
                             "another picture, or to this one before it was turned or resized")  # fmt: skip
        return draw_instances(json.loads(self.instances), self.size)

    @property
    def lossy(self) -> bool:
        return False


def fits(root: Path) -> bool:
    return bool(_files(root))


def find(root: Path, classes: Sequence[str] | None) -> Found:
    """One sample for each image that a JSON file names; without outlines it is background.

    Classes are the categories in the order of their ids, or `classes` of them. Samples of parts are called
    `<part>/<file name without suffix>`.
    """
    if importlib.util.find_spec("pycocotools") is None:
        raise InputError(f"{root}: COCO's outlines need pycocotools; install it with\n"
                         "  pip install -c launch/constraints.txt -e .[coco]")  # fmt: skip
    files = _files(root) or {"": _only_file(root)}
    parts: dict[str, Found] = {}
    for part, file in files.items():  # one record at a time: COCO's own takes gigabytes
        record = read_record(file)
        if not parts:
            categories = record.categories
            names, ids, notes = _classes(record, classes)
        elif record.categories != categories:
            raise InputError(f"{file} and {next(iter(files.values()))}: different categories; make them the same")
        parts[part] = _samples(record, _image_folder(root, part, record), ids)
    found = parts[""] if "" in parts else split_parts(parts, root)
    found.names = names
    found.notes += notes
    return found


def _files(root: Path) -> dict[str, Path]:
    """Part, "" where there is but one file beside the images, -> its JSON file."""
    of_coco = {file.stem.removeprefix("instances_"): file for file in _json(root / "annotations", "instances_")}
    if of_coco:
        return of_coco
    roboflow = {folder.name: folder / BESIDE for folder in list_folders(root) if (folder / BESIDE).is_file()}
    return roboflow or ({"": root / BESIDE} if (root / BESIDE).is_file() else {})


def _only_file(root: Path) -> Path:
    """The JSON file of a folder that is called COCO, whatever the file's name."""
    files = [*_json(root), *_json(root / "annotations")]
    if len(files) != 1:
        raise InputError(f"{root}: needs annotations/instances_*.json, or {BESIDE} beside the images")
    return files[0]


def _json(folder: Path, start: str = "") -> list[Path]:
    return sorted(folder.glob(f"{start}*.json")) if folder.is_dir() else []


def _image_folder(root: Path, part: str, record: Record) -> Path:
    """The folder that the file names start from: the first of the usual ones that has one of the first files."""
    usual = [root / part, root / "images" / part, root / part / "images", root / "images", root]
    if record.file.name == BESIDE:
        usual = [record.file.parent, record.file.parent / "images"]
    entries = [entry.get("file_name") for entry in record.images[:TRIED]]
    names = [PureWindowsPath(name).as_posix() for name in entries if isinstance(name, str) and name]
    # os.path answers False where pathlib raises, as for names that are too long.
    holders = (folder for name in names for folder in usual if os.path.isfile(folder / name))
    return next(holders, next((folder for folder in usual if folder.is_dir()), root))


def _classes(record: Record, classes: Sequence[str] | None) -> tuple[tuple[str, ...], dict[int, int | None], list[str]]:
    """The K class names, category id -> class id (None: unwanted, drawn as background), and notes."""
    stands, notes = choose(record.foreground, classes, record.file)
    names = (BACKGROUND, *record.foreground) if classes is None else tuple(classes)
    ids = {
        number: names.index(stands[name]) if stands.get(name) in names else None
        for number, name in record.categories.items()
    }
    return names, ids, notes


def _samples(record: Record, folder: Path, ids: Mapping[int, int | None]) -> Found:
    pictures, problems = read_images(record, folder)
    outlines = read_instances(record, pictures, ids)
    found, mask_file = Found(problems=problems + outlines.problems), str(record.file)
    for picture in pictures:
        instances = f"[{','.join(outlines.texts.get(picture.key, []))}]".encode()
        found.samples.append(CocoSample(picture.name, str(picture.path), mask_file, picture.size, instances))
    if outlines.empty:
        found.notes.append(f"{record.file}: {outlines.empty} outlines have fewer than three points; they are left out")
    bare = sum(picture.key not in outlines.texts for picture in pictures)
    if bare:
        found.notes.append(f"{record.file}: {bare} images have no outlines; they are background")
    return found
