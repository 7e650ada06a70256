"""Labelme's JSON files: find, read and check them, with the image that each is about.

Nothing in the files is trusted: no path leads out of the annotated folder, and every
fault becomes an InputError that names the file, the fault and the remedy.
"""

import functools
import json
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PureWindowsPath
from typing import Any

import numpy as np

from trainer import InputError
from trainer.data.encoding import decode
from trainer.data.files import list_files, read_bytes
from trainer.data.image_header import read_header
from trainer.data.image_io import read_image
from trainer.data.layouts.labelme_shapes import (
    Shape,
    abbreviate,
    check_shapes,
    decode_base64,
    draw_shapes,
    encode_crop,
)
from trainer.system.text import existing_path, label

MAX_BYTES = 100_000_000
"""Largest size of a JSON file, in bytes: parsing takes many times as much memory."""

IMAGE_PATH = re.compile(r'"imagePath"\s*:\s*("(?:[^"\\]|\\.)*")')
"""Where a file names its image."""


@dataclass(frozen=True)
class Annotation:
    """Checked content of one JSON file, with its image."""

    file: Path
    image_name: str
    """Last part of imagePath; "" where there is no imagePath."""

    image_file: Path | None
    """None where the image is embedded in the JSON file."""

    image_content: bytes
    """Bytes of the encoded image."""

    image: np.ndarray
    """uint8 RGB [H, W, 3], EXIF orientation applied."""

    shapes: tuple[Shape, ...]


class NotLabelme(InputError):
    """A JSON file is of another kind."""


def find_annotations(folder: Path, deep: bool = False) -> list[Path]:
    """JSON files directly in `folder`, sorted by name; hidden files are left out. Raises InputError without any.

    `deep`: followed by those in the folders below.
    """
    if not folder.is_dir():
        raise InputError(f"{folder}: no such folder; give the one that holds Labelme's JSON files")
    try:
        names = sorted(name for name in os.listdir(folder) if name.lower().endswith(".json") and name[0] != ".")
    except OSError as error:
        raise InputError(f"{folder}: cannot be read ({error.strerror}); allow it") from error
    nested = list_files(folder, (".json",), deep=True) if deep else []
    if not names and not nested:
        below = next((top for top, _, names in os.walk(folder) if any(name.endswith(".json") for name in names)), None)
        advice = f"give {below}, which has some" if below else "label pictures with Labelme first"
        raise InputError(f"{folder}: no JSON files there; {advice}")
    return [folder / name for name in names] + [file for file in nested if file.parent != folder]


def read_annotation(file: Path, folder: Path, ids: Mapping[str, int]) -> Annotation:
    """Read and check one JSON file directly in `folder`, and its image, which must lie in `folder`.

    `ids`: label -> class id. Raises one InputError that lists all faults, a line each.
    """
    record = read_record(file, folder)
    size, found = None, []
    try:
        image_file, content = read_image_bytes(file, folder, record)
        image = read_image(image_file or Path(f"{file} (imageData)"), content)
        size = (image.shape[0], image.shape[1])
        found = _size_problems(file, record, size)
    except InputError as error:
        found = [str(error)]
    shapes, problems = check_shapes(record["shapes"], ids, file, size)
    problems += found
    if problems:
        raise InputError("\n".join(problems))
    path = record.get("imagePath")
    name = PureWindowsPath(path).name if isinstance(path, str) else ""
    return Annotation(file, name, image_file, content, image, tuple(shapes))


def draw_annotation(file: Path, folder: Path, ids: Mapping[str, int]) -> np.ndarray:
    """Draw the mask of one JSON file, class ids uint8 [H, W] of its image's size; the image is not decoded.

    `ids`: label -> class id. Raises one InputError that lists all faults, a line each.
    """
    record = read_record(file, folder)
    image_file, content = read_image_bytes(file, folder, record)
    size = read_header(image_file or file, content).size
    shapes, problems = check_shapes(record["shapes"], ids, file, size)
    problems += _size_problems(file, record, size)
    if problems:
        raise InputError("\n".join(problems))
    return draw_shapes(shapes, ids, size)


def make_record(
    shapes: Sequence[Shape],
    image_name: str,
    size: tuple[int, int],
    flags: Mapping[str, bool] | None = None,
    descriptions: Sequence[str] | None = None,
) -> dict[str, Any]:
    """Content of a JSON file, as Labelme 5 writes it, for shapes of an image file of `size` (H, W) beside it.

    `flags`: those of the image. `descriptions`: a text for each shape.
    """
    entries: list[dict[str, Any]] = [
        {"label": one.label, "points": one.points, "shape_type": one.kind, "group_id": None, "description": text}
        | {"flags": {}, "mask": None if one.crop is None else encode_crop(one.crop)}
        for one, text in zip(shapes, descriptions or [""] * len(shapes), strict=True)
    ]
    image = {"imagePath": image_name, "imageData": None, "imageHeight": size[0], "imageWidth": size[1]}
    return {"version": "5.5.0", "flags": dict(flags or {}), "shapes": entries, **image}


def read_record(file: Path, folder: Path) -> dict[str, Any]:
    """Parse `file`, directly in `folder`, into a JSON object with a list of shapes. Raises InputError naming it."""
    path = _resolve_inside(file, folder, file)
    try:
        size = path.stat().st_size
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror or error}); fix or remove it") from error
    if size > MAX_BYTES:
        raise InputError(f"{path}: {size:,} bytes, more than {MAX_BYTES:,}; save it without imageData or remove it")
    text = decode(read_bytes(path), file, functools.partial(_names_its_image, path.parent))
    try:
        record = json.loads(text)
    except RecursionError:
        raise InputError(f"{file}: nested too deeply for a Labelme file; remove it") from None
    except ValueError as error:
        raise InputError(f"{file}: not valid JSON ({error}); save it again with Labelme or remove it") from None
    if not isinstance(record, dict) or not isinstance(record.get("shapes"), list):
        raise NotLabelme(f"{file}: not a Labelme file, it has no list of shapes; move it out of the folder")
    for entry in record["shapes"]:
        if isinstance(entry, dict) and isinstance(entry.get("label"), str):
            entry["label"] = label(entry["label"])
    return record


def _names_its_image(folder: Path, text: str) -> bool | None:
    """Return whether the image that a file names is in `folder`; None where it names none, or one in ASCII."""
    found = IMAGE_PATH.search(text)
    try:
        name = json.loads(found[1]) if found else ""
    except ValueError:
        return None
    return None if name.isascii() else existing_path(folder / PureWindowsPath(name).name).is_file()


def read_image_bytes(file: Path, folder: Path, record: Mapping[str, Any]) -> tuple[Path | None, bytes]:
    """Path of the image file (None where the image is embedded) and its bytes. Raises InputError naming `file`."""
    path = image_path(file, folder, record)
    return path, decode_base64(record["imageData"], f"{file}: imageData") if path is None else read_bytes(path)


def image_path(file: Path, folder: Path, record: Mapping[str, Any]) -> Path | None:
    """Resolved path of the image file; None where the image is embedded. Raises InputError naming `file`."""
    if record.get("imageData"):
        return None
    path = record.get("imagePath")
    if not isinstance(path, str) or not path or "\0" in path:
        raise InputError(f"{file}: imagePath is {abbreviate(path)}; write the name of the image file there")
    # Labelme on Windows writes backslashes. PureWindowsPath accepts both separators, and finds drives and roots.
    relative = PureWindowsPath(path)
    if relative.anchor or ".." in relative.parts:
        if relative.name and (file.parent / relative.name).is_file():
            advice = f"write {abbreviate(relative.name)} there, which is beside the JSON file"
        else:
            advice = "put the image beside the JSON file and write its name there"
        raise InputError(f"{file}: imagePath {abbreviate(path)} leads out of the folder; {advice}")
    return _resolve_inside(existing_path(file.parent / relative.as_posix()), folder, file)


def _resolve_inside(path: Path, folder: Path, file: Path) -> Path:
    """Resolve the links in `path`, without opening anything. Raises InputError if it is not a file within `folder`."""
    try:
        resolved, top = path.resolve(), folder.resolve()
        if not resolved.is_relative_to(top):
            fault = "is a link out of the folder; put the file itself there"
        elif not resolved.is_file():
            fault = f"is not a file in {folder}; put the file there or remove {file.name}"
        else:
            return resolved
    except (OSError, RuntimeError, UnicodeError) as error:  # a name too long, links in a circle, a lone surrogate
        fault = f"leads nowhere ({error}); fix or remove it"
    subject = "this" if path == file else f"imagePath {abbreviate(str(path.relative_to(folder)))}"
    raise InputError(f"{file}: {subject} {fault}")


def _size_problems(file: Path, record: Mapping[str, Any], size: tuple[int, ...]) -> list[str]:
    """Compare the stated height and width with `size`, H and W of the image."""
    sides = [(key, record.get(key), side) for key, side in zip(("imageHeight", "imageWidth"), size, strict=True)]
    return [
        f"{file}: {key} is {abbreviate(stated)}, but the image has {side}; the outlines belong to another picture, or "
        "to this one before it was turned or resized. Label it again, or restore the image"
        for key, stated, side in sides
        if stated is not None and stated != side
    ]
