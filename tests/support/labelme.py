"""A folder of Labelme files, whole or broken, for tests of reading and converting it."""

import base64
import io
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from tests.support.images import smooth_image
from trainer.data.image_io import read_mask
from trainer.prepare import main

HEIGHT, WIDTH = 40, 56
IDS = {"__ignore__": 255, "_background_": 0, "cat": 1, "dog": 2}
CROP = np.arange(35).reshape(5, 7) % 3 > 0
"""Pixels of a shape of the type mask, bool [5, 7]."""


def png(array: np.ndarray) -> bytes:
    """Encode an image or a mask as a PNG file."""
    buffer = io.BytesIO()
    Image.fromarray(array).save(buffer, format="PNG")
    return buffer.getvalue()


def base64_text(content: bytes) -> str:
    return base64.b64encode(content).decode()


def shape(kind: str | None, *points: list[float], label: str = "cat", **more: Any) -> dict[str, Any]:
    """Make an entry of `shapes`; `more` adds or replaces keys."""
    return {"label": label, "points": list(points), "group_id": None, "shape_type": kind, "flags": {}} | more


def record(image: str | None, *shapes: dict[str, Any], **more: Any) -> dict[str, Any]:
    """Make the content of a JSON file, by default with one shape of each type; `more` adds or replaces keys."""
    shapes = shapes or (
        shape("polygon", [2, 2], [20.5, 3], [9, 30.25]),
        shape("rectangle", [30, 30], [12, 8], label="dog"),
        shape("circle", [40, 20], [40, 27]),
        shape("line", [1, 1], [50, 30]),
        shape("linestrip", [1, 38], [20, 12], [50, 38], label="__ignore__"),
        shape("point", [50, 5], label="dog"),
        shape("oriented_rectangle", [10, 10], [20, 5], [25, 15], [15, 20], label="_background_"),
        shape("mask", [3, 4], [9, 8], mask=base64_text(png(CROP.astype(np.uint8) * 255))),
    )
    size = {"imageHeight": HEIGHT, "imageWidth": WIDTH}
    whole = {"version": "5.5.0", "flags": {}, "shapes": list(shapes), "imagePath": image, "imageData": None} | size
    return whole | more


@dataclass
class LabelmeFolder:
    """A folder `annotated` with good.json and images; beside it labels.txt, and `outside`, where links lead to."""

    top: Path

    def __post_init__(self) -> None:
        for folder in (self.folder / "sub", self.top / "outside"):
            folder.mkdir(parents=True)
        self.labels.write_text("__ignore__\n_background_\ncat\ndog\n")
        image = png(smooth_image(HEIGHT, WIDTH))
        for path in (self.folder / "good.png", self.folder / "sub" / "deep.png", self.top / "outside" / "secret.png"):
            path.write_bytes(image)
        (self.folder / "link.png").symlink_to(self.top / "outside" / "secret.png")
        (self.folder / "linked").symlink_to(self.top / "outside")
        self.write("good", record("good.png"))
        (self.top / "outside" / "other.json").write_text(json.dumps(record("good.png")))

    @property
    def folder(self) -> Path:
        return self.top / "annotated"

    @property
    def labels(self) -> Path:
        return self.top / "labels.txt"

    @property
    def out(self) -> Path:
        return self.top / "made" / "here" / "voc"

    def write(self, stem: str, content: object) -> Path:
        """Write a JSON file of these bytes, or of this content."""
        file = self.folder / f"{stem}.json"
        if isinstance(content, bytes):
            file.write_bytes(content)
        else:
            file.write_text(json.dumps(content))
        return file

    def convert(self, *options: str) -> int:
        """Run `prepare.py labelme` on the folder; return its exit code."""
        return main(["labelme", str(self.folder), str(self.out), "--labels", str(self.labels), *options])

    def mask(self, stem: str) -> np.ndarray:
        """Read a mask that `convert` has written."""
        return read_mask(self.out / "SegmentationClassPNG" / f"{stem}.png")
