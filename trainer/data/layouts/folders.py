"""Two parallel folders, images and masks; optionally with the parts train and val within or above them."""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from trainer import InputError
from trainer.data.files import is_hidden, list_folders, list_images, scan_folder, why_no_image
from trainer.data.layouts.base import PARTS, Found, merge_parts, pair

IMAGES = ("images", "image", "imgs", "img", "img_dir", "jpegimages", "photos", "pictures")
"""Names of image folders, in lower case; earlier ones take precedence."""

MASKS = (
    *("masks", "mask", "labels", "label", "annotations", "annotation", "ann_dir"),
    *("gt", "gts", "ground_truth", "groundtruth", "segmentations", "segmentation"),
)
"""Names of mask folders, in lower case; earlier ones take precedence."""

PARTS_BY = "folders train/ and val/"
TRIED = 200
"""Number of stems, of all that there are, whose endings are compared."""

MOST_ENDINGS = 8
"""Endings that are tried: each takes a pass over all names."""


def fits(root: Path) -> bool:
    """Return True if `root`, or a part within it, has an image folder and a mask folder that hold image files."""
    return any(masks is not None for _, masks in _find_folders(root).values())


def find(root: Path, classes: Sequence[str] | None) -> Found:
    """Pair images and masks by stem; an ending that most masks' names share, such as `_mask`, is not part of the stem.

    Samples in parts are named `train/<stem>` and `val/<stem>`.
    """
    folders = _find_folders(root)
    if not folders:
        raise InputError(f"{root}: needs the folders images/ and masks/, or train/ and val/, with pictures in them")
    found = {part: pair_folders(*pair_of_folders) for part, pair_of_folders in folders.items()}
    return found[""] if "" in found else merge_parts(found, root)


def _find_folders(root: Path) -> dict[str, tuple[Path, Path | None]]:
    """Part -> its image folder and its mask folder; the only part is "" where the folder has no parts."""
    images, masks = first_filled(root, IMAGES), first_filled(root, MASKS)
    if images and masks:
        return {"": (images, masks)}
    parts: dict[str, tuple[Path, Path | None]] = {}
    for part, folder in _part_folders(root).items():
        inside = first_filled(folder, IMAGES)
        if inside:
            parts[part] = inside, first_filled(folder, MASKS)
    if parts:
        return parts
    masks_by_role = {PARTS[part]: folder for part, folder in _first_with_parts(root, MASKS).items()}
    parts = {part: (folder, masks_by_role.get(PARTS[part])) for part, folder in _first_with_parts(root, IMAGES).items()}
    images, masks = first_filled(root, IMAGES, deep=True), first_filled(root, MASKS, deep=True)
    return {"": (images, masks)} if images and masks and not parts else parts


def _subfolders(folder: Path) -> dict[str, Path]:
    """Lower-case name -> folder directly in `folder`; hidden ones are left out."""
    return {path.name.lower(): path for path in list_folders(folder) if not is_hidden(path.name)}


def _part_folders(folder: Path) -> dict[str, Path]:
    return {name: path for name, path in _subfolders(folder).items() if name in PARTS}


def first_filled(folder: Path, names: Sequence[str], deep: bool = False) -> Path | None:
    """First folder of these names that holds image files; `deep`: itself or in folders below."""
    subfolders = _subfolders(folder)
    folders = (subfolders[name] for name in names if name in subfolders)
    return next((path for path in folders if holds_images(path) or (deep and list_images(path, deep=True))), None)


def _first_with_parts(folder: Path, names: Sequence[str]) -> dict[str, Path]:
    """Part -> its folder, within the first folder of these names that has parts with image files."""
    subfolders = _subfolders(folder)
    for name in names:
        inside = _part_folders(subfolders[name]) if name in subfolders else {}
        parts = {part: path for part, path in inside.items() if holds_images(path)}
        if any(PARTS[part] for part in parts):  # a test part alone may lie beside folders of other names
            return parts
    return {}


def holds_images(folder: Path) -> bool:
    """Return True if image files lie directly in `folder`."""
    return any(why_no_image(entry) is None for entry in scan_folder(folder))


def pair_folders(image_folder: Path, mask_folder: Path | None) -> Found:
    """Pair the images and masks of two folders by stem, without the endings that most of their names share."""
    if mask_folder is None:
        return Found(problems=[f"{image_folder}: there is no folder of masks for it; add one or move the images out"])
    images, masks = list_images(image_folder, deep=True), list_images(mask_folder, deep=True)
    endings = _find_endings([file.stem for file in images], [file.stem for file in masks])
    found = pair(images, masks, (image_folder, mask_folder), endings=endings)
    for folder, ending, of_image in ((image_folder, endings[0], True), (mask_folder, endings[1], False)):
        files = (sample.image_file if of_image else sample.mask_file for sample in found.samples)
        odd = [file for file in files if not Path(file).stem.endswith(ending)] if ending else []
        if odd:
            name = Path(odd[0]).name
            found.notes.append(f"{folder}: {len(odd)} without the ending {ending} of the others, such as {name}; used")
    return found


def _find_endings(images: Sequence[str], masks: Sequence[str]) -> tuple[str, str]:
    """Ending of the image stems and ending of the mask stems: the shortest ones that pair most stems."""
    best, most = ("", ""), -1
    # All images may have as many masks, x_mask and x_mask_1: each ending is that of a part of the masks only.
    share = min(1.0, len(images) / max(1, len(masks)))
    for image_ending in _frequent_endings(images):
        stems = {stem.removesuffix(image_ending) for stem in images}
        for mask_ending in _frequent_endings(masks, share):
            paired = len(stems & {stem.removesuffix(mask_ending) for stem in masks})
            shorter = paired == most and len(image_ending + mask_ending) < len("".join(best))
            if paired > most or shorter:
                best, most = (image_ending, mask_ending), paired
    return best


def _frequent_endings(stems: Sequence[str], share: float = 1.0) -> list[str]:
    """Endings that most of a `share` of `stems` have and that begin with a separator; "" is the first."""
    some = stems[:: max(1, len(stems) // TRIED)]
    counts = Counter(stem[start:] for stem in some for start, sign in enumerate(stem) if start and sign in "_-. ")
    return ["", *(ending for ending, count in counts.most_common(MOST_ENDINGS) if count > share * len(some) / 2)]
