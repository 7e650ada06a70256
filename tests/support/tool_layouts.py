"""The same labelled scenes in the forms of labelling tools and well-known datasets, and what these can express."""

import io
import json
import zlib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from tests.support.labelme import base64_text
from tests.support.layouts import NAMES, Names, Scene, box_polygon, coco_record, corners, save_image
from trainer.data.layouts.cityscapes import LABELS as CITYSCAPES_LABELS
from trainer.data.layouts.loveda import LABELS as LOVEDA_LABELS

LABEL = {1: "cat", 2: "dog"}


def save_grey(path: Path, values: np.ndarray) -> None:
    """Write values as a grey image, uint8 [H, W], or bool as 0 and 255."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(values.astype(np.uint8) * (255 if values.dtype == bool else 1)).save(path)


def boxes(scene: Scene) -> list[tuple[str, np.ndarray]]:
    """Label and pixels, bool [H, W], of each class in a scene."""
    return [(LABEL[int(value)], scene.mask == value) for value in np.unique(scene.mask) if int(value) in LABEL]


def halves(drawn: Sequence[Scene], train: str, val: str) -> list[tuple[str, Scene]]:
    """Each scene with its part: the last fifth validates."""
    return [(val if 5 * number >= 4 * len(drawn) else train, scene) for number, scene in enumerate(drawn)]


def write_drive(root: Path, drawn: Sequence[Scene]) -> Path:
    """Write cats as vessels; what is ignored lies outside the field of view, where the vessels may be anything."""
    for scene in drawn:
        save_image(root / "training" / "images" / f"{scene.stem}_training.tif", scene.image)
        save_grey(root / "training" / "1st_manual" / f"{scene.stem}_manual1.gif", np.isin(scene.mask, [1, 255]))
        save_grey(root / "training" / "mask" / f"{scene.stem}_training_mask.gif", scene.mask != 255)
    return root


def write_class_masks(root: Path, drawn: Sequence[Scene]) -> Path:
    for scene in drawn:
        save_image(root / "images" / f"{scene.stem}.png", scene.image)
        for label, pixels in boxes(scene):
            save_grey(root / "masks" / label / f"{scene.stem}.png", pixels)
    return root


def write_roboflow_masks(root: Path, drawn: Sequence[Scene]) -> Path:
    for part, scene in halves(drawn, "train", "valid"):
        save_image(root / part / f"{scene.stem}.png", scene.image)
        save_grey(root / part / f"{scene.stem}_mask.png", np.where(scene.mask == 255, 0, scene.mask))
        (root / part / "_classes.csv").write_text("Pixel Value, Class\n0, background\n1, cat\n2, dog")
    return root


def write_coco_file(root: Path, drawn: Sequence[Scene]) -> Path:
    """Write COCO as Label Studio does: result.json above the images, with paths of its server."""
    for scene in drawn:
        save_image(root / "images" / f"{scene.stem}.png", scene.image)
    record = coco_record(drawn, "..\\..\\label-studio\\media\\upload\\4\\")
    (root / "result.json").write_text(json.dumps(record, indent=2))
    return root


def via_region(label: str, pixels: np.ndarray) -> dict[str, Any]:
    """A polygon around a filled box."""
    (left, top), (right, bottom) = corners(pixels)
    x, y = [left, right, right, left], [top, top, bottom, bottom]
    shape = {"name": "polygon", "all_points_x": x, "all_points_y": y}
    return {"shape_attributes": shape, "region_attributes": {"type": label}}


def via_metadata(drawn: Sequence[Scene]) -> dict[str, Any]:
    return {
        f"{scene.stem}.png{scene.image.size}": {
            "filename": f"{scene.stem}.png",
            "size": scene.image.size,
            "regions": [via_region(label, pixels) for label, pixels in boxes(scene)],
            "file_attributes": {},
        }
        for scene in drawn
    }


def write_via(root: Path, drawn: Sequence[Scene]) -> Path:
    for scene in drawn:
        save_image(root / f"{scene.stem}.png", scene.image)
    settings = {"ui": {"annotation_editor_height": 25}, "core": {"buffer_size": 18}, "project": {"name": "pets"}}
    types = {"region": {"type": {"type": "dropdown", "options": {"cat": "", "dog": ""}}}, "file": {}}
    project = {"_via_settings": settings, "_via_img_metadata": via_metadata(drawn), "_via_attributes": types}
    (root / "via_project_8Jan2024_10h3m.json").write_text(json.dumps(project))
    return root


def write_label_studio(root: Path, drawn: Sequence[Scene]) -> Path:
    tasks = []
    for number, scene in enumerate(drawn, start=7):
        save_image(root / "images" / f"{scene.stem}.png", scene.image)
        for label, pixels in boxes(scene):
            save_grey(root / f"task-{number}-annotation-{number + 40}-by-1-tag-{label}-0.png", pixels)
        address = f"/data/upload/3/{number:08x}-{scene.stem}.png"
        tasks.append({"id": number, "annotations": [], "data": {"image": address}, "project": 3})
    (root / "project-3-at-2024-01-08.json").write_text(json.dumps(tasks))
    return root


def brush_bytes(pixels: np.ndarray, literal: bool = False) -> list[int]:
    """Bytes of a brush label, of pixels bool [H, W], a text of bits at a time; `literal`: without repeated values."""
    values = np.repeat(pixels.reshape(-1), 4) * 255
    bits = f"{len(values):032b}{7:05b}" + "".join(f"{width - 1:04b}" for width in (3, 4, 8, 16))
    if literal:
        for start in range(0, len(values), 256):
            part = values[start : start + 256]
            bits += f"010{len(part) - 1:08b}" + "".join(f"{value:08b}" for value in part)
    else:
        ends = np.flatnonzero(np.diff(values, append=-1)) + 1
        for start, end in zip([0, *ends], ends, strict=False):
            bits += f"111{end - start - 1:016b}{values[start]:08b}"
    bits += "0" * (-len(bits) % 8)
    return [int(bits[place : place + 8], 2) for place in range(0, len(bits), 8)]


def studio_region(kind: str, label: str, size: tuple[int, int], **value: Any) -> dict[str, Any]:
    """A region of Label Studio on an image of `size`, H and W; `kind`: brush, polygon, rectangle or ellipse."""
    return {
        "id": f"{kind}{label}",
        "from_name": "tag",
        "to_name": "image",
        "type": f"{kind}labels",
        "original_height": size[0],
        "original_width": size[1],
        "image_rotation": 0,
        "value": {**value, f"{kind}labels": [label]},
    }


def write_label_studio_json(root: Path, drawn: Sequence[Scene]) -> Path:
    """Write brushes for the cats, and rectangles for the dogs."""
    tasks = []
    for number, scene in enumerate(drawn, start=7):
        save_image(root / "images" / f"{scene.stem}.png", scene.image)
        regions = []
        for name, pixels in boxes(scene):
            (left, top), (right, bottom) = corners(pixels)
            high, wide = (side / 100 for side in pixels.shape)
            box = {"width": (right - left + 1) / wide, "height": (bottom - top + 1) / high}
            value = {"x": left / wide, "y": top / high, **box, "rotation": 0}
            if name == "cat":
                value = {"format": "rle", "rle": brush_bytes(pixels)}
            regions.append(studio_region("brush" if name == "cat" else "rectangle", name, pixels.shape, **value))
        annotation = {"id": number + 40, "completed_by": 1, "result": regions, "was_cancelled": False}
        address = f"/data/upload/3/{number:08x}-{scene.stem}.png"
        tasks.append({"id": number, "annotations": [annotation], "data": {"image": address}, "project": 3})
    (root / "project-3-at-2024-01-08.json").write_text(json.dumps(tasks))
    return root


def write_yolo(root: Path, drawn: Sequence[Scene]) -> Path:
    for part, scene in halves(drawn, "train", "val"):
        save_image(root / "images" / part / f"{scene.stem}.png", scene.image)
        height, width = scene.mask.shape
        lines = []
        for label, pixels in boxes(scene):
            shares = [one / (height if axis % 2 else width) for axis, one in enumerate(box_polygon(pixels))]
            lines.append(" ".join([str(NAMES.index(label) - 1), *(f"{share:.6f}" for share in shares)]))
        text = root / "labels" / part / f"{scene.stem}.txt"
        text.parent.mkdir(parents=True, exist_ok=True)
        text.write_text("\n".join(lines))
    (root / "data.yaml").write_text("path: .\ntrain: images/train\nval: images/val\nnames:\n  0: cat\n  1: dog\n")
    return root


def supervisely_bitmap(pixels: np.ndarray) -> dict[str, Any]:
    """Encode pixels, bool [H, W], as Supervisely does: a palette PNG whose index 0 is transparent, compressed."""
    (left, top), (right, bottom) = corners(pixels)
    crop = Image.fromarray(pixels[top : bottom + 1, left : right + 1].astype(np.uint8), mode=None).convert("L")
    crop.putpalette([0, 0, 0, 255, 255, 255])
    return {"data": base64_text(zlib.compress(png_bytes(crop, transparency=0))), "origin": [left, top]}


def png_bytes(pil_image: Image.Image, **options: object) -> bytes:
    buffer = io.BytesIO()
    pil_image.save(buffer, format="PNG", **options)
    return buffer.getvalue()


def write_supervisely(root: Path, drawn: Sequence[Scene]) -> Path:
    """Write cats as polygons and dogs as bitmaps."""
    for scene in drawn:
        save_image(root / "ds0" / "img" / f"{scene.stem}.png", scene.image)
        objects: list[dict[str, Any]] = []
        for label, pixels in boxes(scene):
            (left, top), (right, bottom) = corners(pixels)
            ring = [[left, top], [right, top], [right, bottom], [left, bottom]]
            points = {"geometryType": "polygon", "points": {"exterior": ring, "interior": []}}
            bitmap = {"geometryType": "bitmap", "bitmap": supervisely_bitmap(pixels)}
            objects.append({"id": 1, "classTitle": label, "tags": []} | (points if label == "cat" else bitmap))
        size = {"height": scene.mask.shape[0], "width": scene.mask.shape[1]}
        file = root / "ds0" / "ann" / f"{scene.stem}.png.json"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(json.dumps({"description": "", "tags": [], "size": size, "objects": objects}))
    classes = [{"title": name, "shape": "any", "color": "#ff0000"} for name in ("cat", "dog")]
    (root / "meta.json").write_text(json.dumps({"classes": classes, "tags": [], "projectType": "images"}))
    return root


def write_cityscapes(root: Path, drawn: Sequence[Scene]) -> Path:
    """Write cats as road, dogs as sidewalk, the rest as building, and what is ignored as unlabelled."""
    ids = np.zeros(256, np.uint8)
    ids[[1, 2, 0, 255]] = 7, 8, 11, 0
    for part, scene in halves(drawn, "train", "val"):
        save_image(root / "leftImg8bit" / part / "aachen" / f"{scene.stem}_leftImg8bit.png", scene.image)
        save_grey(root / "gtFine" / part / "aachen" / f"{scene.stem}_gtFine_labelIds.png", ids[scene.mask])
    return root


def write_loveda(root: Path, drawn: Sequence[Scene]) -> Path:
    """Write cats as building, dogs as road, and what is ignored as without data."""
    values = np.zeros(256, np.uint8)
    values[[0, 1, 2, 255]] = 1, 2, 3, 0
    for part, scene in halves(drawn, "Train", "Val"):
        save_image(root / part / "Rural" / "images_png" / f"{scene.stem}.png", scene.image)
        save_grey(root / part / "Rural" / "masks_png" / f"{scene.stem}.png", values[scene.mask])
    return root


def write_isic(root: Path, drawn: Sequence[Scene]) -> Path:
    """Write cats as lesions."""
    for scene in drawn:
        save_image(root / "ISIC2018_Task1-2_Training_Input" / f"{scene.stem}.png", scene.image)
        save_grey(root / "ISIC2018_Task1_Training_GroundTruth" / f"{scene.stem}_segmentation.png", scene.mask == 1)
    return root


def write_carvana(root: Path, drawn: Sequence[Scene]) -> Path:
    """Write cats as cars: GIF files with the indices 0 and 1."""
    for scene in drawn:
        save_image(root / "train" / f"{scene.stem}.png", scene.image)
        mask = Image.fromarray((scene.mask == 1).astype(np.uint8), mode=None).convert("L")
        mask.putpalette([0, 0, 0, 255, 255, 255])
        (root / "train_masks").mkdir(parents=True, exist_ok=True)
        mask.save(root / "train_masks" / f"{scene.stem}_mask.gif")
    return root


TOOL_WRITERS: dict[str, Callable[[Path, Sequence[Scene]], Path]] = {
    "drive": write_drive,
    "class_masks": write_class_masks,
    "roboflow_masks": write_roboflow_masks,
    "coco_file": write_coco_file,
    "via": write_via,
    "label_studio": write_label_studio,
    "label_studio_json": write_label_studio_json,
    "yolo": write_yolo,
    "supervisely": write_supervisely,
    "cityscapes": write_cityscapes,
    "loveda": write_loveda,
    "isic": write_isic,
    "carvana": write_carvana,
}

NO_IGNORE: Mapping[int, int] = {255: 0}
CITIES = ("_background_", *CITYSCAPES_LABELS.values())
LAND = ("_background_", *(name for name in LOVEDA_LABELS.values() if name not in ("ignore", "background")))

EXPRESSED: dict[str, tuple[Names, Mapping[int, int]]] = {
    "pets": (("_background_", "pet"), {2: 0}),
    "drive": (("_background_", "vessel"), {2: 0}),
    "class_masks": (NAMES, NO_IGNORE),
    "roboflow_masks": (NAMES, NO_IGNORE),
    "via": (NAMES, NO_IGNORE),
    "label_studio": (NAMES, NO_IGNORE),
    "label_studio_json": (NAMES, NO_IGNORE),
    "yolo": (NAMES, NO_IGNORE),
    "supervisely": (NAMES, NO_IGNORE),
    "cityscapes": (CITIES, {0: 3}),
    "loveda": (LAND, {}),
    "isic": (("_background_", "lesion"), {2: 0, 255: 0}),
    "carvana": (("_background_", "car"), {2: 0, 255: 0}),
}
"""Layout -> its class names, and class ids that it cannot express -> what they become; others express everything."""
