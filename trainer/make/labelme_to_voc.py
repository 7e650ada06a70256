"""Writing a dataset folder: images, mask PNGs, class names and who validates."""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from trainer import IGNORE, InputError
from trainer.data.files import list_images
from trainer.data.image_io import read_header, write_jpeg, write_mask
from trainer.data.layouts.labelme_json import Annotation, find_annotations, read_annotation, read_labels
from trainer.data.layouts.labelme_shapes import rasterise
from trainer.data.sample import Sample
from trainer.data.sources import raise_all
from trainer.data.split import split_samples
from trainer.data.value_map import BACKGROUND
from trainer.system.atomic import new_folder

IMAGES, MASKS = "JPEGImages", "SegmentationClassPNG"
COPIED = {b"\xff\xd8\xff": ".jpg", b"\x89PNG\r\n\x1a\n": ".png"}
"""How image files begin that every viewer shows, and that are therefore taken over as they are."""


@dataclass(frozen=True)
class Converted:
    """What became of a folder of Labelme files."""

    pictures: int
    unlabelled: int
    """Images in the folder that no JSON file is about."""

    holders: dict[str, int]
    """Class name -> pictures in which it has pixels, in the order of the classes."""

    shared: tuple[str, ...]
    """Image files that more than one JSON file is about."""


def convert_labelme(
    folder: Path,
    out: Path,
    labels: Path,
    val_fraction: float | None,
    progress: Callable[[str, int], Callable[[], None]],
) -> Converted:
    """Turn a folder of images and Labelme JSON files into a dataset folder that appears when it is complete.

    An image and its mask are named by the stem of the JSON file. `val_fraction` in (0, 0.5]: also write ImageSets/.
    Raises one InputError for all that is wrong in the files; nothing is left behind then.
    """
    ids, files = read_labels(labels), find_annotations(folder)
    names = [name for name, number in ids.items() if 0 < number < IGNORE]
    with new_folder(out) as partial:
        (partial / IMAGES).mkdir()
        (partial / MASKS).mkdir()
        used, values = _write_pairs(files, folder, partial, ids, progress("converting", len(files)))
        _write_lines(partial / "class_names.txt", [BACKGROUND, *names])
        if val_fraction is not None:
            _write_lists(partial, val_fraction)
        unlabelled = _unlabelled(folder, used)
    counts = Counter(image for image, _, _ in used if image is not None)
    shared = tuple(sorted(image.name for image, count in counts.items() if count > 1))
    return Converted(len(used), unlabelled, {name: values[ids[name]] for name in names}, shared)


Used = tuple[Path | None, str, str]
"""The image file, None where the JSON holds it; the last part of imagePath; the JSON's stem."""


def _write_pairs(
    files: Sequence[Path], folder: Path, root: Path, ids: Mapping[str, int], advance: Callable[[], None]
) -> tuple[list[Used], Counter[int]]:
    """Write the image and mask of each JSON file; tells what was used, and in how many masks each value is.

    Raises one InputError when all files have been looked at.
    """
    problems, used, values = _doubles(files), [], Counter[int]()
    for file in files:
        try:
            annotation = read_annotation(file, folder, ids)
            if not problems:
                mask = rasterise(annotation.shapes, ids, annotation.pixels.shape[:2])
                _write_pair(root, annotation, mask)
                used.append((annotation.image, annotation.image_name, file.stem))
                values.update(np.unique(mask).tolist())
        except InputError as error:
            problems += str(error).splitlines()
        except OSError as error:
            problems.append(f"{file}: image and mask cannot be written ({error.strerror or error}); free some space")
        advance()
    raise_all(problems)
    return used, values


def _doubles(files: Sequence[Path]) -> list[str]:
    """What is wrong with the names of the JSON files, which name the masks."""
    seen: dict[str, Path] = {}
    problems = []
    for file in files:
        if file.stem in seen:
            problems.append(f"{file}: {seen[file.stem].name} has the same stem; rename or remove one")
        if not _listable(file.stem):
            problems.append(f"{str(file)!a}: a name that text files cannot hold; rename it")
        seen[file.stem] = file
    return problems


def _listable(stem: str) -> bool:
    """Whether a line of a UTF-8 text file can hold it."""
    return stem.encode(errors="replace").decode() == stem and stem.strip().splitlines() == [stem]


def _unlabelled(folder: Path, used: Sequence[Used]) -> int:
    """How many images lie, without a JSON file, in `folder` or beside one that has a JSON file."""
    taken = {image for image, _, _ in used}
    embedded = {name for image, *names in used if image is None for name in names}
    folders = {folder.resolve(), *(image.parent for image in taken if image is not None)}
    images = [image for place in folders for image in list_images(place)]
    return sum(image.resolve() not in taken and not {image.name, image.stem} & embedded for image in images)


def _write_pair(root: Path, annotation: Annotation, mask: np.ndarray) -> None:
    stem = annotation.file.stem
    suffix = next((COPIED[start] for start in COPIED if annotation.content.startswith(start)), None)
    turned = suffix is not None and read_header(annotation.file, annotation.content).orientation != 1
    target = root / IMAGES / f"{stem}{suffix or '.png'}"
    if suffix and not turned:
        target.write_bytes(annotation.content)
    elif suffix == ".jpg":
        write_jpeg(target, annotation.pixels, quality=95)
    else:
        Image.fromarray(annotation.pixels).save(target, format="PNG")
    write_mask(root / MASKS / f"{stem}.png", mask)


def _write_lists(root: Path, val_fraction: float) -> None:
    """ImageSets/Segmentation/train.txt and val.txt, by the same rule that splits folders without them."""
    images = sorted(list_images(root / IMAGES), key=lambda path: path.stem)
    samples = [Sample(path.stem, str(path), str(root / MASKS / f"{path.stem}.png")) for path in images]
    split = split_samples(samples, {}, val_fraction, fold=0)
    folder = root / "ImageSets" / "Segmentation"
    folder.mkdir(parents=True)
    _write_lines(folder / "train.txt", [samples[index].name for index in split.train])
    _write_lines(folder / "val.txt", [samples[index].name for index in split.val])


def _write_lines(file: Path, lines: Sequence[str]) -> None:
    file.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
