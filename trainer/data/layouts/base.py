"""Tools that layouts share: pairing images and masks by stem, and datasets that come in parts."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from difflib import get_close_matches
from pathlib import Path

from trainer import InputError
from trainer.data.sample import Sample


def choose(own: Sequence[str], classes: Sequence[str] | None, file: Path) -> tuple[dict[str, str], list[str]]:
    """Which class each of a file's `own` labels stands for, and a note on those that become background.

    `classes`: the K names wanted, the background's first; None for all. Raises InputError where one is no label.
    """
    if classes is None:
        return {name: name for name in own}, []
    for name in classes[1:]:
        if name not in own:
            near = get_close_matches(name, own, 1)
            advice = f"did you mean {near[0]}?" if near else f"there are {', '.join(own[:12])}"
            raise InputError(f"data.classes: {name} is no label of {file}; {advice}")
    rest = [name for name in own if name not in classes]
    more = f" and {len(rest) - 8} more" if len(rest) > 8 else ""
    notes = [f"{file}: {', '.join(rest[:8])}{more} not among the classes; taken as background"] if rest else []
    return {name: name if name in classes else "background" for name in own}, notes


PARTS = {"train": "train", "training": "train", "val": "val", "valid": "val", "validation": "val", "test": None,
         "testing": None}  # fmt: skip
"""What people call the parts of a dataset -> who is in it; None is left out."""


@dataclass
class Found:
    """What lies in one folder."""

    samples: list[Sample] = field(default_factory=list)
    parts: dict[str, str] = field(default_factory=dict)
    """Sample name -> "train" or "val", for those that the folder's own lists assign."""

    names: tuple[str, ...] | None = None
    """K class names, the background's first, where the layout itself tells them."""

    value_map: Mapping[int | str, str] | None = None
    """What stored mask values mean in this layout, where they are not class ids."""

    problems: list[str] = field(default_factory=list)
    """What keeps the folder from being used, a line each: file, fault, remedy."""

    notes: list[str] = field(default_factory=list)
    """What a person should know."""


def by_stem(files: Sequence[Path], ending: str = "") -> tuple[dict[str, Path], list[str]]:
    """Stem, without `ending`, -> file; and a problem for each stem that occurs twice."""
    found: dict[str, Path] = {}
    problems = []
    for path in files:
        stem = path.stem.removesuffix(ending)
        if stem in found:
            problems.append(f"{path}: {found[stem].name} has the same stem; rename or remove one")
        found[stem] = path
    return found, problems


def pair(
    images: Mapping[str, Path],
    masks: Mapping[str, Path],
    wanted: Sequence[str],
    folders: tuple[Path, Path],
    ending: str = "",
) -> Found:
    """The samples of stems `wanted` that have both files, and a problem for each other one.

    `folders` of the images and of the masks, and the `ending` of the masks' names, for what is missing.
    """
    found = Found()
    if images and masks and not set(images) & set(masks):
        names = " and ".join(next(iter(files.values())).name for files in (images, masks))
        found.problems.append(f"{folders[0]} and {folders[1]}: not one name in common (such as {names}); "
                              "name each mask after its image")  # fmt: skip
        return found
    for stem in sorted(wanted):
        if stem not in images and stem not in masks:
            found.problems.append(f"{folders[0]}: the lists name {stem}, but there is no such image; take the line out")
        elif stem not in images:
            found.problems.append(f"{masks[stem]}: no image of that name in {folders[0]}; add it or remove the mask")
        elif stem not in masks:
            where = f"no mask {stem}{ending}.png in {folders[1]}"
            found.problems.append(f"{images[stem]}: {where}; label the picture or move it out")
        else:
            found.samples.append(Sample(stem, str(images[stem]), str(masks[stem])))
    return found


def split_parts(found: Mapping[str, Found], root: Path) -> Found:
    """One Found of those of several parts, part name -> what lies in it; samples are called `<part>/<name>`.

    A part that only tests is left out with a note; where none or nothing but validates, nobody's part is fixed.
    """
    whole = Found()
    roles = {part: PARTS.get(part.lower().rstrip("0123456789_-"), "") for part in found}  # as in train2017
    for part, inside in found.items():
        role = roles[part]
        if role is None:
            whole.notes.append(
                f"{root}: {part} ({len(inside.samples)} pictures) neither trains nor validates; left out"
            )
            continue
        samples = [replace(sample, name=f"{part}/{sample.name}") for sample in inside.samples]
        whole.samples += samples
        if role and {"train", "val"} <= set(roles.values()):
            whole.parts |= {sample.name: role for sample in samples}
        whole.problems += inside.problems
        whole.notes += inside.notes
    return whole
