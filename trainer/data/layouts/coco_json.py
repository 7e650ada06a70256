"""COCO's JSON file: read and checked, list by list, before anything is made of it."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PureWindowsPath
from typing import Any

from trainer import IGNORE, InputError
from trainer.data.files import read_bytes
from trainer.data.image_io import MAX_PIXELS
from trainer.data.layouts.coco_masks import check_segmentation
from trainer.data.value_map import BACKGROUNDS, UNMAPPED

Entry = dict[str, Any]


@dataclass(frozen=True)
class Record:
    """What one file holds."""

    file: Path
    images: list[Entry]
    annotations: list[Entry]
    categories: dict[int, str]
    """Id -> name, by id."""

    foreground: list[str]
    """Names of the categories without the background, and without an unused heading above the others."""


@dataclass(frozen=True)
class ImageEntry:
    """An entry of the images, and its file."""

    key: int | str
    """The id that annotations name."""

    name: str
    """Path below the folder of the images, without suffix."""

    path: Path
    size: tuple[int, int]
    """H, W as the entry has them."""


def read_record(file: Path) -> Record:
    """The lists and categories of a file; images and annotations unchecked. Raises InputError naming the file."""
    try:
        content = json.loads(read_bytes(file))
    except (ValueError, RecursionError) as error:
        raise InputError(f"{file}: no valid JSON ({error}); export it again") from None
    keys = ("images", "annotations", "categories")
    lists: list[Any] = [content.get(key) for key in keys] if isinstance(content, dict) else []
    if not lists or not all(isinstance(one, list) and all(isinstance(entry, dict) for entry in one) for one in lists):
        raise InputError(f"{file}: not of COCO, which has lists of images, annotations and categories")
    images, annotations, categories = lists
    if not images:
        raise InputError(f"{file}: its list of images is empty; export it again, with images")
    names = _names(file, categories)
    return Record(file, images, annotations, names, _foreground(annotations, categories, names))


def _names(file: Path, categories: Sequence[Entry]) -> dict[int, str]:
    pairs: list[tuple[Any, Any]] = [(entry.get("id"), entry.get("name")) for entry in categories]
    sound = all(type(number) is int and isinstance(name, str) and name.strip() for number, name in pairs)
    if not sound or not len(pairs) == len(dict(pairs)) == len({name for _, name in pairs}):
        raise InputError(f"{file}: categories {pairs[:8]}; each needs its own id and its own name")
    if not 0 < len(pairs) < UNMAPPED:
        raise InputError(f"{file}: {len(pairs)} categories; there may be 1 to {UNMAPPED - 1}")
    return dict(sorted(pairs))


def _foreground(annotations: Sequence[Entry], categories: Sequence[Entry], names: Mapping[int, str]) -> list[str]:
    """Roboflow puts the categories under a heading that is a category too, and that nothing is labelled with."""
    used = [annotation.get("category_id") for annotation in annotations]
    above = [entry.get("supercategory") for entry in categories]
    tops = {entry["id"] for entry in categories if entry.get("supercategory") in (None, "none")}
    headings = {number for number, name in names.items() if number in tops and name in above and number not in used}
    return [name for number, name in names.items() if name not in BACKGROUNDS and number not in headings]


def read_images(record: Record, folder: Path) -> tuple[list[ImageEntry], list[str]]:
    """The images of a record whose files lie in `folder`, and a problem for each other one."""
    top = folder.resolve()
    pictures: dict[int | str, ImageEntry] = {}
    names: dict[str, Path] = {}
    problems = []
    for number, entry in enumerate(record.images, start=1):
        where = f"{record.file}: image {number}"
        try:
            picture = _image_entry(entry, folder, top, where)
            if picture.key in pictures:
                raise InputError(f"{where}: id {picture.key!r} is another image's; each needs its own")
            if picture.name in names:
                raise InputError(f"{where}: {names[picture.name].name} has the same stem as {picture.path.name}; "
                                 "rename one")  # fmt: skip
            pictures[picture.key], names[picture.name] = picture, picture.path
        except InputError as error:
            problems.append(str(error))
    return list(pictures.values()), problems


def _image_entry(entry: Entry, folder: Path, top: Path, where: str) -> ImageEntry:
    key: Any = entry.get("id")
    size: tuple[Any, Any] = entry.get("height"), entry.get("width")
    if not isinstance(key, int | str):
        raise InputError(f"{where}: id {key!r}; each image needs its own")
    if not all(type(side) is int and side > 0 for side in size) or size[0] * size[1] > MAX_PIXELS:
        raise InputError(f"{where}: height and width are {size}; write the image's")
    path = _image(folder, top, entry.get("file_name"), where)
    return ImageEntry(key, path.relative_to(folder).with_suffix("").as_posix(), path, size)


def _image(folder: Path, top: Path, name: object, where: str) -> Path:
    """The image file `name` in `folder`, which is `top` without links.

    Raises InputError where it leads out of it or is not there.
    """
    if not isinstance(name, str) or not name or "\0" in name:
        raise InputError(f"{where}: file_name is {name!r}; write the image's name there")
    path = PureWindowsPath(name)  # Windows' rules also know the stroke of the others
    image = folder / path.as_posix()
    try:
        # A way around that ends in the folder is no name either: two of them would be one picture.
        if path.anchor or ".." in path.parts or not image.resolve().is_relative_to(top):
            raise InputError(f"{where}: file_name {name!r} is no plain path within {folder}; put the image there and "
                             "write its path from there")  # fmt: skip
        if not image.is_file():
            raise InputError(f"{where}: no image {name!r} in {folder}; put it there or take its entry out")
    except (OSError, RuntimeError, UnicodeError) as error:
        raise InputError(f"{where}: file_name {name!r} leads nowhere ({error}); mend it") from None
    return image


@dataclass
class Instances:
    """What the annotations of a record draw."""

    texts: dict[int | str, list[str]] = field(default_factory=dict)
    """Picture -> [class id, outline] as JSON text of each annotation that covers something, sorted."""

    empty: int = 0
    """Annotations that cover nothing."""

    problems: list[str] = field(default_factory=list)


def read_instances(record: Record, pictures: Sequence[ImageEntry], ids: Mapping[int, int | None]) -> Instances:
    """The outlines of all annotations. `ids`: category -> class id, or None for one that is drawn as background.

    An annotation of an image that is not among `pictures` is wrong only where all images of the record are.
    """
    sizes = {picture.key: picture.size for picture in pictures}
    complete = len(sizes) == len(record.images)
    found = Instances()
    for place, annotation in enumerate(record.annotations, start=1):
        where = f"{record.file}: annotation {annotation.get('id', f'number {place}')!r}"
        key, category, crowd = (annotation.get(name) for name in ("image_id", "category_id", "iscrowd"))
        try:
            if type(category) is not int or category not in ids:
                raise InputError(f"{where}: category_id {category!r} is no category; mend it")
            if not isinstance(key, int | str) or key not in sizes:
                if complete:
                    raise InputError(f"{where}: image_id {key!r} is no image; mend it or take the annotation out")
                continue
            outline = check_segmentation(annotation.get("segmentation"), sizes[key], where)
        except InputError as error:
            found.problems.append(str(error))
            continue
        number = ids[category]
        if outline is None:
            found.empty += 1
        elif not crowd or number is not None:
            shown = [IGNORE if crowd else number or 0, outline]
            found.texts.setdefault(key, []).append(json.dumps(shown, separators=(",", ":"), sort_keys=True))
    for texts in found.texts.values():
        texts.sort()
    return found
