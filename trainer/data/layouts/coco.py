"""COCO: JSON files with outlines of instances, as COCO itself, Roboflow and CVAT lay them out.

    annotations/instances_train2017.json  with  train2017/, images/train2017/ or images/
    train/_annotations.coco.json and valid/_annotations.coco.json, beside the images

Instances become one mask: smaller ones lie over larger ones, and crowds are ignored (255).
"""

import importlib.util
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PureWindowsPath
from typing import Any

import numpy as np

from trainer import IGNORE, InputError
from trainer.data.files import MAX_PIXELS, read_bytes, read_header
from trainer.data.instances import check_outline, draw_instances
from trainer.data.labelmap import choose
from trainer.data.layouts import Found, split_parts
from trainer.data.sample import Sample
from trainer.data.values import BACKGROUND, BACKGROUNDS, UNMAPPED, ValueMap

BESIDE = "_annotations.coco.json"


@dataclass(frozen=True)
class CocoSample(Sample):
    """A picture whose mask is drawn from its instances. `mask` is the JSON file."""

    size: tuple[int, int]
    """H, W as the JSON has them."""

    instances: bytes = field(repr=False)
    """JSON text: [class id, outline] of each, sorted. Text takes a tenth of the memory of the lists in it."""

    def mask_content(self) -> bytes:
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


Record = dict[str, Any]


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
    files = _files(root)
    if not files:  # not recognised by its name, but called COCO
        others = [*_json(root), *_json(root / "annotations")]
        if len(others) != 1:
            raise InputError(f"{root}: needs annotations/instances_*.json, or {BESIDE} beside the images")
        files = {"": others[0]}
    parts: dict[str, Found] = {}
    first: dict[int, str] = {}
    for part, file in files.items():
        record = _record(file)
        categories = _categories(file, record)
        if not first:
            first, names = categories, list(_foreground(record, categories).values())
            stands, notes = choose(names, classes, file)
            known = [BACKGROUND, *names] if classes is None else list(classes)
            # None: an unwanted category, drawn as background.
            ids = {
                number: known.index(stands[name]) if stands.get(name) in known else None
                for number, name in first.items()
            }
        if categories != first:
            raise InputError(f"{file} and {next(iter(files.values()))}: different categories; make them the same")
        parts[part] = _samples(root, part, file, record, ids)
    found = parts[""] if "" in parts else split_parts(parts, root)
    found.names = tuple(known)
    found.notes += notes
    return found


# ------------------------------------------------------------------------------------------------ files


def _files(root: Path) -> dict[str, Path]:
    """Part, "" where there is but one file beside the images, -> its JSON file."""
    of_coco = {file.stem.removeprefix("instances_"): file for file in _json(root / "annotations", "instances_")}
    if of_coco:
        return of_coco
    folders = sorted(path for path in root.iterdir() if path.is_dir()) if root.is_dir() else []
    roboflow = {folder.name: folder / BESIDE for folder in folders if (folder / BESIDE).is_file()}
    return roboflow or ({"": root / BESIDE} if (root / BESIDE).is_file() else {})


def _json(folder: Path, start: str = "") -> list[Path]:
    return sorted(folder.glob(f"{start}*.json")) if folder.is_dir() else []


def _record(file: Path) -> Record:
    try:
        record = json.loads(read_bytes(file))
    except (ValueError, RecursionError) as error:
        raise InputError(f"{file}: no valid JSON ({error}); export it again") from None
    lists = isinstance(record, dict) and [record.get(key) for key in ("images", "annotations", "categories")]
    if not lists or not all(isinstance(one, list) and all(isinstance(entry, dict) for entry in one) for one in lists):
        raise InputError(f"{file}: not of COCO, which has lists of images, annotations and categories")
    return record


def _categories(file: Path, record: Record) -> dict[int, str]:
    """Category id -> name, by id."""
    pairs = [(entry.get("id"), entry.get("name")) for entry in record["categories"]]
    sound = all(type(number) is int and isinstance(name, str) and name.strip() for number, name in pairs)
    if not sound or not len(pairs) == len(dict(pairs)) == len({name for _, name in pairs}):
        raise InputError(f"{file}: categories {pairs[:8]}; each needs its own id and its own name")
    if not 0 < len(pairs) < UNMAPPED:
        raise InputError(f"{file}: {len(pairs)} categories; there may be 1 to {UNMAPPED - 1}")
    return dict(sorted(pairs))


def _foreground(record: Record, categories: Mapping[int, str]) -> dict[int, str]:
    """Without the background, and without the unused heading under which Roboflow puts the others."""
    used = {annotation.get("category_id") for annotation in record["annotations"]}
    above = {entry.get("supercategory") for entry in record["categories"]}
    tops = {entry["id"] for entry in record["categories"] if entry.get("supercategory") in (None, "none")}
    return {
        number: name
        for number, name in categories.items()
        if name not in BACKGROUNDS and (number in used or number not in tops or name not in above)
    }


def _image_folder(root: Path, part: str, file: Path, names: Sequence[object]) -> Path:
    """The folder that the file names start from: the first of the usual ones that has the first file."""
    usual = [root / part, root / "images" / part, root / part / "images", root / "images", root]
    if file.name == BESIDE:
        usual = [file.parent, file.parent / "images"]
    first = next((str(name) for name in names if isinstance(name, str) and "\0" not in name), "")
    return next((folder for folder in usual if first and (folder / _relative(first)).is_file()), usual[0])


def _relative(name: str) -> str:
    return PureWindowsPath(name).as_posix()  # Windows' rules also know /


def _image(folder: Path, name: object, where: str) -> Path:
    """The image file `name` in `folder`. Raises InputError where it leads out of it or is not there."""
    if not isinstance(name, str) or not name or "\0" in name:
        raise InputError(f"{where}: file_name is {name!r}; write the image's name there")
    path = PureWindowsPath(name)
    image = folder / path.as_posix()
    try:
        if path.anchor or ".." in path.parts or not image.resolve().is_relative_to(folder.resolve()):
            raise InputError(f"{where}: file_name {name!r} leads out of {folder}; put the image there")
        if not image.is_file():
            raise InputError(f"{where}: no image {name!r} in {folder}; put it there or take its entry out")
    except (OSError, RuntimeError, UnicodeError) as error:
        raise InputError(f"{where}: file_name {name!r} leads nowhere ({error}); mend it") from None
    return image


# ------------------------------------------------------------------------------------------------ samples


def _samples(root: Path, part: str, file: Path, record: Record, ids: Mapping[int, int | None]) -> Found:
    found = Found()
    folder = _image_folder(root, part, file, [image.get("file_name") for image in record["images"]])
    sizes: dict[object, tuple[int, int]] = {}
    paths: dict[object, Path] = {}
    names: dict[str, Path] = {}
    for number, entry in enumerate(record["images"], start=1):
        where = f"{file}: image {number}"
        try:
            key, size = entry.get("id"), (entry.get("height"), entry.get("width"))
            if not isinstance(key, int | str) or key in sizes:
                raise InputError(f"{where}: id {key!r}; each image needs its own")
            if not all(type(side) is int and side > 0 for side in size) or size[0] * size[1] > MAX_PIXELS:
                raise InputError(f"{where}: height and width are {size}; write the image's")
            image = _image(folder, entry.get("file_name"), where)
            name = image.relative_to(folder).with_suffix("").as_posix()
            if name in names:
                raise InputError(f"{where}: {names[name].name} has the same stem as {image.name}; rename one")
            sizes[key], paths[key], names[name] = size, image, image
        except InputError as error:
            found.problems.append(str(error))
    outlines = _outlines(file, record["annotations"], sizes, ids, found, len(sizes) == len(record["images"]))
    for (name, image), key in zip(names.items(), paths, strict=True):
        text = json.dumps([json.loads(one) for one in sorted(outlines.get(key, []))], separators=(",", ":"))
        found.samples.append(CocoSample(name, image, file, sizes[key], text.encode()))
    bare = sum(key not in outlines for key in paths)
    if bare:
        found.notes.append(f"{file}: {bare} images have no outlines; they are background")
    return found


def _outlines(
    file: Path,
    annotations: Sequence[Record],
    sizes: Mapping[object, tuple[int, int]],
    ids: Mapping[int, int | None],
    found: Found,
    complete: bool,
) -> dict[object, list[str]]:
    """Image id -> [class id, outline] as JSON text of each annotation; what is wrong goes to `found`.

    `complete`: every image is in `sizes`, so that an annotation of another one is wrong.
    """
    outlines: dict[object, list[str]] = {}
    empty = 0
    for place, annotation in enumerate(annotations, start=1):
        where = f"{file}: annotation {annotation.get('id', f'number {place}')!r}"
        key, category, crowd = (annotation.get(name) for name in ("image_id", "category_id", "iscrowd"))
        try:
            if type(category) is not int or category not in ids:
                raise InputError(f"{where}: category_id {category!r} is no category; mend it")
            if not isinstance(key, int | str) or key not in sizes:
                if complete:
                    raise InputError(f"{where}: image_id {key!r} is no image; mend it or take the annotation out")
                continue
            outline = check_outline(annotation.get("segmentation"), sizes[key], where)
        except InputError as error:
            found.problems.append(str(error))
            continue
        number = ids[category]
        if outline is None:
            empty += 1
        elif not crowd or number is not None:
            shown = IGNORE if crowd else number or 0
            outlines.setdefault(key, []).append(json.dumps([shown, outline], separators=(",", ":"), sort_keys=True))
    if empty:
        found.notes.append(f"{file}: {empty} outlines have fewer than three points; they are left out")
    return outlines
