"""Images of a folder by their name alone, for annotations whose paths belong to another machine."""

import re
from functools import cached_property
from pathlib import Path, PureWindowsPath
from urllib.parse import unquote

from trainer.data.files import list_images

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
    def _paths(self) -> dict[str, Path | None]:
        """File name -> its path; None for a name that occurs more than once."""
        paths: dict[str, Path | None] = {}
        for path in list_images(self.root, deep=True):
            if not path.is_symlink():
                paths[path.name] = None if path.name in paths else path
        return paths

    def find(self, text: object) -> Path | None:
        """Path of the only file with the name that a path or address ends in; None without one, or with several.

        The name may be quoted as in addresses, and its file may lack the prefix that Label Studio gives to uploads.
        """
        if not isinstance(text, str):
            return None
        for name in (last_part(text), last_part(unquote(text))):
            path = self._paths.get(name) or self._paths.get(UPLOAD.sub("", name, count=1))
            if path is not None:
                self.found += 1
                self.example = self.example or text
                return path
        return None


def last_part(text: str) -> str:
    """Name of the file that a path, or an address such as `/data/local-files/?d=folder/x.jpg`, leads to."""
    return PureWindowsPath(text.rpartition("?d=")[2]).name
