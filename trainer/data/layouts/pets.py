"""The Oxford-IIIT Pet Dataset: images/ and annotations/trimaps/, in which 1 is pet, 2 background and 3 the border."""

from collections.abc import Sequence
from pathlib import Path

from trainer import InputError
from trainer.data.files import list_images, read_lines
from trainer.data.layouts.base import Found, by_stem, pair
from trainer.data.value_map import BACKGROUND

LISTS = {"trainval.txt": "train", "test.txt": "val"}


def fits(root: Path) -> bool:
    return (root / "annotations" / "trimaps").is_dir() and (root / "images").is_dir()


def find(root: Path, classes: Sequence[str] | None) -> Found:
    """One class, every pet. Where both lists are there, trainval.txt trains and test.txt validates."""
    if not fits(root):
        raise InputError(f"{root}: needs the folders images/ and annotations/trimaps/; "
                         "make them with: python trainer/prepare.py pets FOLDER")  # fmt: skip
    if classes is not None and len(classes) != 2:
        raise InputError(f"data.classes: {', '.join(classes[1:])}: trimaps tell pets from the background, no more; "
                         "give one name or none")  # fmt: skip
    folders = root / "images", root / "annotations" / "trimaps"
    images, problems = by_stem(list_images(folders[0]))
    masks, more_problems = by_stem(list_images(folders[1]))
    lists = {file: _stems(root / "annotations" / file) for file in LISTS if (root / "annotations" / file).is_file()}
    listed = {stem for stems in lists.values() for stem in stems}
    found = pair(images, masks, sorted(listed) or sorted(set(images) | set(masks)), folders)
    found.problems = problems + more_problems + found.problems
    if len(lists) == len(LISTS):
        found.parts = {stem: LISTS[file] for file, stems in lists.items() for stem in stems}
        found.notes.append(f"{root}: its own split: trainval.txt trains, test.txt validates")
    left = len(set(images) & set(masks) - listed) if listed else 0
    if left:
        found.notes.append(f"{root}: {left} pictures are in neither {' nor '.join(LISTS)}; they are left out")
    name = "pet" if classes is None else classes[1]
    found.names = (BACKGROUND, name)
    found.value_map = {1: name, 2: "background", 3: "ignore"}
    return found


def _stems(file: Path) -> list[str]:
    """A line is `Abyssinian_100 1 1 1`: stem, class, species, breed."""
    return [line.split()[0] for line in read_lines(file) if not line.startswith("#")]
