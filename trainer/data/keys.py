"""What the keys of data.value_map may be. Light: the settings are checked with it before anything else is loaded."""

import re

from trainer import InputError

OTHER, NEAREST = "other", "nearest"
"""The key that stands for every value and colour not named, and the name that makes it the nearest one that is."""


def parse_key(key: int | str) -> range | int | None:
    """The stored values that a key of data.value_map names, as a range, or its colour as 0xRRGGBB; None for `other`."""
    text = str(key).strip()
    if text == OTHER:
        return None
    if re.fullmatch(r"#[0-9a-fA-F]{6}", text):
        return int(text[1:], 16)
    numbers = re.fullmatch(r"(\d{1,3})(?:\s*-\s*(\d{1,3}))?", text)
    if numbers:
        first, last = int(numbers[1]), int(numbers[2] or numbers[1])
        if first <= last <= 255:
            return range(first, last + 1)
    raise InputError(f"data.value_map: {key!r} is no mask value; give 0 to 255, a range such as 128-255, a colour such "
                     "as '#ff0000', or `other`")  # fmt: skip
