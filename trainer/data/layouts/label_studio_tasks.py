"""Tasks of Label Studio's JSON export: the regions that count, their labels and corners."""

import math
from collections.abc import Iterator, Mapping
from typing import Any

from trainer.system.text import label

LABELS = ("polygonlabels", "brushlabels", "rectanglelabels", "ellipselabels", "labels")
"""Keys under which a region has its labels, by the tag that drew it; the last one where tools and labels are apart."""

SIZE = ("original_width", "original_height", "image_rotation")
"""Keys beside a region's value that say on which image it was drawn."""

ELLIPSE_CORNERS = 64

Region = dict[str, Any]


def image_texts(task: Mapping[str, Any]) -> Iterator[str]:
    """Texts that may lead to the task's image, the likeliest first."""
    data = task.get("data")
    fields = dict(data) if isinstance(data, dict) else {}
    fields |= {key: task[key] for key in ("file_upload", "image", "img") if key in task}
    named = sorted(fields, key=lambda key: key not in ("image", "img"))
    yield from (fields[key] for key in named if isinstance(fields[key], str) and fields[key])


def regions_of(task: Mapping[str, Any]) -> tuple[list[tuple[str, Region]] | None, int]:
    """(label, region) of the annotation that counts, and the number of annotations; None and 0 without one.

    The label of a region without one, or that is not an area, is "".
    """
    annotations = task.get("annotations", task.get("completions"))
    if annotations is None:
        return _minimal(task)
    given = [one for one in annotations if isinstance(one, dict)] if isinstance(annotations, list) else []
    done = [one for one in given if not one.get("was_cancelled") and isinstance(one.get("result"), list)]
    if not done:
        return None, 0
    chosen = max(enumerate(done), key=lambda one: (bool(one[1].get("ground_truth")), _number(one[1].get("id")), one[0]))
    entries = [one for one in chosen[1]["result"] if isinstance(one, dict) and isinstance(one.get("value"), dict)]
    regions: list[tuple[str, Region]] = []
    by_id: dict[str, int] = {}
    for entry in entries:
        region = {**entry["value"], **{key: entry[key] for key in SIZE if key in entry}}
        name = _label(region)
        key = entry.get("id")
        # Where tools and labels are apart, the same region comes twice: as it is drawn, and with its label.
        if isinstance(key, str) and key in by_id and _same_place(regions[by_id[key]][1], region):
            if name:
                regions[by_id[key]] = name, region
            continue
        if isinstance(key, str):
            by_id[key] = len(regions)
        if _is_area(region) or name:
            regions.append((name, region))
    return regions, len(done)


def _minimal(task: Mapping[str, Any]) -> tuple[list[tuple[str, Region]] | None, int]:
    """Those of a task of the minimal export: lists of regions under the names of its tags."""
    lists = [value for value in task.values() if isinstance(value, list)]
    regions = [one for value in lists for one in value if isinstance(one, dict) and "original_width" in one]
    if not regions and "annotation_id" not in task:
        return None, 0
    return [(_label(one), one) for one in regions], 1


def _number(value: object) -> int:
    return value if isinstance(value, int) else 0


def _same_place(one: Region, other: Region) -> bool:
    places = [{key: value for key, value in region.items() if key not in LABELS} for region in (one, other)]
    return places[0] == places[1]


def _is_area(region: Region) -> bool:
    return "points" in region or "rle" in region or "width" in region or "radiusX" in region


def _label(region: Region) -> str:
    """First label of a region that is an area; "" without one."""
    lists = [region[key] for key in LABELS if isinstance(region.get(key), list)]
    first = next((one for values in lists for one in values if isinstance(one, str)), "")
    return label(first) if _is_area(region) else ""


def corners_of(region: Region) -> Iterator[tuple[float, float]]:
    """Corners of an area in per cent of the image's width and height."""
    if "points" in region:
        yield from ((x, y) for x, y in region["points"])
        return
    turn, x, y = math.radians(region.get("rotation") or 0.0), region["x"], region["y"]
    wide, high = region["original_width"] / 100, region["original_height"] / 100  # pixels of a per cent
    if "radiusX" in region:
        angles = [2 * math.pi * number / ELLIPSE_CORNERS for number in range(ELLIPSE_CORNERS)]
        offsets = [
            (math.cos(one) * region["radiusX"] * wide, math.sin(one) * region["radiusY"] * high) for one in angles
        ]
    else:
        offsets = _rectangle(region["width"] * wide, region["height"] * high)
    for across, down in offsets:  # a turn is one of pixels: 1 % of the width is another length than 1 % of the height
        yield (
            x + (across * math.cos(turn) - down * math.sin(turn)) / wide,
            y + (across * math.sin(turn) + down * math.cos(turn)) / high,
        )


def _rectangle(width: float, height: float) -> list[tuple[float, float]]:
    """Centres of the pixels in the corners of a rectangle, from its upper left corner; the drawing fills these too."""
    across, down = min(0.5, width / 2), min(0.5, height / 2)
    left, right, top, bottom = across, width - across, down, height - down
    return [(left, top), (right, top), (right, bottom), (left, bottom)]
