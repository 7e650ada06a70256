"""Settings of the data, data.*, also for programs that train nothing."""

import os
import re
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args, get_type_hints

import yaml

from trainer import IGNORE, InputError
from trainer.config.check import require

OTHER, NEAREST = "other", "nearest"
"""Key of data.value_map for all values and colours not named, and the name that maps these to the nearest one."""

NAN = "nan"
"""Key of data.value_map for values that are not finite."""

MOST_CHANNELS = 16
"""Most bands of a picture."""


@dataclass(frozen=True)
class DataConfig:
    root: list[str] | str | None = None
    """Folder with the labelled pictures, or several as "[a,b]". Unset: cats that the program draws itself."""

    classes: list[str] | None = None
    """Names of the foreground classes, the one with id 1 first. Unset: class_names.txt in the data, or else the ids
    found in the masks."""

    layout: Literal[
        "auto", "pets", "coco", "nnunet", "drive", "class_masks", "folders", "voc", "labelme", "csv",
        "roboflow_masks", "coco_file", "via", "label_studio", "label_studio_json", "yolo", "supervisely",
        "cityscapes", "loveda", "isic", "carvana",
    ] = "auto"  # fmt: skip
    """Layout of the folder; auto finds out. folders = images/ and masks/; csv = a list with columns image and
    mask; the others are forms of tools and datasets."""

    unlabelled: str | None = None
    """Folder with pictures without labels, which train too: what the averaged model is sure of in one is the target
    for a changed form of it. auto: those among the pictures of data.root that are not labelled yet. Unset: none."""

    value_map: dict[int | str, str] | None = None
    """Meaning of the values in the mask files, where they are not class ids: "{0: background, 255: cat}". Ranges
    ('128-255') and colours ('#ff0000', of palettes too) are values too, `nan` is what is not finite, and `other` is all
    that is not named. The name `ignore` leaves pixels out; "other: nearest" takes the nearest value that is named."""

    val_fraction: float = 0.2
    """Share of the samples, 0 to 0.5, that validates and never trains. Folders that have
    ImageSets/Segmentation/train.txt and val.txt are split by those instead."""

    fold: int = 0
    """Part of round(1 / val_fraction) parts that validates, 0 the first: for k-fold cross-validation."""

    image_size: int = 256
    """Side in pixels of the square that the network sees; a multiple of 32, or of 2 ** model.depth without a
    pretrained encoder. Masks are predicted and scored at the picture's own size whatever this is."""

    channels: int | Literal["auto"] = "auto"
    """Bands of the pictures, 1 to 16, which all must have. 3: red, green and blue, to which pictures of all kinds are
    converted. Other numbers are read as they are, from TIFFs of as many, greys (1) and RGBA or CMYK (4), and each band
    is scaled by a range of its own. auto: 3, but where the pictures are TIFFs of other bands, as many as these have."""

    view: Literal["auto", "whole", "tiles"] = "auto"
    """whole: each picture is resized to that square. tiles: pictures keep their own pixels, training sees random parts
    of them, as large as the square, and prediction goes over them part by part, for things that would become too thin
    in a squeezed picture. auto: tiles where resizing there and back leaves the masks an IoU below 0.85."""

    scale: float | Literal["auto"] = "auto"
    """With data.view tiles, the share of their side that pictures are shown at, 0.01 to 1: less shows more around each
    pixel, and costs less. auto: so that the thinnest labelled things stay at least 3 pixels wide."""

    keep_aspect: bool | Literal["auto"] = "auto"
    """With data.view whole, fill a picture up to a square before it is resized, instead of squeezing it; what is filled
    counts nowhere. auto: where the longer side of most pictures is more than 1.5 times the shorter one."""

    crop_foreground: float = 0.5
    """With data.view tiles, the share of the training parts, 0 to 1, that are centred near a labelled pixel: of a
    class chosen at random, a rare one more often."""

    augment: Literal["off", "light", "strong"] = "strong"
    """Random changes to training pictures: light = flip, small shifts and colours; strong = also larger turns and
    zooms, blur."""

    copy_paste: float = 0.0
    """Share of the training pictures, 0 to 1, into which labelled objects of another one are pasted, others in each
    epoch. Only with data.augment."""

    sampling: Literal["auto", "even", "foreground"] = "auto"
    """even: each training picture once an epoch. foreground: as many pictures an epoch, but those with a rare class,
    or with any class where most are empty, more often than the others. auto: foreground where a class is in less than
    a tenth of the training pictures."""

    drop_last: bool = False
    """Leave out each epoch's last batch where it is short and not the only one. By default it trains with the weight
    of its true size."""

    workers: int = 2
    """Threads per process that read pictures ahead of the training step; 0 reads them in the training thread."""

    generated_images: int = 200
    """Number of cats that are drawn where data.root is unset."""

    def __post_init__(self) -> None:
        require(0 <= self.val_fraction <= 0.5, "data.val_fraction", self.val_fraction, "a share from 0 to 0.5")
        folds = round(1 / self.val_fraction) if self.val_fraction else 1
        require(0 <= self.fold < folds, "data.fold", self.fold, f"0 to {folds - 1} for this data.val_fraction")
        require(8 <= self.image_size <= 8192, "data.image_size", self.image_size, "8 to 8192 pixels")
        usable = self.channels == "auto" or 1 <= self.channels <= MOST_CHANNELS
        require(usable, "data.channels", self.channels, f"1 to {MOST_CHANNELS}, or auto")
        usable = self.scale == "auto" or (0.01 <= self.scale <= 1 and round(1000 * self.scale) == 1000 * self.scale)
        require(usable, "data.scale", self.scale, "0.01 to 1 in thousandths, or auto")
        require(0 <= self.crop_foreground <= 1, "data.crop_foreground", self.crop_foreground, "a share from 0 to 1")
        require(0 <= self.copy_paste <= 1, "data.copy_paste", self.copy_paste, "a share from 0 to 1")
        require(self.workers >= 0, "data.workers", self.workers, "0 or more")
        require(self.generated_images >= 2, "data.generated_images", self.generated_images, "2 or more")
        for key in self.value_map or ():
            parse_key(key)
        roots = [self.root] if isinstance(self.root, str) else self.root
        named = roots is None or (len(roots) > 0 and "" not in roots)
        require(self.unlabelled != "", "data.unlabelled", "", "a folder, auto, or leave it out")
        require(named, "data.root", self.root, "a folder, or leave it out")
        if self.classes is not None:
            unique = len(set(self.classes)) == len(self.classes)
            require(0 < len(self.classes) < IGNORE - 1 and unique, "data.classes", self.classes, "different names")

    @property
    def roots(self) -> list[Path]:
        """Data folders; empty where cats are generated."""
        if self.root is None:
            return []
        return [_existing(root) for root in ([self.root] if isinstance(self.root, str) else self.root)]

    @property
    def unlabelled_folder(self) -> Path | None:
        """Folder of data.unlabelled; None where it is unset or auto."""
        return None if self.unlabelled in (None, "auto") else _existing(str(self.unlabelled))


def data_config(layout_option: str = "data.layout", **keys: Any) -> DataConfig:
    """Make the settings of the data alone, checked as those of train.py are; value_map may be YAML text.

    `layout_option`: name of the option that gave the layout, for messages.
    """
    value_map = keys.get("value_map")
    if isinstance(value_map, str):
        try:
            keys["value_map"] = yaml.safe_load(value_map)
        except yaml.YAMLError:
            keys["value_map"] = None
        entries = keys["value_map"]
        named = isinstance(entries, dict) and all(isinstance(name, str) for name in entries.values())
        require(named, "data.value_map", value_map, "values and names, such as {0: background, 255: cat}")
    classes = keys.get("classes")
    if classes and len(classes) == 1 and classes[0].startswith("["):  # written as in training
        with suppress(yaml.YAMLError):
            keys["classes"] = [f"{name}" for name in yaml.safe_load(classes[0])]
    layouts = get_args(get_type_hints(DataConfig)["layout"])
    require(keys.get("layout", "auto") in layouts, layout_option, keys.get("layout"), f"one of {', '.join(layouts)}")
    return DataConfig(**keys)


def parse_key(key: int | str) -> range | int | None:
    """Values that a key of data.value_map stands for, as a range, or its colour as 0xRRGGBB; None for OTHER and NAN."""
    text = str(key).strip()
    if text in (OTHER, NAN):
        return None
    if re.fullmatch(r"#[0-9a-fA-F]{6}", text):
        return int(text[1:], 16)
    numbers = re.fullmatch(r"(-?\d{1,10})(?:\s*-\s*(-?\d{1,10}))?", text)
    if numbers:
        first, last = int(numbers[1]), int(numbers[2] or numbers[1])
        if first <= last:
            return range(first, last + 1)
    raise InputError(
        f"data.value_map: {key!r} is not a mask value; give 0 to 255 (or 65535, -9999, in masks of more bits), a range "
        "such as 128-255, a colour such as '#ff0000', `nan`, or `other`"
    )


def _existing(folder: str) -> Path:
    """Path of a folder; bytes that are no UTF-8 may be written as \\xNN, as messages and `to_yaml` have them."""
    if os.path.exists(folder):
        return Path(folder)
    as_bytes = re.sub(r"\\x([89a-fA-F][0-9a-fA-F])", lambda match: chr(0xDC00 + int(match[1], 16)), folder)
    return Path(as_bytes if os.path.exists(as_bytes) else folder)
