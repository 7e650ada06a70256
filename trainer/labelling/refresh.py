"""Predictions that wait in the folder to label, made anew by the model of a later call.

Only where the file is byte by byte as it was written: whatever a person has saved stays.
"""

import hashlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from trainer import InputError
from trainer.data.files import read_bytes
from trainer.inference.given import InputImage
from trainer.inference.outputs import result_name
from trainer.labelling.prefill import Prediction, Queue
from trainer.system.atomic import replace_file, why_not_written
from trainer.system.text import one_line


def untouched(queue: Queue, images: Sequence[InputImage]) -> list[InputImage]:
    """Those of `images` whose JSON file is as a call has written it."""
    return [image for image in images if _written(queue, image)]


def outdated(queue: Queue, images: Sequence[InputImage], digest: str) -> list[InputImage]:
    """Those of `images` whose JSON file is as a call of another model than that of `digest` has written it."""
    found = [(image, _written(queue, image)) for image in images]
    return [image for image, written in found if written and written.model != digest]


def refresh(
    queue: Queue, images: Sequence[InputImage], predict: Callable[[list[InputImage]], Iterator[Prediction]]
) -> tuple[int, list[str]]:
    """Replace the predictions of `images`, which are `outdated`; return how many, and what went wrong, a line each."""
    replaced, problems = 0, []
    for one in predict(list(images)):
        file, error = queue.json_file(one.image), one.error
        written = _written(queue, one.image)
        if one.content and written:
            # Recorded first, with the file that is there if this is killed in between.
            queue.files[result_name(one.image)] = one.facts | {"was": written.sha256}
            queue.save()
            try:
                replaced += replace_file(file, one.content, written.sha256)
            except OSError as failure:
                error = why_not_written(file, failure)
        if error:
            problems.append(one_line(error))
    return replaced, problems


@dataclass(frozen=True)
class _Written:
    """A JSON file that is as it was written: its digest, and that of the model, empty where that is not known."""

    sha256: str
    model: str


def _written(queue: Queue, image: InputImage) -> _Written | None:
    """Return what the JSON file of an image is; None where there is none, or somebody else has written it."""
    facts, file = queue.files.get(result_name(image), {}), queue.json_file(image)
    if not facts or file.is_symlink():
        return None
    try:
        found = hashlib.sha256(read_bytes(file)).hexdigest()
    except (OSError, InputError):
        return None
    if found == facts.get("sha256"):
        return _Written(found, str(facts.get("digest", "")))
    return _Written(found, "") if found == facts.get("was") else None
