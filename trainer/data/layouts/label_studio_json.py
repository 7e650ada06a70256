"""Label Studio's JSON export, full or minimal, beside the images: polygons, rectangles, ellipses and brushes.

Positions are percentages of the image. The class of a region is its label; regions lie over one another in their order.
"""

import base64
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from trainer import InputError
from trainer.data.files import Reason
from trainer.data.image_header import read_header
from trainer.data.layouts.base import Found, match_labels, read_json
from trainer.data.layouts.brush_rle import decode_brush, to_bytes
from trainer.data.layouts.image_names import ImageNames
from trainer.data.layouts.json_heads import few_json_files, is_label_studio
from trainer.data.layouts.label_studio_tasks import Region, corners_of, image_texts, regions_of
from trainer.data.layouts.labelme_shapes import (
    Shape,
    abbreviate,
    check_shapes,
    draw_shapes,
    pack_crop,
    require_drawable,
)
from trainer.data.sample import RecordedSample
from trainer.data.value_map import BACKGROUND, BACKGROUNDS, UNMAPPED, ValueMap
from trainer.system.text import count_of

UNLABELLED = Reason("without an annotation yet", unlabelled=True)

REMEDY = "export it again (Export, JSON)"

ASPECT = 0.01
"""Largest relative difference between the proportions of an image and those that its regions were drawn on."""


@dataclass(frozen=True, slots=True)
class LabelStudioSample(RecordedSample):
    """An image whose mask is drawn from regions. `mask` is the JSON file."""

    regions: bytes = field(repr=False)
    """JSON list of [class id, [height, width] that it was drawn on, kind, points in per cent or brush as base64]."""

    def own_content(self) -> bytes:
        return self.regions

    def read_mask(self, values: ValueMap, content: bytes | None = None) -> np.ndarray:
        size = read_header(self.image, self.image_content()).size
        where = f"{self.mask} ({self.image.name})"
        shapes = [
            _shape(region, size, f"{where}: region {number}")
            for number, region in enumerate(json.loads(self.regions), start=1)
        ]
        require_drawable(shapes, size, Path(where))
        return draw_shapes(shapes, {shape.label: int(shape.label) for shape in shapes}, size)


def fits(root: Path) -> bool:
    return any(is_label_studio(file) for file in few_json_files(root))


def find(root: Path, classes: Sequence[str] | None) -> Found:
    """Make one sample of each task with an annotation. Classes are sorted by name, or those of `classes`.

    Of several annotations of a task the ground truth counts, or else the latest. Raises InputError where there is no
    export, or no region with a label.
    """
    files = [file for file in few_json_files(root) if is_label_studio(file)]
    if not files:
        raise InputError(f"{root}: no JSON export of Label Studio there")
    tasks = [(file, task) for file in files for task in _read_tasks(file)]
    labels = sorted({name for _, task in tasks for name, _ in regions_of(task)[0] or ()} - {"", *BACKGROUNDS})
    if not 0 < len(labels) < UNMAPPED:
        raise InputError(f"{files[0]}: {len(labels)} classes among its regions; there may be 1 to {UNMAPPED - 1}")
    class_of, notes = match_labels(labels, classes, files[0])
    names = (BACKGROUND, *labels) if classes is None else tuple(classes)
    ids = {name: names.index(meant) if meant in names else 0 for name, meant in class_of.items()}
    ids |= dict.fromkeys(BACKGROUNDS, 0)
    found = Found(names=names, notes=notes, records=files)
    _add_samples(found, tasks, ids, ImageNames(root))
    return found


def _read_tasks(file: Path) -> list[dict[str, Any]]:
    content = read_json(file, REMEDY)
    if not isinstance(content, list) or not all(isinstance(task, dict) for task in content):
        raise InputError(f"{file}: not Label Studio's list of tasks; {REMEDY}")
    return content


def _add_samples(
    found: Found, tasks: Sequence[tuple[Path, Mapping[str, Any]]], ids: Mapping[str, int], names: ImageNames
) -> None:
    images: dict[str, Path] = {}
    counts = dict.fromkeys(("several", "empty", "unnamed"), 0)
    missing: list[str] = []
    for file, task in tasks:
        texts = list(image_texts(task))
        image = next((path for text in texts if (path := names.find(text))), None)
        if image is None:
            missing.append(f"{file}: no image {abbreviate(texts[0] if texts else '')} below {names.root}, or several")
            continue
        regions, annotations = regions_of(task)
        stem = image.relative_to(names.root).with_suffix("").as_posix()
        if regions is None:
            found.leave_out(UNLABELLED, image)
            continue
        if stem in images:
            found.problems.append(f"{file}: two tasks have the image {image.name}; remove one of them")
            continue
        images[stem] = image
        counts["several"] += annotations > 1
        counts["empty"] += not regions
        counts["unnamed"] += sum(name not in ids for name, _ in regions)
        drawn = [
            _checked(ids[name], region, f"{file} ({image.name})", found) for name, region in regions if name in ids
        ]
        text = json.dumps([one for one in drawn if one], separators=(",", ":"))
        found.samples.append(LabelStudioSample(stem, str(image), str(file), text.encode()))
    found.problems += missing[:5] + ([f"{tasks[0][0]}: {len(missing) - 5} more"] if len(missing) > 5 else [])
    for text in (
        f"{count_of(counts['several'], 'task')} with several annotations; the ground truth or the latest counts",
        f"{count_of(counts['empty'], 'image')} with an annotation without regions; taken as background",
        f"{count_of(counts['unnamed'], 'region')} without a label, or of a kind that is not an area; left out",
    ):
        if not text.startswith("0 "):
            found.notes.append(f"{tasks[0][0]}: {text}")


def _checked(class_id: int, region: Region, where: str, found: Found) -> list[Any] | None:
    """Region as LabelStudioSample keeps it; None, with a problem in `found`, where it cannot be drawn."""
    try:
        width, height = region.get("original_width"), region.get("original_height")
        if type(width) is not int or type(height) is not int or min(width, height) < 1:
            raise InputError(f"original size {abbreviate(width)} x {abbreviate(height)}; {REMEDY}")
        if region.get("image_rotation"):
            raise InputError(
                f"drawn on an image turned by {abbreviate(region['image_rotation'])} degrees; turn the file itself"
            )
        if "rle" in region:
            kind, value = "brush", base64.b64encode(to_bytes(region["rle"])).decode()
            return [class_id, [height, width], kind, value]
        points = [list(map(_plain, one)) for one in corners_of(region)]
        shape = {"label": "polygon", "shape_type": "polygon", "points": points}
        checked, problems = check_shapes([shape], {"polygon": class_id}, Path(where), size=None)
        if problems:
            raise InputError(problems[0].removeprefix(f"{where}: "))
        return [class_id, [height, width], "polygon", checked[0].points]
    except (InputError, TypeError, ValueError, KeyError) as error:
        found.problems.append(f"{where}: a region that cannot be drawn ({error}); delete it in Label Studio")
        return None


def _plain(value: float) -> float:
    return round(float(value), 6)


def _shape(region: Sequence[Any], size: tuple[int, int], where: str) -> Shape:
    """Shape of a region in an image of `size`, H and W; its label is the class id.

    Raises InputError naming the region where the image is another, or a brush is damaged.
    """
    class_id, (drawn_height, drawn_width), kind, value = region
    height, width = size
    stretched = abs(drawn_height * width / (drawn_width * height) - 1) > ASPECT
    if stretched or (kind == "brush" and (drawn_height, drawn_width) != size):
        raise InputError(
            f"{where}: drawn on an image of {drawn_width}x{drawn_height} pixels, the file has {width}x{height}; put "
            "the image there that Label Studio has"
        )
    if kind == "brush":
        try:
            painted = decode_brush(base64.b64decode(value), size)
        except ValueError as error:
            raise InputError(f"{where}: its brush is damaged ({error}); {REMEDY}") from None
        return Shape(str(class_id), "mask", ((0.0, 0.0), (width - 1.0, height - 1.0)), pack_crop(painted))
    # The drawing takes the pixel that a corner lies in, and one on its edge must not fall short of it by rounding.
    points = tuple((round(x * width / 100, 3), round(y * height / 100, 3)) for x, y in value)
    return Shape(str(class_id), "polygon", points)
