"""Labelme's shapes: check the entries of a JSON file, and draw the mask that they make."""

import base64
import io
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
from trainer.data.image_header import read_size
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


MOST_CROPPED = 1_000_000_000
"""Pixels of all shapes of the type mask in one file together."""

MOST_WORK = 10_000_000_000
"""Work of drawing all shapes of one file, in filled pixels: some ten seconds."""

TOO_MUCH = "the shapes up to here are too much to draw; remove some, or the file"

ROW_WORK = 200
"""Work of each row that an outline crosses, in filled pixels."""

FAR_CIRCLE = 4
"""Radius, in sides of the image, from which a circle's rim is nearly straight in it; Pillow walks along all of it."""


@dataclass(frozen=True)
class Crop:
    """Pixels that a shape of the type mask covers; in bits, for a file may have many of the size of its image."""

    bits: np.ndarray
    """uint8, as np.packbits makes them."""

    size: tuple[int, int]
    """h, w."""

    @property
    def pixels(self) -> np.ndarray:
        """bool [h, w]."""
        height, width = self.size
        return np.unpackbits(self.bits, count=height * width).reshape(height, width).astype(bool)


def pack_crop(pixels: np.ndarray) -> Crop:
    """Crop of the pixels that are true in `pixels`, bool [h, w]."""
    return Crop(np.packbits(pixels), (pixels.shape[0], pixels.shape[1]))


@dataclass(frozen=True)
class Shape:
    """One annotated shape."""

    label: str
    kind: str
    """Shape type, a key of POINTS."""

    points: Points
    """(x, y) in pixels."""

    crop: Crop | None = None
    """For the type mask only: the pixels that it covers, from its first point on."""


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
            mask.paste(class_id, (x, y), Image.fromarray(shape.crop.pixels))
        elif shape.kind == "circle" and _radius(shape) > FAR_CIRCLE * sum(size):
            mask.paste(class_id, (0, 0), Image.fromarray(_inside_circle(shape, size)))
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
        radius = _radius(shape) if shape.kind == "circle" else POINT_RADIUS
        pen.ellipse([x - radius, y - radius, x + radius, y + radius], outline=class_id, fill=class_id)
    elif shape.kind in ("line", "linestrip"):
        pen.line(points, fill=class_id, width=LINE_WIDTH, joint="curve" if shape.kind == "linestrip" else None)
    else:
        pen.polygon(points, outline=class_id, fill=class_id)


def _radius(circle: Shape) -> float:
    (x, y), (to_x, to_y) = circle.points
    return math.hypot(to_x - x, to_y - y)


def _inside_circle(circle: Shape, size: tuple[int, int]) -> np.ndarray:
    """Pixels of an image of `size` whose centres lie in a circle, bool [H, W]."""
    x, y = circle.points[0]
    rows, columns = ((np.arange(side) - at) ** 2 for side, at in zip(size, (y, x), strict=True))
    return rows[:, None] <= _radius(circle) ** 2 - columns


def _work(shape: Shape, size: tuple[int, int]) -> int:
    """Work of drawing, about, in units of a pixel that is filled: those of the bounding box, and all crossed rows."""
    reach = _radius(shape) if shape.kind == "circle" else LINE_WIDTH
    places = np.array(shape.points)[:, ::-1]  # y, x
    least, most = np.clip(places.min(axis=0) - reach, 0, size), np.clip(places.max(axis=0) + reach, 0, size)
    crossed = np.abs(np.diff(np.clip(places[:, 0], 0, size[0]))).sum() + len(places)
    return int((most - least).prod() + ROW_WORK * crossed)


def known_label(label: str, ids: Collection[str]) -> str:
    """Label among `ids` that is meant: `label` itself, or without the number of an object, as in `cat-1` for `cat`."""
    without = OBJECT_NUMBER.sub("", label)
    return without if label not in ids and without in ids else label


def check_shapes(
    entries: Sequence[object], ids: Mapping[str, int], file: Path, size: tuple[int, int] | None
) -> tuple[list[Shape], list[str]]:
    """Check the entries of `shapes` in a JSON file: the valid shapes, and a problem for each other entry.

    `ids`: label -> class id, for all labels that may occur. `size`: H, W of the image; None where it cannot be read.
    """
    shapes, problems = [], []
    cropped = 0
    for number, entry in enumerate(entries, start=1):
        where = f"{file}: shape {number}"
        try:
            shape = _check_shape(entry, ids, where, size)
            cropped += math.prod(shape.crop.size) if shape.crop else 0
            if cropped > MOST_CROPPED:
                problems.append(f"{where}: {TOO_MUCH}")
                break
            shapes.append(shape)
        except InputError as error:
            problems.append(str(error))
    if size is not None:
        try:
            require_drawable(shapes, size, file)
        except InputError as error:
            problems.append(str(error))
    return shapes, problems


def require_drawable(shapes: Sequence[Shape], size: tuple[int, int], file: Path) -> None:
    """Raise InputError naming `file` where drawing its shapes takes too long in an image of `size`, H, W."""
    work = 0
    for number, shape in enumerate(shapes, start=1):
        work += _work(shape, size)
        if work > MOST_WORK:
            raise InputError(f"{file}: shape {number}: {TOO_MUCH}")


def _check_shape(entry: object, ids: Mapping[str, int], where: str, size: tuple[int, int] | None) -> Shape:
    if not isinstance(entry, dict):
        raise InputError(f"{where} is {abbreviate(entry)}; take it out with Labelme")
    label, kind = entry.get("label"), entry.get("shape_type")
    if not isinstance(label, str) or not label:
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
    crop = _read_crop(entry.get("mask"), f"{where}, mask", size) if kind == "mask" and size else None
    return Shape(label, kind, points, crop)


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


def _read_crop(text: object, where: str, size: tuple[int, int]) -> Crop:
    """Decode the image in a shape of the type mask, which is part of an image of `size` (H, W)."""
    content = decode_base64(text, where)
    height, width = read_size(Path(where), content)
    if height > size[0] or width > size[1]:
        picture = f"{size[1]}x{size[0]}"
        raise InputError(f"{where}: {width}x{height} pixels, its picture has {picture}; draw it again or delete it")
    crop = read_mask(Path(where), content)
    if crop.ndim != 2:
        raise InputError(f"{where} is a colour picture; draw it again or delete it")
    return pack_crop(crop > 0)


def encode_crop(crop: Crop) -> str:
    """Base64 text of a crop as a PNG of one channel, 255 where it covers, as the field `mask` of a shape holds it."""
    content = io.BytesIO()
    Image.fromarray(crop.pixels.astype(np.uint8) * 255).save(content, format="PNG")
    return base64.b64encode(content.getvalue()).decode()


def decode_base64(text: object, where: str) -> bytes:
    """Decode base64 text from a JSON file; white space in it is ignored. Raises InputError naming `where`."""
    try:
        if not isinstance(text, str):
            raise ValueError(f"{type(text).__name__} instead of text")
        return base64.b64decode("".join(text.split()), validate=True)
    except ValueError as error:
        raise InputError(f"{where} is not base64 text; save the file again with Labelme") from error
