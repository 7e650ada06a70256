"""Tool that wrote a JSON file, from its first and last bytes; a whole one may take gigabytes of memory."""

import os
import re
from itertools import islice
from pathlib import Path

FEW = 8
"""JSON files that may lie beside one that describes all images. Tools with a file for each image write more."""

LOOKED_AT = 1 << 16
"""Bytes that are looked at, at the start and at the end of a file."""

COCO = [rf'"{key}"\s*:\s*\[' for key in ("images", "annotations", "categories")]
COCO += [rf'"{key}"\s*:' for key in ("file_name", "category_id")]
"""Keys of COCO's files; a long file has three of them near its ends."""

VIA = [r'"_via_img_metadata"\s*:', r'"_via_settings"\s*:', r'"filename"\s*:[^{}]*"size"\s*:']
"""Keys of VIA's files: of a project, and of annotations alone."""

LABEL_STUDIO = r'"(?:annotations|completions|annotation_id|predictions|(?:polygon|brush|rectangle|ellipse)?labels)"\s*:'
"""Keys of Label Studio's tasks, in its full or its minimal export."""


def few_json_files(folder: Path) -> list[Path]:
    """JSON files directly in `folder`, sorted by name; none if there are more than FEW. Hidden files are left out."""
    if not folder.is_dir():
        return []
    with os.scandir(folder) as entries:
        names = (entry.name for entry in entries if entry.name.lower().endswith(".json") and entry.name[0] != ".")
        files = sorted(islice(names, FEW + 1))
    return [folder / name for name in files] if len(files) <= FEW else []


def is_coco(file: Path) -> bool:
    """Return True if `file` looks like COCO's: lists of images, annotations and categories."""
    ends = _ends(file)
    return ends.startswith("{") and '"shapes"' not in ends and sum(bool(re.search(key, ends)) for key in COCO) >= 3


def is_via(file: Path) -> bool:
    """Return True if `file` looks like a project or the annotations of the VGG Image Annotator."""
    ends = _ends(file)
    return ends.startswith("{") and any(re.search(key, ends) for key in VIA)


def is_label_studio(file: Path) -> bool:
    """Return True if `file` looks like Label Studio's list of tasks with regions of images."""
    ends = _ends(file)
    return ends.startswith("[") and '"original_width"' in ends and bool(re.search(LABEL_STUDIO, ends))


def _ends(file: Path) -> str:
    """Start and end of a file, ASCII; "" for one that cannot be read."""
    try:
        if not file.is_file():
            return ""
        with file.open("rb") as stream:
            start = stream.read(LOOKED_AT)
            stream.seek(max(0, file.stat().st_size - LOOKED_AT))
            text = (start + b"\n" + stream.read()).decode("ascii", "ignore")
    except OSError:
        return ""
    return text.lstrip()
