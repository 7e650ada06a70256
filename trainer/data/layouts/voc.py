"""Pascal VOC: JPEGImages/, SegmentationClassPNG/ or SegmentationClass/, and optionally ImageSets/Segmentation/."""

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

from trainer import InputError
from trainer.data.account import take_stock
from trainer.data.files import Reason, list_images, read_lines
from trainer.data.layouts.base import Found, by_stem, full_names, left_part, pair, part_note
from trainer.system.text import match_names

IMAGES = "JPEGImages"
MASKS = "SegmentationClassPNG"
"""Folder of the masks, as this program writes it."""

LISTS = "ImageSets/Segmentation"
PARTS_BY = f"{LISTS}/train.txt and val.txt"
INSTANCES = Reason("of masks that tell things of one class apart", by="folder")

MASK_FOLDERS = (MASKS, "SegmentationClass")


def fits(root: Path) -> bool:
    return (root / IMAGES).is_dir() or any((root / name).is_dir() for name in MASK_FOLDERS)


def find(root: Path, classes: Sequence[str] | None) -> Found:
    """Pair images and masks by stem. Lists in ImageSets/Segmentation select the samples and assign their parts."""
    mask_folder = next((root / name for name in MASK_FOLDERS if (root / name).is_dir()), None)
    if mask_folder is None or not (root / IMAGES).is_dir():
        raise InputError(f"{root}: needs the folders {IMAGES}/ and {MASK_FOLDERS[0]}/ (or {MASK_FOLDERS[1]}/)")
    images, masks = list_images(root / IMAGES, deep=True), list_images(mask_folder, deep=True)
    if not images:
        contents = take_stock([root / IMAGES], [], {}).summary()
        raise InputError(f"{root / IMAGES}: no images there{'; it holds ' if contents else ''}{contents}")
    found_in = _by_name((images, root / IMAGES), (masks, mask_folder)) if (root / LISTS).is_dir() else [{}, {}]
    lists = _read_lists(root / LISTS, found_in[0])
    parts = _assign_parts(lists, found_in)
    found = pair(images, masks, (root / IMAGES, mask_folder), wanted=parts)
    found.leave_out(INSTANCES, root / "SegmentationObject", root / "SegmentationObjectPNG")
    found.records += [root / LISTS / f"{name}.txt" for name in lists]
    found.parts |= {name: part for name, part in parts.items() if part}
    tested = {name for name in lists.get("test", ()) if name not in parts}
    if tested:
        found.leave_out(left_part("test"), *(files[name] for name in tested for files in found_in if name in files))
        found.notes.append(part_note(root, "test", len(tested & set(found_in[0]))))
    return found


def _by_name(*listed: tuple[Sequence[Path], Path]) -> list[dict[str, Path]]:
    """Name -> file, of the images and of the masks, each with their folder; a mask has its image's form and case."""
    images, masks = (by_stem(files, "", folder)[0] for files, folder in listed)
    meant = match_names(masks, images)
    return [images, {meant.get(name, name): file for name, file in masks.items()}]


def _read_lists(folder: Path, names: Collection[str]) -> dict[str, list[str]]:
    """List ("train", "val", "trainval", "test") -> what it names; without missing and empty ones.

    `names`: of the images; a list may name one in a folder below by its stem.
    """
    files = {name: folder / f"{name}.txt" for name in ("train", "val", "trainval", "test")}
    lists = {name: full_names(read_lines(file), names) for name, file in files.items() if file.is_file()}
    meant = match_names({one for members in lists.values() for one in members}, names)
    lists = {name: [meant.get(one, one) for one in members] for name, members in lists.items()}
    both = sorted(set(lists.get("train", ())) & set(lists.get("val", ())))
    if both:
        raise InputError(f"{folder}: {', '.join(both[:5])} in both train.txt and val.txt; keep each in one")
    return {name: members for name, members in lists.items() if members}


def _assign_parts(lists: Mapping[str, Sequence[str]], found_in: Sequence[Mapping[str, Path]]) -> dict[str, str]:
    """Name of each wanted sample -> "train", "val", or "" where no list assigns it; empty where all are wanted.

    Without one of train.txt and val.txt, the others belong to it: those of trainval.txt, or else all but those of
    test.txt. `found_in`: names of the images, and of the masks.
    """
    parts = {name: part for part in ("train", "val") for name in lists.get(part, ())}
    roles = set(parts.values())
    if len(roles) == 2 or not lists:
        return parts
    other = "" if not roles else "val" if "train" in roles else "train"
    images, masks = map(set, found_in)
    beside = {name for name in images | masks if "/" not in name} | (images & masks)
    rest = lists.get("trainval") or sorted(beside - set(lists.get("test", ())))
    return dict.fromkeys(rest, other) | parts
