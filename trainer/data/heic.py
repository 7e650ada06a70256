"""HEIC, as many telephones write photographs: read where the package pillow-heif, the extra heic, is installed.

Its decoder comes under licences of its own, so nothing else needs it, and only files of this format reach it.
"""

import functools
from importlib.util import find_spec

INSTALLED = find_spec("pillow_heif") is not None
"""Whether the package is there."""

SUFFIXES = (".heic", ".heif", ".hif")
"""Suffixes of such files, in lower case. Telephones also name them .jpg."""

FORMAT = "HEIF"
"""Name of the format as Pillow has it."""

BRANDS = tuple(b"ftyp" + brand for brand in (b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1"))
"""Bytes 4 to 11 of such a file; some AVIF files begin with the last two."""


def is_heic(head: bytes) -> bool:
    """Tell by the first 12 bytes of a file, or more, whether it may be HEIC."""
    return head[4:12] in BRANDS


@functools.cache
def register() -> None:
    """Have Pillow know the format. One thread decodes: many files are read at the same time."""
    import pillow_heif

    pillow_heif.register_heif_opener(thumbnails=False, decode_threads=1)
