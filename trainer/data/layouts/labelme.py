"""Labelme: JSON files beside the images or with the images embedded, and optionally labels.txt with the classes."""

import math
import os
import shlex
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PureWindowsPath
from typing import Any

import numpy as np
import yaml

from trainer import IGNORE, InputError
from trainer.data.class_names import IGNORED
from trainer.data.encoding import UnknownEncoding, disguised, iconv_all
from trainer.data.files import OTHER, Reason, list_folders, list_images, read_names
from trainer.data.image_header import count_pixels
from trainer.data.layouts.base import (
    PARTS,
    TWICE,
    UNPAIRED,
    Found,
    by_stem,
    leave_out_tests,
    left_part,
    match_labels,
    parts_of_folders,
    stem_below,
)
from trainer.data.layouts.labelme_json import (
    NotLabelme,
    draw_annotation,
    find_annotations,
    image_path,
    read_image_bytes,
    read_record,
)
from trainer.data.layouts.labelme_predicted import FLAG, PREDICTED, WAITING, state_of
from trainer.data.layouts.labelme_shapes import OBJECT_NUMBER, known_label
from trainer.data.sample import DrawnSample, Sample
from trainer.data.value_map import BACKGROUND, BACKGROUNDS, UNMAPPED, ValueMap
from trainer.system.installation import command
from trainer.system.text import label, messages

PARTS_BY = "folders train/ and val/"
LABELS_FILE = "labels.txt"
"""File of a folder with its labels, one a line; their order gives the class ids."""

MOST_NAMES = 5
"""Images that a note names."""

UNLABELLED = Reason("without a JSON file yet", unlabelled=True)
BESIDE = Reason("whose JSON file holds or names another picture")
FAULTY = Reason("whose JSON file cannot be used")

TRIED = 10
"""Number of JSON files that are read to find out whether the folder is Labelme's."""


@dataclass(frozen=True, slots=True)
class LabelmeSample(DrawnSample):
    """An image whose mask is drawn from shapes. `mask` is the JSON file; `image` too, where the image is embedded."""

    folder: Path
    """Annotated folder; no file outside it is opened."""

    ids: tuple[tuple[str, int], ...]
    """(label, class id) of every label."""

    def image_content(self) -> bytes:
        return read_image_bytes(self.mask, self.folder, read_record(self.mask, self.folder))[1]

    def mask_content(self) -> bytes:
        return Sample.mask_content(self) + self.own_content()  # `super()` fails in classes with slots

    def pixels(self) -> int:
        if self.image_file != self.mask_file:
            return Sample.pixels(self)
        return count_pixels(self.mask_file, self.image_content())

    def own_content(self) -> bytes:
        return repr(self.ids).encode()

    def read_mask(self, values: ValueMap, content: bytes | None = None) -> np.ndarray:
        return draw_annotation(self.mask, self.folder, dict(self.ids))


def fits(root: Path) -> bool:
    """Return True if one of the first JSON files directly in `root` is Labelme's; others may be damaged.

    Or in its folders train/ and val/, where there is none beside them.
    """
    parts = [folder for folder in list_folders(root) if PARTS.get(folder.name.lower())]
    return _holds(root, root) or (len(parts) > 1 and all(_holds(part, root) for part in parts))


def _holds(folder: Path, root: Path) -> bool:
    """Return True if one of the first JSON files directly in `folder`, a folder of `root`, is Labelme's."""
    try:
        files = find_annotations(folder)
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
    """Make one sample of each JSON file, in folders below too: `day 2/p6`. Predictions that wait for a person are none.

    Without `classes` the labels come from labels.txt, or else from the files.
    """
    annotations = find_annotations(root, deep=True)
    files, problems = by_stem(annotations, folder=root)
    found = Found(problems=problems)
    found.leave_out(TWICE, *(set(annotations) - set(files.values())))
    images: dict[str, Path] = {}
    waiting: dict[Path, Path] = {}
    labels: set[str] = set()
    faulty: set[str] = set()
    tested = leave_out_tests(found, root, files)
    for stem, file in files.items():
        if stem in tested:
            continue
        try:
            record = read_record(file, root)
            if state_of(record) == WAITING:
                waiting[file] = image_path(file, root, record) or file
                continue
            labels |= _labels(record)
            images[stem] = image_path(file, root, record) or file
            if images[stem] == file and isinstance(record.get("imagePath"), str):
                # The same picture usually lies beside the JSON file that holds it.
                found.records.append(file.parent / PureWindowsPath(record["imagePath"]).as_posix())
        except NotLabelme as error:
            found.problems += [] if "/" in stem else [str(error)]
            found.leave_out(OTHER, file)
            faulty.add(stem)
        except InputError as error:
            found.problems += messages(str(error))
            found.leave_out(UNPAIRED, file)
            faulty.add(stem)
    _leave_out_waiting(found, root, waiting)
    if found.problems and not labels:  # the classes may be in the files that could not be read
        return found
    if waiting and not images:
        return found
    ids = tuple(_class_ids(root, classes, labels, found).items())
    found.samples = [
        LabelmeSample(stem, str(image), str(files[stem]), root, ids) for stem, image in sorted(images.items())
    ]
    found.records += [root / LABELS_FILE]
    found.parts = parts_of_folders(images)
    found.leave_out(left_part("test"), *{root / name.partition("/")[0] for name in tested})
    used = {*images.values(), *waiting.values(), *found.records}
    beside, unlabelled = _find_others(root, files, used)
    found.leave_out(FAULTY, *(image for image in beside if stem_below(image, root) in faulty))
    found.leave_out(BESIDE, *(image for image in beside if stem_below(image, root) not in faulty))
    if unlabelled:
        found.leave_out(UNLABELLED, *unlabelled)
        found.unlabelled_notes.append(unlabelled_note(root, unlabelled))
    return found


def _leave_out_waiting(found: Found, root: Path, waiting: Mapping[Path, Path]) -> None:
    """Leave out predictions that nobody has looked at yet, with a note. `waiting`: JSON file -> resolved image."""
    if not waiting:
        return
    images = set(waiting.values())
    found.leave_out(PREDICTED, *(one for one in list_images(root, deep=True) if Path(os.path.realpath(one)) in images))
    found.leave_out(replace(PREDICTED, unlabelled=False), *images & set(waiting))  # images within the JSON files
    found.records += set(waiting) - images
    found.unlabelled_notes.append(waiting_note(root, list(waiting)))


def waiting_note(root: Path, files: Sequence[Path]) -> str:
    """Note about predictions that nobody has looked at yet, with what makes them labels."""
    return (
        f"{root}: {len(files)} predicted, not yet looked at; left out: {_shorten(files, root)}. To use one, correct it "
        f"in Labelme or take off its flag {FLAG!r} there, or give it to {command('label')} accept"
    )


def _find_others(root: Path, stems: Collection[str], used: Collection[Path]) -> tuple[list[Path], list[Path]]:
    """Images in `root` and below that are not among `used`, resolved paths: with a JSON file of their stem, without."""
    images = [
        file for file in list_images(root, deep=True) if file not in used and Path(os.path.realpath(file)) not in used
    ]
    beside = [image for image in images if stem_below(image, root) in stems]
    return beside, [image for image in images if stem_below(image, root) not in stems]


def unlabelled_note(root: Path, images: Sequence[Path]) -> str:
    """Note about images without a JSON file, with the names of the first."""
    subject = "1 image has" if len(images) == 1 else f"{len(images)} images have"
    return f"{root}: {subject} no JSON file yet; left out: {_shorten(images, root)}"


def _shorten(files: Sequence[Path], root: Path) -> str:
    """Names of the first files, and the number of the others."""
    more = f" and {len(files) - MOST_NAMES} more" if len(files) > MOST_NAMES else ""
    return ", ".join(str(file.relative_to(root)) for file in files[:MOST_NAMES]) + more


def _labels(record: dict[str, Any]) -> set[str]:
    """Labels of the shapes in a JSON file, without the reserved ones, and without empty ones, which are errors."""
    labels = [entry.get("label") for entry in record["shapes"] if isinstance(entry, dict)]
    return {name for name in labels if isinstance(name, str)} - {IGNORED, *BACKGROUNDS, ""}


def _class_ids(root: Path, classes: Sequence[str] | None, labels: set[str], found: Found) -> dict[str, int]:
    """Label -> class id. Set the class names in `found`, unless `classes` are given."""
    reserved = {IGNORED: IGNORE, BACKGROUND: 0, "background": 0}
    if classes is not None:
        ids = reserved | {name: class_id for class_id, name in enumerate(classes) if class_id}
        found.notes += _join_objects(root, labels, ids)
        rest = sorted(label for label in labels if known_label(label, ids) not in ids)
        if rest and len(rest) == len(labels):
            match_labels(rest, classes, root)  # raises an error that names what was meant
        found.notes += [f"{root}: {', '.join(rest)} not among the classes; taken as background"] if rest else []
        return ids | dict.fromkeys(rest, 0)
    if os.path.lexists(root / LABELS_FILE):
        ids = read_labels(root / LABELS_FILE, labels)
        found.notes += _join_objects(root, labels, ids)
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
        found.notes += _hint_at_objects(root, names)
    found.names = (BACKGROUND, *(name for name, class_id in ids.items() if 0 < class_id < IGNORE))
    return ids


def _join_objects(root: Path, labels: Collection[str], ids: Collection[str]) -> list[str]:
    """Note about labels that count as a class without their number, if there are any."""
    numbered = sorted(label for label in labels if label not in ids and known_label(label, ids) in ids)
    joined = ", ".join(sorted({known_label(label, ids) for label in numbered}))
    return [f"{root}: {', '.join(numbered)} count as {joined}"] if numbered else []


def _hint_at_objects(root: Path, labels: Sequence[str]) -> list[str]:
    """Note with the option that joins labels which differ by a number, as those of the objects of one class do."""
    bases = [OBJECT_NUMBER.sub("", label) for label in labels]
    numbered = [label for label, base in zip(labels, bases, strict=True) if label != base and bases.count(base) > 1]
    if not numbered:
        return []
    classes = [base if bases.count(base) > 1 else label for label, base in zip(labels, bases, strict=True)]
    option = yaml.safe_dump(list(dict.fromkeys(classes)), default_flow_style=True, allow_unicode=True, width=math.inf)
    return [
        f"{root}: {', '.join(numbered)} look like single objects; to make each kind one class, add\n"
        f"  --data.classes {shlex.quote(option.strip())}"
    ]


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
