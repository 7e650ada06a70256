"""Names that other people chose: how they are shown, compared, shortened and quoted.

A name may hold anything: bytes that are no UTF-8, control characters, accents in two forms, 255 characters.
`trainer.printable` makes a whole message fit to be shown, which every InputError and every line of the terminal passes.
"""

import hashlib
import json
import os
import re
import shlex
import unicodedata
from collections.abc import Iterable, Mapping
from pathlib import Path

from trainer import printable

LONGEST_SHOWN = 300
"""Characters of a name that are shown; a longer one loses its middle."""

DIGEST_DIGITS = 6
"""Hexadecimal digits that tell shortened or changed names apart."""

FORMULA_SIGNS = ("=", "+", "-", "@", "＝", "＋", "－", "＠")  # noqa: RUF001
"""First characters by which spreadsheets, those of Japan too, take a text for a formula."""


def one_line(name: object) -> str:
    """A name for a person: what `printable` escapes, and line breaks and tabs, too."""
    return printable(f"{name}").replace("\n", "\\n").replace("\t", "\\t")


def show(name: object) -> str:
    """`one_line`, without its middle where it is longer than LONGEST_SHOWN."""
    text = one_line(name)
    half = LONGEST_SHOWN // 2
    return text if len(text) <= LONGEST_SHOWN else f"{text[:half]}…{text[-half:]}"


def same_form(name: str) -> str:
    """The form in which names are compared (NFC): macOS stores `é` as two characters, others as one."""
    return name if name.isascii() else unicodedata.normalize("NFC", name)


def find_alike(names: Iterable[str], wanted: str) -> str | None:
    """The one of `names` that is `wanted`, or else the only one that differs by its form or its case; None without."""
    names = list(names)
    if wanted in names:
        return wanted
    for form in (same_form, lambda name: same_form(name).casefold()):
        alike = [name for name in names if form(name) == form(wanted)]
        if len(alike) == 1:
            return alike[0]
    return None


def existing_file(path: Path) -> Path:
    """`path`, or where there is no such file the one beside it whose name differs by its form or its case alone."""
    if os.path.exists(path) or not os.path.isdir(path.parent):
        return path
    name = find_alike(os.listdir(path.parent), path.name)
    return path.with_name(name) if name else path


def shorten(name: str, most: int) -> str:
    """`name` in at most `most` bytes of UTF-8, with a digest in place of its end. Different names stay different."""
    content = name.encode(errors="surrogateescape")
    if len(content) <= most:
        return name
    return f"{content[: most - DIGEST_DIGITS - 1].decode(errors='ignore')}-{digest(name)}"


def digest(name: str) -> str:
    """Short digest of a name, which tells it from others."""
    return hashlib.sha256(name.encode(errors="surrogateescape")).hexdigest()[:DIGEST_DIGITS]


def valid(text: str) -> str:
    """`text` as UTF-8 can hold it: bytes of a file name that are none are written as \\xNN."""
    return re.sub("[\ud800-\udfff]", lambda match: printable(match[0]), text)


def quote(word: object) -> str:
    """A word for a shell to be pasted: it arrives as it is, line breaks and bytes that are no UTF-8 included."""
    text = f"{word}"
    if one_line(text) == text:
        return shlex.quote(text)
    content = text.encode(errors="surrogateescape")
    plain = (chr(byte) if 32 <= byte < 127 and chr(byte) not in "\\'" else f"\\x{byte:02x}" for byte in content)
    # Bash and zsh read a hexadecimal escape of two digits at most, so that what follows is never taken for a digit.
    return f"$'{''.join(plain)}'"


def join(words: Iterable[object]) -> str:
    """A command to be pasted into a shell."""
    return " ".join(map(quote, words))


def option(key: str, value: Mapping[object, object] | Iterable[object]) -> str:
    """An option of train.py with a list or a table, as YAML that a shell passes on unchanged."""
    if isinstance(value, Mapping):
        text = f"{{{', '.join(f'{yaml_word(key)}: {yaml_word(name)}' for key, name in value.items())}}}"
    else:
        text = f"[{', '.join(map(yaml_word, value))}]"
    # Within double quotes, where a shell leaves the text alone, YAML's own single quotes stay readable.
    return f'--{key} "{text}"' if one_line(text) == text and not set(text) & set('"$`\\!') else f"--{key} {quote(text)}"


def yaml_word(value: object) -> str:
    """A value within a list or table of YAML that is read back as it is: `no`, `007` or `a: b` are texts in quotes."""
    text = f"{value}"
    if isinstance(value, int) or re.fullmatch(r"(?!(?i:null|true|false|yes|no|on|off|y|n)$)[^\W\d_][\w-]*", text):
        return text
    return "'" + text.replace("'", "''") + "'" if one_line(text) == text else json.dumps(text)


def cell(value: object) -> object:
    """A value for a CSV file that a spreadsheet takes for data: no formula, no line break."""
    if not isinstance(value, str):
        return value
    text = one_line(value)
    return f"'{text}" if text.startswith(FORMULA_SIGNS) else text
