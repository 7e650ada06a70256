"""COCO's JSON file: read and check its categories, image entries and annotations."""

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PureWindowsPath
from typing import Any

from trainer import IGNORE, InputError
from trainer.data.image_header import MAX_PIXELS
from trainer.data.layouts.base import read_json
from trainer.data.layouts.coco_masks import Segmentation, check_segmentation, covered_pixels
from trainer.data.layouts.image_names import ImageNames
from trainer.data.value_map import BACKGROUNDS, UNMAPPED
from trainer.system.text import existing_path, label

Entry = dict[str, Any]


@dataclass(frozen=True)
class Record:
    """Content of one JSON file; image entries and annotations are not checked yet."""

    file: Path
    images: list[Entry]
    annotations: list[Entry]
    categories: dict[int, str]
    """Category id -> name, in the order of the ids."""

    foreground: list[str]
    """Names of the categories that are classes: without the background, and without an unused heading above others."""


@dataclass(frozen=True)
class ImageEntry:
    """One checked entry of the list of images."""

    image_id: int | str
    name: str
    """Path below the image folder, without suffix."""

    path: Path
    size: tuple[int, int]
    """Stated size of the image: H, W in pixels."""


@dataclass
class Instances:
    """Checked annotations of a record, by image."""

    texts: dict[int | str, list[str]] = field(default_factory=dict)
    """Image id -> sorted JSON texts `[class id, segmentation]`, one per annotation that covers something."""

    empty: int = 0
    """Number of annotations that cover nothing."""

    crowds: int = 0
    """Number of annotations of wanted categories that are crowds, and so ignored."""

    crowd_pixels: int = 0
    """Pixels of the crowds that are run lengths."""

    marked: int = 0
    """Number of annotations that are marked as crowds, but count as their class; see `are_objects`."""

    problems: list[str] = field(default_factory=list)


def read_record(file: Path) -> Record:
    """Read the lists of a JSON file and check its categories. Raises InputError naming the file."""
    content = read_json(file, "export it again")
    keys = ("images", "annotations", "categories")
    lists: list[Any] = [content.get(key) for key in keys] if isinstance(content, dict) else []
    if not lists or not all(isinstance(one, list) and all(isinstance(entry, dict) for entry in one) for one in lists):
        raise InputError(f"{file}: not a COCO file, which has lists of images, annotations and categories")
    images, annotations, categories = lists
    if not images:
        raise InputError(f"{file}: its list of images is empty; export it again, with images")
    names = _category_names(file, categories)
    return Record(file, images, annotations, names, _foreground(annotations, categories, names))


def _category_names(file: Path, categories: Sequence[Entry]) -> dict[int, str]:
    for entry in categories:  # the headings above them are compared with their names
        entry |= {key: label(entry[key]) for key in ("name", "supercategory") if isinstance(entry.get(key), str)}
    pairs: list[tuple[Any, Any]] = [(entry.get("id"), entry.get("name")) for entry in categories]
    valid = all(type(category_id) is int and isinstance(name, str) and name.strip() for category_id, name in pairs)
    if not valid or not len(pairs) == len(dict(pairs)) == len({name for _, name in pairs}):
        raise InputError(f"{file}: categories {pairs[:8]}; each needs its own id and its own name")
    if not 0 < len(pairs) < UNMAPPED:
        raise InputError(f"{file}: {len(pairs)} categories; there may be 1 to {UNMAPPED - 1}")
    return dict(sorted(pairs))


def _foreground(annotations: Sequence[Entry], categories: Sequence[Entry], names: Mapping[int, str]) -> list[str]:
    """Names of the categories that are classes.

    Roboflow exports a heading above the categories as a category without annotations; it is not a class.
    """
    used = [annotation.get("category_id") for annotation in annotations]
    above = [entry.get("supercategory") for entry in categories]
    tops = {entry["id"] for entry in categories if entry.get("supercategory") in (None, "none")}
    headings = {key for key, name in names.items() if key in tops and name in above and key not in used}
    return [name for key, name in names.items() if name not in BACKGROUNDS and key not in headings]


def read_images(record: Record, folder: Path, names: ImageNames) -> tuple[list[ImageEntry], list[str]]:
    """Check the image entries of a record: those whose files are there, and a problem for each other one.

    A file name leads to a file in `folder`, or else to the only file of `names` that has the last part of it as name.
    """
    top = folder.resolve()
    images: dict[int | str, ImageEntry] = {}
    paths: dict[str, Path] = {}
    problems = []
    for number, entry in enumerate(record.images, start=1):
        where = f"{record.file}: image {number}"
        try:
            image = _image_entry(entry, folder, top, names, where)
            if image.image_id in images:
                raise InputError(f"{where}: id {image.image_id!r} is another image's; each needs its own")
            if image.name in paths:
                other = paths[image.name]
                fault = f"{image.path.name} is another entry's image; keep one"
                if other != image.path:
                    fault = f"{other.name} has the same stem as {image.path.name}; rename one"
                raise InputError(f"{where}: {fault}")
            images[image.image_id], paths[image.name] = image, image.path
        except InputError as error:
            problems.append(str(error))
    return list(images.values()), problems


def _image_entry(entry: Entry, folder: Path, top: Path, names: ImageNames, where: str) -> ImageEntry:
    image_id: Any = entry.get("id")
    size: tuple[Any, Any] = entry.get("height"), entry.get("width")
    if not isinstance(image_id, int | str):
        raise InputError(f"{where}: id {image_id!r}; each image needs its own")
    if not all(type(side) is int and side > 0 for side in size) or size[0] * size[1] > MAX_PIXELS:
        raise InputError(f"{where}: height and width are {size}; write the image's")
    file_name = entry.get("file_name")
    try:
        path = _image_path(folder, top, file_name, where)
    except InputError:
        # Labelling tools write paths of their own server.
        elsewhere = names.find(file_name)
        if elsewhere is None:
            raise
        path = elsewhere
    start = folder if path.is_relative_to(folder) else names.root
    return ImageEntry(image_id, path.relative_to(start).with_suffix("").as_posix(), path, size)


def _image_path(folder: Path, top: Path, name: object, where: str) -> Path:
    """Path of the image file `name` in `folder`, whose resolved path is `top`.

    Raises InputError where the name leads out of the folder, or there is no such file.
    """
    if not isinstance(name, str) or not name or "\0" in name:
        raise InputError(f"{where}: file_name is {name!r}; write the image's name there")
    path = PureWindowsPath(name)  # accepts both / and \ as separators
    image = existing_path(folder / path.as_posix())
    try:
        # A `..` is refused even if it ends within the folder: two names could then mean the same image.
        if path.anchor or ".." in path.parts or not image.resolve().is_relative_to(top):
            raise InputError(
                f"{where}: file_name {name!r} is not a plain path within {folder}; put the image there and "
                "write its path from there"
            )
        if not image.is_file():
            raise InputError(f"{where}: no image {name!r} in {folder}; put it there or take its entry out")
    except (OSError, RuntimeError, UnicodeError) as error:
        raise InputError(f"{where}: file_name {name!r} leads nowhere ({error}); fix it") from None
    return image


def read_instances(record: Record, images: Sequence[ImageEntry], class_ids: Mapping[int, int | None]) -> Instances:
    """Check the annotations of a record, with a problem for each faulty one.

    `class_ids`: category id -> class id, or None for a category that is drawn as background. An annotation whose image
    is not among `images` is a fault only if `images` holds all images of the record.
    """
    sizes = {image.image_id: image.size for image in images}
    complete = len(sizes) == len(record.images)
    objects = are_objects(record.annotations)
    found = Instances()
    for number, annotation in enumerate(record.annotations, start=1):
        where = f"{record.file}: annotation {annotation.get('id', f'number {number}')!r}"
        category_id, image_id = annotation.get("category_id"), _known_id(annotation.get("image_id"), sizes)
        try:
            if type(category_id) is not int or category_id not in class_ids:
                raise InputError(f"{where}: category_id {category_id!r} is not a category; fix it")
            if image_id is None:
                if complete:
                    wrong = annotation.get("image_id")
                    raise InputError(f"{where}: image_id {wrong!r} is not an image; fix it or take the annotation out")
                continue
            segmentation = check_segmentation(annotation.get("segmentation"), sizes[image_id], where)
        except InputError as error:
            found.problems.append(str(error))
            continue
        if segmentation is None:
            found.empty += 1
        else:
            _add(found, image_id, class_ids[category_id], segmentation, _mark(annotation), objects)
    for texts in found.texts.values():
        texts.sort()
    return found


def _known_id(image_id: object, sizes: Mapping[int | str, object]) -> int | str | None:
    """Id as the list of images has it; VIA writes numbers there and texts in the annotations. None if unknown."""
    if not isinstance(image_id, int | str):
        return None
    forms = (image_id, str(image_id), int(image_id) if str(image_id).isdecimal() else image_id)
    return next((form for form in forms if form in sizes), None)


def _add(
    found: Instances, image_id: int | str, class_id: int | None, segmentation: Segmentation, mark: str, objects: bool
) -> None:
    """Add one annotation; `mark` as of `_mark`. Crowds of categories that are not wanted are left out."""
    crowd = mark == "polygons" or (mark == "runs" and not objects)
    if crowd and class_id is None:
        return
    found.marked += mark == "runs" and objects
    if crowd:
        found.crowds += 1
        found.crowd_pixels += covered_pixels(segmentation)
    instance = [IGNORE if crowd else class_id or 0, segmentation]
    found.texts.setdefault(image_id, []).append(json.dumps(instance, separators=(",", ":"), sort_keys=True))


def _mark(annotation: Entry) -> str:
    """Form of an annotation that is marked as a crowd, "runs" or "polygons"; "" for one that is not."""
    if not annotation.get("iscrowd"):
        return ""
    return "runs" if isinstance(annotation.get("segmentation"), dict) else "polygons"


def are_objects(annotations: Sequence[Entry]) -> bool:
    """Return True if the run lengths that are marked as crowds are masks of single objects.

    COCO makes one crowd, at most, of what is left of a category in an image in which the first ten or so objects have
    outlines of their own. Its tools write run lengths for crowds alone, so CVAT and others mark every mask of a brush
    as one. These have CVAT's attributes, or most are in images without such outlines, or beside others of their kind.
    """
    marked = [annotation for annotation in annotations if _mark(annotation) == "runs"]
    if any(isinstance(one.get("attributes"), dict) and "occluded" in one["attributes"] for one in marked):
        return True
    outlined = {_place(annotation) for annotation in annotations if not annotation.get("iscrowd")}
    crowds = Counter(_place(annotation) for annotation in marked)
    unlike = sum(count for place, count in crowds.items() if count > 1 or place not in outlined)
    return 2 * unlike > len(marked)


def _place(annotation: Entry) -> tuple[str, str]:
    """Image and category of an annotation; as text, since a damaged file may hold anything there."""
    return str(annotation.get("image_id")), str(annotation.get("category_id"))
