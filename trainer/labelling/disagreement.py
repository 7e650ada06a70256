"""Labelled images on which a model and the label disagree most: usually the label is wrong."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageDraw

from trainer import IGNORE, InputError
from trainer.data.checks.scan import hash_pixels
from trainer.data.checks.sheet import FORMATS
from trainer.data.resize_mask import nearest_pixels
from trainer.data.sample import Sample
from trainer.data.value_map import ValueMap
from trainer.drawing.bands import to_rgb
from trainer.drawing.figures import PANEL, PAPER, shrink_to_panel, watch_panels
from trainer.drawing.fonts import drawable
from trainer.model.segmenter import Segmenter
from trainer.model.training_images import hash_text
from trainer.system.atomic import atomic_file
from trainer.system.parallel import Progress
from trainer.system.text import count_of, one_line

MOST_SHOWN = 20
"""Images that are listed and drawn."""

LEAST_UNION = 0.005
"""Share of an image that its things are taken to cover at least: a speck is no great disagreement."""

LEAST_SCORE = 0.05
"""Disagreement below which an image is not listed: its borders are drawn a little differently."""

CAPTION, LETTERS = 26, 16
"""Height of the line above the panels, and of its letters, in pixels."""

TRAINED = {True: "the model has trained on it", False: "the model has not trained on it", None: ""}
"""What is said about an image."""


@dataclass(frozen=True)
class Disagreement:
    """A labelled image, and how much a model disagrees with its label."""

    name: str
    label: str
    """File of the label."""

    score: float
    """Pixels that differ, each by how sure the model is of it, over those of both; 0 to 1."""

    iou: float
    """IoU of prediction and label, all foreground classes together."""

    trained: bool | None
    """Whether the image has trained the model; None: not known."""


def rank(
    segmenter: Segmenter,
    samples: Sequence[Sample],
    values: ValueMap,
    names: Sequence[str] | None,
    trained: Collection[str] | None,
    progress: Progress,
) -> list[Disagreement]:
    """Disagreement about each sample that can be read, the largest first.

    `names`: K class names of the labels, None where they have only ids; `trained`: hashes of the images that trained
    the model, as `training_images` has them, or None. Raises InputError where the classes have nothing in common.
    """
    ids = match_classes(names, segmenter.contract.class_names)
    advance = progress("comparing", len(samples))
    found = []
    for sample in samples:
        try:
            image, mask = _read(sample, segmenter, values, ids)
        except InputError:  # the check names it
            advance()
            continue
        predicted, confidence = segmenter.predict(image)
        score, iou = compare(mask, predicted, confidence)
        seen = None if trained is None else hash_text(hash_pixels(image)) in trained
        found.append(Disagreement(sample.name, sample.mask_file, round(score, 4), round(iou, 4), seen))
        advance()
    return sorted(found, key=lambda one: (-one.score, one.name))


def match_classes(names: Sequence[str] | None, known: Sequence[str]) -> np.ndarray:
    """Class id of the model for each class id of the labels, uint8 [256]: IGNORE for those that it does not know.

    Raises InputError where it knows none of them.
    """
    ids = np.full(256, IGNORE, np.uint8)
    if names is None:
        ids[: len(known)] = np.arange(len(known))
        return ids
    ids[0] = 0
    for number, name in enumerate(names[1:], start=1):
        if name in known[1:]:
            ids[number] = list(known).index(name)
    if (ids[1:] == IGNORE).all():
        ours, theirs = (", ".join(map(one_line, given[1:])) for given in (names, known))
        raise InputError(f"--model: it finds {theirs}, and the labels are {ours}; give a model of these classes")
    return ids


def compare(mask: np.ndarray, predicted: np.ndarray, confidence: np.ndarray) -> tuple[float, float]:
    """Disagreement and IoU, both 0 to 1, of a label and a prediction, both uint8 [H, W].

    `confidence`: probability of the predicted class, float [H, W]. At borders it is near a half, and nobody is wrong.
    """
    counted = mask != IGNORE
    differs = counted & (mask != predicted)
    union = int(np.count_nonzero(counted & ((mask != 0) | (predicted != 0))))
    sure = float(np.clip(2 * confidence[differs] - 1, 0, 1).sum())
    agreed = int(np.count_nonzero(counted & (mask == predicted) & (mask != 0)))
    return min(1.0, sure / max(1.0, union, LEAST_UNION * mask.size)), agreed / union if union else 1.0


def describe(found: Sequence[Disagreement], known: bool) -> list[str]:
    """Lines for a person; `known`: whether it is known which images trained the model."""
    listed = [one for one in found[:MOST_SHOWN] if one.score >= LEAST_SCORE]
    if not listed:
        return [f"model and labels agree about all of {count_of(len(found), 'picture')}"]
    lines = ["model and label disagree most about these; look at the label first:"]
    for one in listed:
        said = f", {TRAINED[one.trained]}" if one.trained is not None else ""
        lines.append(f"  {one.score:.2f}  IoU {one.iou:.2f}  {one_line(one.name)}  ({one_line(one.label)}{said})")
    if not known:
        lines.append("which of them trained the model is not known; of those it may have learnt the mistakes")
    elif trained := sum(one.trained is True for one in found):
        lines.append(
            f"{trained} of {count_of(len(found), 'picture')} trained the model, which may have learnt their mistakes; "
            "one trained with another data.fold sees them fresh"
        )
    return lines


def as_json(found: Sequence[Disagreement]) -> list[dict[str, Any]]:
    """The list for the report."""
    return [asdict(one) for one in found]


def draw_disagreements(
    found: Sequence[Disagreement],
    samples: Mapping[str, Sample],
    segmenter: Segmenter,
    values: ValueMap,
    names: Sequence[str] | None,
    file: Path,
    progress: Progress,
) -> int:
    """Draw the first ones, each as prediction, label, differences and image side by side; return their number.

    `samples`: by name. Raises InputError where `file` cannot be written.
    """
    ids = match_classes(names, segmenter.contract.class_names)
    listed = [one for one in found[:MOST_SHOWN] if one.score >= LEAST_SCORE] or list(found[:1])
    advance = progress("drawing", len(listed))
    rows = []
    for one in listed:
        rows += [_caption(one), _panels(samples[one.name], segmenter, values, ids, one.iou)]
        advance()
    if not rows:
        return 0
    try:
        with atomic_file(file) as target:
            Image.fromarray(np.concatenate(rows)).save(target, format=FORMATS[file.suffix.lower()])
    except OSError as error:
        raise InputError(f"--sheet {file}: cannot be written ({error.strerror or error}); give another file") from error
    return len(listed)


def _panels(sample: Sample, segmenter: Segmenter, values: ValueMap, ids: np.ndarray, iou: float) -> np.ndarray:
    """Four panels in a row, uint8 RGB [PANEL, 4 * PANEL, 3]."""
    image, mask = _read(sample, segmenter, values, ids)
    predicted, _ = segmenter.predict(image)
    size = shrink_to_panel(mask.shape)
    pixels = nearest_pixels(mask.shape, size)
    small = np.array(Image.fromarray(to_rgb(image)).resize(size[::-1], Image.Resampling.BOX))
    return watch_panels(small, mask[pixels], predicted[pixels], segmenter.contract.colours, iou)


def _caption(one: Disagreement) -> np.ndarray:
    """Line with the name of an image, uint8 RGB [CAPTION, 4 * PANEL, 3]."""
    picture = Image.new("RGB", (4 * PANEL, CAPTION), PAPER)
    said = f", {TRAINED[one.trained]}" if one.trained is not None else ""
    text = f"{one.score:.2f}  {one_line(one.name)}{said}. Prediction, label, differences, picture"
    drawn, font = drawable(text, LETTERS)
    ImageDraw.Draw(picture).text((8, 4), drawn, (20, 20, 20), font)
    return np.array(picture)


def _read(sample: Sample, segmenter: Segmenter, values: ValueMap, ids: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Image as the model takes it, uint8 [H, W, C], and label in the model's class ids, uint8 [H, W]."""
    with sample.contents() as contents:
        image = sample.read_image(contents.image, segmenter.contract.range_of_levels)
        mask = ids[sample.read_mask(values, contents.mask)]
    if image.shape[:2] != mask.shape:
        raise InputError(f"{sample.mask}: another size than its image")
    return image, mask
