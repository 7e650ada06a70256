"""Fonts for texts that others chose: the letters of any script, where this system has a font with them."""

import functools
import importlib.util
import shutil
import subprocess
import unicodedata
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from PIL import ImageFont

Font = ImageFont.FreeTypeFont | ImageFont.ImageFont

USUAL = (
    *("msyh.ttc", "simsun.ttc", "YuGothM.ttc", "malgun.ttf", "Nirmala.ttf", "segoeui.ttf", "arial.ttf"),
    *("PingFang.ttc", "Hiragino Sans GB.ttc", "AppleSDGothicNeo.ttc", "Arial Unicode.ttf"),
)
"""Fonts of Windows and macOS with the letters of many scripts, which are tried where there is no fontconfig."""

NO_CHARACTER = "\U0010ffff"
"""Code that stands for nothing: fonts draw it as any letter that they lack, mostly as a box."""

CHECKED_SIZE = 24
"""Height in pixels of the letters that are compared with that box."""

SEARCH_SECONDS = 10
"""Time that fontconfig may take; with a cache it takes a few hundredths."""


def find_font(size: int) -> Font:
    """DejaVu Sans, which comes with matplotlib and has most letters of Europe; Pillow's own has those of English."""
    file = _dejavu()
    return ImageFont.load_default(size) if file is None else ImageFont.truetype(file, size)


def font_for(text: str, size: int) -> Font | None:
    """Font that has all letters of a text, `find_font`'s where that does; None where this system has none."""
    if not _lacks(find_font(CHECKED_SIZE), text):
        return find_font(size)
    found = _system_font("".join(sorted(set(text))))
    return None if found is None else ImageFont.truetype(found[0], size, index=found[1])


def drawable(text: str, size: int) -> tuple[str, Font]:
    """Text and the font to draw it with; letters that no font of this system has are escaped, such as \\u732b."""
    font = font_for(text, size)
    if font is not None:
        return text, font
    font, lacking = find_font(size), _lacks(find_font(CHECKED_SIZE), text)
    return "".join(one.encode("ascii", "backslashreplace").decode() if one in lacking else one for one in text), font


def undrawable(names: Iterable[str]) -> list[str]:
    """Those of some names that no font of this system has all letters of."""
    return [name for name in names if font_for(name, CHECKED_SIZE) is None]


def _lacks(font: Font, text: str) -> set[str]:
    """Letters of a text that a font has not: drawn as the box that stands for a missing one, or as nothing."""
    box = _look(font, NO_CHARACTER)
    return {letter for letter in set(text) if _is_seen(letter) and _look(font, letter) in (box, b"")}


def _look(font: Font, letter: str) -> bytes:
    try:
        mask = font.getmask(letter)
    except (UnicodeError, OSError):  # Pillow's old font has Latin-1 alone
        return b""
    return b"%d,%d:" % mask.size + bytes(mask) if mask.getbbox() else b""


def _is_seen(letter: str) -> bool:
    """Return whether a character is drawn: no blank, no control character, no choice of a variant."""
    return unicodedata.category(letter)[0] not in "ZC" and not 0xFE00 <= ord(letter) <= 0xFE0F


@functools.cache
def _dejavu() -> Path | None:
    package = importlib.util.find_spec("matplotlib")  # found, not imported
    for folder in (package.submodule_search_locations or []) if package else []:
        file = Path(folder) / "mpl-data" / "fonts" / "ttf" / "DejaVuSans.ttf"
        with suppress(OSError):
            ImageFont.truetype(file, CHECKED_SIZE)
            return file
    return None


@functools.lru_cache(maxsize=1024)
def _system_font(letters: str) -> tuple[str, int] | None:
    """File of a font of this system that has all `letters`, and the font's number in it; None where there is none."""
    program = shutil.which("fc-match")
    candidates = [(name, 0) for name in USUAL] if program is None else _ask(program, letters)
    for file, index in candidates:
        with suppress(OSError):
            if not _lacks(ImageFont.truetype(file, CHECKED_SIZE, index=index), letters):
                return file, index
    return None


def _ask(program: str, letters: str) -> list[tuple[str, int]]:
    """Font that fontconfig finds best for `letters`; it always names one."""
    codes = " ".join(f"{ord(letter):x}" for letter in letters if _is_seen(letter))
    form = ["--format", "%{file}\t%{index}", f"sans:charset={codes}"]
    try:
        answer = subprocess.run([program, *form], capture_output=True, text=True, timeout=SEARCH_SECONDS, check=True)
        file, index = answer.stdout.split("\t")
        return [(file, int(index) & 0xFFFF)]  # above them, the number of a variant
    except (OSError, ValueError, subprocess.SubprocessError):
        return []
