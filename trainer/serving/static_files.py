"""Files of the page: those in the folder page/ beside this file, read once."""

from dataclasses import dataclass
from pathlib import Path

from trainer.data.files import IMAGE_SUFFIXES

PAGE = Path(__file__).with_name("page")

INDEX = "index.html"

SUFFIXES = b"{suffixes}"
"""Text in the page for which the suffixes of image files are put, joined by commas."""

MEDIA_TYPES = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
    ".png": "image/png",
    ".webp": "image/webp",
    ".ico": "image/x-icon",
    ".json": "application/json",
    ".webmanifest": "application/manifest+json",
    ".txt": "text/plain; charset=utf-8",
}
"""Suffix -> media type. Files with another suffix are not served."""


@dataclass(frozen=True)
class PageFile:
    """A file of the page."""

    content: bytes
    media_type: str


def read_page(folder: Path = PAGE) -> dict[str, PageFile]:
    """Files of the page by the path they are served at, "" for the page itself; none where there is no page."""
    found = {
        path.relative_to(folder).as_posix(): PageFile(path.read_bytes(), MEDIA_TYPES[path.suffix])
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.suffix in MEDIA_TYPES
    }
    if INDEX not in found:
        return found
    content = found[INDEX].content.replace(SUFFIXES, ",".join(IMAGE_SUFFIXES).encode())
    index = PageFile(content, found[INDEX].media_type)
    return found | {INDEX: index, "": index}
