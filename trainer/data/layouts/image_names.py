"""Images of a folder by their name alone, for annotations whose paths belong to another machine."""

import re
from collections.abc import Callable
from functools import cached_property
from pathlib import Path, PureWindowsPath
from urllib.parse import unquote

from trainer.data.files import list_images
from trainer.system.text import same_form

FORMS: tuple[Callable[[str], str], ...] = (str, same_form)
"""Forms in which names are compared, one after the other."""

UPLOAD = re.compile(r"[0-9a-f]{8}-(?=.)")
"""What Label Studio puts before the name of an uploaded file."""


class ImageNames:
    """Search for the image files in `root` and all folders below it; links and hidden folders are left out."""

    def __init__(self, root: Path) -> None:
        self.root = root if root.is_dir() else root.parent
        self.found = 0
        """Number of images that `find` has found."""
        self.example = ""
        """Path that the first of them was searched for."""

    @cached_property
    def _paths(self) -> list[dict[str, Path | None]]:
        """For each of FORMS: file name in that form -> its path; None for a name that occurs more than once."""
        files = [path for path in list_images(self.root, deep=True) if not path.is_symlink()]
        found: list[dict[str, Path | None]] = []
        for form in FORMS:
            paths: dict[str, Path | None] = {}
            for path in files:
                name = form(path.name)
                paths[name] = None if name in paths else path
            found.append(paths)
        return found

    def find(self, text: object) -> Path | None:
        """Path of the only file with the name that a path or address ends in; None without one, or with several.

        Where none has exactly this name, its Unicode form may differ. The name may be quoted as in addresses, and its
        file may lack the prefix that Label Studio gives to uploads.
        """
        if not isinstance(text, str):
            return None
        for form, paths in zip(FORMS, self._paths, strict=True):
            for name in (form(last_part(text)), form(last_part(unquote(text)))):
                path = paths.get(name) or paths.get(UPLOAD.sub("", name, count=1))
                if path is not None:
                    self.found += 1
                    self.example = self.example or text
                    return path
        return None


def last_part(text: str) -> str:
    """Name of the file that a path, or an address such as `/data/local-files/?d=folder/x.jpg`, leads to."""
    return PureWindowsPath(text.rpartition("?d=")[2]).name
