"""Oxford-IIIT Pet Dataset: images/ and annotations/trimaps/ with values 1 pet, 2 background and 3 border."""

from collections.abc import Sequence
from pathlib import Path

from trainer import InputError
from trainer.data.files import list_images, read_lines
from trainer.data.layouts.base import Found, pair
from trainer.data.value_map import BACKGROUND
from trainer.system.installation import command
from trainer.system.text import count_of

LISTS = {"trainval.txt": "train", "test.txt": "val"}
"""List file in annotations/ -> part that its images belong to."""


def fits(root: Path) -> bool:
    return (root / "annotations" / "trimaps").is_dir() and (root / "images").is_dir()


def find(root: Path, classes: Sequence[str] | None) -> Found:
    """Pair images and trimaps; every pet is of one class. With both lists, trainval.txt trains, test.txt validates."""
    if not fits(root):
        raise InputError(
            f"{root}: needs the folders images/ and annotations/trimaps/; "
            f"make them with: {command('prepare')} pets FOLDER"
        )
    if classes is not None and len(classes) != 2:
        raise InputError(
            f"data.classes: {', '.join(classes[1:])}: trimaps tell pets from the background, no more; "
            "give one name or none"
        )
    folders = root / "images", root / "annotations" / "trimaps"
    images, masks = list_images(folders[0]), list_images(folders[1])
    lists = {
        name: _read_stems(root / "annotations" / name) for name in LISTS if (root / "annotations" / name).is_file()
    }
    listed = {stem for stems in lists.values() for stem in stems}
    found = pair(images, masks, folders, wanted=listed)
    found.records += [root / "annotations" / name for name in lists]
    if len(lists) == len(LISTS):
        found.parts = {stem: LISTS[name] for name, stems in lists.items() for stem in stems}
        found.notes.append(f"{root}: its own split: trainval.txt trains, test.txt validates")
    unlisted = ({file.stem for file in images} & {file.stem for file in masks}) - listed
    if listed and unlisted:
        found.notes.append(f"{root}: {count_of(len(unlisted), 'picture')} in neither {' nor '.join(LISTS)}; left out")
    name = "pet" if classes is None else classes[1]
    found.names = (BACKGROUND, name)
    found.value_map = {1: name, 2: "background", 3: "ignore"}
    return found


def _read_stems(file: Path) -> list[str]:
    """Stems in a list, whose lines are `Abyssinian_100 1 1 1`: stem, class, species, breed."""
    return [line.split()[0] for line in read_lines(file) if not line.startswith("#")]
