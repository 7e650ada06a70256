"""Faults of labelled images, each planted into a faultless folder, and harmless variations."""

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
from tests.support.images import box_mask, spotted_image
from trainer.config import DataConfig
from trainer.data.checks.report import Report, check_folders
from trainer.data.image_io import write_mask
from trainer.data.sources import find_sources

COUNT, HEIGHT, WIDTH = 15, 96, 112
"""Number of images in a folder; their height and width in pixels."""


def check(*roots: Path, **keys: object) -> Report:
    """Check folders with these settings of data.*; return the report."""
    config = DataConfig(root=[str(root) for root in roots], **keys)  # type: ignore[arg-type]
    return check_folders(config, count_nothing)


@dataclass
class Folder:
    """A VOC folder of COUNT images, `p00` and so on."""

    root: Path
    classes: tuple[str, ...] = ("cat",)

    def __post_init__(self) -> None:
        for part in ("JPEGImages", "SegmentationClassPNG"):
            (self.root / part).mkdir(parents=True)
        for number in range(COUNT):
            spotted_image(HEIGHT, WIDTH, seed=number).save(self.root / "JPEGImages" / f"p{number:02}.jpg", quality=95)
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
        with Image.open(self.image(stem)) as pil_image:
            return np.array(pil_image)

    def ids(self, stem: str) -> np.ndarray:
        with Image.open(self.mask(stem)) as pil_image:
            return np.array(pil_image)

    def replace_image(self, stem: str, pil_image: Image.Image, suffix: str = ".jpg", **options: object) -> Path:
        self.image(stem).unlink()
        pil_image.save(self.image(stem, suffix), **options)  # type: ignore[arg-type]
        return self.image(stem, suffix)

    def copy(self, source: str, target: str) -> None:
        """Replace the image and mask of `target` by those of `source`."""
        shutil.copy(self.image(source), self.image(target))
        shutil.copy(self.mask(source), self.mask(target))


Plant = Callable[[Folder], Path]
"""Function that changes a folder and returns the file with the fault."""


def exif(orientation: int) -> Image.Exif:
    block = Image.Exif()
    block[ExifTags.Base.Orientation] = orientation
    return block


def png_header(width: int, height: int) -> bytes:
    """Encode a PNG of this size without pixels."""
    data = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    chunks = [(b"IHDR", data), (b"IDAT", zlib.compress(b"")), (b"IEND", b"")]
    body = b"".join(struct.pack(">I", len(d)) + k + d + struct.pack(">I", zlib.crc32(k + d)) for k, d in chunks)
    return b"\x89PNG\r\n\x1a\n" + body


# ------------------------------------------------------------------------------------------------ errors


def truncate(file: Path) -> Path:
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])
    return file


def overwrite(file: Path, content: bytes) -> Path:
    file.write_bytes(content)
    return file


def remove(file: Path, partner: Path) -> Path:
    """Remove one file of a pair; the other one has the fault."""
    file.unlink()
    return partner


def duplicate_file(file: Path, twin: Path) -> Path:
    shutil.copy(file, twin)
    return max(file, twin)


def other_size(folder: Folder) -> Path:
    write_mask(folder.mask("p03"), folder.ids("p03")[:-8])
    return folder.mask("p03")


def invalid_value(folder: Folder) -> Path:
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
    """Image with an EXIF orientation whose mask was drawn on the stored pixels, as some annotation tools do."""
    stored = Image.fromarray(folder.pixels("p03"))
    folder.replace_image("p03", stored, exif=exif(6), quality=95)
    return folder.mask("p03")


ERRORS: dict[str, tuple[str, Plant]] = {
    "truncated JPEG": ("unreadable", lambda f: truncate(f.image("p03"))),
    "truncated mask": ("unreadable", lambda f: truncate(f.mask("p03"))),
    "text as image": ("unreadable", lambda f: overwrite(f.image("p03"), b"no picture at all")),
    "text as mask": ("unreadable", lambda f: overwrite(f.mask("p03"), b"no picture at all")),
    "empty image": ("unreadable", lambda f: overwrite(f.image("p03"), b"")),
    "huge header": ("unreadable", lambda f: overwrite(f.image("p03"), png_header(60000, 60000))),
    "size": ("size", other_size),
    "EXIF turn": ("turned", turned_image),
    "missing mask": ("folder", lambda f: remove(f.mask("p03"), f.image("p03"))),
    "missing image": ("folder", lambda f: remove(f.image("p03"), f.mask("p03"))),
    "image twice": ("folder", lambda f: duplicate_file(f.image("p03"), f.image("p03", ".png"))),
    "mask twice": ("folder", lambda f: duplicate_file(f.mask("p03"), f.mask("p03", ".tif"))),
    "no class": ("value", invalid_value),
    "gap": ("value", gap),
    "0 and 255": ("value", lambda f: every_mask(f, lambda ids: ids * np.uint8(255))),
    "from 1": ("value", lambda f: every_mask(f, lambda ids: ids + np.uint8(1))),
    "smooth edges": ("value", lambda f: every_mask(f, lambda ids: ids * np.arange(WIDTH, dtype=np.uint8))),
    "JPEG masks": ("value", jpeg_masks),
    "colour masks": ("value", colour_masks),
}
"""Fault -> kind of the error, and the function that plants it."""


# ------------------------------------------------------------------------------------------------ warnings


def leak(folder: Folder) -> Path:
    folder.copy(folder.train[0], folder.val[0])
    return folder.image(folder.val[0])


def leak_in_other_format(folder: Folder) -> Path:
    """A training image in another format, which validates too."""
    pixels = Image.fromarray(folder.pixels(folder.train[0]))
    folder.copy(folder.train[0], folder.val[0])
    return folder.replace_image(folder.val[0], pixels, ".png")


def near(folder: Folder, change: Callable[[Image.Image], Image.Image], quality: int) -> Path:
    """A changed copy of a training image, which validates too."""
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
    """One more class, which only `stems` have."""
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


def several_frames(folder: Folder, suffix: str) -> Path:
    """An animation whose first frame is the image."""
    pil_image = Image.fromarray(folder.pixels("p03"))
    more = [pil_image.transpose(Image.Transpose.FLIP_LEFT_RIGHT), pil_image.transpose(Image.Transpose.ROTATE_180)]
    return folder.replace_image("p03", pil_image, suffix, save_all=True, append_images=more)


WARNINGS: dict[str, tuple[str, Plant]] = {
    "leak": ("leak", leak),
    "leak in another format": ("leak", leak_in_other_format),
    "saved again": ("near", lambda f: near(f, lambda pil_image: pil_image, 40)),
    "smaller": ("near", lambda f: near(f, lambda pil_image: pil_image.resize((WIDTH * 2 // 3, HEIGHT * 2 // 3)), 90)),
    "larger": ("near", lambda f: near(f, lambda pil_image: pil_image.resize((WIDTH * 2, HEIGHT * 2)), 90)),
    "darker": ("near", lambda f: near(f, lambda pil_image: ImageEnhance.Brightness(pil_image).enhance(0.7), 90)),
    "grey": ("near", lambda f: near(f, lambda pil_image: pil_image.convert("L"), 90)),
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
    "animated GIF": ("frames", lambda f: several_frames(f, ".gif")),
    "animated PNG": ("frames", lambda f: several_frames(f, ".png")),
    "animated WebP": ("frames", lambda f: several_frames(f, ".webp")),
}
"""Fault -> kind of the warning, and the function that plants it."""


# ------------------------------------------------------------------------------------------------ no faults


def kind_of_image(mode: str, suffix: str, **options: object) -> Plant:
    """Store p03 in another format or mode."""

    def plant(folder: Folder) -> Path:
        pil_image = Image.fromarray(folder.pixels("p03"))
        if mode == "I;16":
            grey = np.array(pil_image.convert("L")).astype(np.uint16) * 257
            return folder.replace_image("p03", Image.fromarray(grey), suffix)
        more = {"append_images": [Image.new("RGB", pil_image.size)]} if "save_all" in options else {}
        return folder.replace_image("p03", pil_image.convert(mode), suffix, **options, **more)

    return plant


def orientation(number: int) -> Plant:
    """Store p03 with an EXIF orientation, as a turned camera does; the mask is upright."""
    to_stored = {2: 0, 3: 3, 4: 1, 5: 5, 6: 2, 7: 6, 8: 4}  # Image.Transpose from the upright image to the stored one

    def plant(folder: Folder) -> Path:
        upright = Image.fromarray(folder.pixels("p03"))
        stored = upright.transpose(Image.Transpose(to_stored[number])) if number in to_stored else upright
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
    "WebP": ("WEBP RGB", kind_of_image("RGB", ".webp", lossless=True)),
    "BMP": ("BMP RGB", kind_of_image("RGB", ".bmp")),
    "GIF": ("GIF P", kind_of_image("P", ".gif")),
    "AVIF": ("AVIF RGB", kind_of_image("RGB", ".avif", quality=95)),
    "PPM": ("PPM RGB", kind_of_image("RGB", ".ppm")),
    "JFIF": ("JPEG RGB", kind_of_image("RGB", ".jfif", format="JPEG", quality=95)),
}
"""Harmless variation -> kind of image file in the report, and the function that makes it."""


# ------------------------------------------------------------------------------------------------ Labelme


def labelme_folder(root: Path, count: int = 10) -> Path:
    """Make a folder of images, each with a JSON file of one polygon beside it."""
    root.mkdir(parents=True)
    (root / "labels.txt").write_text("__ignore__\n_background_\ncat\n")
    for number in range(count):
        spotted_image(HEIGHT, WIDTH, 200 + number).save(root / f"l{number}.jpg", quality=95)
        points = [[10 + number, 10], [80, 20 + number], [50, 80]]
        write_json(root / f"l{number}.json", "cat", points, f"l{number}.jpg")
    return root


def write_json(file: Path, label: str, points: object, image: str) -> Path:
    """Write the JSON file of one polygon."""
    shape = {"label": label, "points": points, "shape_type": "polygon", "group_id": None, "flags": {}}
    record = {"version": "5.5.0", "flags": {}, "shapes": [shape], "imagePath": image, "imageData": None}
    file.write_text(json.dumps(record | {"imageHeight": HEIGHT, "imageWidth": WIDTH}))
    return file


TRIANGLE = [[5, 5], [60, 9], [30, 70]]
LABELME: dict[str, Callable[[Path], Path]] = {
    "label": lambda root: write_json(root / "l3.json", "cot", TRIANGLE, "l3.jpg"),
    "one point": lambda root: write_json(root / "l3.json", "cat", [[5, 5]], "l3.jpg"),
    "NaN": lambda root: write_json(root / "l3.json", "cat", [[5, float("nan")], [6, 7], [9, 40]], "l3.jpg"),
    "outside": lambda root: write_json(root / "l3.json", "cat", TRIANGLE, "../l3.jpg"),
    "absolute": lambda root: write_json(root / "l3.json", "cat", TRIANGLE, "/etc/passwd"),
    "no image": lambda root: remove(root / "l3.jpg", root / "l3.json"),
    "no JSON": lambda root: overwrite(root / "l3.json", b'{"shapes": ['),
    "deep": lambda root: overwrite(root / "l3.json", b"[" * 100_000),
    "cut image": lambda root: truncate(root / "l3.jpg"),
}
"""Fault of a Labelme folder -> the function that plants it and returns the file with the fault."""
