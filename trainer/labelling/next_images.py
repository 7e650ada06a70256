"""The next images to label: found in the pool, ordered by what labelling them teaches, given with predictions."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from trainer.data.layouts import Options
from trainer.data.sources import find_samples
from trainer.inference.given import InputImage
from trainer.inference.model import Model
from trainer.inference.outputs import result_name
from trainer.inference.resume import model_digest
from trainer.labelling.order import LARGE_PIXELS, LEAST_DOUBT, choose
from trainer.labelling.pool import Assessment, Assessments, find_pool, same_content
from trainer.labelling.prefill import (
    Prediction,
    Queue,
    new_call,
    open_call,
    open_queue,
    predict,
    prepare_folder,
    write_predictions,
)
from trainer.labelling.refresh import outdated, refresh
from trainer.system.parallel import Progress
from trainer.system.text import count_of, one_line

OPTIONS = Options("--layout", "--labelled")

MOST_NAMED = 5
"""Images that a sentence names."""


@dataclass(frozen=True)
class Request:
    """Options of `label.py next`."""

    pool: Path
    output: Path
    count: int = 20
    labelled: Sequence[Path] = ()
    """Folders with labelled images: what looks like these is of less worth."""

    layout: str = "auto"
    """Layout of these folders, as data.layout."""

    name: str = ""
    """Name of the call, which is done once."""

    form: str = "polygons"
    batch_size: int = 8


@dataclass
class Answer:
    """Outcome of a request."""

    images: list[tuple[str, float]] = field(default_factory=list)
    """Names of the images that were given, and the doubt about each."""

    refreshed: int = 0
    """Predictions that waited untouched, and were made anew by this model."""

    left: int = 0
    """Images of the pool that are neither labelled nor given, and can be read."""

    unreadable: int = 0
    """Images of the pool that no model can be given."""

    problems: list[str] = field(default_factory=list)
    """Images that could not be read or written, a line each."""

    notes: list[str] = field(default_factory=list)
    stopped: bool = False


@dataclass(frozen=True)
class Pool:
    """Images of the pool, before any is decoded."""

    images: list[InputImage]
    """All of them."""

    left: list[InputImage]
    """Those that are neither labelled nor given."""

    known: list[InputImage]
    """Labelled images, and those given already."""

    notes: list[str]


def scan_folders(request: Request) -> tuple[Queue, Pool]:
    """Find out what is in the folders, without a model. Raises InputError for what a person has to mend first."""
    queue = open_queue(request.output)
    images = find_pool(request.pool, request.output)
    found = [find_samples([root], request.layout, options=OPTIONS) for root in request.labelled]
    labelled = [Path(sample.image_file) for one in found for sample in one.samples]
    here = [file for file in queue.images() if _has_json(file)]
    known = [InputImage(file, Path(f"{number}")) for number, file in enumerate(dict.fromkeys([*labelled, *here]))]
    open_images = [image for image in images if not queue.given(image)]
    same = same_content(open_images, [image.path for image in known])
    taken = [image for image in open_images if image not in same and queue.taken(image)]
    left = [image for image in open_images if image not in same and image not in taken]
    notes = []
    if taken:
        notes.append(f"{_some(taken)}: another picture in {request.output} has that name; rename one of them")
    return queue, Pool(images, left, [one for one in known if one.path.suffix.lower() != ".json"], notes)


def _has_json(image: Path) -> bool:
    return image.with_name(f"{image.stem}.json").exists()


def choose_next(
    request: Request,
    queue: Queue,
    pool: Pool,
    model: Model,
    progress: Progress,
    stop_requested: Callable[[], bool] = lambda: False,
) -> Answer:
    """Choose the images that are worth most, and write their predictions beside them.

    Predictions of other models that nobody has touched become those of this one. A call that was killed is completed
    with the images that it had chosen. Raises InputError where the folder cannot be written, or has other classes.
    """
    segmenter = model.segmenter.eval()
    prepare_folder(queue, segmenter.contract.class_names)
    answer = Answer(notes=list(pool.notes))
    assessments = Assessments(segmenter, queue.assessments_file)
    call = open_call(queue, request.name, assessments.model)
    if call is not None and call.complete:
        answer.notes.append(f"the call {call.name} is done; nothing is given again")
        answer.left = len(pool.left)
        return answer
    advance = progress("looking at the pool", len(pool.left) + len(pool.known))
    found = assessments.of(pool.left, request.batch_size, advance, stop_requested)
    assessed = {result_name(image): one for image, one in zip(pool.left, found, strict=False)}
    if call is None:
        known = assessments.of(pool.known, request.batch_size, advance, stop_requested)
        if stop_requested():
            answer.stopped = True
            return answer
        answer.problems += [one_line(one.error) for one in found if one.error]
        chosen = _choose(pool.left, found, known, request.count, answer)
        call = new_call(queue, request.name, _title(model), assessments.model, chosen)
    named = {result_name(image): image for image in pool.images}
    _write(request, queue, [named[name] for name in call.images if name in named], pool, model, answer, stop_requested)
    call.complete = not stop_requested()
    queue.save()
    given = [name for name in call.images if name in assessed and queue.given(named[name])]
    answer.images = [(name, assessed[name].doubt) for name in given]
    answer.unreadable = sum(bool(one.error) for one in found)
    answer.left = len(pool.left) - answer.unreadable - len(answer.images)
    answer.stopped = stop_requested()
    return answer


def _write(
    request: Request,
    queue: Queue,
    chosen: Sequence[InputImage],
    pool: Pool,
    model: Model,
    answer: Answer,
    stop_requested: Callable[[], bool],
) -> None:
    """Write the predictions of the images that were chosen, and again those of other models that nobody has touched."""
    digest = model_digest(model.segmenter)

    def predict_them(images: Sequence[InputImage]) -> Iterator[Prediction]:
        facts = _title(model), digest
        return predict(queue, *facts, images, model.segmenter, request.batch_size, request.form, stop_requested)

    answer.problems += write_predictions(queue, chosen, predict_them)
    answer.refreshed, problems = refresh(queue, outdated(queue, pool.images, digest), predict_them)
    answer.problems += problems


def _choose(
    images: Sequence[InputImage], found: Sequence[Assessment], known: Sequence[Assessment], count: int, answer: Answer
) -> list[InputImage]:
    """Images that are worth most; what is to be said about them goes into the notes."""
    rows = [row for row, one in enumerate(found) if not one.error]
    if not rows:
        return []
    usable = [found[row] for row in rows]
    doubts, pixels = np.array([one.doubt for one in usable]), np.array([one.pixels for one in usable])
    features = np.stack([one.features for one in usable])
    labelled = [one.features for one in known if not one.error]
    near = np.stack(labelled) if labelled else np.zeros((0, features.shape[1]))
    if doubts.max() <= LEAST_DOUBT:
        answer.notes.append(
            "the model is sure of every picture that is left; those that stand for most others come first"
        )
    large = [images[row] for row, one in zip(rows, usable, strict=True) if one.pixels > LARGE_PIXELS]
    if large:
        limit = f"{LARGE_PIXELS / 1e6:.0f} megapixels"
        answer.notes.append(f"{_some(large)}: more than {limit}, which many tools do not open; they come later")
    return [images[rows[one]] for one in choose(doubts, pixels, features, near, count)]


def _some(images: Sequence[InputImage]) -> str:
    names = ", ".join(one_line(image.shown) for image in images[:MOST_NAMED])
    more = f" and {len(images) - MOST_NAMED} more" if len(images) > MOST_NAMED else ""
    return f"{count_of(len(images), 'picture')} ({names}{more})"


def _title(model: Model) -> str:
    """Name and version of a model, or where it lies."""
    origin = model.origin
    return f"{origin['name']} version {origin['version']}" if "version" in origin else origin.get("uri", "")
