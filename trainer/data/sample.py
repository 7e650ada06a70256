"""One labelled picture: where it is, and how its image and its mask are read."""

import hashlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from trainer.data.files import read_bytes
from trainer.data.image_io import read_image, read_mask
from trainer.data.value_map import ValueMap

LOSSY = (".jpg", ".jpeg", ".webp")
"""Suffixes of mask files whose values compression has changed."""


@dataclass(frozen=True, slots=True)
class Sample:
    """A picture with a mask file. Other layouts keep their masks elsewhere and override how they are read.

    There may be a million: its files are kept as text, which takes a fifth of the memory of paths.
    """

    name: str
    """The file stem; `<root folder>/<stem>` where there are several roots."""

    image_file: str
    mask_file: str
    """The file that the mask comes from."""

    @property
    def image(self) -> Path:
        return Path(self.image_file)

    @property
    def mask(self) -> Path:
        return Path(self.mask_file)

    @property
    def files(self) -> tuple[str, ...]:
        """The files that `image_content` and `mask_content` come from."""
        return self.image_file, self.mask_file

    def own_content(self) -> bytes:
        """What `mask_content` holds that is in none of `files`."""
        return b""

    def image_content(self) -> bytes:
        """The bytes of the image file. Raises InputError naming the file."""
        return read_bytes(self.image)

    def mask_content(self) -> bytes:
        """Bytes that change whenever the mask does. Raises InputError naming the file."""
        return read_bytes(self.mask)

    def read_image(self, content: bytes | None = None) -> np.ndarray:
        """uint8 RGB [H, W, 3]; `content` as `image_content` gave it, where it was read already."""
        return read_image(self.image, self.image_content() if content is None else content)

    def read_mask(self, values: ValueMap, content: bytes | None = None) -> np.ndarray:
        """Class ids, uint8 [H, W], at the mask's own size; 254 where a value means nothing.

        `content` as `mask_content` gave it, where it was read already. Raises InputError naming the file.
        """
        return values.ids(read_mask(self.mask, content), self.lossy)

    @property
    def lossy(self) -> bool:
        """Whether the mask's values are those that a lossy compression has left."""
        return self.mask_file.lower().endswith(LOSSY)


def digest(image: bytes, mask: bytes) -> str:
    """64 hexadecimal digits that stand for one sample's contents."""
    result = hashlib.sha256(image)
    result.update(hashlib.sha256(mask).digest())
    return result.hexdigest()
