"""Labelme: JSON files beside the images or with the images embedded, and optionally labels.txt with the classes."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from trainer import IGNORE, InputError
from trainer.data.class_names import IGNORED
from trainer.data.encoding import UnknownEncoding, disguised, iconv_all
from trainer.data.files import list_images, read_names
from trainer.data.layouts.base import Found, by_stem
from trainer.data.layouts.labelme_json import (
    draw_annotation,
    find_annotations,
    image_path,
    read_image_bytes,
    read_record,
)
from trainer.data.sample import Sample
from trainer.data.value_map import BACKGROUND, BACKGROUNDS, UNMAPPED, ValueMap
from trainer.system.text import label, messages

LABELS_FILE = "labels.txt"
"""Label of shapes whose pixels are ignored."""

TRIED = 10
"""Number of JSON files that are read to find out whether the folder is Labelme's."""


@dataclass(frozen=True, slots=True)
class LabelmeSample(Sample):
    """An image whose mask is drawn from shapes. `mask` is the JSON file; `image` too, where the image is embedded."""

    folder: Path
    """Annotated folder; no file outside it is opened."""

    ids: tuple[tuple[str, int], ...]
    """(label, class id) of every label."""

    def image_content(self) -> bytes:
        return read_image_bytes(self.mask, self.folder, read_record(self.mask, self.folder))[1]

    def mask_content(self) -> bytes:
        return Sample.mask_content(self) + self.own_content()  # `super()` fails in classes with slots

    def own_content(self) -> bytes:
        return repr(self.ids).encode()

    def read_mask(self, values: ValueMap, content: bytes | None = None) -> np.ndarray:
        return draw_annotation(self.mask, self.folder, dict(self.ids))

    @property
    def lossy(self) -> bool:
        return False


def fits(root: Path) -> bool:
    """Return True if one of the first JSON files directly in `root` is Labelme's; others may be damaged."""
    try:
        files = find_annotations(root)
    except InputError:
        return False
    return any(_is_valid(file, root) for file in files[:TRIED])


def _is_valid(file: Path, root: Path) -> bool:
    try:
        read_record(file, root)
    except UnknownEncoding:
        return True
    except (InputError, OSError):
        return False
    return True


def find(root: Path, classes: Sequence[str] | None) -> Found:
    """Make one sample of each JSON file. Without `classes` the labels come from labels.txt, or else from the files."""
    files, problems = by_stem(find_annotations(root))
    found = Found(problems=problems)
    images: dict[str, Path] = {}
    labels: set[str] = set()
    for stem, file in files.items():
        try:
            record = read_record(file, root)
            labels |= _labels(record)
            images[stem] = image_path(file, root, record) or file
        except InputError as error:
            found.problems += messages(str(error))
    if found.problems and not labels:  # the classes may be in the files that could not be read
        return found
    ids = tuple(_class_ids(root, classes, labels, found).items())
    found.samples = [
        LabelmeSample(stem, str(image), str(files[stem]), root, ids) for stem, image in sorted(images.items())
    ]
    used = set(images.values())  # resolved paths
    unlabelled = [image for image in list_images(root) if image.stem not in files and image.resolve() not in used]
    if unlabelled:
        found.notes.append(f"{root}: {len(unlabelled)} images have no JSON file yet; they are left out")
    return found


def _labels(record: dict[str, Any]) -> set[str]:
    """Labels of the shapes in a JSON file, without the reserved ones."""
    labels = [entry.get("label") for entry in record["shapes"] if isinstance(entry, dict)]
    return {name for name in labels if isinstance(name, str)} - {IGNORED, *BACKGROUNDS}


def _class_ids(root: Path, classes: Sequence[str] | None, labels: set[str], found: Found) -> dict[str, int]:
    """Label -> class id. Set the class names in `found`, unless `classes` are given."""
    reserved = {IGNORED: IGNORE, BACKGROUND: 0, "background": 0}
    if classes is not None:
        return reserved | {name: class_id for class_id, name in enumerate(classes) if class_id}
    if (root / LABELS_FILE).is_file():
        ids = read_labels(root / LABELS_FILE, labels)
    else:
        names = sorted(labels)
        if not 0 < len(names) < UNMAPPED:
            raise InputError(
                f"{root}: {len(names)} different labels in the JSON files; name the classes in "
                f"{root / LABELS_FILE}, one a line"
            )
        ids = reserved | {name: class_id for class_id, name in enumerate(names, start=1)}
        found.notes.append(f"{root}: no {LABELS_FILE}; the classes are the labels found: {', '.join(names)}")
        found.notes += _encoding_notes(root, names)
    found.names = (BACKGROUND, *(name for name, class_id in ids.items() if 0 < class_id < IGNORE))
    return ids


def _encoding_notes(root: Path, names: Sequence[str]) -> list[str]:
    """A note on labels that are more likely Chinese, in an older encoding that nothing else gives away."""
    chinese = {name: disguised(name) for name in names if not name.isascii()}
    if not chinese or None in chinese.values():
        return []
    pairs = ", ".join(f"{name} may be {meant}" for name, meant in chinese.items())
    return [f"{root}: {pairs}, written as GB18030. If so, convert the JSON files to UTF-8 with\n  {iconv_all(root)}"]


def read_labels(file: Path, used: Collection[str] = ()) -> dict[str, int]:
    """Label -> class id from a labels.txt: ids follow the order of the lines; `__ignore__` is 255, `_background_` 0.

    `used`: labels in the JSON files, by which an older encoding of `file` is recognised. Raises InputError naming it.
    """

    def fits(text: str) -> bool | None:
        foreign = {name for name in map(label, text.splitlines()) if not name.isascii()}
        return not foreign.isdisjoint(used) if foreign and used else None

    names = read_names(file, fits)
    classes = [name for name in names if name not in (IGNORED, *BACKGROUNDS)]
    twice = sorted({name for name in classes if classes.count(name) > 1})
    if twice:
        raise InputError(f"{file}: {', '.join(twice)} twice; name each class once")
    if not 0 < len(classes) < UNMAPPED:
        raise InputError(f"{file}: {len(classes)} classes; name 1 to {UNMAPPED - 1}, one a line, besides {BACKGROUND}")
    reserved = {IGNORED: IGNORE, BACKGROUND: 0} | ({"background": 0} if "background" in names else {})
    return reserved | {name: class_id for class_id, name in enumerate(classes, start=1)}
