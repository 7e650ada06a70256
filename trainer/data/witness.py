"""Evidence for the encoding of a list of images: the files that it names."""

import functools
import re
from pathlib import Path

from trainer.data.encoding import Witness
from trainer.data.files import IMAGE_SUFFIXES, list_images
from trainer.system.text import same_form

MOST_NAMES = 20
"""Names beyond ASCII that are looked for; one that is decoded wrongly is not found."""

MOST_CHARACTERS = 1_000_000
"""Beginning of the text that is searched for names."""

_ENDINGS = "|".join(re.escape(suffix) for suffix in IMAGE_SUFFIXES)
IMAGE_NAME = re.compile(rf'[^"/\\,;:\s][^"/\\,;\t\r\n]*(?:{_ENDINGS})(?=["\s,;]|$)', re.IGNORECASE)


def images_near(file: Path) -> Witness:
    """Witness that says of the text of `file` whether the image files that it names, beyond ASCII, are near it.

    Near is in its folder, or in that above where its own is one of annotations, and in all folders below.
    """
    top = file.parent.parent if file.parent.name.lower().startswith(("annotation", "label", "split")) else file.parent

    @functools.cache
    def known() -> frozenset[str]:
        return frozenset(same_form(path.name) for path in list_images(top, deep=True))

    def witness(text: str) -> bool | None:
        found = (match[0] for match in IMAGE_NAME.finditer(text[:MOST_CHARACTERS]) if not match[0].isascii())
        names = [name for name, _ in zip(found, range(MOST_NAMES), strict=False)]
        return all(same_form(name.strip()) in known() for name in names) if names else None

    return witness
