"""One pass over all files that makes a record of each sample, for checks, caches and digests."""

import hashlib
import itertools
import threading
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from trainer import InputError
from trainer.data.bands import band_moments, band_ranges, fit_band_levels
from trainer.data.checks.finding import Finding, WrongFiles, error_of
from trainer.data.checks.palettes import Palettes
from trainer.data.image_io import AnyLevels
from trainer.data.levels import DeepImage, fit_levels
from trainer.data.sample import Contents, Sample, digest
from trainer.data.stack import count_frames
from trainer.data.value_map import UnknownColours, UnknownValues, ValueMap
from trainer.drawing.bands import to_rgb
from trainer.system.parallel import Progress, on_all_cores
from trainer.system.strips import strips

THUMBNAIL = 16
"""Side of a thumbnail in pixels."""

ANIMATION = " anim"
"""End of the kind of an image that has several frames, or whose mask has."""

FACTS = np.dtype(
    [
        ("digest", "S64"),  # SHA-256 of the image and mask file
        ("image", "<u8"),  # a hash of the image's pixels
        ("mask", "<u8"),  # a hash of the mask's class ids
        ("size", "<u4", 2),  # H, W, upright
        ("orientation", "u1"),  # EXIF; 1 is upright
        ("kind", "S16"),  # such as "JPEG RGB"
        ("lossy", "?"),  # True if compression has changed the mask's values
        ("counts", "<u4", 256),  # pixels of each class id at the mask's own size
        ("thumbnail", "u1", (THUMBNAIL, THUMBNAIL)),  # grey levels, averaged by area
        ("deep", "?"),  # True if the image has more than 8 bits
        ("range", "<f8", 4),  # its stored levels, as `DeepImage.range` has them; of 8 bits only the extremes, twice
        ("missing", "<u8"),  # pixels without data in a deep image
    ]
)
"""Record of one sample; all zeros if it could not be read."""


def facts_type(channels: int) -> np.dtype[Any]:
    """Type of the record of a sample of so many bands; FACTS for pictures."""
    if channels == 3:
        return FACTS
    of_bands = [
        ("bands", "<f8", (channels, 4)),  # stored levels of each band, as `band_ranges` has them
        ("mean", "<f8", (channels,)),  # of its levels 0..255
        ("square", "<f8", (channels,)),  # mean of their squares
    ]
    return np.dtype([*FACTS.descr, *of_bands])


def channels_of(facts: np.ndarray) -> int:
    """Bands of the images of records."""
    return int(facts.dtype["bands"].shape[0]) if "bands" in (facts.dtype.names or ()) else 3


@dataclass
class Faults:
    """Samples that `scan` could not read."""

    problems: list[Finding] = field(default_factory=list)
    """Errors, in the order of the samples."""

    colours: Counter[int] = field(default_factory=Counter)
    """Pixels of each colour, 0xRRGGBB, in colour masks without a value map."""

    coloured: list[str] = field(default_factory=list)
    """Paths of these masks, sorted."""

    values: Counter[float | None] = field(default_factory=Counter)
    """Pixels of each value in masks with values that are not class ids, without a value map; None: not finite."""

    valued: list[str] = field(default_factory=list)
    """Paths of these masks, sorted."""

    palettes: Palettes = field(default_factory=Palettes)
    """Palettes of the masks that could be read, without a value map."""

    def __bool__(self) -> bool:
        """Return True if a sample could not be read, or the masks do not fit together."""
        return bool(self.problems or self.coloured or self.valued or self.palettes.disagreement())


def levels_of(facts: np.ndarray) -> AnyLevels | None:
    """Range of the levels of a dataset's images of more than 8 bits, or of each of their bands, from their records.

    None where nothing was measured.
    """
    deep = facts["deep"]
    if channels_of(facts) != 3:
        return fit_band_levels(facts["bands"][deep])
    return fit_levels(facts["range"][deep]) if deep.any() else None


def scan_sample(
    sample: Sample,
    contents: Contents,
    values: ValueMap,
    levels: AnyLevels | None = None,
    palettes: Palettes | None = None,
    channels: int = 3,
) -> tuple[np.ndarray | None, np.ndarray, np.void]:
    """Read one sample: image uint8 [H, W, C], mask uint8 [H, W] and record. Raises InputError naming the file.

    `contents`: what its files hold. `levels`: those of the dataset. Without them an image of more than 8 bits, or of
    other bands than three, is measured, and None instead of an image. The mask's palette is added to `palettes`.
    """
    header = contents.header
    facts = np.zeros(1, dtype=facts_type(channels))[0]
    if channels != 3 and levels is None:
        deep = sample.read_bands(channels, contents.image)
        _measure(deep, facts)
        facts["bands"] = band_ranges(deep)
        return None, np.zeros((0, 0), np.uint8), facts
    if header.deep and levels is None:
        _measure(sample.read_deep(contents.image), facts)
        return None, np.zeros((0, 0), np.uint8), facts
    image = sample.read_image(contents.image, levels)
    mask, palette = sample.read_labels(values, contents.mask)
    if image.shape[:2] != mask.shape:
        raise _size_error(sample, image, mask, header.orientation)
    facts["digest"] = digest(contents.image, contents.mask).encode()
    facts["image"], facts["mask"] = hash_pixels(image), hash_pixels(mask)
    facts["size"], facts["orientation"], facts["lossy"] = image.shape[:2], header.orientation, sample.lossy
    frames = ANIMATION if max(count_frames(contents.image), count_frames(contents.mask)) > 1 else ""
    facts["kind"] = f"{header.format} {header.mode}{frames}".encode()
    facts["counts"] = Image.fromarray(mask).histogram()  # np.bincount makes int64 of every pixel first
    facts["range"] = np.repeat([image.min(), image.max()], 2)
    if channels != 3:
        facts["mean"], facts["square"] = band_moments(image)
    if palettes is not None and palette is not None:
        palettes.add(sample.mask_file, palette, facts["counts"])
    grey = np.empty(mask.shape, np.uint8)
    for rows in strips(*mask.shape):
        grey[rows] = np.asarray(Image.fromarray(to_rgb(image[rows])).convert("L"))
    facts["thumbnail"] = np.array(Image.fromarray(grey).resize((THUMBNAIL, THUMBNAIL), Image.Resampling.BOX))
    return image, mask, facts


def _measure(deep: DeepImage, record: np.void) -> None:
    """Write the levels of an image of more than 8 bits, or of other bands, into its record."""
    record["deep"], record["range"] = True, deep.range()
    missing = deep.missing()
    record["missing"] = np.count_nonzero(missing.any(axis=2) if missing.ndim == 3 else missing)


def _size_error(sample: Sample, image: np.ndarray, mask: np.ndarray, orientation: int) -> WrongFiles:
    """Error about a mask of another size than its image; a quarter turn by EXIF is recognised."""
    sizes = [f"{array.shape[1]}x{array.shape[0]}" for array in (mask, image)]
    text = f"{sample.mask}: {sizes[0]} pixels, its image has {sizes[1]}"
    if orientation >= 5 and mask.shape == image.shape[1::-1]:
        text += (
            f". The mask lies as the camera stored the image, which its EXIF turns (orientation {orientation}); turn "
            f"the mask too, or take the turn out of {sample.image.name} (exiftool -n -Orientation=1)"
        )
        return WrongFiles(text, "turned", [sample.mask])
    return WrongFiles(f"{text}; make them the same size", "size", [sample.mask])


def hash_pixels(pixels: np.ndarray) -> int:
    """Hash of an array's shape and contents, 64 bits. Of all that `hashlib` has, SHA-1 takes the least time."""
    result = hashlib.sha1(repr(pixels.shape).encode(), usedforsecurity=False)
    result.update(np.ascontiguousarray(pixels).data)
    return int.from_bytes(result.digest()[:8], "little")


def scan(
    samples: Sequence[Sample],
    values: ValueMap,
    facts: np.ndarray,
    progress: Progress,
    take: Callable[[int, np.ndarray, np.ndarray], None] = lambda index, image, mask: None,
    levels: AnyLevels | None = None,
) -> Faults:
    """Read every sample on all cores, with one image in memory per core; fill `facts`, [N] of a `facts_type`.

    `take` is called with the index, image and mask of each readable sample, from several threads at once. `levels`:
    those of another dataset for the images of more than 8 bits, which are else measured.
    """
    channels = channels_of(facts)
    measured = ("deep", "range", "missing") if channels == 3 else ("deep", "bands", "missing")
    advance = progress("reading pictures", len(samples))
    faults = Faults()
    errors: dict[int, list[Finding]] = {}
    deep: list[int] = []
    lock = threading.Lock()

    def scan_one(index: int) -> None:
        sample = samples[index]
        try:
            with sample.contents() as contents:
                palettes = None if values.given else faults.palettes
                image, mask, record = scan_sample(sample, contents, values, levels, palettes, channels)
                if image is None:
                    facts[index] = record
                    deep.append(index)
                    return
                if facts[index]["deep"]:
                    for name in measured:
                        record[name] = facts[index][name]
                facts[index] = record
                take(index, image, mask)
                del image, mask
        except UnknownColours as error:
            with lock:
                faults.colours.update(error.colours)
                faults.coloured.append(sample.mask_file)
        except UnknownValues as error:
            with lock:
                faults.values.update(error.values)
                faults.valued.append(sample.mask_file)
        except InputError as error:
            errors[index] = _all_errors(sample, values, channels) or error_of(error)
            facts[index] = np.zeros((), facts.dtype)
        advance()

    on_all_cores(scan_one, range(len(samples)))
    if deep:  # their common range is known only now
        levels = levels_of(facts)
        on_all_cores(scan_one, sorted(deep))
    faults.problems = list(itertools.chain(*(errors[index] for index in sorted(errors))))
    faults.coloured.sort()
    faults.valued.sort()
    return faults


def _all_errors(sample: Sample, values: ValueMap, channels: int) -> list[Finding]:
    """Errors of reading the image and of reading the mask, each once."""
    findings: dict[Finding, None] = {}
    readers: tuple[tuple[Path, Callable[[], object]], ...] = (
        (sample.image, sample.read_image if channels == 3 else lambda: sample.read_bands(channels)),
        (sample.mask, lambda: sample.read_mask(values)),
    )
    for file, read in readers:
        try:
            read()
        except (UnknownColours, UnknownValues):
            continue
        except InputError as error:
            findings |= dict.fromkeys(error_of(error, file=file))
    return list(findings)
