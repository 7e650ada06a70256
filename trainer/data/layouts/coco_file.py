"""COCO's JSON file under any name beside its images, as Label Studio, VIA and FiftyOne export it."""

from collections.abc import Sequence
from pathlib import Path

from trainer.data.layouts import coco
from trainer.data.layouts.base import Found


def fits(root: Path) -> bool:
    return not coco.fits(root) and bool(coco.find_records(root))


def find(root: Path, classes: Sequence[str] | None) -> Found:
    """Read the folder as `coco.find` does."""
    return coco.find(root, classes)
