"""Predictions among Labelme's files. One that nobody has looked at yet is not a label.

A predicted file has the flag `predicted` and the digest of its shapes as they were written. Labelme keeps both when it
saves, so the file itself tells what a person did, wherever it was moved to:

    flag set, same shapes       not looked at yet: left out
    flag taken off, same shapes accepted as it is: a label
    other shapes                corrected: a label, whatever the flag says
"""

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from trainer import InputError
from trainer.data.files import Reason
from trainer.data.image_io import read_mask
from trainer.data.layouts.labelme_shapes import decode_base64

FLAG, DIGEST = "predicted", "predictedShapes"
"""Flag of the image, which Labelme shows as a check box; key of the digest."""

WAITING, ACCEPTED, CORRECTED, DRAWN = "waiting", "accepted", "corrected", "drawn"
"""States of a file: predicted and not looked at; accepted as it was; changed by a person; never predicted."""

PREDICTED = Reason("predicted, not yet looked at", unlabelled=True)

PLACES = 3
"""Decimals of a pixel that count; Labelme writes points with more or fewer of them than it read."""


def mark_predicted(record: dict[str, Any]) -> dict[str, Any]:
    """Content of a JSON file, marked as a prediction with the shapes that it has now."""
    return record | {"flags": {**record["flags"], FLAG: True}, DIGEST: digest_shapes(record)}


def state_of(record: Mapping[str, Any]) -> str:
    """One of WAITING, ACCEPTED, CORRECTED and DRAWN, by the content of a JSON file.

    A file with the flag alone counts as drawn: what was predicted is not known, as in those of earlier versions.
    """
    digest, flags = record.get(DIGEST), record.get("flags")
    if not isinstance(digest, str):
        return DRAWN
    if digest_shapes(record) != digest:
        return CORRECTED
    return WAITING if isinstance(flags, dict) and flags.get(FLAG) is True else ACCEPTED


def digest_shapes(record: Mapping[str, Any]) -> str:
    """Digest of the shapes in a JSON file as a mask is made of them: labels, types, points and pixels, in their order.

    Shapes that no mask can be made of have one, too.
    """
    digest = hashlib.sha256()
    for shape in record["shapes"]:
        digest.update(repr(_content(shape)).encode(errors="surrogateescape") + b"\n")
    return digest.hexdigest()[:32]


def _content(shape: object) -> object:
    if not isinstance(shape, dict):
        return shape
    points = shape.get("points")
    numbers = [_rounded(number) for point in _list(points) for number in _list(point)]
    return shape.get("label"), shape.get("shape_type") or "polygon", numbers, _pixels(shape.get("mask"))


def _list(value: object) -> list[object]:
    return list(value) if isinstance(value, list | tuple) else [value]


def _rounded(number: object) -> object:
    return round(float(number), PLACES) + 0.0 if isinstance(number, int | float) else number  # -0.0 becomes 0.0


def _pixels(text: object) -> object:
    """Digest of the pixels that a shape of the type mask covers: Labelme encodes them anew when it saves."""
    if text is None:
        return None
    try:
        pixels = read_mask(Path("mask"), decode_base64(text, "mask")) > 0
    except InputError:
        return text
    return pixels.shape, hashlib.sha256(pixels.tobytes()).hexdigest()
