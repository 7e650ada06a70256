"""Supervisely: meta.json, and folders with img/x.jpg and ann/x.jpg.json, which holds polygons and bitmaps."""

import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from trainer import InputError
from trainer.data.files import Reason, list_files, list_folders, list_images, scan_folder
from trainer.data.image_header import read_header
from trainer.data.image_io import read_stencil
from trainer.data.layouts.base import NO_IMAGE, Found, by_stem, match_labels, merge_parts, read_json
from trainer.data.layouts.labelme_shapes import (
    Shape,
    abbreviate,
    check_shapes,
    decode_base64,
    draw_shapes,
    pack_crop,
)
from trainer.data.sample import DrawnSample
from trainer.data.value_map import BACKGROUND, BACKGROUNDS, UNMAPPED, ValueMap
from trainer.system.text import label, match_names

META = "meta.json"
IMAGES, ANNOTATIONS = "img", "ann"
REMEDY = "export it again"
KINDS = {"polygon": "polygon", "rectangle": "rectangle", "line": "linestrip", "polyline": "linestrip", "point": "point"}
"""Geometry -> Labelme's shape type; bitmaps besides."""

MOST_BITMAP_BYTES = 64_000_000
"""Largest PNG file within a bitmap, in bytes: what is compressed again may unpack to a thousand times as much."""

UNLABELLED = Reason("without an annotation", "label them", warn=True, unlabelled=True)


@dataclass(frozen=True, slots=True)
class SuperviselySample(DrawnSample):
    """An image whose mask is drawn from objects, later ones over earlier ones. `mask` is the JSON file."""

    ids: tuple[tuple[str, int], ...]
    """(label, class id) of every label."""

    def own_content(self) -> bytes:
        return repr(self.ids).encode()

    def mask_content(self) -> bytes:
        return DrawnSample.mask_content(self) + self.own_content()  # `super()` fails in classes with slots

    def read_mask(self, values: ValueMap, content: bytes | None = None) -> np.ndarray:
        return draw_objects(self.mask, dict(self.ids), read_header(self.image, self.image_content()).size)


def draw_objects(file: Path, ids: Mapping[str, int], size: tuple[int, int]) -> np.ndarray:
    """Draw the mask of one JSON file, class ids uint8 [H, W] of `size`, its image's H and W.

    `ids`: label -> class id. Raises one InputError that lists all faults, a line each.
    """
    record = read_json(file, REMEDY)
    objects = record.get("objects") if isinstance(record, dict) else None
    if not isinstance(objects, list):
        raise InputError(f"{file}: not Supervisely's, it has no list of objects; {REMEDY}")
    stated = record.get("size")
    if isinstance(stated, dict) and (stated.get("height"), stated.get("width")) != size:
        actual = f"height {size[0]} and width {size[1]}"
        raise InputError(f"{file}: for an image of {abbreviate(stated)}, but its image has {actual}; {REMEDY}")
    shapes: list[Shape] = []
    problems = []
    for number, entry in enumerate(objects, start=1):
        where = f"{file}: object {number}"
        try:
            shapes += _read_object(entry, ids, size, file, where)
        except InputError as error:
            problems.append(str(error))
    if problems:
        raise InputError("\n".join(problems))
    return draw_shapes(shapes, ids, size)


def _read_object(entry: object, ids: Mapping[str, int], size: tuple[int, int], file: Path, where: str) -> list[Shape]:
    if not isinstance(entry, dict):
        raise InputError(f"{where} is {abbreviate(entry)}; {REMEDY}")
    title, kind = entry.get("classTitle"), entry.get("geometryType")
    name = label(title) if isinstance(title, str) else ""
    if name not in ids:
        raise InputError(f"{where}: class {abbreviate(title)} is not in {META}; add it there")
    if kind == "bitmap":
        return [_read_bitmap(entry.get("bitmap"), name, size, where)]
    if not isinstance(kind, str) or kind not in KINDS:
        raise InputError(f"{where}: {abbreviate(kind)}; there are bitmap, {', '.join(KINDS)}. Convert it to a bitmap")
    points = entry.get("points")
    points = points if isinstance(points, dict) else {}
    holes = points.get("interior")
    rings = [points.get("exterior"), *(holes if isinstance(holes, list) else ())]
    entries = [{"label": name, "shape_type": KINDS[kind], "points": ring} for ring in rings]
    shapes, problems = check_shapes(entries, ids, Path(where), size)
    if problems:
        raise InputError("\n".join(problems))
    return shapes if len(shapes) == 1 else [_with_holes(shapes, size)]


def _with_holes(shapes: Sequence[Shape], size: tuple[int, int]) -> Shape:
    """A polygon without the polygons after it, as a mask, so that what lies under its holes stays."""
    rings = [Shape("hole" if number else "rest", one.kind, one.points) for number, one in enumerate(shapes)]
    crop = draw_shapes(rings, {"rest": 1, "hole": 0}, size) > 0
    return Shape(shapes[0].label, "mask", ((0.0, 0.0), (float(size[1] - 1), float(size[0] - 1))), pack_crop(crop))


def _read_bitmap(value: object, name: str, size: tuple[int, int], where: str) -> Shape:
    """A PNG file, compressed by zlib and as base64 text; its origin is the x, y of its first pixel."""
    bitmap = value if isinstance(value, dict) else {}
    origin = bitmap.get("origin")
    point = {"label": name, "shape_type": "point", "points": [origin]}
    corner, problems = check_shapes([point], {name: 1}, Path(where), size)
    if problems:
        raise InputError(problems[0])
    unpacking = zlib.decompressobj()
    try:
        content = unpacking.decompress(decode_base64(bitmap.get("data"), where), MOST_BITMAP_BYTES)
    except zlib.error as error:
        raise InputError(f"{where}: damaged bitmap ({error}); {REMEDY}") from None
    if unpacking.unconsumed_tail:
        raise InputError(f"{where}: a bitmap of more than {MOST_BITMAP_BYTES:,} bytes; {REMEDY}")
    file = Path(f"{where}, bitmap")
    if any(side > most for side, most in zip(read_header(file, content).size, size, strict=True)):
        raise InputError(f"{file}: larger than its image; {REMEDY}")
    crop = read_stencil(file, content)
    ((x, y),) = corner[0].points
    return Shape(name, "mask", ((x, y), (x + crop.shape[1] - 1, y + crop.shape[0] - 1)), pack_crop(crop > 0))


def fits(root: Path) -> bool:
    return bool(_find_datasets(root))


def find(root: Path, classes: Sequence[str] | None) -> Found:
    """Make one sample of each image with an annotation, named `<folder>/<stem>`; classes are those of meta.json."""
    folders = _find_datasets(root)
    if not folders:
        raise InputError(f"{root}: needs folders with {IMAGES}/ and {ANNOTATIONS}/, and {META} beside them")
    meta = next((file for file in (root / META, root.parent / META) if file.is_file()), None)
    labels = _read_labels(meta) if meta else _labels_of(folders)
    if not 0 < len(labels) < UNMAPPED:
        raise InputError(f"{meta or root}: {len(labels)} classes; there may be 1 to {UNMAPPED - 1}")
    class_of, notes = match_labels(labels, classes, meta or root)
    names = (BACKGROUND, *labels) if classes is None else tuple(classes)
    ids = {label: names.index(name) if name in names else 0 for label, name in class_of.items()}
    ids |= dict.fromkeys(BACKGROUNDS, 0)
    parts = {name: _make_samples(folder, tuple(ids.items())) for name, folder in folders.items()}
    found = parts[""] if "" in parts else merge_parts(parts, root)
    found.names = names
    found.notes += notes
    found.records += [meta] if meta else []
    return found


def _find_datasets(root: Path) -> dict[str, Path]:
    """Name of each dataset -> its folder; the only name is "" where `root` is one."""
    folders = {"": root} if _is_dataset(root) else {path.name: path for path in list_folders(root)}
    return {name: folder for name, folder in folders.items() if _is_dataset(folder)}


def _is_dataset(folder: Path) -> bool:
    if not (folder / IMAGES).is_dir() or not (folder / ANNOTATIONS).is_dir():
        return False
    return any(entry.name.lower().endswith(".json") for entry in scan_folder(folder / ANNOTATIONS))


def _read_labels(meta: Path) -> list[str]:
    """Titles of the classes in meta.json, in its order, without the background."""
    record = read_json(meta, REMEDY)
    entries = record.get("classes") if isinstance(record, dict) else None
    entries = entries if isinstance(entries, list) else []
    titles = [entry["title"] for entry in entries if isinstance(entry, dict) and isinstance(entry.get("title"), str)]
    if not titles or len(titles) < len(entries):
        raise InputError(f"{meta}: no list of classes with titles; {REMEDY}")
    return [title for title in dict.fromkeys(map(label, titles)) if title not in BACKGROUNDS]


def _labels_of(folders: Mapping[str, Path]) -> list[str]:
    """Titles of the objects' classes, sorted, where there is no meta.json."""
    labels: set[str] = set()
    for folder in folders.values():
        for file in sorted((folder / ANNOTATIONS).glob("*.json")):
            record = read_json(file, REMEDY)
            objects = record.get("objects") if isinstance(record, dict) else None
            titles = [one.get("classTitle") for one in objects or () if isinstance(one, dict)]
            labels |= {label(title) for title in titles if isinstance(title, str)}
    return sorted(labels - set(BACKGROUNDS))


def _make_samples(folder: Path, ids: tuple[tuple[str, int], ...]) -> Found:
    images, problems = by_stem(list_images(folder / IMAGES))
    found = Found(problems=problems)
    stored = {file.stem: file for file in list_files(folder / ANNOTATIONS, (".json",))}
    meant = match_names(stored, [*images, *(image.name for image in images.values())])
    file_of = {meant[name]: file for name, file in stored.items() if name in meant}
    found.leave_out(NO_IMAGE, *(file for name, file in stored.items() if name not in meant))
    for stem, image in images.items():
        file = file_of.get(image.name) or file_of.get(stem)  # the second form is older
        if file is None:
            found.leave_out(UNLABELLED, image)
        else:
            found.samples.append(SuperviselySample(stem, str(image), str(file), ids))
    return found
