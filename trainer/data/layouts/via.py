"""VGG Image Annotator: its JSON file, a project or the annotations alone, beside the images.

The class of a region is the value of one of its attributes. There may be parts, each with its own JSON file.
"""

import json
import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from trainer import InputError
from trainer.data.files import list_folders
from trainer.data.image_header import read_header
from trainer.data.layouts.base import PARTS, Found, match_labels, merge_parts, read_json
from trainer.data.layouts.image_names import ImageNames
from trainer.data.layouts.json_heads import few_json_files, is_via
from trainer.data.layouts.labelme_shapes import Points, Shape, abbreviate, check_shapes, draw_shapes, require_drawable
from trainer.data.sample import RecordedSample
from trainer.data.value_map import BACKGROUND, BACKGROUNDS, UNMAPPED, ValueMap
from trainer.system.text import count_of, label

METADATA = "_via_img_metadata"
"""Key of a project under which its images are."""

CLASS_ATTRIBUTES = ("class", "label", "category", "type", "name", "object", "species")
"""Names, in lower case, of the attribute that is the class where regions have several; earlier ones take precedence."""

ONLY_CLASS = "object"
"""Name of the class where regions have no attributes."""

ELLIPSE_CORNERS = 64

Entry = dict[str, Any]


@dataclass(frozen=True, slots=True)
class ViaSample(RecordedSample):
    """An image whose mask is drawn from regions. `mask` is the JSON file."""

    regions: bytes = field(repr=False)
    """JSON list of [class id, shape type, points], in the order of drawing."""

    def own_content(self) -> bytes:
        return self.regions

    def read_mask(self, values: ValueMap, content: bytes | None = None) -> np.ndarray:
        size = read_header(self.image, self.image_content()).size
        regions = json.loads(self.regions)
        ids = {str(class_id): class_id for class_id, _, _ in regions}
        shapes = [
            Shape(str(class_id), kind, tuple((float(x), float(y)) for x, y in points))
            for class_id, kind, points in regions
        ]
        require_drawable(shapes, size, Path(f"{self.mask} ({self.image.name})"))
        return draw_shapes(shapes, ids, size)


def fits(root: Path) -> bool:
    return bool(_find_parts(root))


def find(root: Path, classes: Sequence[str] | None) -> Found:
    """Make one sample of each image; one without regions is background. Classes are sorted by name, or `classes`.

    Raises InputError where a folder has several of VIA's files, or the attribute with the class is not clear.
    """
    files = _find_parts(root)
    if not files:
        raise InputError(f"{root}: no JSON file of the VGG Image Annotator there")
    entries = {part: _read_entries(file) for part, file in files.items()}
    every = [one for part in entries.values() for entry in part for one in _regions(entry)]
    first = next(iter(files.values()))
    attribute = _class_attribute(every, classes, first)
    labels = sorted({_label(one, attribute) for one in every} - {"", *BACKGROUNDS})
    if attribute is None:
        labels = [ONLY_CLASS if classes is None else classes[1]]
    if not 0 < len(labels) < UNMAPPED:
        raise InputError(f"{first}: {len(labels)} classes; give the regions 1 to {UNMAPPED - 1}, as an attribute")
    class_of, notes = match_labels(labels, classes, first)
    names = (BACKGROUND, *labels) if classes is None else tuple(classes)
    ids = {label: names.index(name) if name in names else 0 for label, name in class_of.items()}
    ids |= dict.fromkeys(BACKGROUNDS, 0)
    parts = {
        part: _make_samples(files[part], entries[part], attribute, labels[0], ids, ImageNames(files[part].parent))
        for part in files
    }
    found = parts[""] if "" in parts else merge_parts(parts, root)
    found.names = names
    source = f"the values of the attribute {attribute}" if attribute else "one, since regions have no attributes"
    found.notes += [f"{first}: the classes are {source}: {', '.join(labels)}", *notes]
    return found


def _find_parts(root: Path) -> dict[str, Path]:
    """Part -> its JSON file; the only part is "" for a file in `root`."""
    here = _via_files(root)
    if here:
        return {"": _only(here)}
    folders = [folder for folder in list_folders(root) if folder.name.lower() in PARTS]
    files = {folder.name: _via_files(folder) for folder in folders}
    return {part: _only(inside) for part, inside in files.items() if inside}


def _via_files(folder: Path) -> list[Path]:
    return [file for file in few_json_files(folder) if is_via(file)]


def _only(files: Sequence[Path]) -> Path:
    """The only file, or else the only project: its annotations may be exported beside it."""
    projects = [file for file in files if "project" in file.name.lower()]
    return projects[0] if len(projects) == 1 else files[0]


def _read_entries(file: Path) -> list[Entry]:
    """Entries of the images. Raises InputError naming the file."""
    content = read_json(file, "export it again")
    images = content.get(METADATA, content) if isinstance(content, dict) else None
    entries = list(images.values()) if isinstance(images, dict) else []
    if not entries or not all(isinstance(entry, dict) and "filename" in entry for entry in entries):
        raise InputError(f"{file}: not VIA's list of images with regions; export the annotations again, as JSON")
    return entries


def _regions(entry: Entry) -> list[Entry]:
    """Regions of an image; version 1 of VIA numbers them in an object."""
    regions = entry.get("regions")
    regions = list(regions.values()) if isinstance(regions, dict) else regions
    return [one if isinstance(one, dict) else {} for one in regions] if isinstance(regions, list) else []


def _class_attribute(regions: Sequence[Entry], classes: Sequence[str] | None, file: Path) -> str | None:
    """Name of the attribute that holds the class; None where regions have none. Raises InputError if several may."""
    counts: Counter[str] = Counter()
    for region in regions:
        attributes = region.get("region_attributes")
        counts.update(name for name in attributes if _label(region, name)) if isinstance(attributes, dict) else None
    usable = [name for name, _ in counts.most_common()]
    if classes is not None:
        usable = [name for name in usable if {_label(one, name) for one in regions} & set(classes)] or usable
    usual = [name for wanted in CLASS_ATTRIBUTES for name in usable if name.lower() == wanted]
    if len(usable) > 1 and not usual:
        raise InputError(
            f"{file}: regions have the attributes {', '.join(usable[:8])}; call the one with the class `class`, or "
            "give --data.classes its values"
        )
    return next(iter(usual or usable), None)


def _label(region: Entry, attribute: str | None) -> str:
    """Class of a region: a text, a number, or the only name that is true in an object of checkboxes; "" for none."""
    attributes = region.get("region_attributes")
    value = attributes.get(attribute) if isinstance(attributes, dict) and attribute is not None else None
    if isinstance(value, dict):
        chosen = [name for name, on in value.items() if on is True or on == "true"]
        value = chosen[0] if len(chosen) == 1 else None
    return label(str(value)) if isinstance(value, str | int | float) and not isinstance(value, bool) else ""


def _make_samples(
    file: Path,
    entries: Sequence[Entry],
    attribute: str | None,
    only: str,
    ids: Mapping[str, int],
    names: ImageNames,
) -> Found:
    """Samples of one JSON file. `only`: label of all regions where there is no attribute; `ids`: label -> class id."""
    found, images = Found(records=[file]), dict[str, Path]()
    empty = unnamed = 0
    for entry in entries:
        image = names.find(entry["filename"])
        if image is None:
            name = abbreviate(entry["filename"])
            found.problems.append(f"{file}: no image {name} below {names.root}, or several; keep one there")
            continue
        stem = image.relative_to(names.root).with_suffix("").as_posix()
        if stem in images:
            found.problems.append(f"{file}: {image.name} has the same stem as {images[stem].name}; keep one")
            continue
        images[stem] = image
        regions = [(_label(region, attribute) if attribute else only, region) for region in _regions(entry)]
        unnamed += sum(not label for label, _ in regions)
        empty += not regions
        drawn = [_shape(region) | {"label": label} for label, region in regions if label]
        checked, problems = check_shapes(drawn, ids, Path(f"{file} ({image.name})"), size=None)
        found.problems += problems
        text = json.dumps([[ids[one.label], one.kind, one.points] for one in checked], separators=(",", ":"))
        found.samples.append(ViaSample(stem, str(image), str(file), text.encode()))
    if unnamed:
        found.notes.append(f"{file}: {count_of(unnamed, 'region')} without {attribute}; left out")
    if empty:
        found.notes.append(f"{file}: {count_of(empty, 'image')} without regions; taken as background")
    return found


def _shape(region: Entry) -> Entry:
    """A region as an entry of Labelme's shapes; what is not VIA's becomes a shape that `check_shapes` refuses."""
    shape = region.get("shape_attributes")
    shape = shape if isinstance(shape, dict) else {}
    kind = str(shape.get("name"))
    try:
        return {"shape_type": KINDS[kind], "points": [list(point) for point in _points(kind, shape)]}
    except (KeyError, TypeError, ValueError):
        return {"shape_type": kind, "points": []}


KINDS = {
    "polygon": "polygon",
    "polyline": "linestrip",
    "rect": "rectangle",
    "circle": "circle",
    "ellipse": "polygon",
    "point": "point",
}
"""VIA's shape -> Labelme's shape type."""


def _points(kind: str, shape: Mapping[str, Any]) -> Points:
    if kind in ("polygon", "polyline"):
        return tuple(zip(shape["all_points_x"], shape["all_points_y"], strict=True))
    if kind == "rect":
        x, y = shape["x"], shape["y"]
        return (x, y), (x + max(0, shape["width"] - 1), y + max(0, shape["height"] - 1))
    x, y = shape["cx"], shape["cy"]
    if kind == "circle":
        return (x, y), (x + shape["r"], y)
    return tuple(_ellipse(x, y, shape)) if kind == "ellipse" else ((x, y),)


def _ellipse(x: float, y: float, shape: Mapping[str, Any]) -> Iterator[tuple[float, float]]:
    turn = shape.get("theta", 0.0)
    for number in range(ELLIPSE_CORNERS):
        angle = 2 * math.pi * number / ELLIPSE_CORNERS
        along, across = shape["rx"] * math.cos(angle), shape["ry"] * math.sin(angle)
        yield (
            x + along * math.cos(turn) - across * math.sin(turn),
            y + along * math.sin(turn) + across * math.cos(turn),
        )
