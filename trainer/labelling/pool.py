"""The pool: images that nobody has labelled yet, and what the model thinks of each."""

import base64
import hashlib
import json
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from trainer import InputError
from trainer.data.files import read_bytes
from trainer.data.resize import shrink_image
from trainer.inference.doubt import is_unsure
from trainer.inference.given import InputImage
from trainer.inference.inputs import find_images
from trainer.inference.predictor import ImageResult, predict_files
from trainer.inference.resume import model_digest
from trainer.model.features import pooled_features
from trainer.model.segmenter import Segmenter
from trainer.system.atomic import write_text
from trainer.system.cpus import usable_cpus
from trainer.system.launcher import given_threads
from trainer.system.text import valid

FEATURES_TYPE = "<f2"
"""Features as they are stored: float16, little-endian."""


@dataclass(frozen=True)
class Assessment:
    """Assessment of an image by the model: its doubt, and features to compare it with others by."""

    doubt: float
    """1 - `Certainty` of what is found in it, by calibrated probabilities, 0 to 1."""

    unsure: bool
    """Whether it is one to look at first, by the certainties of the validation images."""

    pixels: int
    features: np.ndarray
    """float16 [F]."""

    error: str = ""
    """Why the image cannot be read; the rest is empty then."""


def use_hardware(segmenter: Segmenter) -> None:
    """Move a model to the GPU where there is one, and take the threads that a person gave, or the usable CPUs."""
    torch.set_num_threads(given_threads()[0] or min(torch.get_num_threads(), usable_cpus()))
    segmenter.to(torch.device("cuda" if torch.cuda.is_available() else "cpu"))


def find_pool(pool: Path, output: Path) -> list[InputImage]:
    """Images of a folder and of those below, without the folder `output` where that is one of them.

    Raises InputError where there are none.
    """
    images, _ = find_images([pool], output)
    folder = output.resolve()
    if folder != pool.resolve():
        images = [one for one in images if not Path(os.path.realpath(one.path)).is_relative_to(folder)]
    if not images:
        raise InputError(f"{pool}: no pictures there but those in {output}; give the folder of what is not labelled")
    return images


def same_content(images: Sequence[InputImage], others: Iterable[Path]) -> set[InputImage]:
    """Those of `images` whose file has the content of one of `others`; only files of equal size are read."""
    sizes: dict[int, list[Path]] = {}
    for other in others:
        with suppress(OSError):
            sizes.setdefault(other.stat().st_size, []).append(other)
    digests: dict[int, set[bytes]] = {}
    found: set[InputImage] = set()
    for image in images:
        with suppress(OSError, InputError):  # what cannot be read is said when it is predicted
            size = image.path.stat().st_size
            if size in sizes:
                if size not in digests:
                    digests[size] = {_digest(other) for other in sizes[size]}
                if _digest(image.path) in digests[size]:
                    found.add(image)
    return found


def _digest(file: Path) -> bytes:
    return hashlib.sha256(read_bytes(file)).digest()


class Assessments:
    """Assessments of images by a model, stored in a file, so that a call that was killed continues where it was."""

    def __init__(self, segmenter: Segmenter, file: Path) -> None:
        """Read what `file` holds of this model; another model's is dropped."""
        self.segmenter, self.file = segmenter, file
        self.model = model_digest(segmenter)
        self.known = dict(self._read())

    def _read(self) -> Iterator[tuple[str, Assessment]]:
        with suppress(OSError, ValueError):
            lines = self.file.read_text(encoding="utf-8").splitlines()
            if not lines or json.loads(lines[0]) != {"model": self.model}:
                return
            for line in lines[1:]:
                with suppress(ValueError, KeyError, TypeError):  # a line that was cut off by a kill
                    entry = json.loads(line)
                    content = base64.b64decode(entry["features"])
                    features = np.frombuffer(content, FEATURES_TYPE)
                    numbers = float(entry["doubt"]), bool(entry["unsure"]), int(entry["pixels"])
                    yield str(entry["image"]), Assessment(*numbers, features)

    def of(
        self,
        images: Sequence[InputImage],
        batch_size: int,
        advance: Callable[[], None],
        stop_requested: Callable[[], bool] = lambda: False,
    ) -> list[Assessment]:
        """Assess each of the images; those not known yet are predicted. Fewer where a stop is requested."""
        keys = {image: _key(image) for image in images}
        missing = [image for image in images if keys[image] not in self.known]
        for _ in range(len(images) - len(missing)):
            advance()
        self._begin()
        with self.file.open("a", encoding="utf-8") as stream:
            form = self._form
            for image, assessment in predict_files(self.segmenter, missing, form, batch_size, stop_requested):
                key = keys[image]
                self.known[key] = assessment
                if not assessment.error:  # what is mended meanwhile is tried again
                    stream.write(_line(key, assessment))
                    stream.flush()
                advance()
        return [self.known[keys[image]] for image in images if keys[image] in self.known]

    def _begin(self) -> None:
        """Make the file hold what is known, whole lines of this model alone."""
        self.file.parent.mkdir(parents=True, exist_ok=True)
        lines = [_line(key, assessment) for key, assessment in self.known.items() if not assessment.error]
        write_text(self.file, json.dumps({"model": self.model}) + "\n" + "".join(lines))

    def _form(self, result: ImageResult) -> tuple[InputImage, Assessment]:
        if result.mask is None or result.shown is None:
            return result.source, Assessment(0.0, False, 0, np.zeros(0, FEATURES_TYPE), result.error)
        contract = self.segmenter.contract
        square = result.shown
        if square.shape[:2] != (contract.image_size,) * 2:
            square = shrink_image(square, contract.image_size)
        features = pooled_features(self.segmenter, torch.from_numpy(square).permute(2, 0, 1)[None])[0]
        unsure = is_unsure(result.certainty, contract)
        stored = features.numpy().astype(FEATURES_TYPE)
        return result.source, Assessment(round(1 - result.certainty, 6), unsure, result.mask.size, stored)


def _key(image: InputImage) -> str:
    """Text that changes when the image does: its path and page, size and time."""
    try:
        found = image.path.stat()
        state = f"{found.st_size} {found.st_mtime_ns}"
    except OSError:
        state = "-"
    return f"{valid(os.path.realpath(image.path))}#{image.page} {state}"


def _line(key: str, assessment: Assessment) -> str:
    content = base64.b64encode(assessment.features.tobytes()).decode()
    entry = {"image": key, "doubt": assessment.doubt, "unsure": assessment.unsure, "pixels": assessment.pixels}
    return json.dumps(entry | {"features": content}) + "\n"
