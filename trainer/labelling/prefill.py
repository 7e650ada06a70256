"""The folder of images to label: predictions as files of Labelme, and a record of what was put there, and when.

Nothing that is there already is ever written to, whoever made it; but for predictions that nobody has touched, which
refresh.py replaces.
"""

import hashlib
import json
import os
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from trainer import InputError
from trainer.data.files import IMAGE_SUFFIXES, list_files, list_images
from trainer.data.layouts.labelme import LABELS_FILE, read_labels
from trainer.drawing.bands import to_rgb
from trainer.inference.doubt import is_unsure
from trainer.inference.given import InputImage
from trainer.inference.labelme_json import labelme_record, place_image, write_labels
from trainer.inference.objects import find_objects
from trainer.inference.outputs import result_name
from trainer.inference.predictor import ImageResult, predict_files
from trainer.inference.specks import remove_specks
from trainer.model.segmenter import Contract, Segmenter
from trainer.system.atomic import create_file, leftovers, why_not_written, write_text
from trainer.system.lock import alone
from trainer.system.text import one_line, valid

OWN = ".label"
"""Hidden folder for what is not for Labelme."""

RECORD_FILE, OPINIONS_FILE = "record.json", "opinions.jsonl"


@dataclass
class Call:
    """Images that one call has chosen."""

    name: str
    """What the caller calls it; a call of the same name is not done twice. Empty: no name."""

    model: str
    """Name and version of the model that predicted."""

    digest: str
    """Digest of that model."""

    images: list[str]
    """Names of the images, in the order of their worth."""

    time: str = ""
    complete: bool = False


@dataclass
class Queue:
    """Folder of images to label."""

    folder: Path
    calls: list[Call] = field(default_factory=list)
    files: dict[str, dict[str, Any]] = field(default_factory=dict)
    """Name of an image -> SHA-256 of the JSON file as it was written, the image's files, the model and its opinion.

    `was`: SHA-256 of the file that it has replaced.
    """

    @property
    def opinions_file(self) -> Path:
        """File with what a model thinks of the images of the pool."""
        return self.folder / OWN / OPINIONS_FILE

    @property
    def record_file(self) -> Path:
        """File that says what was put here."""
        return self.folder / OWN / RECORD_FILE

    def target(self, image: InputImage) -> Path:
        """Path of an image's files here, without suffix."""
        return self.folder / image.name

    def json_file(self, image: InputImage) -> Path:
        """JSON file of an image."""
        return _with_suffix(self.target(image), ".json")

    def given(self, image: InputImage) -> bool:
        """Return whether the image has a JSON file here."""
        return os.path.lexists(self.json_file(image))

    def taken(self, image: InputImage) -> bool:
        """Return whether another picture than `image` has its name here, which no call has put here."""
        target = self.target(image)
        chosen = any(result_name(image) in call.images for call in self.calls)
        if target.parent.is_dir() and not chosen:
            for suffix in {*IMAGE_SUFFIXES, image.path.suffix}:
                other = _with_suffix(target, suffix)
                if os.path.lexists(other) and not _same(other, image.path):
                    return True
        return False

    def images(self) -> list[Path]:
        """Images here and in folders below, whoever put them here."""
        return list_images(self.folder, deep=True) if self.folder.is_dir() else []

    def json_files(self) -> list[Path]:
        """JSON files here and in folders below."""
        return list_files(self.folder, (".json",), deep=True) if self.folder.is_dir() else []

    def save(self) -> None:
        """Write the record."""
        content = {"calls": [vars(call) for call in self.calls], "files": self.files}
        self.record_file.parent.mkdir(parents=True, exist_ok=True)
        write_text(self.record_file, json.dumps(content, indent=1))


def open_queue(folder: Path) -> Queue:
    """Read the record of a folder, which need not exist. Raises InputError where it is no folder, or damaged."""
    if os.path.lexists(folder) and not folder.is_dir():
        raise InputError(f"{folder}: no folder; give another name")
    queue = Queue(folder)
    try:
        content = json.loads(queue.record_file.read_text(encoding="utf-8"))
        queue.calls = [Call(**call) for call in content["calls"]]
        queue.files = {str(name): dict(about) for name, about in content["files"].items()}
    except FileNotFoundError:
        return queue
    except OSError as error:
        raise InputError(f"{error.filename}: cannot be read ({error.strerror}); allow it") from error
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        fix = "remove it: what is in the folder stays as it is, and is not given again"
        raise InputError(f"{queue.record_file}: damaged ({error}); {fix}") from error
    return queue


def only_call(folder: Path) -> AbstractContextManager[None]:
    """Keep other calls out of the folder for the block. Raises InputError where one is at work there."""
    try:
        (folder / OWN).mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"{why_not_written(folder, error)}; allow it, or give another folder") from error
    return alone(folder / OWN / "lock", f"{folder}: another call is putting pictures there; wait for its end")


def prepare_folder(queue: Queue, class_names: Sequence[str]) -> None:
    """Make the folder ready for predictions of these classes, the background first.

    A new one gets a labels file; one that has labels without it keeps its own classes. Raises InputError where the
    folder cannot be written, or its labels file lacks a class.
    """
    folder, labels = queue.folder, queue.folder / LABELS_FILE
    try:
        queue.record_file.parent.mkdir(parents=True, exist_ok=True)
        for leftover in leftovers(queue.record_file):
            leftover.unlink(missing_ok=True)
        if not os.path.lexists(labels) and not queue.json_files():
            write_labels(folder, class_names)
        queue.save()
    except OSError as error:
        raise InputError(f"{why_not_written(folder, error)}; allow it, or give another folder") from error
    if os.path.lexists(labels):
        lacking = [name for name in class_names[1:] if name not in read_labels(labels)]
        if lacking:
            names = ", ".join(map(one_line, lacking))
            raise InputError(f"{labels}: the model finds {names}, which is not there; add it, or give another folder")


def open_call(queue: Queue, name: str, digest: str) -> Call | None:
    """The call of this name, or without a name the last one of this model that was not completed; None: there is none.

    `digest`: that of the model.
    """
    if name:
        return next((call for call in queue.calls if call.name == name), None)
    last = queue.calls[-1] if queue.calls else None
    return last if last is not None and not last.complete and not last.name and last.digest == digest else None


@dataclass(frozen=True)
class Prediction:
    """Content of the JSON file of an image, whose picture lies in the folder already."""

    image: InputImage
    content: bytes = b""
    facts: dict[str, Any] = field(default_factory=dict)
    """Facts about it for the record of the folder."""

    error: str = ""
    """Why there is no content."""


def predict(
    queue: Queue,
    model: str,
    digest: str,
    images: Sequence[InputImage],
    segmenter: Segmenter,
    batch_size: int,
    form: str,
    stop_requested: Callable[[], bool] = lambda: False,
) -> Iterator[Prediction]:
    """Predict images for the files of Labelme.

    `model`: name and version; `digest`: that of the model; `form`: as `labelme_record` has it.
    """
    contract = segmenter.contract

    def describe(result: ImageResult) -> Prediction:
        if result.image is None or result.mask is None:
            return Prediction(result.source, error=result.error)
        try:
            beside = _place(queue, result)
            content = _content(result, beside, contract, form, model)
        except OSError as error:
            return Prediction(result.source, error=why_not_written(queue.target(result.source), error))
        facts = {
            "sha256": hashlib.sha256(content).hexdigest(),
            "image": valid(str(result.source.path)),
            "beside": beside,
            "model": model,
            "digest": digest,
            "doubt": round(1 - result.certainty, 6),
            "unsure": is_unsure(result.certainty, contract),
        }
        return Prediction(result.source, content, facts)

    yield from predict_files(segmenter, list(images), describe, batch_size, stop_requested)


def write_predictions(
    queue: Queue, images: Sequence[InputImage], predict: Callable[[list[InputImage]], Iterator[Prediction]]
) -> list[str]:
    """Write the files of Labelme of those `images` that have none yet; return what went wrong, a line each."""
    problems: list[str] = []
    for one in predict([image for image in images if not queue.given(image)]):
        file, error = queue.json_file(one.image), one.error
        if one.content:
            # Recorded first: what is not in the record counts as touched by a person.
            queue.files[result_name(one.image)] = one.facts
            queue.save()
            try:
                create_file(file, one.content)  # where a person was faster, nothing is written
            except OSError as failure:
                error = why_not_written(file, failure)
        if error:
            problems.append(one_line(error))
    return problems


def new_call(queue: Queue, name: str, model: str, digest: str, images: Sequence[InputImage]) -> Call:
    """Record the choice of a call, before anything of it is written."""
    now = time.strftime("%Y-%m-%dT%H:%M:%S%z")
    call = Call(name, model, digest, [result_name(image) for image in images], now)
    queue.calls.append(call)
    queue.save()
    return call


def _place(queue: Queue, result: ImageResult) -> str:
    """Put an image beside its JSON file, and return its name; one that a prediction has already stays as it is."""
    assert result.image is not None
    known = queue.files.get(result_name(result.source), {}).get("beside")
    if known and queue.given(result.source):
        return str(known)
    target = queue.target(result.source)
    target.parent.mkdir(parents=True, exist_ok=True)
    return place_image(result.source.path, target, to_rgb(result.image)).name


def _content(result: ImageResult, beside: str, contract: Contract, form: str, model: str) -> bytes:
    """Content of the JSON file beside an image of the name `beside`."""
    assert result.mask is not None
    mask = result.mask
    objects = find_objects(mask)
    if objects is None:  # noise, of which nobody wants outlines
        mask = np.zeros_like(mask)
        objects = find_objects(mask)
        assert objects is not None
    objects = remove_specks(mask, objects, contract)
    return json.dumps(labelme_record(mask, objects, contract.class_names, beside, form, model), indent=1).encode()


def _with_suffix(target: Path, suffix: str) -> Path:
    """Path with a suffix more; a dot in its name is no suffix."""
    return target.with_name(f"{target.name}{suffix}")


def _same(one: Path, other: Path) -> bool:
    try:
        return os.path.samefile(one, other) or one.read_bytes() == other.read_bytes()
    except OSError:
        return False
