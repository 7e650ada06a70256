"""One labelled image: its files, and the reading of its image and mask."""

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from trainer import InputError
from trainer.data.bands import read_bands
from trainer.data.files import file_bytes, read_bytes
from trainer.data.image_header import Header, count_held, read_header
from trainer.data.image_io import PIXELS, AnyLevels, read_deep, read_image, read_stored
from trainer.data.levels import DeepImage
from trainer.data.stack import page_content
from trainer.data.stored_palette import StoredPalette
from trainer.data.value_map import ValueMap

LOSSY = (".jpg", ".jpeg", ".jpe", ".jfif", ".webp", ".avif")
"""Suffixes of mask files whose values are changed by compression, in lower case."""

SMALL_BYTES = 4_000_000
"""Files of a sample, together, up to which they are read before it is known how many pixels they hold."""


@dataclass(frozen=True, slots=True)
class Contents:
    """Contents of the files of a sample, each read once."""

    image: bytes
    mask: bytes
    header: Header
    """That of the image."""


@dataclass(frozen=True, slots=True)
class Sample:
    """An image file with a mask file. Layouts that store masks in another way override the reading methods.

    There may be a million samples: paths are stored as text, which takes a fifth of the memory of `Path` objects.
    """

    name: str
    """The file stem; `<root folder>/<stem>` where there are several roots."""

    image_file: str
    """Path of the image file."""

    mask_file: str
    """Path of the file that the mask is made from."""

    @property
    def image(self) -> Path:
        """Path of the image file."""
        return Path(self.image_file)

    @property
    def mask(self) -> Path:
        """Path of the file that the mask is made from."""
        return Path(self.mask_file)

    @property
    def files(self) -> tuple[str, ...]:
        """Paths of the files that `image_content` and `mask_content` read."""
        return self.image_file, self.mask_file

    @contextmanager
    def contents(self) -> Iterator[Contents]:
        """Results of `image_content` and `mask_content`; the budget PIXELS holds what decoding takes for the block.

        Small files are opened only once: their headers are read from these bytes. Raises InputError naming the file.
        """
        total = file_bytes(self.files)
        if total > SMALL_BYTES:
            with PIXELS.hold(self.pixels() + total // 4):
                image = self.image_content()
                yield Contents(image, self.mask_content(), read_header(self.image, image))
            return
        image, mask = self.image_content(), self.mask_content()
        header = read_header(self.image, image)
        # Of several masks only the first begins where its header is looked for.
        several = len(self.files) > 2
        pixels = self.pixels() if several else max(header.held, count_held(self.mask_file, mask))
        with PIXELS.hold(pixels + total // 4):
            yield Contents(image, mask, header)

    def pixels(self) -> int:
        """Pixels of the largest image, by the headers of the files; more with many bands, as `count_held` has it."""
        return max(count_held(file) for file in self.files)

    def own_content(self) -> bytes:
        """Part of `mask_content` that is stored in none of `files`."""
        return b""

    def image_content(self) -> bytes:
        """Bytes of the image file. Raises InputError naming the file."""
        return read_bytes(self.image_file)

    def mask_content(self) -> bytes:
        """Bytes that change whenever the mask does. Raises InputError naming the file."""
        return read_bytes(self.mask_file)

    def read_image(self, content: bytes | None = None, levels: AnyLevels | None = None) -> np.ndarray:
        """Decode the image, uint8 RGB [H, W, 3], where it has more than 8 bits by the `levels` of the dataset.

        With those of C bands, uint8 [H, W, C].

        `content`: the result of `image_content`, if that was called already. Raises InputError naming the file.
        """
        return read_image(self.image, self.image_content() if content is None else content, levels)

    def read_deep(self, content: bytes) -> DeepImage:
        """Decode an image of more than 8 bits as it is stored. Raises InputError naming the file."""
        return read_deep(self.image, content)

    def read_bands(self, channels: int, content: bytes | None = None) -> DeepImage:
        """Decode an image of so many bands as it is stored. Raises InputError naming the file."""
        return read_bands(self.image, self.image_content() if content is None else content, channels)

    def read_mask(self, values: ValueMap, content: bytes | None = None) -> np.ndarray:
        """Decode the mask to class ids, uint8 [H, W], at its own size; 254 for values without a meaning.

        `content`: the result of `mask_content`, if that was called already. Raises InputError naming the file.
        """
        return self.read_labels(values, content)[0]

    def read_labels(self, values: ValueMap, content: bytes | None = None) -> tuple[np.ndarray, StoredPalette | None]:
        """Decode as `read_mask` does; return also the colours of the stored values, None for a mask without or drawn.

        Layouts that only store masks in another way override this one, those that draw them `read_mask`.
        """
        stored = read_stored(self.mask, content)
        colours = None if stored.palette is None else stored.palette.colours
        return values.ids(stored.values, self.lossy, colours), stored.shown

    @property
    def lossy(self) -> bool:
        """True if lossy compression has changed the mask's values."""
        return self.mask_file.lower().endswith(LOSSY)

    @property
    def drawn(self) -> bool:
        """True if the mask is made of class ids, so that data.value_map has no stored values to map."""
        return False


@dataclass(frozen=True, slots=True)
class DrawnSample(Sample):
    """A sample whose mask is made from annotations, by the class ids that the layout knows."""

    def read_labels(self, values: ValueMap, content: bytes | None = None) -> tuple[np.ndarray, StoredPalette | None]:
        return self.read_mask(values, content), None

    @property
    def lossy(self) -> bool:
        return False

    @property
    def drawn(self) -> bool:
        return True


@dataclass(frozen=True, slots=True)
class RecordedSample(DrawnSample):
    """A sample that holds its annotations: one file has those of many images, and is read once for all of them.

    Layouts store them in fields that `own_content` returns.
    """

    @property
    def files(self) -> tuple[str, ...]:
        return (self.image_file,)

    def mask_content(self) -> bytes:
        return self.own_content()


@dataclass(frozen=True, slots=True)
class PageSample(Sample):
    """One page of two TIFF stacks."""

    page: int
    """Number of the page, from 1."""

    def own_content(self) -> bytes:
        return f"#{self.page}".encode()

    def image_content(self) -> bytes:
        return page_content(self.image, self.page)

    def mask_content(self) -> bytes:
        return page_content(self.mask, self.page)

    def read_labels(self, values: ValueMap, content: bytes | None = None) -> tuple[np.ndarray, StoredPalette | None]:
        return Sample.read_labels(self, values, self.mask_content() if content is None else content)


@dataclass(frozen=True, slots=True)
class JoinedSample(Sample):
    """An image with several mask files, which are laid over each other."""

    more: tuple[str, ...]
    """Paths of the masks after the first."""

    @property
    def files(self) -> tuple[str, ...]:
        return self.image_file, self.mask_file, *self.more

    def mask_content(self) -> bytes:
        return b"".join(read_bytes(Path(file)) for file in (self.mask_file, *self.more))

    def read_labels(self, values: ValueMap, content: bytes | None = None) -> tuple[np.ndarray, StoredPalette | None]:
        """Decode the masks and join them. Raises InputError where two classes, or two sizes, meet."""
        joined, palette = Sample.read_labels(self, values)
        for file in self.more:
            ids, other = Sample(self.name, self.image_file, file).read_labels(values)
            if not values.given and not _agree(palette, other, ids):
                text = f"its palette gives the values other colours than that of {self.mask_file}"
                raise InputError(f"{file}: {text}; name the colours in data.value_map")
            if ids.shape != joined.shape:
                raise InputError(f"{file}: another size than {self.mask_file}; make both the size of the image")
            clash = (ids != 0) & (joined != 0) & (ids != joined)
            if clash.any():
                text = f"{int(clash.sum())} pixels are of another class in {self.mask_file}"
                raise InputError(f"{file}: {text}; join the masks of this image into one file")
            joined = np.maximum(joined, ids)
        return joined, palette


def _agree(one: StoredPalette | None, other: StoredPalette | None, values: np.ndarray) -> bool:
    """Return True if two palettes give the same colours to these values, uint8 [H, W]; greys agree with any."""
    if one is None or other is None or one.grey or other.grey:
        return True
    used = np.unique(values)
    used = used[used < min(len(one.colours), len(other.colours))]
    return bool((one.colours[used] == other.colours[used]).all())


def digest(image: bytes, mask: bytes) -> str:
    """Digest of a sample's contents: SHA-256, as 64 hexadecimal digits."""
    result = hashlib.sha256(image)
    result.update(hashlib.sha256(mask).digest())
    return result.hexdigest()
