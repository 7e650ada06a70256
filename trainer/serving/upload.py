"""Images as requests bring them: read with limits, out of a raw body, of multipart/form-data, or of a data: address."""

import asyncio
import base64
import binascii
import re
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote

from starlette.requests import ClientDisconnect, Request

from trainer.serving.limits import Limits, Refused
from trainer.system.text import one_line, shorten

RAW_TYPES = ("application/octet-stream", "application/x-www-form-urlencoded", "")
"""Media types of a body that is an image, beside image/*: curl's --data-binary says the second one, others none."""

LONGEST_NAME = 200
"""Bytes of a file's name, in UTF-8."""

FILE_FIELDS = (b"image", b"file")
"""Names of the field of a form that holds the image, where it has no file name."""


@dataclass(frozen=True)
class Upload:
    """An encoded image."""

    content: bytes
    name: str = "image"
    """Name of the file, without folders."""


class Bodies:
    """Reader of bodies; all that are in memory at a time have a bound, too."""

    def __init__(self, limits: Limits) -> None:
        self.limits, self.held = limits, 0

    @asynccontextmanager
    async def receive(self, request: Request) -> AsyncIterator[bytes]:
        """Read a body, and count it as held for the block. Raises Refused where it is too large, slow, or not whole."""
        self._check_length(request.headers.get("content-length", ""))
        body = bytearray()
        try:
            try:
                async with asyncio.timeout(self.limits.seconds):
                    async for chunk in request.stream():
                        self._check_room(len(body) + len(chunk), len(chunk))
                        body += chunk
                        self.held += len(chunk)
            except TimeoutError:
                raise Refused(408, f"no complete body within {self.limits.seconds:g} s; send it faster") from None
            except ClientDisconnect:
                raise Refused(400, "the body is not whole") from None
            yield bytes(body)
        finally:
            self.held -= len(body)

    @contextmanager
    def count(self, size: int) -> Iterator[None]:
        """Count bytes that came in another way as held for the block. Raises Refused where there is no room."""
        self._check_room(0, size)
        self.held += size
        try:
            yield
        finally:
            self.held -= size

    def _check_length(self, stated: str) -> None:
        if stated.isdecimal():
            self._check_room(int(stated), 0)

    def _check_room(self, size: int, more: int) -> None:
        if size > self.limits.body_bytes:
            megabytes = self.limits.body_bytes / 2**20
            raise Refused(413, f"the body has more than {megabytes:g} MB; send a smaller picture, or --max_megabytes")
        if self.held + more > self.limits.all_bytes:
            raise Refused(503, "too many bodies at the same time; send it again", retry_s=2)


def read_upload(body: bytes, media_type: str, name: str = "") -> Upload:
    """Image in a body of `media_type`, the whole header. Raises Refused where that is another kind, or holds none."""
    kind = media_type.partition(";")[0].strip().lower()
    if kind == "multipart/form-data":
        found = _read_form(body, media_type)
        upload = Upload(found.content, clean_name(name) if name else found.name)
    elif kind.startswith("image/") or kind in RAW_TYPES:
        upload = Upload(body, clean_name(name))
    else:
        raise Refused(415, f"{one_line(kind)[:100]}: not a picture; send it as image/jpeg or image/png, or as a form")
    if not upload.content:
        raise Refused(422, "the body is empty; send a picture")
    return upload


def _read_form(body: bytes, media_type: str) -> Upload:
    """The file of a form, or its field `image` (RFC 7578). Raises Refused where there is none, or several."""
    found = re.search(r'boundary=(?:"([^"]{1,70})"|([^\s;"]{1,70}))', media_type, re.IGNORECASE)
    if not found:
        raise Refused(400, "multipart/form-data without a boundary; let the client write the header")
    delimiter = b"--" + (found[1] or found[2]).encode("latin-1", "replace")
    # The boundary occurs nowhere in the parts, or it would be none.
    parts = (b"\r\n" + body).split(b"\r\n" + delimiter)
    if len(parts) < 2 or not parts[-1].startswith(b"--"):
        raise Refused(400, "incomplete multipart/form-data")
    files, fields = [], []
    for part in parts[1:-1]:
        head, _, content = part.partition(b"\r\n\r\n")
        names = dict(re.findall(rb';\s*(name|filename\*?)="?((?:[^"\\\r\n]|\\.)*)"?', head, re.IGNORECASE))
        names = {key.lower(): value for key, value in names.items()}
        if b"filename" in names or b"filename*" in names:
            files.append(Upload(content, _file_name(names)))
        elif names.get(b"name") in FILE_FIELDS:
            fields.append(Upload(content))
    found_files = files or fields
    if not found_files:
        raise Refused(422, "the form has no file; send the picture in the field image")
    filled = [one for one in found_files if one.content] or found_files[:1]  # browsers send a field without a file, too
    if len(filled) > 1:
        raise Refused(422, f"the form has {len(filled)} files; send each picture in a request of its own")
    return filled[0]


def _file_name(names: dict[bytes, bytes]) -> str:
    if encoded := names.get(b"filename*", b""):
        charset, _, text = encoded.decode("latin-1").partition("''")
        return clean_name(unquote(text, "latin-1" if charset.lower() == "iso-8859-1" else "utf-8", "replace"))
    text = re.sub(rb"\\(.)", rb"\1", names.get(b"filename", b"")).decode("utf-8", "replace")
    return clean_name(text.replace("%22", '"'))


def clean_name(text: str) -> str:
    """Name of a file without folders, control characters and leading dots; `image` where nothing is left."""
    last = re.split(r"[/\\]", text)[-1]
    printable = "".join(one for one in last if one.isprintable()).strip().lstrip(".")
    return shorten(printable, LONGEST_NAME) or "image"


def read_data_address(text: Any) -> bytes:
    """Image in a data: address, as browsers and labelling tools write it. Raises Refused where it is none."""
    found = isinstance(text, str) and re.match(r"data:(?:image/[\w.+-]+|application/octet-stream)?;base64,", text)
    if not found:
        raise Refused(422, "image: not a picture; give data:image/jpeg;base64,...")
    try:
        return base64.b64decode(text[found.end() :], validate=True)
    except (binascii.Error, ValueError):
        raise Refused(422, "image: not valid base64 after data:...;base64,") from None
