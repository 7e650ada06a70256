"""Convert a folder of Labelme files to a Pascal VOC folder: images, mask PNGs, class names and split lists."""

import os
from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from trainer import IGNORE, InputError
from trainer.data.account import Account, take_stock
from trainer.data.class_names import CLASS_NAMES_FILE
from trainer.data.files import Reason, list_images
from trainer.data.image_header import read_header
from trainer.data.image_io import write_jpeg, write_mask
from trainer.data.layouts.base import by_stem, stem_below
from trainer.data.layouts.labelme import read_labels, waiting_note
from trainer.data.layouts.labelme_json import (
    Annotation,
    NotLabelme,
    find_annotations,
    image_path,
    read_annotation,
    read_record,
)
from trainer.data.layouts.labelme_predicted import WAITING, state_of
from trainer.data.layouts.labelme_shapes import draw_shapes
from trainer.data.layouts.voc import IMAGES, MASKS
from trainer.data.sample import Sample
from trainer.data.sources import raise_all
from trainer.data.split import split_samples
from trainer.data.value_map import BACKGROUND
from trainer.system.atomic import new_folder, why_not_written
from trainer.system.parallel import Progress
from trainer.system.text import messages

COPIED = {b"\xff\xd8\xff": ".jpg", b"\x89PNG\r\n\x1a\n": ".png"}
"""First bytes -> suffix of the image files that every viewer shows; they are copied unchanged."""

CONVERTED = Reason("converted before")


@dataclass(frozen=True)
class Converted:
    """Summary of a conversion."""

    images: int
    unlabelled: tuple[Path, ...]
    """Images in the folder, and below, without a JSON file."""

    waiting: tuple[Path, ...]
    """JSON files with predictions that nobody has looked at yet; they are not converted."""

    images_per_class: dict[str, int]
    """Class name -> number of images in which it has pixels, in the order of the classes."""

    shared: tuple[str, ...]
    """Names of image files that several JSON files refer to."""

    account: Account
    """Files of the folder that were not converted, and why."""


@dataclass(frozen=True)
class _Source:
    """Origin of one converted image."""

    file: Path
    """JSON file."""

    image_file: Path | None
    """None where the image is embedded in the JSON file."""

    image_name: str
    """Last part of imagePath; "" where there is no imagePath."""

    name: str
    """Stem of the JSON file; for one in a folder below with the path before it."""


def convert_labelme(folder: Path, out: Path, labels: Path, val_fraction: float | None, progress: Progress) -> Converted:
    """Convert a folder of images and Labelme JSON files to a dataset folder, which appears when it is complete.

    An image and its mask are named by the stem of the JSON file; folders below are kept. `val_fraction` in (0, 0.5]:
    also write ImageSets/. Raises one InputError that lists all faults of the files; `out` is not created then.
    """
    ids = read_labels(labels)
    files, waiting = _divide(find_annotations(folder, deep=True), folder)
    names = [name for name, class_id in ids.items() if 0 < class_id < IGNORE]
    with new_folder(out) as partial:
        sources, masks_with = _write_pairs(files, folder, partial, ids, progress("converting", len(files)))
        _write_lines(partial / CLASS_NAMES_FILE, [BACKGROUND, *names])
        if val_fraction is not None:
            _write_lists(partial, val_fraction)
    uses = Counter(source.image_file for source in sources if source.image_file is not None)
    shared = tuple(sorted(file.name for file, count in uses.items() if count > 1))
    beside, unlabelled = _find_others(folder, sources, {*waiting.values()}, out)
    used = [str(path) for one in sources for path in (one.file, one.image_file) if path is not None]
    used += [str(path) for pair in waiting.items() for path in pair]
    account = take_stock([folder], [*used, str(labels), *map(str, beside + unlabelled)], {str(out): CONVERTED})
    images_per_class = {name: masks_with[ids[name]] for name in names}
    return Converted(len(sources), tuple(unlabelled), tuple(waiting), images_per_class, shared, account)


def _divide(files: Sequence[Path], folder: Path) -> tuple[list[Path], dict[Path, Path]]:
    """Files to convert, and those with predictions that nobody has looked at yet -> their resolved images.

    Raises InputError where there are none but the latter.
    """
    waiting: dict[Path, Path] = {}
    for file in files:
        with suppress(InputError):  # faults are listed where the file is converted
            record = read_record(file, folder)
            if state_of(record) == WAITING:
                waiting[file] = image_path(file, folder, record) or file
    if files and len(waiting) == len(files):
        raise InputError(waiting_note(folder, list(waiting)))
    return [file for file in files if file not in waiting], waiting


def _write_pairs(
    files: Sequence[Path], folder: Path, root: Path, ids: Mapping[str, int], advance: Callable[[], None]
) -> tuple[list[_Source], Counter[int]]:
    """Write the image and the mask of each JSON file; return the sources, and the number of masks with each class id.

    Raises one InputError after all files have been read.
    """
    _, problems = by_stem(files, folder=folder)
    problems += [
        f"{str(file)!a}: a name that text files cannot hold; rename it" for file in files if not _listable(file)
    ]
    sources: list[_Source] = []
    masks_with = Counter[int]()
    for file in files:
        try:
            annotation = read_annotation(file, folder, ids)
            if not problems:
                source = _Source(file, annotation.image_file, annotation.image_name, stem_below(file, folder))
                mask = draw_shapes(annotation.shapes, ids, annotation.image.shape[:2])
                _write_pair(root, source.name, annotation, mask)
                sources.append(source)
                masks_with.update(np.unique(mask).tolist())
        except NotLabelme as error:
            problems += [str(error)] if file.parent == folder else []
        except InputError as error:
            problems += messages(str(error))
        except OSError as error:
            problems.append(f"{file}: image and mask: {why_not_written(root, error)}")
        advance()
    raise_all(problems)
    return sources, masks_with


def _listable(file: Path) -> bool:
    """Return True if the stem survives being written as a line of a UTF-8 text file."""
    stem = file.stem
    return stem.encode(errors="replace").decode() == stem and stem.strip().splitlines() == [stem]


def _write_pair(root: Path, name: str, annotation: Annotation, mask: np.ndarray) -> None:
    """Write an image and its mask; the image is encoded anew only for another format or an EXIF orientation."""
    content = annotation.image_content
    suffix = next((suffix for start, suffix in COPIED.items() if content.startswith(start)), None)
    turned = suffix is not None and read_header(annotation.file, content).orientation != 1
    target, mask_file = root / IMAGES / f"{name}{suffix or '.png'}", root / MASKS / f"{name}.png"
    for file in (target, mask_file):
        file.parent.mkdir(parents=True, exist_ok=True)
    if suffix and not turned:
        target.write_bytes(content)
    elif suffix == ".jpg":
        write_jpeg(target, annotation.image, quality=95)
    else:
        Image.fromarray(annotation.image).save(target, format="PNG")
    write_mask(mask_file, mask)


def _find_others(
    folder: Path, sources: Sequence[_Source], waiting: Collection[Path], out: Path
) -> tuple[list[Path], list[Path]]:
    """Images in `folder` and below, but not in `out`: those that a JSON file holds too, those that none is about.

    `waiting`: resolved images of predictions, which are neither.
    """
    used = {source.image_file for source in sources if source.image_file is not None} | {*waiting}
    embedded = {name for one in sources if one.image_file is None for name in (one.image_name, one.file.stem)}
    images = [file for file in list_images(folder, deep=True) if Path(os.path.realpath(file)) not in used]
    beside = [image for image in images if {image.name, image.stem} & embedded]
    known = set(beside)
    return beside, [image for image in images if image not in known and not image.is_relative_to(out)]


def _write_lists(root: Path, val_fraction: float) -> None:
    """Write ImageSets/Segmentation/train.txt and val.txt, split by the rule for folders without such lists."""
    images = {stem_below(path, root / IMAGES): path for path in list_images(root / IMAGES, deep=True)}
    samples = [Sample(name, str(images[name]), str(root / MASKS / f"{name}.png")) for name in sorted(images)]
    split = split_samples(samples, {}, val_fraction, fold=0)
    folder = root / "ImageSets" / "Segmentation"
    folder.mkdir(parents=True)
    _write_lines(folder / "train.txt", [samples[index].name for index in split.train])
    _write_lines(folder / "val.txt", [samples[index].name for index in split.val])


def _write_lines(file: Path, lines: Sequence[str]) -> None:
    file.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
