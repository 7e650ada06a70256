"""Convert a folder of Labelme files to a Pascal VOC folder: images, mask PNGs, class names and split lists."""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from trainer import IGNORE, InputError
from trainer.data.class_names import CLASS_NAMES_FILE
from trainer.data.files import list_images
from trainer.data.image_io import read_header, write_jpeg, write_mask
from trainer.data.layouts.base import by_stem
from trainer.data.layouts.labelme import read_labels
from trainer.data.layouts.labelme_json import Annotation, find_annotations, read_annotation
from trainer.data.layouts.labelme_shapes import draw_shapes
from trainer.data.layouts.voc import IMAGES, MASKS
from trainer.data.sample import Sample
from trainer.data.sources import raise_all
from trainer.data.split import split_samples
from trainer.data.value_map import BACKGROUND
from trainer.system.atomic import new_folder
from trainer.system.parallel import Progress
from trainer.system.text import messages

COPIED = {b"\xff\xd8\xff": ".jpg", b"\x89PNG\r\n\x1a\n": ".png"}
"""First bytes -> suffix of the image files that every viewer shows; they are copied unchanged."""


@dataclass(frozen=True)
class Converted:
    """Summary of a conversion."""

    images: int
    unlabelled: int
    """Number of images in the folder without a JSON file."""

    images_per_class: dict[str, int]
    """Class name -> number of images in which it has pixels, in the order of the classes."""

    shared: tuple[str, ...]
    """Names of image files that several JSON files refer to."""


@dataclass(frozen=True)
class _Source:
    """Origin of one converted image."""

    image_file: Path | None
    """None where the image is embedded in the JSON file."""

    image_name: str
    """Last part of imagePath; "" where there is no imagePath."""

    stem: str
    """Stem of the JSON file."""


def convert_labelme(folder: Path, out: Path, labels: Path, val_fraction: float | None, progress: Progress) -> Converted:
    """Convert a folder of images and Labelme JSON files to a dataset folder, which appears when it is complete.

    An image and its mask are named by the stem of the JSON file. `val_fraction` in (0, 0.5]: also write ImageSets/.
    Raises one InputError that lists all faults of the files; `out` is not created then.
    """
    ids, files = read_labels(labels), find_annotations(folder)
    names = [name for name, class_id in ids.items() if 0 < class_id < IGNORE]
    with new_folder(out) as partial:
        (partial / IMAGES).mkdir()
        (partial / MASKS).mkdir()
        sources, masks_with = _write_pairs(files, folder, partial, ids, progress("converting", len(files)))
        _write_lines(partial / CLASS_NAMES_FILE, [BACKGROUND, *names])
        if val_fraction is not None:
            _write_lists(partial, val_fraction)
        unlabelled = _count_unlabelled(folder, sources)
    uses = Counter(source.image_file for source in sources if source.image_file is not None)
    shared = tuple(sorted(file.name for file, count in uses.items() if count > 1))
    return Converted(len(sources), unlabelled, {name: masks_with[ids[name]] for name in names}, shared)


def _write_pairs(
    files: Sequence[Path], folder: Path, root: Path, ids: Mapping[str, int], advance: Callable[[], None]
) -> tuple[list[_Source], Counter[int]]:
    """Write the image and the mask of each JSON file; return the sources, and the number of masks with each class id.

    Raises one InputError after all files have been read.
    """
    _, problems = by_stem(files)
    problems += [
        f"{str(file)!a}: a name that text files cannot hold; rename it" for file in files if not _listable(file)
    ]
    sources: list[_Source] = []
    masks_with = Counter[int]()
    for file in files:
        try:
            annotation = read_annotation(file, folder, ids)
            if not problems:
                mask = draw_shapes(annotation.shapes, ids, annotation.image.shape[:2])
                _write_pair(root, annotation, mask)
                sources.append(_Source(annotation.image_file, annotation.image_name, file.stem))
                masks_with.update(np.unique(mask).tolist())
        except InputError as error:
            problems += messages(str(error))
        except OSError as error:
            problems.append(f"{file}: image and mask cannot be written ({error.strerror or error}); free some space")
        advance()
    raise_all(problems)
    return sources, masks_with


def _listable(file: Path) -> bool:
    """Return True if the stem survives being written as a line of a UTF-8 text file."""
    stem = file.stem
    return stem.encode(errors="replace").decode() == stem and stem.strip().splitlines() == [stem]


def _write_pair(root: Path, annotation: Annotation, mask: np.ndarray) -> None:
    """Write an image and its mask; the image is encoded anew only for another format or an EXIF orientation."""
    stem, content = annotation.file.stem, annotation.image_content
    suffix = next((suffix for start, suffix in COPIED.items() if content.startswith(start)), None)
    turned = suffix is not None and read_header(annotation.file, content).orientation != 1
    target = root / IMAGES / f"{stem}{suffix or '.png'}"
    if suffix and not turned:
        target.write_bytes(content)
    elif suffix == ".jpg":
        write_jpeg(target, annotation.image, quality=95)
    else:
        Image.fromarray(annotation.image).save(target, format="PNG")
    write_mask(root / MASKS / f"{stem}.png", mask)


def _count_unlabelled(folder: Path, sources: Sequence[_Source]) -> int:
    """Number of images without a JSON file, in `folder` and in the folders of the images that have one."""
    used = {source.image_file for source in sources if source.image_file is not None}
    embedded = {name for one in sources if one.image_file is None for name in (one.image_name, one.stem)}
    folders = {folder.resolve(), *(file.parent for file in used)}
    images = [image for place in folders for image in list_images(place)]
    return sum(image.resolve() not in used and not {image.name, image.stem} & embedded for image in images)


def _write_lists(root: Path, val_fraction: float) -> None:
    """Write ImageSets/Segmentation/train.txt and val.txt, split by the rule for folders without such lists."""
    images = sorted(list_images(root / IMAGES), key=lambda path: path.stem)
    samples = [Sample(path.stem, str(path), str(root / MASKS / f"{path.stem}.png")) for path in images]
    split = split_samples(samples, {}, val_fraction, fold=0)
    folder = root / "ImageSets" / "Segmentation"
    folder.mkdir(parents=True)
    _write_lines(folder / "train.txt", [samples[index].name for index in split.train])
    _write_lines(folder / "val.txt", [samples[index].name for index in split.val])


def _write_lines(file: Path, lines: Sequence[str]) -> None:
    file.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
