"""Forms of an answer: which one is asked for, and its bytes, equal to what predict.py writes."""

import base64
import io
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from trainer.data.image_io import write_grey, write_jpeg, write_mask
from trainer.drawing.bands import to_rgb
from trainer.inference.journal import Entry
from trainer.inference.labelme_json import labelme_record
from trainer.inference.objects import Objects
from trainer.inference.options import Options
from trainer.inference.outputs import draw_result, write_npy
from trainer.inference.predictor import ImageResult
from trainer.inference.report import stream_coco
from trainer.serving.limits import Refused
from trainer.serving.versions import Scored

MEDIA_TYPES = {
    "mask": "image/png",
    "overlay": "image/jpeg",
    "probabilities": "image/png",
    "confidence": "image/png",
    "npy": "application/x-npy",
    "labelme": "application/vnd.labelme+json",
    "coco": "application/vnd.coco+json",
    "json": "application/json",
}
"""Form -> its media type."""

ACCEPTED = {
    "image/png": "mask",
    "image/jpeg": "overlay",
    "application/json": "json",
    "application/x-npy": "npy",
    "application/vnd.labelme+json": "labelme",
    "application/vnd.coco+json": "coco",
    "image/*": "mask",
    "application/*": "json",
    "*/*": "mask",
}
"""Media type in a request's Accept -> the form that it stands for."""


@dataclass(frozen=True)
class Wanted:
    """Wishes of a request."""

    form: str = "mask"
    include: tuple[str, ...] = ()
    """Forms that are in the answer `json` as well."""

    options: Options = field(default_factory=Options)
    version: str = ""
    class_id: int | None = None
    """Class whose probabilities are wanted, for several classes."""

    bits: int = 16
    """Bits of a level of `probabilities`: 8 or 16."""

    @property
    def forms(self) -> tuple[str, ...]:
        """All forms that are made."""
        return (self.form, *self.include)

    @property
    def maps(self) -> tuple[str, ...]:
        """Maps that the network's results need for them."""
        needs = {"confidence_map": {"confidence", "coco"}, "probabilities": {"probabilities", "npy"}}
        return tuple(name for name, forms in needs.items() if forms & set(self.forms))


@dataclass(frozen=True)
class Predicted:
    """A predicted image, and all that is known about it."""

    result: ImageResult
    objects: Objects | None
    row: Mapping[str, Any]
    """Its row of the report."""

    about: list[dict[str, Any]]
    """Its objects, as COCO's file describes them."""

    scored: Scored
    name: str
    batch: int
    """Images that went through the network together."""


def form_of(accept: str) -> str:
    """Form that the header Accept asks for first. Raises Refused where it takes none."""
    wishes = []
    for place, part in enumerate(accept.split(",")):
        media_type, *parameters = (one.strip().lower() for one in part.split(";"))
        weights = [one.removeprefix("q=") for one in parameters if one.startswith("q=")]
        try:
            weight = float(weights[0]) if weights else 1.0
        except ValueError:
            weight = 0.0
        if media_type in ACCEPTED and weight > 0:
            wishes.append((-weight, place, ACCEPTED[media_type]))
    if not accept.strip():
        return "mask"
    if not wishes:
        raise Refused(406, f"Accept: one of {', '.join(ACCEPTED)} is possible; or ?format={'|'.join(MEDIA_TYPES)}")
    return min(wishes)[2]


def encode(form: str, found: Predicted, wanted: Wanted) -> bytes:
    """Bytes of an answer in a form. Raises Refused where the model cannot give it."""
    return ENCODERS[form](found, wanted)


def _mask(found: Predicted, _wanted: Wanted) -> bytes:
    assert found.result.mask is not None
    file = io.BytesIO()
    write_mask(file, found.result.mask, found.scored.texts)
    return file.getvalue()


def _overlay(found: Predicted, wanted: Wanted) -> bytes:
    assert found.result.image is not None
    assert found.result.mask is not None
    file, image = io.BytesIO(), to_rgb(found.result.image)  # which no other form needs: it is drawn over
    write_jpeg(file, draw_result(image, found.result.mask, found.scored.segmenter.contract, wanted.options.overlay))
    return file.getvalue()


def _confidence(found: Predicted, _wanted: Wanted) -> bytes:
    assert found.result.confidence_map is not None
    file = io.BytesIO()
    write_grey(file, found.result.confidence_map, found.scored.texts)
    return file.getvalue()


def _probabilities(found: Predicted, wanted: Wanted) -> bytes:
    levels, names = found.result.probabilities, found.scored.segmenter.contract.class_names
    assert levels is not None
    texts = dict(found.scored.texts)
    if len(levels) == 1:
        if wanted.class_id not in (None, 1):
            raise Refused(422, f"class: {wanted.class_id}: the model has one class; give 1, or leave it out")
        plane = levels[0]
    else:
        if wanted.class_id is None or wanted.class_id >= len(levels):
            raise Refused(422, f"class: give one of 0 to {len(levels) - 1}; or ?format=npy for all")
        plane = levels[wanted.class_id]
        texts["class"] = names[wanted.class_id]
    file = io.BytesIO()
    write_grey(file, plane if wanted.bits == 16 else np.round(plane / np.float32(257)).astype(np.uint8), texts)
    return file.getvalue()


def _npy(found: Predicted, _wanted: Wanted) -> bytes:
    assert found.result.probabilities is not None
    file = io.BytesIO()
    write_npy(file, found.result.probabilities)
    return file.getvalue()


def _labelme(found: Predicted, wanted: Wanted) -> bytes:
    return json.dumps(labelme_content(found, found.name, wanted.options.labelme), indent=1).encode()


def labelme_content(found: Predicted, image_name: str, form: str) -> dict[str, Any]:
    """Content of the image's file of Labelme, which names the image `image_name`."""
    assert found.result.mask is not None
    assert found.objects is not None
    names = found.scored.segmenter.contract.class_names
    return labelme_record(found.result.mask, found.objects, names, image_name, form, found.scored.title)


def _coco(found: Predicted, _wanted: Wanted) -> bytes:
    file = io.BytesIO()
    entry = Entry(found.name, "", "", "", "", dict(found.row), found.about)
    stream_coco(file.write, lambda: iter([entry]), found.scored.report)
    return file.getvalue()


def _json(found: Predicted, wanted: Wanted) -> bytes:
    content = {**found.row, "model": found.scored.facts}
    for form in wanted.include:
        part = encode(form, found, wanted)
        content[form] = json.loads(part) if form in ("labelme", "coco") else base64.b64encode(part).decode()
    return json.dumps(content, ensure_ascii=False).encode()


ENCODERS: dict[str, Callable[[Predicted, Wanted], bytes]] = {
    "mask": _mask,
    "overlay": _overlay,
    "probabilities": _probabilities,
    "confidence": _confidence,
    "npy": _npy,
    "labelme": _labelme,
    "coco": _coco,
    "json": _json,
}
"""Form -> what makes its bytes."""
