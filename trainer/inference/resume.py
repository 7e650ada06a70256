"""Images that an earlier call has done already, by its journal."""

import dataclasses
import hashlib
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from trainer import InputError
from trainer.inference.given import InputImage
from trainer.inference.journal import Entry, index_entries, keep_entries, read_at
from trainer.inference.labelme_json import has_labels, image_place
from trainer.inference.outputs import ResultWriter, content_digest, result_name
from trainer.inference.report import FILES
from trainer.model.segmenter import Segmenter
from trainer.system.parallel import on_all_cores
from trainer.system.text import count_of, valid

DONE = ""
"""Reason to do an image anew: none."""


@dataclass(frozen=True)
class Plan:
    """Images that are left to do, and those that are done."""

    images: list[InputImage]
    done: list[Entry]
    """Entries of images that are done, without their objects."""

    note: str
    """Sentence about what is skipped, and what is done anew and why; "" where there is nothing to say."""


def model_digest(segmenter: Segmenter) -> str:
    """Digest of everything that a model is: its weights and its contract."""
    digest = hashlib.sha256(repr(dataclasses.asdict(segmenter.contract)).encode())
    for name, tensor in segmenter.state_dict().items():
        digest.update(name.encode())
        digest.update(np.ascontiguousarray(tensor.cpu().float().numpy()).tobytes())
    return digest.hexdigest()[:32]


def make_plan(images: Sequence[InputImage], writer: ResultWriter, skip_existing: bool) -> Plan:
    """Find what is left to do, and drop the journal's entries of that: a kill leaves nothing that looks done."""
    output, places = writer.output, index_entries(writer.output)
    found = {image: places.get(result_name(image)) for image in images if skip_existing}
    entries = {image: read_at(place) for image, place in found.items() if place is not None}
    known = {image: entry for image, entry in entries.items() if entry is not None}
    reasons = dict(zip(known, on_all_cores(lambda pair: _why_anew(*pair, writer), list(known.items())), strict=True))
    done = {image: entry for image, entry in known.items() if reasons[image] == DONE}
    left = [image for image in images if image not in done]
    anew = {result_name(image) for image in left}
    keep_entries(output, {name: place for name, place in places.items() if name not in anew})
    return Plan(left, [current(entry, image) for image, entry in done.items()], _note(len(done), reasons, writer))


def current(entry: Entry, image: InputImage) -> Entry:
    """The entry as this call says it, with the path that the image has now; without its objects."""
    return dataclasses.replace(entry, row=entry.row | {"file": valid(image.shown)}, objects=[])


def _why_anew(image: InputImage, entry: Entry, writer: ResultWriter) -> str:
    """Why an image is done anew; DONE where it is not."""
    if "error" in entry.row:
        return "failed before"
    if entry.model != writer.model[0]:
        return f"were done by {entry.version}"
    if entry.options != writer.options.digest:
        return "were done with other options"
    if not all((writer.output / entry.row[key]).exists() for key in FILES if key in entry.row):
        return "lack a file of their results"
    try:
        if content_digest(image) != entry.content:
            return "have changed"
        return DONE if _has_image(image, entry, writer) else "lack a file of their results"
    except (OSError, InputError):
        return "cannot be read"


def _has_image(image: InputImage, entry: Entry, writer: ResultWriter) -> bool:
    """Return whether the image is beside its prediction for Labelme, which names it; a person's labels may name others.

    Raises OSError or InputError where the image cannot be read.
    """
    if "labelme" not in entry.row:
        return True
    place, _ = image_place(image.path, writer.output / "labelme" / image.name)
    return place.exists() or has_labels(place.with_name(f"{image.name.name}.json"))


def _note(done: int, reasons: dict[InputImage, str], writer: ResultWriter) -> str:
    parts = [f"{count} {why}" for why, count in Counter(reasons.values()).most_common() if why != DONE]
    skipped = [f"{count_of(done, 'picture')} done before, and skipped"] if done else []
    anew = [f"done anew by {writer.model[1]}: {', '.join(parts)}"] if parts else []
    return "; ".join(skipped + anew)
