"""Predicted masks as files of Labelme, beside their images: outlines that a person corrects and trains with."""

import filecmp
import math
import os
import shutil
from collections.abc import Mapping, Sequence
from contextlib import suppress
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from trainer import InputError
from trainer.data.encoding import decode
from trainer.data.image_header import read_header
from trainer.data.image_io import read_image
from trainer.data.layouts.labelme import LABELS_FILE, read_labels
from trainer.data.layouts.labelme_json import make_record, read_record
from trainer.data.layouts.labelme_predicted import WAITING, mark_predicted, state_of
from trainer.data.layouts.labelme_shapes import Points, Shape, draw_shapes, pack_crop
from trainer.inference.objects import Objects
from trainer.inference.outline import simplify, trace_outlines
from trainer.system.atomic import atomic_file, write_text
from trainer.system.strips import strips

TOLERANCES = (1.0, 0.5, 0.0)
"""Errors of an outline in pixels, from the one that is tried first; the last one keeps every pixel."""

LEAST_IOU = 0.99
"""IoU of each class, as the outlines are drawn again, below which a smaller error is tried."""

LINKED = {"JPEG": (".jpg", ".jpeg"), "PNG": (".png",)}
"""Formats that every version of Labelme opens, with the suffixes that it knows them by."""

MODES = ("1", "L", "LA", "P", "RGB", "RGBA")
"""Modes of Pillow that every version of Labelme opens."""

TURNED = ("JPEG",)
"""Formats that every version of Labelme turns as their EXIF says."""


def write_labels(folder: Path, class_names: Sequence[str]) -> None:
    """Write the labels file of the classes, the background's name first."""
    names = ["__ignore__", "_background_", *class_names[1:]]
    write_text(folder / LABELS_FILE, "".join(f"{name}\n" for name in names))


def complete_labels(folder: Path, class_names: Sequence[str]) -> None:
    """Write the labels file, or add the classes that it lacks: a person may have named more of them there."""
    file = folder / LABELS_FILE
    if not file.exists():
        write_labels(folder, class_names)
        return
    known = read_labels(file)
    lacking = [name for name in class_names[1:] if name not in known]
    if lacking:
        text = decode(file.read_bytes(), file)
        write_text(file, "\n".join([text.rstrip("\r\n"), *lacking, ""]))


def labelme_record(
    mask: np.ndarray,
    objects: Objects,
    class_names: Sequence[str],
    image_name: str,
    form: str,
    model: str,
) -> dict[str, Any]:
    """Content of the JSON file of a mask, uint8 [H, W], and its objects; each is a shape, the larger ones below.

    `form`: masks, which keep every pixel, or polygons: simplified by up to a pixel, and masks for objects with holes in
    which there is background. `model`: text that tells which one it was.
    """
    shapes = _masks(objects, class_names)
    if form == "polygons":
        shapes = _polygons(mask, objects, class_names, shapes)
    record = make_record(shapes, image_name, objects.size, descriptions=[model] * len(shapes))
    return mark_predicted(record | {"predictedBy": model})


def _order(objects: Objects) -> list[int]:
    """Objects by the area of their box, the largest first: what lies in a hole is drawn after what is around it."""
    areas = objects.boxes[:, 2].astype(np.int64) * objects.boxes[:, 3]
    return np.argsort(-areas, kind="stable").tolist()


def _masks(objects: Objects, class_names: Sequence[str]) -> list[Shape]:
    """A shape of the type mask for each object, in the order of drawing."""
    runs = objects.runs_of_each()
    shapes = []
    for number in _order(objects):
        left, top, width, height = objects.boxes[number].tolist()
        corners = ((float(left), float(top)), (float(left + width - 1), float(top + height - 1)))
        crop = pack_crop(objects.crop(number, runs[number]))
        shapes.append(Shape(class_names[objects.classes[number]], "mask", corners, crop))
    return shapes


def _polygons(mask: np.ndarray, objects: Objects, class_names: Sequence[str], masks: Sequence[Shape]) -> list[Shape]:
    """A polygon for each object that has one; the others stay as they are in `masks`."""
    order = _order(objects)
    outlines = [_outline(mask, objects, number, shape) for number, shape in zip(order, masks, strict=True)]
    shapes = list(masks)
    # An object that fills a hole may touch the outside by a corner, be the larger one, and lie below: then its pixels
    # are lost, and objects with holes stay masks. Without these, outlines that keep every pixel are exact.
    for most_holes, tolerance in product((math.inf, 0), TOLERANCES):
        shapes = [
            shape if path is None or holes > most_holes else Shape(shape.label, "polygon", _points(path, tolerance))
            for (path, holes), shape in zip(outlines, masks, strict=True)
        ]
        if _agrees(shapes, mask, class_names):
            break
    return shapes


def _outline(mask: np.ndarray, objects: Objects, number: int, shape: Shape) -> tuple[np.ndarray | None, int]:
    """Path around an object, x and y [n, 2], and its number of holes; None where a hole shows background."""
    assert shape.crop is not None
    left, top, width, height = objects.boxes[number].tolist()
    paths = trace_outlines(shape.crop.pixels)
    if len(paths) > 1:
        around = Shape("", "polygon", _points(paths[0], 0))
        filled = draw_shapes([around], {"": 1}, (height, width)) > 0
        if (filled & (mask[top : top + height, left : left + width] == 0)).any():
            return None, len(paths) - 1
    return paths[0] + np.array([left, top]), len(paths) - 1


def _points(path: np.ndarray, tolerance: float) -> Points:
    """Points of a polygon, at least three: Labelme takes no fewer, also where the object is a pixel or two."""
    points = [(float(x), float(y)) for x, y in simplify(path, tolerance)]
    return tuple(points + points[-1:] * (3 - len(points)))


def _agrees(shapes: Sequence[Shape], mask: np.ndarray, class_names: Sequence[str]) -> bool:
    """Return whether the shapes, drawn again, give the mask: each class with an IoU of at least LEAST_IOU."""
    ids: Mapping[str, int] = {name: number for number, name in enumerate(class_names)}
    drawn = draw_shapes(shapes, ids, (mask.shape[0], mask.shape[1]))
    for class_id in sorted({ids[one.label] for one in shapes}):
        both = either = 0
        for rows in strips(*mask.shape):
            ours, theirs = mask[rows] == class_id, drawn[rows] == class_id
            both += int(np.count_nonzero(ours & theirs))
            either += int(np.count_nonzero(ours | theirs))
        if both < LEAST_IOU * either:
            return False
    return True


def image_place(source: Path, target: Path) -> tuple[Path, bool]:
    """Path of an image beside its JSON file, `target` with the suffix that fits; and whether it is the file itself.

    What Labelme may not open or turn as we do, pages among it, becomes a PNG.
    """
    header = read_header(source)
    opens = source.suffix.lower() in LINKED.get(header.format, ()) and header.mode in MODES
    if opens and (header.orientation == 1 or header.format in TURNED):
        return target.with_name(f"{target.name}{source.suffix}"), True
    return target.with_name(f"{target.name}.png"), False


def require_free_place(source: Path, target: Path, pixels: np.ndarray) -> None:
    """Raise InputError where `place_image` would replace another image than that of a waiting prediction.

    The JSON file of `target` is absent or waits. An image without one may be a person's only copy.
    """
    place, itself = image_place(source, target)
    if not os.path.lexists(place) or _image_of(target.with_name(f"{target.name}.json")) == Path(place.name):
        return
    with suppress(OSError, InputError):  # after a kill the image lies there already
        if os.path.samefile(place, source) or (itself and filecmp.cmp(place, source, shallow=False)):
            return
        if not itself and np.array_equal(read_image(place), pixels):
            return
    raise InputError(f"{place}: another picture, which would be replaced; move it away or give another --output")


def _image_of(file: Path) -> Path | None:
    """Image that a JSON file names; None where there is no file."""
    return Path(str(read_record(file, file.parent).get("imagePath"))) if file.exists() else None


def place_image(source: Path, target: Path, pixels: np.ndarray) -> Path:
    """Put the image of a JSON file beside it, as `image_place` says; return its path.

    A hard link where that can be made, or a copy: Labelme, and the reader of this program, find the file itself in the
    folder. A PNG is made of `pixels`, uint8 RGB [H, W, 3]. An image that lies there itself stays.
    """
    place, itself = image_place(source, target)
    if not itself:
        with atomic_file(place, durable=False) as file:  # which replaces a link to the original, never writes into it
            Image.fromarray(pixels).save(file, format="PNG", compress_level=1)
        return place
    if place.exists() and os.path.samefile(place, source):
        return place
    place.unlink(missing_ok=True)
    try:
        os.link(os.path.realpath(source), place)
    except OSError:  # another disk, or one without links
        with source.open("rb") as original, atomic_file(place, durable=False) as file:
            shutil.copyfileobj(original, file)
    return place


def has_labels(file: Path) -> bool:
    """Return whether a JSON file holds what a person did: a corrected or accepted prediction, or any other content."""
    if not file.exists():
        return False
    try:
        return state_of(read_record(file, file.parent)) != WAITING
    except InputError:  # cannot be read as Labelme's, so no prediction of this program
        return True
