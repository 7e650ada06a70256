"""Text files of other tools: UTF-8, what their byte order mark says, or an older encoding that can be recognised."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path

from trainer import InputError
from trainer.system.text import quote

OLDER = {"gb18030": "GB18030", "cp932": "CP932", "cp949": "CP949", "big5": "BIG5", "cp1252": "CP1252"}
"""Encodings that programs on Windows wrote, by Python's name, and their names for iconv; the likeliest first."""

ALPHABETS = "\u0386"
"""First letter of Greek, Cyrillic and the alphabets after them; before it are Latin letters with signs, and signs."""

Witness = Callable[[str], bool | None]
"""Function that says of a text whether other files bear it out: True or False, or None where they say nothing."""


def no_witness(_text: str) -> bool | None:
    """Nothing says whether the text is right."""
    return None


class UnknownEncoding(InputError):
    """Text in no encoding that can be told for certain."""


def decode(content: bytes, file: Path, witness: Witness = no_witness) -> str:
    """Text of the file with this content, without its byte order mark.

    UTF-8 is preferred. Where it is no UTF-8, or `witness` contradicts it, an older encoding is taken if `witness`
    bears it out. Raises UnknownEncoding naming the file, with the command that converts it, where none is.
    """
    encoding = json.detect_encoding(content)  # from the byte order mark or the zeros: UTF-8, 16 or 32
    try:
        text = content.decode(encoding)
    except UnicodeDecodeError as error:
        found = next((older for _, older in _older_texts(content) if witness(older)), None)
        if found is None:
            guess = _guess(content)
            raise UnknownEncoding(
                f"{file}: not UTF-8 text ({error.reason}). Save it as such; if it is in {guess}, with\n"
                f"  {iconv(file, guess)}"
            ) from None
        return found
    if text.isascii() or witness(text) is not False:
        return text
    return next((older for _, older in _older_texts(content) if witness(older)), text)


def disguised(name: str) -> str | None:
    """The Chinese that a name may be whose GB18030 bytes happen to be UTF-8 too, such as 猫 for è; None if unlikely.

    Not suspected is a name with Latin letters, or all in one of the alphabets from Greek on.
    """
    letters = [one for one in name if not one.isascii()]
    alphabet = all(one >= ALPHABETS for one in letters) and (len(letters) > 1 or letters < ["\u0500"])
    if not letters or alphabet or any(one.isascii() and one.isalpha() for one in name):
        return None
    try:
        chinese = name.encode().decode("gb18030")
    except UnicodeError:
        return None
    return chinese if _is_chinese(chinese) else None


def iconv(file: Path, encoding: str = "GB18030") -> str:
    """Command that converts a file to UTF-8 in place."""
    name, new = quote(file), quote(f"{file}.utf8")
    return f"iconv -f {encoding} -t UTF-8 {name} > {new} && mv {new} {name}"


def iconv_all(folder: Path) -> str:
    """Command that converts the JSON files in a folder from GB18030 to UTF-8 in place."""
    return f'for f in {quote(folder)}/*.json; do iconv -f GB18030 -t UTF-8 "$f" > "$f.utf8" && mv "$f.utf8" "$f"; done'


def _guess(content: bytes) -> str:
    """Likeliest encoding, for iconv: kana are Japanese, pairs of high bytes Chinese, single ones Western."""
    texts, high = dict(_older_texts(content)), [byte for byte in content if byte > 127]
    if any("ぁ" <= one <= "ヿ" for one in texts.get("cp932", "")):
        return OLDER["cp932"]
    pairs = len(high) % 2 == 0 and min(high, default=0) > 0xA0 and _is_chinese(texts.get("gb18030", "é"))
    return OLDER["gb18030"] if pairs or "cp1252" not in texts else OLDER["cp1252"]


def _is_chinese(text: str) -> bool:
    """Return whether all but ASCII is Chinese, with its signs and wide letters."""
    return all(
        one.isascii() or "一" <= one <= "鿿" or "\u3000" <= one <= "\u303f" or "\uff01" <= one <= "\uff5e"
        for one in text
    )


def _older_texts(content: bytes) -> Iterator[tuple[str, str]]:
    """Each of OLDER that the content can be decoded with, and its text."""
    for encoding in OLDER:
        try:
            yield encoding, content.decode(encoding)
        except UnicodeDecodeError:
            continue
