"""Every file opened once, and what there is to know of it kept: what checks, caches and digests work from."""

import hashlib
import os
import threading
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

import numpy as np
from PIL import Image

from trainer import InputError
from trainer.data.files import read_header
from trainer.data.sample import Sample
from trainer.data.values import UnknownColours, ValueMap

Progress = Callable[[str, int], Callable[[], None]]
"""Told what is done and how often; gives a function to call each time one is finished."""

THUMBNAIL = 16
FACTS = np.dtype(
    [
        ("digest", "S64"),  # SHA-256 of the image and mask file
        ("size", "<u4", 2),  # H, W, upright
        ("orientation", "u1"),  # EXIF; 1 is upright
        ("kind", "S16"),  # such as "JPEG RGB"
        ("lossy", "?"),  # whether compression has changed the mask's values
        ("counts", "<u4", 256),  # pixels of each class id at the mask's own size
        ("thumbnail", "u1", (THUMBNAIL, THUMBNAIL)),  # the image in grey, by area
    ]
)
"""One sample's record."""


@dataclass
class Findings:
    """What `examine_all` could not read."""

    problems: list[str] = field(default_factory=list)
    colours: Counter[int] = field(default_factory=Counter)
    """0xRRGGBB -> pixels, of colour masks whose colours nobody has named."""

    coloured: list[str] = field(default_factory=list)
    """Those masks."""


def digest(image: bytes, mask: bytes) -> str:
    """64 hexadecimal digits that stand for one sample's contents."""
    result = hashlib.sha256(image)
    result.update(hashlib.sha256(mask).digest())
    return result.hexdigest()


def examine(sample: Sample, values: ValueMap) -> tuple[np.ndarray, np.ndarray, np.void]:
    """Image uint8 [H, W, 3], mask uint8 [H, W] and the record of one sample. Raises InputError naming the file."""
    image_content, mask_content = sample.image_content(), sample.mask_content()
    image, mask = sample.read_image(image_content), sample.read_mask(values, mask_content)
    if image.shape[:2] != mask.shape:
        sizes = [f"{array.shape[1]}x{array.shape[0]}" for array in (mask, image)]
        raise InputError(f"{sample.mask}: {sizes[0]} pixels, its image has {sizes[1]}; make them the same size")
    header = read_header(sample.image, image_content)
    facts = np.zeros(1, dtype=FACTS)[0]
    facts["digest"] = digest(image_content, mask_content).encode()
    facts["size"], facts["orientation"], facts["lossy"] = image.shape[:2], header.orientation, sample.lossy
    facts["kind"] = f"{header.format} {header.mode}".encode()
    facts["counts"] = np.bincount(mask.ravel(), minlength=256)
    grey = Image.fromarray(image).convert("L")
    facts["thumbnail"] = np.array(grey.resize((THUMBNAIL, THUMBNAIL), Image.Resampling.BOX))
    return image, mask, facts


def examine_all(
    samples: Sequence[Sample],
    values: ValueMap,
    facts: np.ndarray,
    progress: Progress,
    take: Callable[[int, np.ndarray, np.ndarray], None] = lambda index, image, mask: None,
) -> Findings:
    """Examine every sample on all cores, one picture in memory per core; fills `facts`, FACTS [N].

    `take` is given the index, image and mask of each sample that is sound, from several threads at once.
    """
    advance = progress("reading pictures", len(samples))
    findings = Findings()
    wrong: dict[int, str] = {}
    counting = threading.Lock()

    def one(index: int) -> None:
        try:
            image, mask, facts[index] = examine(samples[index], values)
            take(index, image, mask)
        except UnknownColours as error:
            with counting:
                findings.colours.update(error.colours)
                findings.coloured.append(str(samples[index].mask))
        except InputError as error:
            wrong[index] = str(error)
        finally:
            advance()

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        for _ in pool.map(one, range(len(samples))):
            pass
    findings.problems = [wrong[index] for index in sorted(wrong)]
    findings.coloured.sort()
    return findings
