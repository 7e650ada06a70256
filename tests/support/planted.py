"""Faults of labelled pictures, each planted into a sound folder: what a person does wrong, done by hand."""

import json
import shutil
import struct
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import ExifTags, Image, ImageEnhance

from tests.support.data import count_nothing
from tests.support.images import box_mask
from trainer.config import DataConfig
from trainer.data.checks.report import Report, check_folders
from trainer.data.image_io import write_mask
from trainer.data.sources import find_sources

COUNT, HEIGHT, WIDTH = 15, 96, 112


def check(*roots: Path, **keys: object) -> Report:
    """The report on folders, with settings of data.* as given."""
    config = DataConfig(root=[str(root) for root in roots], **keys)  # type: ignore[arg-type]
    return check_folders(config, count_nothing)


@dataclass
class Folder:
    """A VOC folder of COUNT pictures, `p00` and so on, of one class."""

    root: Path
    classes: tuple[str, ...] = ("cat",)

    def __post_init__(self) -> None:
        for part in ("JPEGImages", "SegmentationClassPNG"):
            (self.root / part).mkdir(parents=True)
        for number in range(COUNT):
            picture(HEIGHT, WIDTH, seed=number).save(self.root / "JPEGImages" / f"p{number:02}.jpg", quality=95)
            write_mask(self.mask(f"p{number:02}"), box_mask(HEIGHT, WIDTH, number, len(self.classes) + 1))
        self.name_classes(*self.classes)
        sources = find_sources(DataConfig(root=str(self.root)))
        self.train, self.val = (
            [sources.samples[row].name for row in rows] for rows in (sources.split.train, sources.split.val)
        )

    def name_classes(self, *names: str) -> None:
        (self.root / "class_names.txt").write_text("".join(f"{name}\n" for name in names))

    def image(self, stem: str, suffix: str = ".jpg") -> Path:
        return self.root / "JPEGImages" / f"{stem}{suffix}"

    def mask(self, stem: str, suffix: str = ".png") -> Path:
        return self.root / "SegmentationClassPNG" / f"{stem}{suffix}"

    def masks(self) -> list[Path]:
        return sorted((self.root / "SegmentationClassPNG").iterdir())

    def pixels(self, stem: str) -> np.ndarray:
        with Image.open(self.image(stem)) as picture:
            return np.array(picture)

    def ids(self, stem: str) -> np.ndarray:
        with Image.open(self.mask(stem)) as picture:
            return np.array(picture)

    def replace_image(self, stem: str, picture: Image.Image, suffix: str = ".jpg", **options: object) -> Path:
        self.image(stem).unlink()
        picture.save(self.image(stem, suffix), **options)  # type: ignore[arg-type]
        return self.image(stem, suffix)

    def copy(self, source: str, target: str) -> None:
        """The picture and mask of `source` in the place of `target`'s."""
        shutil.copy(self.image(source), self.image(target))
        shutil.copy(self.mask(source), self.mask(target))


def picture(height: int, width: int, seed: int) -> Image.Image:
    """Soft spots of all colours: no two seeds are alike, and JPEG and resizing leave them as they are."""
    spots = np.random.default_rng(seed).integers(0, 256, (6, 7, 3), dtype=np.uint8)
    return Image.fromarray(spots).resize((width, height), Image.Resampling.BICUBIC)


Plant = Callable[[Folder], Path]
"""Does one thing wrong, and tells the file that must be named."""


def exif(orientation: int) -> Image.Exif:
    block = Image.Exif()
    block[ExifTags.Base.Orientation] = orientation
    return block


def png_header(width: int, height: int) -> bytes:
    """The head of a PNG that says how large it is, and no pixel."""
    data = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    chunks = [(b"IHDR", data), (b"IDAT", zlib.compress(b"")), (b"IEND", b"")]
    body = b"".join(struct.pack(">I", len(d)) + k + d + struct.pack(">I", zlib.crc32(k + d)) for k, d in chunks)
    return b"\x89PNG\r\n\x1a\n" + body


# ------------------------------------------------------------------------------------------------ errors


def cut(file: Path) -> Path:
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])
    return file


def with_content(file: Path, content: bytes) -> Path:
    file.write_bytes(content)
    return file


def gone(file: Path, named: Path) -> Path:
    file.unlink()
    return named


def doubled(file: Path, twin: Path) -> Path:
    shutil.copy(file, twin)
    return max(file, twin)


def other_size(folder: Folder) -> Path:
    write_mask(folder.mask("p03"), folder.ids("p03")[:-8])
    return folder.mask("p03")


def strange_value(folder: Folder) -> Path:
    write_mask(folder.mask("p03"), folder.ids("p03") * np.uint8(7))
    return folder.mask("p03")


def every_mask(folder: Folder, change: Callable[[np.ndarray], np.ndarray]) -> Path:
    for file in folder.masks():
        write_mask(file, change(folder.ids(file.stem)))
    return folder.masks()[0]


def gap(folder: Folder) -> Path:
    (folder.root / "class_names.txt").unlink()
    return every_mask(folder, lambda ids: ids * np.uint8(3))


def jpeg_masks(folder: Folder) -> Path:
    for file in folder.masks():
        Image.fromarray(folder.ids(file.stem) * np.uint8(255)).convert("L").save(file.with_suffix(".jpg"), quality=70)
        file.unlink()
    return folder.masks()[0]


def colour_masks(folder: Folder) -> Path:
    for file in folder.masks():
        Image.fromarray(np.array([[0, 0, 0], [200, 0, 30]], dtype=np.uint8)[folder.ids(file.stem)]).save(file)
    return folder.masks()[0]


def turned_image(folder: Folder) -> Path:
    """As an annotation tool does that draws over the picture as the camera stored it."""
    stored = Image.fromarray(folder.pixels("p03"))
    folder.replace_image("p03", stored, exif=exif(6), quality=95)
    return folder.mask("p03")


ERRORS: dict[str, tuple[str, Plant]] = {
    "truncated JPEG": ("unreadable", lambda f: cut(f.image("p03"))),
    "truncated mask": ("unreadable", lambda f: cut(f.mask("p03"))),
    "text as image": ("unreadable", lambda f: with_content(f.image("p03"), b"no picture at all")),
    "text as mask": ("unreadable", lambda f: with_content(f.mask("p03"), b"no picture at all")),
    "empty image": ("unreadable", lambda f: with_content(f.image("p03"), b"")),
    "huge header": ("unreadable", lambda f: with_content(f.image("p03"), png_header(60000, 60000))),
    "size": ("size", other_size),
    "EXIF turn": ("turned", turned_image),
    "missing mask": ("folder", lambda f: gone(f.mask("p03"), f.image("p03"))),
    "missing image": ("folder", lambda f: gone(f.image("p03"), f.mask("p03"))),
    "image twice": ("folder", lambda f: doubled(f.image("p03"), f.image("p03", ".png"))),
    "mask twice": ("folder", lambda f: doubled(f.mask("p03"), f.mask("p03", ".tif"))),
    "no class": ("value", strange_value),
    "gap": ("value", gap),
    "0 and 255": ("value", lambda f: every_mask(f, lambda ids: ids * np.uint8(255))),
    "from 1": ("value", lambda f: every_mask(f, lambda ids: ids + np.uint8(1))),
    "smooth edges": ("value", lambda f: every_mask(f, lambda ids: ids * np.arange(WIDTH, dtype=np.uint8))),
    "JPEG masks": ("value", jpeg_masks),
    "colour masks": ("value", colour_masks),
}
"""What was done -> the kind of error that it is, and how it is done."""


# ------------------------------------------------------------------------------------------------ warnings


def leak(folder: Folder) -> Path:
    folder.copy(folder.train[0], folder.val[0])
    return folder.image(folder.val[0])


def leak_in_other_format(folder: Folder) -> Path:
    """The same pixels in other bytes."""
    pixels = Image.fromarray(folder.pixels(folder.train[0]))
    folder.copy(folder.train[0], folder.val[0])
    return folder.replace_image(folder.val[0], pixels, ".png")


def near(folder: Folder, change: Callable[[Image.Image], Image.Image], quality: int) -> Path:
    """The picture of a training sample, changed, validates."""
    changed = change(Image.fromarray(folder.pixels(folder.train[2])))
    ids = Image.fromarray(folder.ids(folder.train[2])).resize(changed.size, Image.Resampling.NEAREST)
    write_mask(folder.mask(folder.val[1]), np.array(ids))
    return folder.replace_image(folder.val[1], changed, quality=quality)


def duplicate(folder: Folder) -> Path:
    folder.copy(folder.train[0], folder.train[4])
    return folder.image(folder.train[4])


def contradiction(folder: Folder) -> Path:
    shutil.copy(folder.image(folder.train[0]), folder.image(folder.train[4]))
    assert (folder.ids(folder.train[0]) != folder.ids(folder.train[4])).any()
    return folder.image(folder.train[4])


def one_mask(folder: Folder, change: Callable[[np.ndarray], np.ndarray]) -> Path:
    write_mask(folder.mask("p03"), change(folder.ids("p03")))
    return folder.mask("p03")


def mostly_empty(folder: Folder) -> Path:
    for stem in (*folder.train[:7], folder.val[0]):
        write_mask(folder.mask(stem), np.zeros_like(folder.ids(stem)))
    return folder.mask(min(*folder.train[:7], folder.val[0]))


def other_class(folder: Folder, *stems: str) -> Path:
    """One more class, which `stems` have."""
    folder.name_classes("cat", "dog")
    for stem in stems:
        ids = folder.ids(stem)
        ids[:8, :8] = 2
        write_mask(folder.mask(stem), ids)
    return folder.mask(stems[0])


def speck(folder: Folder) -> Path:
    folder.name_classes("cat", "dog")
    for stem in (folder.train[0], folder.val[0]):
        ids = folder.ids(stem)
        ids[0, :2] = 2
        write_mask(folder.mask(stem), ids)
    return folder.mask(min(folder.train[0], folder.val[0]))


def shifted(folder: Folder) -> Path:
    folder.name_classes("cat", "dog", "cow")
    return every_mask(folder, lambda ids: ids + np.uint8(1))


def tiny(folder: Folder) -> Path:
    write_mask(folder.mask("p03"), folder.ids("p03")[:40, :50])
    return folder.replace_image("p03", Image.fromarray(folder.pixels("p03")[:40, :50]), quality=95)


def blank(folder: Folder) -> Path:
    return folder.replace_image("p03", Image.new("RGB", (WIDTH, HEIGHT), (90, 90, 90)))


WARNINGS: dict[str, tuple[str, Plant]] = {
    "leak": ("leak", leak),
    "leak in another format": ("leak", leak_in_other_format),
    "saved again": ("near", lambda f: near(f, lambda picture: picture, 40)),
    "smaller": ("near", lambda f: near(f, lambda picture: picture.resize((WIDTH * 2 // 3, HEIGHT * 2 // 3)), 90)),
    "larger": ("near", lambda f: near(f, lambda picture: picture.resize((WIDTH * 2, HEIGHT * 2)), 90)),
    "darker": ("near", lambda f: near(f, lambda picture: ImageEnhance.Brightness(picture).enhance(0.7), 90)),
    "grey": ("near", lambda f: near(f, lambda picture: picture.convert("L"), 90)),
    "duplicate": ("duplicate", duplicate),
    "contradiction": ("contradiction", contradiction),
    "whole": ("whole", lambda f: one_mask(f, np.ones_like)),
    "ignored": ("ignored", lambda f: one_mask(f, lambda ids: np.full_like(ids, 255))),
    "scaled": ("scaled", lambda f: one_mask(f, lambda ids: ids * np.uint8(255))),
    "mostly empty": ("empty", mostly_empty),
    "not in train": ("absent", lambda f: other_class(f, f.val[0])),
    "not in val": ("absent", lambda f: other_class(f, f.train[0], f.train[1])),
    "rare": ("rare", speck),
    "shifted": ("shifted", shifted),
    "tiny": ("small", tiny),
    "blank": ("blank", blank),
}


# ------------------------------------------------------------------------------------------------ no faults


def kind_of_image(mode: str, suffix: str, **options: object) -> Plant:
    """p03 as an image file of another kind."""

    def plant(folder: Folder) -> Path:
        picture = Image.fromarray(folder.pixels("p03"))
        if mode == "I;16":
            grey = np.array(picture.convert("L")).astype(np.uint16) * 257
            return folder.replace_image("p03", Image.fromarray(grey), suffix)
        more = {"append_images": [Image.new("RGB", picture.size)]} if "save_all" in options else {}
        return folder.replace_image("p03", picture.convert(mode), suffix, **options, **more)

    return plant


def orientation(number: int) -> Plant:
    """p03 as a camera stores it that was held in another way; the mask as the person saw it."""
    undone = {2: 0, 3: 3, 4: 1, 5: 5, 6: 2, 7: 6, 8: 4}  # Image.Transpose that makes the stored from the upright

    def plant(folder: Folder) -> Path:
        picture = Image.fromarray(folder.pixels("p03"))
        stored = picture.transpose(Image.Transpose(undone[number])) if number in undone else picture
        return folder.replace_image("p03", stored, exif=exif(number), quality=95)

    return plant


FINE: dict[str, tuple[str, Plant]] = {
    **{f"EXIF {number}": ("JPEG RGB", orientation(number)) for number in range(1, 9)},
    "16-bit PNG": ("PNG I;16", kind_of_image("I;16", ".png")),
    "16-bit TIFF": ("TIFF I;16", kind_of_image("I;16", ".tif")),
    "CMYK JPEG": ("JPEG CMYK", kind_of_image("CMYK", ".jpg", quality=95)),
    "palette PNG": ("PNG P", kind_of_image("P", ".png")),
    "RGBA PNG": ("PNG RGBA", kind_of_image("RGBA", ".png")),
    "1-bit PNG": ("PNG 1", kind_of_image("1", ".png")),
    "TIFF of two frames": ("TIFF RGB", kind_of_image("RGB", ".tif", save_all=True)),
    "WebP": ("WEBP RGB", kind_of_image("RGB", ".webp", lossless=True)),
    "BMP": ("BMP RGB", kind_of_image("RGB", ".bmp")),
}
"""What is no fault -> the kind that it is listed as, and how it is made."""


# ------------------------------------------------------------------------------------------------ Labelme


def labelme_folder(root: Path, count: int = 10) -> Path:
    """Pictures with a JSON file beside each, of a polygon."""
    root.mkdir(parents=True)
    (root / "labels.txt").write_text("__ignore__\n_background_\ncat\n")
    for number in range(count):
        picture(HEIGHT, WIDTH, 200 + number).save(root / f"l{number}.jpg", quality=95)
        points = [[10 + number, 10], [80, 20 + number], [50, 80]]
        change_labelme(root / f"l{number}.json", "cat", points, f"l{number}.jpg")
    return root


def change_labelme(file: Path, label: str, points: object, image: str) -> Path:
    shape = {"label": label, "points": points, "shape_type": "polygon", "group_id": None, "flags": {}}
    record = {"version": "5.5.0", "flags": {}, "shapes": [shape], "imagePath": image, "imageData": None}
    file.write_text(json.dumps(record | {"imageHeight": HEIGHT, "imageWidth": WIDTH}))
    return file


TRIANGLE = [[5, 5], [60, 9], [30, 70]]
LABELME: dict[str, Callable[[Path], Path]] = {
    "label": lambda root: change_labelme(root / "l3.json", "cot", TRIANGLE, "l3.jpg"),
    "one point": lambda root: change_labelme(root / "l3.json", "cat", [[5, 5]], "l3.jpg"),
    "NaN": lambda root: change_labelme(root / "l3.json", "cat", [[5, float("nan")], [6, 7], [9, 40]], "l3.jpg"),
    "outside": lambda root: change_labelme(root / "l3.json", "cat", TRIANGLE, "../l3.jpg"),
    "absolute": lambda root: change_labelme(root / "l3.json", "cat", TRIANGLE, "/etc/passwd"),
    "no image": lambda root: gone(root / "l3.jpg", root / "l3.json"),
    "no JSON": lambda root: with_content(root / "l3.json", b'{"shapes": ['),
    "deep": lambda root: with_content(root / "l3.json", b"[" * 100_000),
    "cut image": lambda root: cut(root / "l3.jpg"),
}
