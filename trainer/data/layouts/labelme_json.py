"""Labelme's JSON files: what is outlined in a picture, and the mask that it makes.

A file comes from anywhere, so nothing in it is trusted: no path leads out of the annotated folder, and whatever is
wrong becomes an InputError that names the file, the fault and the remedy.
"""

import base64
import json
import math
import os
from collections.abc import Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path, PureWindowsPath
from reprlib import Repr
from typing import Any

import numpy as np

from trainer import IGNORE, InputError
from trainer.data.files import read_lines
from trainer.data.image_io import read_header, read_image, read_mask
from trainer.data.layouts.labelme_shapes import FARTHEST, POINTS, Points, Shape, rasterise
from trainer.data.value_map import BACKGROUND, UNMAPPED

IGNORED = "__ignore__"
MAX_BYTES = 100_000_000
"""Larger JSON files are refused: parsing takes many times their size in memory."""

SHORT = Repr()
SHORT.maxstring = SHORT.maxother = 120
shown = SHORT.repr  # what stands in a file may be megabytes long, or no text that a terminal can print


@dataclass(frozen=True)
class Annotation:
    """One JSON file, checked, with its picture."""

    file: Path
    image_name: str
    """The last part of imagePath; "" where there is none."""

    image: Path | None
    """None where the picture is within the JSON file."""

    content: bytes
    """The bytes of the image file."""

    pixels: np.ndarray
    """The image, uint8 [H, W, 3], upright."""

    shapes: tuple[Shape, ...]


def read_labels(file: Path) -> dict[str, int]:
    """Label -> class id from a labels.txt: the order counts, `__ignore__` is 255 and `_background_` 0.

    Raises InputError naming the file.
    """
    names = read_lines(file)
    classes = [name for name in names if name not in (IGNORED, BACKGROUND, "background")]
    twice = sorted({name for name in classes if classes.count(name) > 1})
    if twice:
        raise InputError(f"{file}: {', '.join(twice)} twice; name each class once")
    if not 0 < len(classes) < UNMAPPED:
        raise InputError(f"{file}: {len(classes)} classes; name 1 to {UNMAPPED - 1}, one a line, besides {BACKGROUND}")
    reserved = {IGNORED: IGNORE, BACKGROUND: 0} | ({"background": 0} if "background" in names else {})
    return reserved | {name: number for number, name in enumerate(classes, start=1)}


def find_annotations(folder: Path) -> list[Path]:
    """The JSON files directly in `folder`, sorted by name; hidden files left out. Raises InputError without any."""
    if not folder.is_dir():
        raise InputError(f"{folder}: no such folder; give the one that holds Labelme's JSON files")
    try:
        names = sorted(name for name in os.listdir(folder) if name.lower().endswith(".json") and name[0] != ".")
    except OSError as error:
        raise InputError(f"{folder}: cannot be read ({error.strerror}); allow it") from error
    if not names:
        below = next((top for top, _, names in os.walk(folder) if any(name.endswith(".json") for name in names)), None)
        advice = f"give {below}, which has some" if below else "label pictures with Labelme first"
        raise InputError(f"{folder}: no JSON files there; {advice}")
    return [folder / name for name in names]


def read_annotation(file: Path, folder: Path, ids: Mapping[str, int]) -> Annotation:
    """Read and check one JSON file directly in `folder`, and the image that it is about, which must lie in `folder`.

    `ids`: label -> class id. Raises one InputError for all that is wrong, a line each.
    """
    record = read_record(file, folder)
    shapes, problems = _shapes(file, record, ids)
    try:
        image, content = image_bytes(file, folder, record)
        pixels = read_image(image or Path(f"{file} (imageData)"), content)
        problems += _size_problems(file, record, pixels.shape[:2])
    except InputError as error:
        problems.append(str(error))
    if problems:
        raise InputError("\n".join(problems))
    path = record.get("imagePath")
    name = PureWindowsPath(path).name if isinstance(path, str) else ""
    return Annotation(file, name, image, content, pixels, tuple(shapes))


def read_shapes(file: Path, folder: Path, ids: Mapping[str, int]) -> np.ndarray:
    """The mask that one JSON file makes, class ids uint8 [H, W] of its image's size; the image is not decoded.

    `ids`: label -> class id. Raises one InputError for all that is wrong, a line each.
    """
    record = read_record(file, folder)
    shapes, problems = _shapes(file, record, ids)
    image, content = image_bytes(file, folder, record)
    size = read_header(image or file, content).size
    problems += _size_problems(file, record, size)
    if problems:
        raise InputError("\n".join(problems))
    return rasterise(shapes, ids, size)


# ------------------------------------------------------------------------------------------------ checks


def read_record(file: Path, folder: Path) -> dict[str, Any]:
    """The JSON object in `file` directly in `folder`, which has a list of shapes. Raises InputError naming the file."""
    content = _bytes(_inside(file, folder, file), MAX_BYTES)
    try:
        record = json.loads(content)
    except RecursionError:
        raise InputError(f"{file}: nested too deeply for a Labelme file; remove it") from None
    except ValueError as error:
        raise InputError(f"{file}: no valid JSON ({error}); save it again with Labelme or remove it") from None
    if not isinstance(record, dict) or not isinstance(record.get("shapes"), list):
        raise InputError(f"{file}: not a Labelme file, it has no list of shapes; move it out of the folder")
    return record


def _inside(path: Path, folder: Path, file: Path) -> Path:
    """`path` without links, if it is a file in `folder`; nothing is opened to find out."""
    try:
        resolved, top = path.resolve(), folder.resolve()
        if not resolved.is_relative_to(top):
            fault = "is a link out of the folder; put the file itself there"
        elif not resolved.is_file():
            fault = f"is no file in {folder}; put the file there or remove {file.name}"
        else:
            return resolved
    except (OSError, RuntimeError, UnicodeError) as error:  # names too long, links in a circle, half characters
        fault = f"leads nowhere ({error}); mend or remove it"
    what = "this" if path == file else f"imagePath {shown(str(path.relative_to(folder)))}"
    raise InputError(f"{file}: {what} {fault}")


def _bytes(path: Path, limit: float = math.inf) -> bytes:
    try:
        size = path.stat().st_size
        if size > limit:
            raise InputError(f"{path}: {size:,} bytes, more than {limit:,}; save it without imageData or remove it")
        return path.read_bytes()
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror}); mend or remove it") from error


def image_bytes(file: Path, folder: Path, record: Mapping[str, Any]) -> tuple[Path | None, bytes]:
    """The image's path, None where it is within the JSON, and its bytes. Raises InputError naming the file."""
    image = image_path(file, folder, record)
    return image, _decoded(record["imageData"], f"{file}: imageData") if image is None else _bytes(image)


def image_path(file: Path, folder: Path, record: Mapping[str, Any]) -> Path | None:
    """The image's path without links, None where it is within the JSON. Raises InputError naming the file."""
    if record.get("imageData"):
        return None
    path = record.get("imagePath")
    if not isinstance(path, str) or not path or "\0" in path:
        raise InputError(f"{file}: imagePath is {shown(path)}; write the name of the image file there")
    # Labelme on Windows writes backslashes. Windows' rules also know /x and x/y, and C:x besides.
    relative = PureWindowsPath(path)
    if relative.anchor or ".." in relative.parts:
        raise InputError(f"{file}: imagePath {shown(path)} leads out of the folder; put the image beside the JSON file "
                         "and write its name there")  # fmt: skip
    return _inside(file.parent / relative.as_posix(), folder, file)


def _decoded(text: object, what: str) -> bytes:
    try:
        if not isinstance(text, str):
            raise ValueError(f"{type(text).__name__} instead of text")
        return base64.b64decode("".join(text.split()), validate=True)
    except ValueError as error:
        raise InputError(f"{what} is no base64 text; save the file again with Labelme") from error


def _size_problems(file: Path, record: Mapping[str, Any], size: tuple[int, ...]) -> list[str]:
    stated = [(key, record.get(key), true) for key, true in zip(("imageHeight", "imageWidth"), size, strict=True)]
    return [
        f"{file}: {key} is {shown(value)}, but the image has {true}; the outlines belong to another picture, or to "
        "this one before it was turned or resized. Label it again, or restore the image"
        for key, value, true in stated
        if value is not None and value != true
    ]


def _shapes(file: Path, record: Mapping[str, Any], ids: Mapping[str, int]) -> tuple[list[Shape], list[str]]:
    """The shapes that are sound, and what is wrong with the others."""
    shapes, problems = [], []
    for number, entry in enumerate(record["shapes"], start=1):
        try:
            shapes.append(_shape(entry, ids, f"{file}: shape {number}"))
        except InputError as error:
            problems.append(str(error))
    return shapes, problems


def _shape(entry: object, ids: Mapping[str, int], where: str) -> Shape:
    if not isinstance(entry, dict):
        raise InputError(f"{where} is {shown(entry)}; take it out with Labelme")
    label, kind = entry.get("label"), entry.get("shape_type")
    if not isinstance(label, str):
        raise InputError(f"{where}: label is {shown(label)}; give it a name with Labelme")
    if label not in ids:
        near = get_close_matches(label[:100], ids, 1)
        advice = f"did you mean {near[0]}? Mend it" if near else "mend it"
        raise InputError(f"{where}: label {shown(label)} is not in the labels file; {advice}, or add it there")
    kind = "polygon" if kind is None else kind
    if not isinstance(kind, str) or kind not in POINTS:
        raise InputError(f"{where} ({label}): shape_type {shown(kind)} is unknown; there are {', '.join(POINTS)}")
    points = _points(entry.get("points"), f"{where} ({label})")
    least, most = POINTS[kind]
    if not least <= len(points) <= most:
        wanted = f"{least}" if least == most else f"{least} or more"
        raise InputError(f"{where} ({label}): {len(points)} points; a {kind} has {wanted}. Draw it again or delete it")
    if kind != "mask":
        return Shape(label, kind, points)
    what = f"{where} ({label}), mask"
    crop = read_mask(Path(what), _decoded(entry.get("mask"), what))
    if crop.ndim != 2:
        raise InputError(f"{what} is a colour picture; draw it again or delete it")
    return Shape(label, kind, points, crop > 0)


def _points(value: object, where: str) -> Points:
    if not isinstance(value, list):
        raise InputError(f"{where}: points is {shown(value)}, not a list; draw the shape again or delete it")
    for point in value:
        # Not isinstance: True is an int. NaN fails the comparison, and JSON's NaN and 1e999 arrive here.
        pair = isinstance(point, list) and len(point) == 2 and all(type(number) in (int, float) for number in point)
        if not pair or not all(abs(number) <= FARTHEST for number in point):
            raise InputError(
                f"{where}: point {shown(point)} is no place in a picture; draw the shape again or delete it"
            )
    return tuple((float(x), float(y)) for x, y in value)
