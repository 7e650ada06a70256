"""Labelling queue: a folder of images with their predicted outlines, for a person to correct in Labelme.

No file in it is ever replaced: a person may have touched it. The labels file alone gets the classes that it lacks.
"""

import filecmp
import hashlib
import json
import os
import secrets
import threading
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from trainer import InputError
from trainer.data.image_header import read_header
from trainer.drawing.bands import to_rgb
from trainer.inference.labelme_json import LINKED, complete_labels, place_image
from trainer.serving.answers import Predicted, labelme_content
from trainer.serving.limits import Refused
from trainer.serving.upload import Upload
from trainer.system.atomic import why_not_written
from trainer.system.text import shorten

DIGEST_DIGITS = 8
"""Digits of the digest of an image's bytes that its name gets where another image has the name."""


LABELS_TURN = threading.Lock()
"""Held while the labels file is completed: two versions may add their classes at the same time."""


@dataclass(frozen=True)
class Placed:
    """Names of an image and its annotation in the queue."""

    image: str
    annotation: str
    new: bool
    """False where the image has been in the queue already; nothing was changed then."""


def open_queue(folder: Path) -> Path:
    """Make the folder of a queue where there is none. Raises InputError where files cannot be written in it."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        probe = folder / f".{secrets.token_hex(4)}.partial"
        probe.touch()
        probe.unlink()
    except OSError as error:
        raise InputError(f"--queue {folder}: cannot be written ({error.strerror}); give another folder") from error
    return folder


def put(folder: Path, upload: Upload, found: Predicted, form: str) -> Placed:
    """Put an image with its predicted outlines, `form` polygons or masks, into a queue; the JSON file comes last.

    The same image under the same name is there once. Raises Refused where the files cannot be written.
    """
    try:
        return _put(folder, upload, found, form)
    except OSError as error:
        raise Refused(507, f"the queue: {why_not_written(folder, error)}") from error


def _put(folder: Path, upload: Upload, found: Predicted, form: str) -> Placed:
    image = found.result.image
    assert image is not None
    with LABELS_TURN:
        try:
            complete_labels(folder, found.scored.segmenter.contract.class_names)
        except InputError as error:  # the file is there, and cannot be read
            raise Refused(507, f"the queue: {error}") from error
    header = read_header(Path(upload.name), upload.content)
    suffix = next(iter(LINKED.get(header.format, (".img",))))
    scratch = folder / f".{secrets.token_hex(8)}.partial"
    scratch.mkdir()
    try:
        original = scratch / f"original{suffix}"
        original.write_bytes(upload.content)
        made = place_image(original, scratch / "image", to_rgb(image))
        for name in _names(upload):
            target = folder / f"{name}{made.suffix}"
            if not (_claim(made, target) or _same(made, target)):
                continue  # another image has the name
            annotation = folder / f"{name}.json"
            content = json.dumps(labelme_content(found, target.name, form), indent=1)
            (scratch / "annotation").write_text(content, encoding="utf-8")
            return Placed(target.name, annotation.name, _claim(scratch / "annotation", annotation))
    finally:
        for left in scratch.iterdir():
            left.unlink()
        scratch.rmdir()
    raise AssertionError("names do not end")


def _names(upload: Upload) -> Iterator[str]:
    """Names to try, without suffix: the file's own, and with the digest of its content."""
    stem = shorten(Path(upload.name).stem, 150)
    digest = hashlib.sha256(upload.content).hexdigest()
    yield stem
    yield f"{stem}-{digest[:DIGEST_DIGITS]}"
    number = 2
    while True:
        yield f"{stem}-{digest[:DIGEST_DIGITS]}-{number}"
        number += 1


def _claim(made: Path, target: Path) -> bool:
    """Give a finished file the name `target`, at once and whole; return False where there is one."""
    try:
        os.link(made, target)
        return True
    except FileExistsError:
        return False
    except OSError:  # a disk without links
        if os.path.lexists(target):
            return False
        with suppress(FileExistsError), target.open("xb") as file:
            file.write(made.read_bytes())
            return True
        return False


def _same(made: Path, target: Path) -> bool:
    """Return whether two files are equal."""
    return target.is_file() and filecmp.cmp(made, target, shallow=False)
