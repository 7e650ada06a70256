"""The same labelled scenes written in each layout, and short calls that read a folder."""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tests.support.data import count_nothing
from tests.support.images import smooth_image
from trainer import InputError
from trainer.config import DataConfig
from trainer.data.dataset import Dataset, open_dataset
from trainer.data.image_io import write_mask
from trainer.data.layouts.base import Found
from trainer.data.sources import Sources, find_samples, find_sources
from trainer.data.view import View

Names = tuple[str, ...]
NAMES = ("_background_", "cat", "dog")


@dataclass(frozen=True)
class Scene:
    """An image and its mask."""

    stem: str
    image: np.ndarray
    """uint8 RGB [H, W, 3]."""

    mask: np.ndarray
    """Class ids uint8 [H, W]: 0, 1, 255, and 2 if there are two foreground classes."""


def scenes(count: int = 10, classes: int = 3, ignore: bool = True) -> list[Scene]:
    """Make smooth images with a bright box of each foreground class, all of different sizes and masks."""
    drawn = []
    for number in range(count):
        height, width = 32 + number, 41 + 2 * number
        image, mask = smooth_image(height, width, number) // 3, np.zeros((height, width), np.uint8)
        for value in range(1, classes):
            top, left = 2 + 15 * (value - 1), 3 + number
            image[top : top + 12, left : left + 14, value - 1] = 250
            mask[top : top + 12, left : left + 14] = value
        if ignore:
            mask[:, -4:] = 255
        drawn.append(Scene(f"scene_{number:02}", image, mask))
    return drawn


def save_image(path: Path, image: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    options = {"quality": 98, "subsampling": 0} if path.suffix == ".jpg" else {}
    Image.fromarray(image).save(path, **options)


def save_mask(path: Path, mask: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    write_mask(path, mask)


def write_pairs(images: Path, masks: Path, drawn: Sequence[Scene], ending: str = "") -> None:
    """Write the images and masks into two folders; `ending` follows the stem in the names of the masks."""
    for scene in drawn:
        save_image(images / f"{scene.stem}.png", scene.image)
        save_mask(masks / f"{scene.stem}{ending}.png", scene.mask)


def write_folders(root: Path, drawn: Sequence[Scene]) -> Path:
    write_pairs(root / "images", root / "masks", drawn, "_mask")
    (root / "class_names.txt").write_text("cat\ndog\n")
    return root


def write_voc(root: Path, drawn: Sequence[Scene]) -> Path:
    write_pairs(root / "JPEGImages", root / "SegmentationClassPNG", drawn)
    (root / "class_names.txt").write_text("_background_\ncat\ndog\n")
    return root


def write_nnunet(root: Path, drawn: Sequence[Scene]) -> Path:
    for scene in drawn:
        save_image(root / "imagesTr" / f"{scene.stem}_0000.png", scene.image)
        save_mask(root / "labelsTr" / f"{scene.stem}.png", np.where(scene.mask == 255, 3, scene.mask).astype(np.uint8))
    labels = {"background": 0, "cat": 1, "dog": 2, "ignore": 3}
    (root / "dataset.json").write_text(json.dumps({"labels": labels, "file_ending": ".png"}))
    return root


def write_pets(root: Path, drawn: Sequence[Scene]) -> Path:
    """Write cats as pets; dogs become background, since trimaps have one class."""
    trimap = np.full(256, 2, np.uint8)
    trimap[[1, 255]] = 1, 3
    for scene in drawn:
        save_image(root / "images" / f"{scene.stem}.jpg", scene.image)
        save_mask(root / "annotations" / "trimaps" / f"{scene.stem}.png", trimap[scene.mask])
    (root / "annotations" / "trimaps" / "._scene_00.png").write_bytes(b"\0\5\26\7")
    (root / "images" / "scene_00.mat").write_bytes(b"MATLAB")
    half = len(drawn) // 2
    for file, part in (("trainval", drawn[:half]), ("test", drawn[half:])):
        lines = [f"{scene.stem} 1 1 1\n" for scene in part]
        (root / "annotations" / f"{file}.txt").write_text("#Image CLASS-ID SPECIES BREED ID\n" + "".join(lines))
    return root


def write_csv(root: Path, drawn: Sequence[Scene]) -> Path:
    write_pairs(root / "a", root / "b", drawn)
    lines = [f"a/{scene.stem}.png,b/{scene.stem}.png\n" for scene in drawn]
    (root / "list.csv").write_text("image,mask\n" + "".join(lines))
    (root / "class_names.txt").write_text("cat\ndog\n")
    return root


def write_labelme(root: Path, drawn: Sequence[Scene]) -> Path:
    labels = {1: "cat", 2: "dog", 255: "__ignore__"}
    for scene in drawn:
        save_image(root / f"{scene.stem}.png", scene.image)
        shapes = [
            {"label": labels[int(value)], "shape_type": "rectangle", "points": corners(scene.mask == value)}
            for value in np.unique(scene.mask)[1:]
        ]
        record = {"shapes": shapes, "imagePath": f"{scene.stem}.png", "imageData": None}
        (root / f"{scene.stem}.json").write_text(json.dumps(record))
    (root / "labels.txt").write_text("__ignore__\n_background_\ncat\ndog\n")
    return root


def corners(box: np.ndarray) -> list[list[int]]:
    """Return x, y of the top left and of the bottom right pixel of a filled box."""
    rows, columns = np.nonzero(box)
    return [[int(columns.min()), int(rows.min())], [int(columns.max()), int(rows.max())]]


def box_polygon(box: np.ndarray) -> list[int]:
    """Return the polygon of a filled box as COCO has it: along pixel edges, not centres."""
    (left, top), (right, bottom) = corners(box)
    return [left, top, right + 1, top, right + 1, bottom + 1, left, bottom + 1]


def coco_record(drawn: Sequence[Scene], folder: str = "") -> dict[str, Any]:
    """Make the content of a COCO file; `folder` precedes the file names."""
    images, annotations = [], []
    for number, scene in enumerate(drawn):
        height, width = scene.mask.shape
        images.append({"id": number, "file_name": f"{folder}{scene.stem}.png", "height": height, "width": width})
        for value in np.unique(scene.mask)[1:]:
            annotation = {"id": len(annotations), "image_id": number, "category_id": 7 if value == 2 else 3}
            annotation |= {"segmentation": [box_polygon(scene.mask == value)], "area": 1, "bbox": [0, 0, 1, 1]}
            annotations.append(annotation | {"iscrowd": int(value == 255)})
    categories = [{"id": 7, "name": "dog", "supercategory": "pet"}, {"id": 3, "name": "cat", "supercategory": "pet"}]
    return {"images": images, "annotations": annotations, "categories": categories}


def write_coco(root: Path, drawn: Sequence[Scene]) -> Path:
    for scene in drawn:
        save_image(root / "images" / f"{scene.stem}.png", scene.image)
    (root / "annotations").mkdir()
    (root / "annotations" / "instances_default.json").write_text(json.dumps(coco_record(drawn)))
    return root


WRITERS: dict[str, Callable[[Path, Sequence[Scene]], Path]] = {
    "pets": write_pets,
    "coco": write_coco,
    "nnunet": write_nnunet,
    "folders": write_folders,
    "voc": write_voc,
    "labelme": write_labelme,
    "csv": write_csv,
}
"""Layout -> function that writes it; those of other tools are in `tests/support/tool_layouts.py`."""

# ------------------------------------------------------------------------------------------------ reading a folder


def refusal(*parts: str) -> "pytest.RaisesExc[InputError]":
    """Expect an InputError whose text contains all parts."""
    return pytest.raises(InputError, check=lambda error: all(part in str(error) for part in parts))


def find_in(root: Path, **settings: object) -> Found:
    """Find the samples of one folder; `settings` as in find_samples."""
    return find_samples([root], **settings)  # type: ignore[arg-type]


def plan_data(root: Path, cache: Path, **settings: object) -> Sources:
    """Plan the samples and the split of one folder; `settings` as in DataConfig."""
    return find_sources(DataConfig(root=str(root), **settings))  # type: ignore[arg-type]


def open_data(root: Path, cache: Path, **settings: object) -> Dataset:
    """Open the dataset of one folder at an image size of 16 pixels; `settings` as in DataConfig."""
    return open_dataset(plan_data(root, cache, **settings), View(16), cache, count_nothing)


def split_names(sources: Sources) -> tuple[list[str], list[str]]:
    """Names of the samples for training and for validation."""
    train, val = ([sources.samples[row].name for row in rows] for rows in (sources.split.train, sources.split.val))
    return train, val
