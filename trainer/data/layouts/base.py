"""Tools shared by the layouts: matching labels to classes, pairing files by stem, merging the parts of a dataset."""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from trainer import InputError
from trainer.data.encoding import decode
from trainer.data.files import read_bytes
from trainer.data.sample import Sample
from trainer.system.text import match_names

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


@dataclass
class Found:
    """Samples and classes of one data folder, as its layout describes them."""

    samples: list[Sample] = field(default_factory=list)
    parts: dict[str, str] = field(default_factory=dict)
    """Sample name -> "train" or "val", for the samples that the folder's own lists assign."""

    names: tuple[str, ...] | None = None
    """K class names, the background's first; None where the layout has no names."""

    value_map: Mapping[int | str, str] | None = None
    """Meaning of stored mask values, as in data.value_map; None where they are class ids."""

    problems: list[str] = field(default_factory=list)
    """Faults that prevent training on the folder, a line each: file, fault, remedy."""

    notes: list[str] = field(default_factory=list)
    """Remarks for the user, a line each."""


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
            raise InputError(f"data.classes: {name} is no label of {file}; {advice}")
    rest = [label for label in labels if label not in classes]
    more = f" and {len(rest) - 8} more" if len(rest) > 8 else ""
    notes = [f"{file}: {', '.join(rest[:8])}{more} not among the classes; taken as background"] if rest else []
    return {label: label if label in classes else "background" for label in labels}, notes


def read_json(file: Path, remedy: str) -> Any:
    """Parse a JSON file. Raises InputError naming the file, with `remedy` where it is not valid JSON."""
    text = decode(read_bytes(file), file)
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise InputError(f"{file}: no valid JSON ({error}); {remedy}") from None


def by_stem(files: Sequence[Path], ending: str = "") -> tuple[dict[str, Path], list[str]]:
    """Map the stem of each file, without `ending`, to the file; add a problem for each stem that occurs twice."""
    found: dict[str, Path] = {}
    problems = []
    for path in files:
        stem = path.stem.removesuffix(ending)
        if stem in found:
            problems.append(f"{path}: {found[stem].name} has the same stem; rename or remove one")
        found[stem] = path
    return found, problems


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
    `endings`: the end of the images' and of the masks' names that is not part of the stem.
    """
    images, image_problems = by_stem(image_files, endings[0])
    masks, mask_problems = by_stem(mask_files, endings[1])
    meant = match_names(masks, images)
    masks = {meant.get(stem, stem): path for stem, path in masks.items()}
    found = Found(problems=image_problems + mask_problems)
    if images and masks and not set(images) & set(masks):
        names = " and ".join(next(iter(files.values())).name for files in (images, masks))
        found.problems.append(
            f"{folders[0]} and {folders[1]}: not one name in common (such as {names}); name each mask after its image"
        )
        return found
    for stem in sorted(wanted) or sorted(set(images) | set(masks)):
        if stem not in images and stem not in masks:
            found.problems.append(f"{folders[0]}: the lists name {stem}, but there is no such image; take the line out")
        elif stem not in images:
            found.problems.append(f"{masks[stem]}: no image of that name in {folders[0]}; add it or remove the mask")
        elif stem not in masks:
            missing = f"no mask {stem}{endings[1]}.png in {folders[1]}"
            found.problems.append(f"{images[stem]}: {missing}; label the picture or move it out")
        else:
            found.samples.append(Sample(stem, str(images[stem]), str(masks[stem])))
    return found


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
            whole.notes.append(f"{root}: {part} ({len(found.samples)} pictures) neither trains nor validates; left out")
            continue
        samples = [replace(sample, name=f"{part}/{sample.name}") for sample in found.samples]
        whole.samples += samples
        if role and {"train", "val"} <= set(roles.values()):
            whole.parts |= {sample.name: role for sample in samples}
        whole.problems += found.problems
        whole.notes += found.notes
    return whole
