"""Names that other people chose: how they are shown, compared, shortened and quoted.

A name may hold anything: bytes that are no UTF-8, control characters, accents in two forms, 255 characters.
`trainer.printable` makes a whole message fit to be shown, which every InputError and every line of the terminal passes.
"""

import functools
import hashlib
import json
import os
import re
import shlex
import sys
import unicodedata
from collections.abc import Callable, Iterable, Mapping
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


def show(name: object, most: int = LONGEST_SHOWN) -> str:
    """`one_line`, without its middle where it has more than `most` characters."""
    text = one_line(name)
    half = most // 2
    return text if len(text) <= most else f"{text[:half]}…{text[-half:]}"


def messages(text: str) -> list[str]:
    """Messages in a text, one a line; an indented line, such as an option to paste, belongs to the one before."""
    return re.split(r"\n(?! )", text)


def same_form(name: str) -> str:
    """The form in which names are compared (NFC): macOS stores `é` as two characters, others as one."""
    return name if name.isascii() else unicodedata.normalize("NFC", name)


def label(name: str) -> str:
    """The name of a class in the form in which it is kept and compared: NFC, without blanks around it or doubled."""
    return same_form(" ".join(name.split()))


def without_case(name: str) -> str:
    """The form in which names are compared that may differ by their case, too."""
    return same_form(name).casefold()


def match_names(names: Iterable[str], known: Iterable[str]) -> dict[str, str]:
    """Match each of `names` to one of `known`: the same, or the only one left that differs by its form or its case."""
    rest, known = set(names), set(known)
    meant = {name: name for name in rest & known}
    for form in (same_form, without_case):
        left = [_by_form(form, names) for names in (rest - set(meant), known - set(meant.values()))]
        meant |= {
            own[0]: left[1][key][0] for key, own in left[0].items() if len(own) == 1 and len(left[1].get(key, ())) == 1
        }
    return meant


def _by_form(form: Callable[[str], str], names: Iterable[str]) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for name in names:
        found.setdefault(form(name), []).append(name)
    return found


def existing_path(path: Path) -> Path:
    """`path`, or where there is none, the only one whose names differ from its by their form or their case alone."""
    try:
        if os.path.lexists(path) or path.parent == path:
            return path
        folder = existing_path(path.parent)
        names = _names_by_form(str(folder), os.stat(folder).st_mtime_ns)
    except (OSError, ValueError):  # no such folder, or a name that no file can have
        return path
    for form in (same_form, without_case):
        alike = names.get(form(path.name), [])
        if len(alike) == 1:
            return folder / alike[0]
    return folder / path.name


@functools.lru_cache(maxsize=16)
def _names_by_form(folder: str, _mtime_ns: int) -> dict[str, list[str]]:
    """Names in a folder by the forms in which they are compared."""
    names = os.listdir(folder)
    return _by_form(without_case, names) | _by_form(same_form, names)


def count_of(count: int, noun: str) -> str:
    """`1 image` or `3 images`."""
    return f"{count} {noun}{'' if count == 1 else 's'}"


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
    if one_line(text) == text and _can_be_printed(text):
        return shlex.quote(text)
    content = text.encode(errors="surrogateescape")
    plain = (chr(byte) if 32 <= byte < 127 and chr(byte) not in "\\'" else f"\\x{byte:02x}" for byte in content)
    # Bash and zsh read a hexadecimal escape of two digits at most, so that what follows is never taken for a digit.
    return f"$'{''.join(plain)}'"


def _can_be_printed(text: str) -> bool:
    try:
        text.encode(getattr(sys.stdout, "encoding", None) or "utf-8")
        return True
    except UnicodeEncodeError:
        return False


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
    if isinstance(value, int) or re.fullmatch(
        r"(?!(?i:null|true|false|yes|no|on|off|y|n)$)[^\W\d_][\w-]*|/[\w/.-]*", text
    ):
        return text
    return "'" + text.replace("'", "''") + "'" if one_line(text) == text else json.dumps(text)


def cell(value: object) -> object:
    """A value for a CSV file that a spreadsheet takes for data: no formula, no line break."""
    if not isinstance(value, str):
        return value
    text = one_line(value)
    return f"'{text}" if text.startswith(FORMULA_SIGNS) else text
