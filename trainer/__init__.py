"""A distributed, experiment-tracking trainer for semantic segmentation.

    from trainer import load_model

    model = load_model("models:/cat-unet@champion")
    result = model.predict("photograph.jpg")
    result.mask, result.overlay()

Shapes, wherever they appear in this package:

    B images in a batch, C channels of the network's output, K classes with the background, H and W pixels.

    image   uint8 in [0, 255], RGB where C is 3; [H, W, C] in numpy, [C, H, W] in torch
    mask    uint8 class ids [H, W]; 0 is background, 255 (`IGNORE`) is counted nowhere
    logits  float [B, C, H, W], before sigmoid or softmax; C = 1 for one foreground class, else C = K
"""

import functools
import importlib
import json
import os
import re
import urllib.parse
from collections.abc import Mapping
from typing import Any

IGNORE = 255
"""Mask value of pixels that are left out of the loss and of every metric."""

EXIT_INPUT = 2
"""Exit code for wrong usage, settings or data, found before any work."""

SECRET_VARIABLE = re.compile(
    r"(?i)(passw(or)?d|passphrase|[^o]_pwd|token|secret|api_?key|access_?key(_id)?|(secret|private|account)_?key"
    r"|connection_string)$"
)
"""Names of the environment variables whose values are never shown, such as MLFLOW_TRACKING_PASSWORD."""

SHORTEST_SECRET = 6
"""Characters of a secret that is looked for by its value; replacing a shorter one would garble every text."""

SHOWN_UNESCAPED = "\n\t\u3000\u200c\u200d"
"""Characters that Python calls not printable, and that texts need: line breaks, the blank of Japanese, joiners."""


class InputError(ValueError):
    """Invalid input of a user: a file, a value or a flag. The text names it and gives the fix.

    The entry points print the text without a traceback and exit with code 2.
    """

    def __init__(self, text: str) -> None:
        super().__init__(printable(redact(text)))


def load_model(uri: str) -> Any:
    """Load a model to predict with: models:/name@alias, models:/name/3, runs:/ID/model, or a local folder.

    Returns a `trainer.inference.model.Model`. Raises InputError where it cannot be loaded.
    """
    # By name, since this package lies below all its rooms: `import trainer` must load none of them.
    return importlib.import_module("trainer.tracking.load").load_model(str(uri))


def printable(text: str) -> str:
    """Escape what a terminal would obey, reorder or not encode: control characters, overrides, bytes that are not text.

    Line breaks and tabs stay. A byte of a file name that is no UTF-8 is written as \\xNN.
    """
    if text.isprintable():
        return text
    return "".join(one if one.isprintable() or one in SHOWN_UNESCAPED else _escape(ord(one)) for one in text)


def _escape(code: int) -> str:
    if 0xDC80 <= code <= 0xDCFF:  # how Python keeps a byte that is no UTF-8
        return f"\\x{code - 0xDC00:02x}"
    return f"\\x{code:02x}" if code < 0x80 else f"\\u{code:04x}" if code <= 0xFFFF else f"\\U{code:08x}"


# ---------------------------------------------------------------- secrets

_NAMED = r"\b[\w-]*(?:token|passw(?:or)?d|passphrase|pwd|secret|api[_-]?key|(?:access|secret|account|private)[_-]?key)"
_REPLACEMENTS = [
    (re.compile(pattern, re.IGNORECASE), replacement)
    for pattern, replacement in (
        # A password with a slash, a blank or a quote. What follows host:5000 is none.
        (
            r"\b(?!models:|runs:)([a-z][\w+.-]+:/{1,3})[^\s:/@'\"]*:(?!\d{1,5}(?!\w))[^\n@]*@(?:[^\s@'\"]*@)*",
            r"\1",
        ),
        # One slash too: an address passed through Path has lost the other. models:/name@alias names no host.
        (r"\b(?!models:|runs:)([a-z][\w+.-]+:/{1,3})[^/\s'\"]*@", r"\1"),
        (_NAMED + r"\w*[\"']?\s*=\s*(?:\"[^\"\n]*\"|'[^'\n]*'|[^&\s'\"]+)", ""),
        (r"\b(?:passw(?:or)?d|api[_-]?key|secret[_-]?key)[\"']?:\s*(?:\"[^\"\n]*\"|'[^'\n]*'|[^&\s'\",}]+)", ""),
        (r"\b(sig|signature)=[^&\s'\"]+", r"\1=***"),
        (r"\b(bearer|basic)\s+[\w.+/=~-]{6,}", r"\1 ***"),
    )
]
_learnt: set[str] = set()


def redact(text: str) -> str:
    """Remove passwords and tokens from a text that is shown, stored or sent.

    Removed are the `user:password@` of addresses, the values of `token=`, `password=` and the like, those of
    environment variables of such names, and everything of that kind that a setting holds (`learn_secrets`).
    """
    for secret in sorted(_learnt | _environment_secrets(), key=len, reverse=True):
        if secret in text:
            text = text.replace(secret, "***")
    for pattern, replacement in _REPLACEMENTS:
        text = pattern.sub(replacement or _keep_name, text)
    return text


def _keep_name(match: re.Match[str]) -> str:
    sign = "=" if "=" in match[0] else ":"
    return f"{match[0].partition(sign)[0]}{sign}***"


def redact_all(value: Any) -> Any:
    """`redact` every text in lists and tables; keys stay."""
    if isinstance(value, str):
        return redact(value)
    if isinstance(value, Mapping):
        return {key: redact_all(one) for key, one in value.items()}
    return [redact_all(one) for one in value] if isinstance(value, list | tuple) else value


def learn_secrets(value: object) -> None:
    """Remember the secrets in a setting, so that `redact` finds them in every form, in parts of it, and anywhere.

    `value` is a setting by itself: unlike in a sentence, all that precedes the last @ of an address belongs to it.
    """
    _learnt.update(_secrets_in(f"{value}"))


def _environment_secrets() -> set[str]:
    found: set[str] = set()
    for name, value in os.environ.items():
        if SECRET_VARIABLE.search(name):
            found |= _forms(value)
        elif re.match(r"[a-zA-Z][\w+.-]*://.*@", value):
            found |= _secrets_in(value)
    return found


@functools.lru_cache(maxsize=1000)
def _secrets_in(value: str) -> frozenset[str]:
    """Secrets in one setting or variable: all before the last @ of an address, all after `password=` and the like."""
    found = {match[1] for match in re.finditer(_NAMED + r"\w*=([^&\n]+)", value, re.IGNORECASE)}
    address = re.search(r"\b(?!models:|runs:)[a-zA-Z][\w+.-]+:/{1,2}(?!/)(.*)@", value)
    if address and not re.search(r"^[^:/@]*:\d{1,5}(?!\w)[^@]*\s", address[1]):
        login, password = address[1], address[1].partition(":")[2]
        # A library that takes a slash for the end of the host names what precedes it.
        found |= {login, password, *re.split(r"[/?#@:\s'\"]+", password)}
    return frozenset().union(*map(_forms, found))


@functools.lru_cache(maxsize=1000)
def _forms(secret: str) -> frozenset[str]:
    """Spellings of a secret in texts: plain, in an address, and within quotes of Python, JSON, YAML and shells."""
    secret = secret.strip("'\"")
    plain = {secret, urllib.parse.unquote(secret)}
    forms = {form for one in plain for form in (one, urllib.parse.quote(one, safe=""), urllib.parse.quote_plus(one))}
    for one in plain:
        forms |= {repr(one)[1:-1], json.dumps(one)[1:-1], one.replace("'", "''"), one.replace("'", "'\"'\"'")}
        forms |= {one.replace("'", "\\'"), one.replace('"', '\\"')}
    return frozenset(form for form in forms if len(form) >= SHORTEST_SECRET)
