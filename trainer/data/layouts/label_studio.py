"""Label Studio's brush export: a PNG for each label of a task, such as task-1-annotation-2-by-1-tag-Cat-0.png.

The names hold no image. The project's JSON export beside them says which image a task has; without it an image is
found that is named as its task, 1.jpg or task-1.jpg.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

from trainer import InputError
from trainer.data.files import Reason, list_folders, list_images, scan_folder
from trainer.data.layouts.base import Found, match_labels, read_json
from trainer.data.layouts.class_masks import UNWANTED, ClassMasksSample
from trainer.data.layouts.image_names import ImageNames
from trainer.data.layouts.json_heads import few_json_files
from trainer.data.value_map import BACKGROUND, UNMAPPED
from trainer.system.text import label

NAME = re.compile(
    r"task-(?P<task>\d+)-annotation-(?P<annotation>\d+)-by-"
    r"(?:\d+|[^@]*@.*?\.[A-Za-z]+|[^-]*)-[^-]+-(?P<label>.+)-\d+"
)
"""Stem of a mask: task, annotation, who made it (a number or an address), tag, label and a number."""

TRIED = 100
"""Number of files of a folder that are looked at for masks."""

OLDER = Reason("of earlier annotations of a task that has a later one", warn=True)
UNKNOWN = Reason("of tasks whose image is not there", "add it, or the project's JSON export", warn=True)


def fits(root: Path) -> bool:
    return _mask_folder(root) is not None


def find(root: Path, classes: Sequence[str] | None) -> Found:
    """Make one sample of each task whose image is there. Classes are sorted by name, or those of `classes`.

    Of several annotations of a task the latest counts. Raises InputError where no task's image is found.
    """
    folder = _mask_folder(root)
    if folder is None:
        raise InputError(f"{root}: no masks of Label Studio's, named task-1-annotation-2-by-1-tag-Cat-0.png")
    masks = [(match, file) for file in list_images(folder) if (match := NAME.fullmatch(file.stem))]
    labels = sorted({label(match["label"]) for match, _ in masks})
    if len(labels) >= UNMAPPED:
        raise InputError(f"{folder}: {len(labels)} classes; there may be 1 to {UNMAPPED - 1}")
    class_of, notes = match_labels(labels, classes, folder)
    names = (BACKGROUND, *labels) if classes is None else tuple(classes)
    found = Found(names=names, notes=notes)
    tasks: dict[str, dict[int, list[tuple[str, Path]]]] = {}
    for match, file in masks:
        tasks.setdefault(match["task"], {}).setdefault(int(match["annotation"]), []).append(
            (label(match["label"]), file)
        )
    images = _find_images(root, tasks, found)
    for task, annotations in tasks.items():
        latest = max(annotations)
        found.leave_out(OLDER, *(file for key, one in annotations.items() if key != latest for _, file in one))
        entries = [(class_of[label], file) for label, file in sorted(annotations[latest])]
        found.leave_out(UNWANTED, *(file for name, file in entries if name not in names))
        if task not in images:
            found.leave_out(UNKNOWN, *(file for _, file in entries))
            continue
        image = images[task]
        files = tuple((str(file), names.index(name)) for name, file in entries if name in names)
        first = str(entries[0][1])
        stem = image.relative_to(root).with_suffix("").as_posix()
        files = files or ((first, 0),)
        found.samples.append(ClassMasksSample(stem, str(image), files[0][0], files))
    return found


def _mask_folder(root: Path) -> Path | None:
    """Folder with the masks: `root` or one directly in it; None for several, as where images have the same names."""
    folders = [folder for folder in (root, *list_folders(root)) if folder.is_dir() and _holds_masks(folder)]
    return folders[0] if len(folders) == 1 else None


def _holds_masks(folder: Path) -> bool:
    return any(NAME.fullmatch(Path(entry.name).stem) for entry in islice(scan_folder(folder), TRIED))


def _find_images(root: Path, tasks: Mapping[str, object], found: Found) -> dict[str, Path]:
    """Task -> its image. Adds the JSON export to the records. Raises InputError where there is no image at all."""
    names = ImageNames(root)
    texts = {task: texts for file in few_json_files(root) for task, texts in _read_tasks(file, found)}
    images: dict[str, Path] = {}
    for task in tasks:
        for text in texts.get(task, []) if texts else []:
            image = names.find(text)
            if image is not None:
                images[task] = image
                break
    if not texts:
        by_stem = {file.stem: file for file in list_images(root, deep=True) if not NAME.fullmatch(file.stem)}
        named = {task: by_stem.get(task) or by_stem.get(f"task-{task}") for task in tasks}
        images = {task: image for task, image in named.items() if image is not None}
    if not images:
        raise InputError(
            f"{root}: the masks are of {len(tasks)} tasks, but nothing says which images these are; put the project's "
            "JSON export (Export, JSON) beside the masks, and the images, or name each image as its task, such as 1.jpg"
        )
    return images


def _read_tasks(file: Path, found: Found) -> Iterator[tuple[str, list[str]]]:
    """Number of each task in a JSON export and the texts that may lead to its image; none for other JSON files."""
    try:
        content = read_json(file, "export it again")
    except InputError:
        return
    entries: list[Any] = content if isinstance(content, list) else []
    tasks = [entry for entry in entries if isinstance(entry, dict) and type(entry.get("id")) is int]
    if tasks:
        found.records.append(file)
    for task in tasks:
        data = task.get("data")
        values = [*(data.values() if isinstance(data, dict) else ()), *task.values()]
        yield str(task["id"]), [value for value in values if isinstance(value, str)]
