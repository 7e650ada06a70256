"""Every file opened once, and what there is to know of it kept: what checks, caches and digests work from."""

import hashlib
import itertools
import threading
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from PIL import Image

from trainer import InputError
from trainer.data.checks.finding import Finding, WrongFiles, error_of
from trainer.data.image_io import read_header
from trainer.data.sample import Sample, digest
from trainer.data.value_map import UnknownColours, ValueMap
from trainer.system.parallel import Progress, on_all_cores

THUMBNAIL = 16
FACTS = np.dtype(
    [
        ("digest", "S64"),  # SHA-256 of the image and mask file
        ("image", "<u8"),  # a hash of the image's pixels
        ("mask", "<u8"),  # a hash of the mask's class ids
        ("size", "<u4", 2),  # H, W, upright
        ("orientation", "u1"),  # EXIF; 1 is upright
        ("kind", "S16"),  # such as "JPEG RGB"
        ("lossy", "?"),  # whether compression has changed the mask's values
        ("counts", "<u4", 256),  # pixels of each class id at the mask's own size
        ("thumbnail", "u1", (THUMBNAIL, THUMBNAIL)),  # the image in grey, by area
    ]
)
"""One sample's record; all zeros where it could not be read."""


@dataclass
class Faults:
    """What `scan` could not read."""

    problems: list[Finding] = field(default_factory=list)
    colours: Counter[int] = field(default_factory=Counter)
    """0xRRGGBB -> pixels, of colour masks whose colours nobody has named."""

    coloured: list[str] = field(default_factory=list)
    """Those masks."""


def scan_sample(sample: Sample, values: ValueMap) -> tuple[np.ndarray, np.ndarray, np.void]:
    """Image uint8 [H, W, 3], mask uint8 [H, W] and the record of one sample. Raises InputError naming the file."""
    image_content, mask_content = sample.image_content(), sample.mask_content()
    image, mask = sample.read_image(image_content), sample.read_mask(values, mask_content)
    header = read_header(sample.image, image_content)
    if image.shape[:2] != mask.shape:
        raise _wrong_size(sample, image, mask, header.orientation)
    facts = np.zeros(1, dtype=FACTS)[0]
    facts["digest"] = digest(image_content, mask_content).encode()
    facts["image"], facts["mask"] = _hash(image), _hash(mask)
    facts["size"], facts["orientation"], facts["lossy"] = image.shape[:2], header.orientation, sample.lossy
    facts["kind"] = f"{header.format} {header.mode}".encode()
    facts["counts"] = Image.fromarray(mask).histogram()  # np.bincount makes int64 of every pixel first
    grey = Image.fromarray(image).convert("L")
    facts["thumbnail"] = np.array(grey.resize((THUMBNAIL, THUMBNAIL), Image.Resampling.BOX))
    return image, mask, facts


def _wrong_size(sample: Sample, image: np.ndarray, mask: np.ndarray, orientation: int) -> WrongFiles:
    sizes = [f"{array.shape[1]}x{array.shape[0]}" for array in (mask, image)]
    text = f"{sample.mask}: {sizes[0]} pixels, its image has {sizes[1]}"
    if orientation >= 5 and mask.shape == image.shape[1::-1]:
        text += (
            f". The mask lies as the camera stored the image, which its EXIF turns (orientation {orientation}); turn "
            f"the mask too, or take the turn out of {sample.image.name} (exiftool -n -Orientation=1)"
        )
        return WrongFiles(text, "turned", [sample.mask])
    return WrongFiles(f"{text}; make them the same size", "size", [sample.mask])


def _hash(pixels: np.ndarray) -> int:
    """64 bits of the array's shape and contents."""
    found = hashlib.blake2b(np.ascontiguousarray(pixels).data, digest_size=8, key=repr(pixels.shape).encode())
    return int.from_bytes(found.digest(), "little")


def scan(
    samples: Sequence[Sample],
    values: ValueMap,
    facts: np.ndarray,
    progress: Progress,
    take: Callable[[int, np.ndarray, np.ndarray], None] = lambda index, image, mask: None,
) -> Faults:
    """Examine every sample on all cores, one picture in memory per core; fills `facts`, FACTS [N].

    `take` is given the index, image and mask of each sample that is sound, from several threads at once.
    """
    advance = progress("reading pictures", len(samples))
    faults = Faults()
    wrong: dict[int, list[Finding]] = {}
    counting = threading.Lock()

    def one(index: int) -> None:
        sample = samples[index]
        try:
            image, mask, facts[index] = scan_sample(sample, values)
            take(index, image, mask)
        except UnknownColours as error:
            with counting:
                faults.colours.update(error.colours)
                faults.coloured.append(sample.mask_file)
        except InputError as error:
            wrong[index] = _all_wrong(sample, values) or error_of(error)
        finally:
            advance()

    on_all_cores(one, range(len(samples)))
    faults.problems = list(itertools.chain(*(wrong[index] for index in sorted(wrong))))
    faults.coloured.sort()
    return faults


def _all_wrong(sample: Sample, values: ValueMap) -> list[Finding]:
    """What keeps the image from being read, and the mask."""
    found: dict[Finding, None] = {}
    readers: tuple[tuple[Path, Callable[[], object]], ...] = (
        (sample.image, sample.read_image),
        (sample.mask, lambda: sample.read_mask(values)),
    )
    for file, read in readers:
        try:
            read()
        except UnknownColours:
            continue
        except InputError as error:
            found |= dict.fromkeys(error_of(error, file=file))
    return list(found)
