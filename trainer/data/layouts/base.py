"""Tools shared by the layouts: matching labels to classes, pairing files by stem, merging the parts of a dataset."""

import glob
import json
import os
import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from trainer import InputError
from trainer.data.encoding import decode
from trainer.data.files import Reason, is_image, read_bytes
from trainer.data.sample import JoinedSample, Sample
from trainer.data.witness import images_near
from trainer.system.text import count_of, match_names

PARTS = {
    "train": "train",
    "training": "train",
    "val": "val",
    "valid": "val",
    "validation": "val",
    "test": None,
    "testing": None,
}
"""Role of a part of a dataset, by each of its usual names: "train", "val", or None for a part that is left out."""


TWICE = Reason("whose stem another one has too")
UNPAIRED = Reason("without image or mask")
NO_IMAGE = Reason("without an image", warn=True)
UNLISTED = Reason("that no list names", by="folder")
BELOW = Reason("in subfolders without image or mask", "move them beside the others", warn=True, by="folder")
UNMASKED_BELOW = replace(BELOW, unlabelled=True)


@dataclass
class Found:
    """Samples and classes of one data folder, as its layout describes them."""

    samples: list[Sample] = field(default_factory=list)
    parts: dict[str, str] = field(default_factory=dict)
    """Sample name -> "train" or "val", for the samples that the folder's own lists assign."""

    parts_by: str = ""
    """What a person divides such a folder with, for messages; empty where that takes more than a few words."""

    names: tuple[str, ...] | None = None
    """K class names, the background's first; None where the layout has no names."""

    value_map: Mapping[int | str, str] | None = None
    """Meaning of stored mask values, as in data.value_map; None where they are class ids."""

    unnamed: list[Path] = field(default_factory=list)
    """Data folders with masks whose values nothing in the folder names."""

    problems: list[str] = field(default_factory=list)
    """Faults that prevent training on the folder, a line each: file, fault, remedy."""

    notes: list[str] = field(default_factory=list)
    """Remarks for the user, a line each."""

    unlabelled_notes: list[str] = field(default_factory=list)
    """Remarks about images without labels, which hold where data.unlabelled does not take them."""

    records: list[Path] = field(default_factory=list)
    """Files that were read beside those of the samples: lists, class names, JSON files."""

    left_out: dict[str, Reason] = field(default_factory=dict)
    """File or folder -> why it is left out, where its name and kind do not tell (`trainer/data/account.py`)."""

    unused_pages: dict[str, int] = field(default_factory=dict)
    """TIFF stack -> number of its pages that are no sample's."""

    def leave_out(self, reason: Reason, *paths: Path) -> None:
        """Note why these files, or all files in these folders, are no sample's."""
        self.left_out |= dict.fromkeys(map(str, paths), reason)

    def add(self, other: "Found") -> None:
        """Add problems, notes, records, and files and pages left out of another folder or part."""
        self.problems += other.problems
        self.notes += other.notes
        self.unlabelled_notes += other.unlabelled_notes
        self.records += other.records
        self.left_out |= other.left_out
        self.unused_pages |= other.unused_pages


def match_labels(labels: Sequence[str], classes: Sequence[str] | None, file: Path) -> tuple[dict[str, str], list[str]]:
    """Map each label of `file` to a class; labels outside `classes` become background, with a note.

    `classes`: the K wanted names, the background's first; None for all labels. Raises InputError where a wanted name is
    not among the labels.
    """
    if classes is None:
        return {label: label for label in labels}, []
    for name in classes[1:]:
        if name not in labels:
            near = get_close_matches(name, labels, 1)
            advice = f"did you mean {near[0]}?" if near else f"there are {', '.join(labels[:12])}"
            raise InputError(f"data.classes: {name} is not a label of {file}; {advice}")
    rest = [label for label in labels if label not in classes]
    more = f" and {len(rest) - 8} more" if len(rest) > 8 else ""
    notes = [f"{file}: {', '.join(rest[:8])}{more} not among the classes; taken as background"] if rest else []
    return {label: label if label in classes else "background" for label in labels}, notes


def read_json(file: Path, remedy: str) -> Any:
    """Parse a JSON file. Raises InputError naming the file, with `remedy` where it is not valid JSON."""
    text = decode(read_bytes(file), file, images_near(file))
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise InputError(f"{file}: not valid JSON ({error}); {remedy}") from None


def by_stem(files: Sequence[Path], ending: str = "", folder: Path | None = None) -> tuple[dict[str, Path], list[str]]:
    """Map the stem of each file, without `ending`, to the file; add a problem for each stem that occurs twice.

    A file in a folder below `folder` has the path from there before its stem: `day 2/p6`.
    """
    found: dict[str, Path] = {}
    problems = []
    for path in files:
        stem = path.stem.removesuffix(ending) if folder is None else stem_below(path, folder, ending)
        if stem in found:
            problems.append(f"{path}: {found[stem].name} has the same stem; rename or remove one")
        found[stem] = path
    return found, problems


def stem_below(path: Path, folder: Path, ending: str = "") -> str:
    """Stem of a file without `ending`; for one in a folder below `folder` with the path from there: `day 2/p6`."""
    stem, above, top = path.stem.removesuffix(ending), os.path.dirname(path), str(folder)
    # Texts, because `Path.parent` and its comparison take several times as long.
    if above == top or (top == "." and not above):
        return stem
    return f"{os.path.relpath(above, top)}/{stem}"


def leave_out_tests(found: Found, folder: Path, *files: Mapping[str, Path]) -> set[str]:
    """Leave out, with a note, the names of `files` whose first folder is a test part, and return them."""
    tested = {name for names in files for name in names if part_of(name) is None}
    found.leave_out(left_part("test"), *(names[name] for name in tested for names in files if name in names))
    if tested:
        found.notes.append(part_note(folder, "test", len(tested)))
    return tested


def part_of(name: str) -> str | None:
    """Part that the first folder of a name stands for: "train", "val", None for a test part, "" for no part."""
    first, below, _ = name.partition("/")
    return PARTS.get(first.lower(), "") if below else ""


def parts_of_folders(names: Iterable[str]) -> dict[str, str]:
    """Name -> "train" or "val", after its first folder; empty unless there are folders for both."""
    parts = {name: part for name in names if (part := part_of(name))}
    return parts if len(set(parts.values())) > 1 else {}


def pair(
    image_files: Sequence[Path],
    mask_files: Sequence[Path],
    folders: tuple[Path, Path],
    wanted: Iterable[str] = (),
    endings: tuple[str, str] = ("", ""),
) -> Found:
    """Pair images and masks by stem: a sample for each stem that has both files, a problem for each other one.

    Names that differ by their Unicode form or their case alone are pairs too, where nothing else fits.
    `folders`: of the images and of the masks, for the messages. `wanted`: stems to pair; empty for all.
    `endings`: the end of the images' and of the masks' names that is not part of the stem. Files in folders below are
    paired by their path, or by their stem where only one image and one mask are left that have it; the others are left
    out, and so are those in a folder named as a test part.
    """
    images, image_problems = by_stem(image_files, endings[0], folders[0])
    masks, mask_problems = by_stem(mask_files, endings[1], folders[1])
    meant = match_names(masks, images)
    masks = {meant.get(stem, stem): path for stem, path in masks.items()}
    found = Found(problems=image_problems + mask_problems)
    if found.problems:
        kept = {*images.values(), *masks.values()}
        found.leave_out(TWICE, *(file for file in (*image_files, *mask_files) if file not in kept))
    further = _further_masks(images, masks, endings[1])
    _match_across_folders(images, masks)
    if images and masks and not set(images) & set(masks):
        firsts = (next(iter(files.values())) for files in (images, masks))
        names = " and ".join(os.path.relpath(file, folder) for file, folder in zip(firsts, folders, strict=True))
        found.problems.append(
            f"{folders[0]} and {folders[1]}: not one name in common (such as {names}); name each mask after its image"
        )
        found.leave_out(UNPAIRED, *images.values(), *masks.values())
        return found
    wanted = sorted(wanted)
    if wanted:
        rest = (set(images) | set(masks)) - set(wanted)
        found.leave_out(UNLISTED, *(files[stem] for stem in rest for files in (images, masks) if stem in files))
    tested = set() if wanted else leave_out_tests(found, folders[0], images, masks)
    for stem in wanted or sorted((set(images) | set(masks)) - tested):
        image, mask = images.get(stem), masks.get(stem)
        files = [file for file in (image, mask) if file is not None]
        if image and mask:
            more = further.get(stem)
            joined = JoinedSample(stem, str(image), str(mask), more) if more else Sample(stem, str(image), str(mask))
            found.samples.append(joined)
        elif "/" in stem and not wanted:
            found.leave_out(UNMASKED_BELOW if image else BELOW, *files)
        else:
            found.problems.append(_missing(stem, image, mask, folders, endings[1]))
            found.leave_out(UNPAIRED, *files)
    found.parts = {} if wanted else parts_of_folders(sample.name for sample in found.samples)
    if further:
        first = next(iter(further.values()))[0]
        several = count_of(len(further), "image")
        found.notes.append(f"{folders[1]}: {several} with several masks (such as {first}), which are joined")
    return found


def _missing(stem: str, image: Path | None, mask: Path | None, folders: tuple[Path, Path], ending: str) -> str:
    """Problem of a stem without image or mask; a file of that name in a format that is not read is named."""
    if image is None and mask is None:
        return f"{folders[0]}: the lists name {stem}, but there is no such image; take the line out"
    folder, name = (folders[0], stem) if image is None else (folders[1], f"{stem}{ending}")
    others = [file for file in folder.glob(f"{glob.escape(name)}.*") if not is_image(file.name)]
    if others:
        what = "image" if image is None else "mask"
        return f"{image or mask}: its {what} {others[0].name} is in a format that is not read here; convert it to PNG"
    if image is None:
        return f"{mask}: no image of that name in {folder}; add it or remove the mask"
    return f"{image}: no mask {name}.png in {folder}; label the picture or move it out"


def _further_masks(images: Mapping[str, Path], masks: dict[str, Path], ending: str) -> dict[str, tuple[str, ...]]:
    """Stem -> further masks of an image, such as `x_mask_1` beside `x_mask`; they are taken out of `masks`."""
    further: dict[str, tuple[str, ...]] = {}
    numbered = re.compile(rf"(.+){re.escape(ending)}[_-]?\d+")
    for name in sorted(set(masks) - set(images)) if ending else ():
        match = numbered.fullmatch(name)
        if match and match[1] in images and match[1] in masks:
            further[match[1]] = (*further.get(match[1], ()), str(masks.pop(name)))
    return further


def _match_across_folders(images: Mapping[str, Path], masks: dict[str, Path]) -> None:
    """Rename masks in `masks` after images in other folders, where one of each alone is left that has the stem."""
    left = [
        {stem: names[0] for stem, names in _by_last(set(files) - set(others)).items() if len(names) == 1}
        for files, others in ((images, masks), (masks, images))
    ]
    for stem in set(left[0]) & set(left[1]):
        masks[left[0][stem]] = masks.pop(left[1][stem])


def full_names(listed: Sequence[str], names: Collection[str]) -> list[str]:
    """Names of a list, with their folder where the list has the stem alone of one of `names`."""
    if all(name in names for name in listed):
        return list(listed)
    below = _by_last(name for name in names if "/" in name)
    return [below[name][0] if name not in names and len(below.get(name, ())) == 1 else name for name in listed]


def _by_last(names: Iterable[str]) -> dict[str, list[str]]:
    """Last part of each name -> the names that end with it."""
    found: dict[str, list[str]] = {}
    for name in names:
        found.setdefault(name.rpartition("/")[2], []).append(name)
    return found


def left_part(part: str) -> Reason:
    """Reason for the files of a test part."""
    return Reason(f"of the part {part}", by="folder")


def part_note(root: Path, part: str, pictures: int) -> str:
    """Note about a test part."""
    return f"{root}: {part} ({count_of(pictures, 'picture')}) neither trains nor validates; left out"


def merge_parts(parts: Mapping[str, Found], root: Path) -> Found:
    """Merge the parts of a dataset, by part name, into one; samples are named `<part>/<name>`.

    A test part is left out with a note. Unless there are parts both for training and for validation, the roles of the
    samples stay open, so that they are split as in a folder without parts.
    """
    whole = Found()
    roles = {part: PARTS.get(part.lower().rstrip("0123456789_-"), "") for part in parts}  # digits as in train2017
    for part, found in parts.items():
        role = roles[part]
        if role is None:
            reason = left_part(part)
            for sample in found.samples:
                whole.leave_out(reason, *map(Path, (*sample.files, sample.mask_file)))
            whole.notes.append(part_note(root, part, len(found.samples)))
            whole.left_out |= found.left_out | dict.fromkeys(map(str, found.records), reason)
            continue
        samples = [replace(sample, name=f"{part}/{sample.name}") for sample in found.samples]
        whole.samples += samples
        if role and {"train", "val"} <= set(roles.values()):
            whole.parts |= {sample.name: role for sample in samples}
        whole.add(found)
    return whole
