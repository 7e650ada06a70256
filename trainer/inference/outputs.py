"""Files of a predicted image: mask, overlay, probabilities, files of Labelme; and what the reports say about it."""

import hashlib
import json
import time
from collections.abc import Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from trainer import InputError
from trainer.data.image_io import write_grey, write_jpeg, write_mask
from trainer.drawing.bands import to_rgb
from trainer.drawing.contour import draw_contours
from trainer.drawing.legend import draw_legend
from trainer.drawing.overlay import draw_overlay
from trainer.inference.findings import clean_mask, count_classes, describe, describe_objects
from trainer.inference.given import InputImage
from trainer.inference.journal import Entry
from trainer.inference.labelme_json import (
    complete_labels,
    has_labels,
    labelme_record,
    place_image,
    require_free_place,
)
from trainer.inference.objects import Objects
from trainer.inference.options import Options
from trainer.inference.predictor import ImageResult
from trainer.model.segmenter import Contract
from trainer.system.atomic import atomic_file
from trainer.system.regular_file import open_regular
from trainer.system.strips import strips
from trainer.system.text import valid

FULL = 65535
"""Level of a probability of 1 in `ImageResult.probabilities`."""


def content_digest(source: InputImage) -> str:
    """Digest of an image's file, and its page. Raises OSError or InputError where it cannot be read."""
    with open_regular(source.path) as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()[:32]
    return f"{digest}#{source.page}" if source.page else digest


def result_name(source: InputImage) -> str:
    """Name of an image's results as the journal has it."""
    return source.result_name


class ResultWriter:
    """Writer of everything that the options ask for, image by image; several threads may call it at the same time."""

    def __init__(
        self,
        contract: Contract,
        output: Path,
        options: Options | None = None,
        origin: Mapping[str, str] | None = None,
        model: tuple[str, str] = ("", ""),
    ) -> None:
        """`origin`: what PNG files say about the model, by keyword; `model`: its digest, and its name for a person."""
        self.contract, self.output, self.options = contract, output, options or Options()
        self.origin, self.model = dict(origin or {}), model
        if self.options.labelme:
            (output / "labelme").mkdir(parents=True, exist_ok=True)
            complete_labels(output / "labelme", contract.class_names)

    def __call__(self, result: ImageResult) -> Entry:
        """Write the files of an image; return its entry of the journal. What fails is an error in its row."""
        began = time.perf_counter()
        shown = valid(result.source.shown)
        if result.image is None or result.mask is None:
            return self._entry(result.source, {"file": shown, "error": result.error})
        try:
            content = content_digest(result.source)
            objects = clean_mask(result.mask, self.options, self.contract)
            about = describe_objects(result, objects, self.options)
            row = {"file": shown} | describe(result, objects, self.contract) | self._write(result, objects)
        except OSError as error:
            text = f"{result.source.path}: result cannot be written ({error})"
            return self._entry(result.source, {"file": shown, "error": valid(text)})
        except InputError as error:
            return self._entry(result.source, {"file": shown, "error": valid(f"{error}")})
        row["seconds"] = round(result.seconds + time.perf_counter() - began, 4)
        return self._entry(result.source, row, content, about)

    def _entry(
        self, source: InputImage, row: dict[str, Any], content: str = "", objects: list[dict[str, Any]] | None = None
    ) -> Entry:
        digest, version = self.model
        return Entry(result_name(source), content, digest, self.options.digest, version, row, objects or [])

    # ---------------------------------------------------------------- files

    def _write(self, result: ImageResult, objects: Objects | None) -> dict[str, str | bool]:
        """Write the files; return their paths below the output folder, by what they are.

        `labels_kept` where a file of Labelme holds a person's work, and was left as it is.
        """
        assert result.image is not None
        assert result.mask is not None
        result.image = to_rgb(result.image)
        options, source, files = self.options, result.source, {}
        labelled = bool(options.labelme) and has_labels(self.output / self._file("labelme", source, ".json"))
        target = self.output / "labelme" / source.name
        if options.labelme and not labelled:
            require_free_place(source.path, target, result.image)
        if options.probabilities:
            files["probabilities"] = self._write_probabilities(result)
            result.probabilities = None
        if options.confidence_map:
            assert result.confidence_map is not None
            files["confidence_map"] = self._file("confidence", source, ".png")
            with self._new(files["confidence_map"]) as file:
                write_grey(file, result.confidence_map, self.origin)
        result.confidence_map = None
        files["mask"] = self._file("masks", source, ".png")
        with self._new(files["mask"]) as file:
            write_mask(file, result.mask, self.origin)
        if options.labelme:
            files["labelme"] = self._file("labelme", source, ".json")
        if options.labelme and not labelled:
            beside = place_image(source.path, target, result.image).name
        if options.overlay != "none":
            files["overlay"] = self._file("overlays", source, ".jpg")
            overlay = draw_result(result.image, result.mask, self.contract, options.overlay)
            result.image = result.shown = None  # encoding takes as much memory again
            with self._new(files["overlay"]) as file:
                write_jpeg(file, overlay)
            del overlay
        if options.labelme and not labelled:
            assert objects is not None
            names, form = self.contract.class_names, options.labelme
            record = labelme_record(result.mask, objects, names, beside, form, self.model[1])
            with self._new(files["labelme"]) as file:
                file.write(json.dumps(record, indent=1).encode())
        row: dict[str, str | bool] = {key: valid(path) for key, path in files.items()}
        return row | {"labels_kept": True} if labelled else row

    def _new(self, path: str) -> AbstractContextManager[BinaryIO]:
        """Open a result, to be there whole or not at all; forcing each to the disk would take longer than the rest."""
        return atomic_file(self.output / path, durable=False)

    def _file(self, folder: str, source: InputImage, suffix: str) -> str:
        """Path of a result below the output folder; its own folder is made."""
        path = Path(folder) / source.name.with_name(f"{source.name.name}{suffix}")
        (self.output / path).parent.mkdir(parents=True, exist_ok=True)
        return path.as_posix()

    def _write_probabilities(self, result: ImageResult) -> str:
        """Write the probabilities of an image; return the file, or the folder with one for each class."""
        levels = result.probabilities
        assert levels is not None
        if self.options.probabilities == "npy":
            file = self._file("probabilities", result.source, ".npy")
            with self._new(file) as target:
                write_npy(target, levels)
            return file
        if len(levels) == 1:
            file = self._file("probabilities", result.source, ".png")
            with self._new(file) as target:
                write_grey(target, levels[0], self.origin)
            return file
        folder = self._file("probabilities", result.source, "")
        (self.output / folder).mkdir(exist_ok=True)
        for class_id, name in enumerate(self.contract.class_names):
            with self._new(f"{folder}/{class_id}.png") as target:
                write_grey(target, levels[class_id], self.origin | {"class": name})
        return folder


def draw_result(image: np.ndarray, mask: np.ndarray, contract: Contract, form: str) -> np.ndarray:
    """Draw the overlay of a mask, uint8 [H, W], over its image, uint8 RGB [H, W, 3], in place; return it.

    `form`: blend, the classes blended over the image; or contour, with their borders and a legend as well.
    """
    overlay = draw_overlay(image, mask, contract.colours, out=image)
    if form == "contour":
        draw_contours(overlay, mask, contract.colours)
        present = (np.flatnonzero(count_classes(mask, len(contract.class_names))[1:]) + 1).tolist()
        draw_legend(overlay, mask, [(one, contract.class_names[one], contract.colours[one]) for one in present])
    return overlay


def write_npy(target: BinaryIO, levels: np.ndarray) -> None:
    """Write probabilities, uint16 [C, H, W] of which FULL is 1, as an array of float16 in NumPy's format."""
    header = {"descr": "<f2", "fortran_order": False, "shape": levels.shape}
    np.lib.format.write_array_header_1_0(target, header)
    for plane in levels:
        for rows in strips(*plane.shape):
            target.write((plane[rows] / np.float32(FULL)).astype("<f2").tobytes())
