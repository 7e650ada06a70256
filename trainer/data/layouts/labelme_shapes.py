"""Labelme's shapes: check the entries of a JSON file, and draw the mask that they make."""

import base64
import math
import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from reprlib import Repr

import numpy as np
from PIL import Image, ImageDraw

from trainer import InputError
from trainer.data.image_io import read_mask

LINE_WIDTH, POINT_RADIUS = 10, 5
"""Width of a line and radius of a point, in pixels, as Labelme draws them."""

FARTHEST = 100_000
"""Largest absolute coordinate, in pixels: Pillow takes minutes for larger circles, and overflows."""

POINTS: dict[str, tuple[int, float]] = {
    "polygon": (2, math.inf),  # two points occur in real files; Pillow draws a line
    "rectangle": (2, 2),
    "oriented_rectangle": (4, 4),
    "rotation": (4, 4),  # this and the next one are of X-AnyLabeling
    "quadrilateral": (4, 4),
    "circle": (2, 2),
    "line": (2, 2),
    "linestrip": (2, math.inf),
    "point": (1, 1),
    "mask": (2, 2),
}
"""Least and greatest number of points of each shape type."""

OBJECT_NUMBER = re.compile(r"(?<=.)[-_ ]\d+$")
"""End of a label that tells the objects of a class apart, as Labelme's examples have it."""

SHORT = Repr()
SHORT.maxstring = SHORT.maxother = 120
abbreviate = SHORT.repr  # a value in a file may be megabytes long, or text that a terminal cannot print

Points = tuple[tuple[float, float], ...]


@dataclass(frozen=True)
class Shape:
    """One annotated shape."""

    label: str
    kind: str
    """Shape type, a key of POINTS."""

    points: Points
    """(x, y) in pixels."""

    crop: np.ndarray | None = None
    """bool [h, w], for the type mask only: the pixels that it covers, from its first point on."""


def draw_shapes(shapes: Sequence[Shape], ids: Mapping[str, int], size: tuple[int, int]) -> np.ndarray:
    """Draw shapes into a mask of `size` (H, W), later ones over earlier ones: class ids, uint8 [H, W].

    `ids`: label -> class id. Follows labelme.utils.shape_to_mask of Labelme 7: the outline belongs to the shape, and
    parts outside the image are cut off.
    """
    mask = Image.new("L", (size[1], size[0]))
    pen = ImageDraw.Draw(mask)
    for shape in shapes:
        class_id = ids[shape.label]
        if shape.crop is not None:
            x, y = (round(number) for number in shape.points[0])
            mask.paste(class_id, (x, y), Image.fromarray(shape.crop.astype(np.uint8) * 255))
        else:
            _draw(pen, shape, class_id)
    return np.array(mask)


def _draw(pen: ImageDraw.ImageDraw, shape: Shape, class_id: int) -> None:
    points = list(shape.points)
    (x, y), (to_x, to_y) = points[0], points[-1]
    if shape.kind == "rectangle":
        corners = [min(x, to_x), min(y, to_y), max(x, to_x), max(y, to_y)]
        pen.rectangle(corners, outline=class_id, fill=class_id)
    elif shape.kind in ("circle", "point"):
        radius = math.hypot(to_x - x, to_y - y) if shape.kind == "circle" else POINT_RADIUS
        pen.ellipse([x - radius, y - radius, x + radius, y + radius], outline=class_id, fill=class_id)
    elif shape.kind in ("line", "linestrip"):
        pen.line(points, fill=class_id, width=LINE_WIDTH, joint="curve" if shape.kind == "linestrip" else None)
    else:
        pen.polygon(points, outline=class_id, fill=class_id)


def known_label(label: str, ids: Collection[str]) -> str:
    """Label among `ids` that is meant: `label` itself, or without the number of an object, as in `cat-1` for `cat`."""
    without = OBJECT_NUMBER.sub("", label)
    return without if label not in ids and without in ids else label


def check_shapes(entries: Sequence[object], ids: Mapping[str, int], file: Path) -> tuple[list[Shape], list[str]]:
    """Check the entries of `shapes` in a JSON file: the valid shapes, and a problem for each other entry.

    `ids`: label -> class id, for all labels that may occur.
    """
    shapes, problems = [], []
    for number, entry in enumerate(entries, start=1):
        try:
            shapes.append(_check_shape(entry, ids, f"{file}: shape {number}"))
        except InputError as error:
            problems.append(str(error))
    return shapes, problems


def _check_shape(entry: object, ids: Mapping[str, int], where: str) -> Shape:
    if not isinstance(entry, dict):
        raise InputError(f"{where} is {abbreviate(entry)}; take it out with Labelme")
    label, kind = entry.get("label"), entry.get("shape_type")
    if not isinstance(label, str):
        raise InputError(f"{where}: label is {abbreviate(label)}; give it a name with Labelme")
    label = known_label(label, ids)
    if label not in ids:
        near = get_close_matches(label[:100], ids, 1)
        advice = f"did you mean {near[0]}? Fix it" if near else "fix it"
        raise InputError(f"{where}: label {abbreviate(label)} is not in the labels file; {advice}, or add it there")
    kind = "polygon" if kind is None else kind
    where = f"{where} ({label})"
    if not isinstance(kind, str) or kind not in POINTS:
        raise InputError(f"{where}: shape_type {abbreviate(kind)} is unknown; there are {', '.join(POINTS)}")
    points = _check_points(entry.get("points"), where)
    if kind == "rectangle" and len(points) == 4:  # X-AnyLabeling stores all corners
        kind = "polygon"
    least, most = POINTS[kind]
    if not least <= len(points) <= most:
        wanted = f"{least}" if least == most else f"{least} or more"
        raise InputError(f"{where}: {len(points)} points; a {kind} has {wanted}. Draw it again or delete it")
    return Shape(label, kind, points, _read_crop(entry.get("mask"), f"{where}, mask") if kind == "mask" else None)


def _check_points(value: object, where: str) -> Points:
    if not isinstance(value, list):
        raise InputError(f"{where}: points is {abbreviate(value)}, not a list; draw the shape again or delete it")
    for point in value:
        # Not isinstance: True is an int. NaN, which JSON may hold, and inf from 1e999 fail the comparison.
        pair = isinstance(point, list) and len(point) == 2 and all(type(number) in (int, float) for number in point)
        if not pair or not all(abs(number) <= FARTHEST for number in point):
            raise InputError(
                f"{where}: point {abbreviate(point)} is not a position in a picture; draw the shape again or delete it"
            )
    return tuple((float(x), float(y)) for x, y in value)


def _read_crop(text: object, where: str) -> np.ndarray:
    """Decode the image in a shape of the type mask: bool [h, w]."""
    crop = read_mask(Path(where), decode_base64(text, where))
    if crop.ndim != 2:
        raise InputError(f"{where} is a colour picture; draw it again or delete it")
    return crop > 0


def decode_base64(text: object, where: str) -> bytes:
    """Decode base64 text from a JSON file; white space in it is ignored. Raises InputError naming `where`."""
    try:
        if not isinstance(text, str):
            raise ValueError(f"{type(text).__name__} instead of text")
        return base64.b64decode("".join(text.split()), validate=True)
    except ValueError as error:
        raise InputError(f"{where} is no base64 text; save the file again with Labelme") from error
