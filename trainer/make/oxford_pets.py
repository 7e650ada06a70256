"""Download the Oxford-IIIT Pet Dataset: 7349 images of cats and dogs with trimaps, 0.8 GB."""

import hashlib
import http.client
import re
import shutil
import tarfile
import time
import urllib.error
import urllib.request
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from trainer import InputError
from trainer.system.atomic import new_folder, why_not_written
from trainer.system.lock import alone
from trainer.system.parallel import Progress

URL = "https://www.robots.ox.ac.uk/~vgg/data/pets/data"
ARCHIVES = {
    "images.tar.gz": "5c4f3ee8e5d25df40f4fd59a7f44e54c",
    "annotations.tar.gz": "95a8c909bbe2e81eed6a22bccdf3f68f",
}
"""Archive name -> MD5, the same as in torchvision."""

TRIES = 5
"""Number of requests for an archive, the first included."""

TIMEOUT_S = 60
"""Longest wait for an answer of the server, in seconds."""

CHUNK = 1 << 20
"""Bytes read from the connection at a time."""


def fetch_pets(out: Path, url: str, progress: Progress, sums: dict[str, str] = ARCHIVES, wait_s: float = 2.0) -> None:
    """Download both archives below `url`, check and unpack them into the folder `out`, which appears when complete.

    Partial downloads stay in `.<out>.download` beside it, so that a later call resumes them; the folder is removed at
    the end. `sums`: archive -> MD5. `wait_s`: seconds between two tries. Raises InputError where the server, a
    checksum, an archive or the disk is at fault.
    """
    if out.exists():
        raise InputError(f"{out}: exists already; remove it or give another folder")
    if not url.startswith(("http://", "https://")):
        raise InputError(f"--url: {url!r} is not possible; give one that begins with http:// or https://")
    parts = out.absolute().parent / f".{out.name}.download"
    try:
        parts.mkdir(parents=True, exist_ok=True)
        with _alone(parts.with_suffix(".lock")):
            for name, md5 in sums.items():
                _download(f"{url.rstrip('/')}/{name}", parts / f"{name}.part", md5, progress, wait_s)
            with new_folder(out) as partial:
                advance = progress("unpacking", len(sums))
                for name in sums:
                    _unpack(parts / f"{name}.part", partial)
                    advance()
            shutil.rmtree(parts, ignore_errors=True)
    except OSError as error:
        raise InputError(f"{why_not_written(parts, error)}; name another folder") from error


@contextmanager
def _alone(file: Path) -> Iterator[None]:
    """Hold the lock `file`, and remove it at the end. Raises InputError where another process holds it."""
    with alone(file, f"{file.with_suffix('.download')}: another program is downloading there; wait until it ends"):
        try:
            yield
        finally:
            file.unlink(missing_ok=True)


def _download(url: str, part: Path, md5: str, progress: Progress, wait_s: float) -> None:
    """Download `url` to `part`, from where `part` ends; try again after faults that may be temporary."""
    if part.is_file() and _md5(part) == md5:
        return
    for attempt in range(1, TRIES + 1):
        try:
            if _resume(url, part, progress):
                break
            reason = "the connection broke off"
        except urllib.error.HTTPError as error:
            reason = f"the server says {error.code} {error.reason}"
            if error.code < 500:  # the request is at fault; the server would refuse it again
                raise InputError(f"{url}: {reason}; name another place with --url") from error
        except (urllib.error.URLError, http.client.HTTPException, ConnectionError, TimeoutError) as error:
            reason = str(getattr(error, "reason", error) or type(error).__name__)
        if attempt < TRIES:
            time.sleep(wait_s)
    else:
        size = part.stat().st_size if part.is_file() else 0
        raise InputError(
            f"{url}: {reason}, {TRIES} times; {size:,} bytes have come. The same command continues from there; --url "
            "names another place"
        )
    if _md5(part) != md5:
        part.unlink()
        raise InputError(
            f"{url}: not the file that it should be (MD5 differs from {md5}); it was removed. Try again, "
            "or name another place with --url"
        )


def _resume(url: str, part: Path, progress: Progress) -> bool:
    """Request the rest of a file once; return True if the file is complete then."""
    have = part.stat().st_size if part.is_file() else 0
    request = urllib.request.Request(url, headers={"Range": f"bytes={have}-"} if have else {})
    try:
        answer = urllib.request.urlopen(request, timeout=TIMEOUT_S)
    except urllib.error.HTTPError as error:
        if error.code != http.HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE or not have:
            raise
        if error.headers.get("Content-Range") == f"bytes */{have}":
            return True
        part.unlink()  # longer than the file on the server
        return False
    with answer:
        span = re.fullmatch(r"bytes (\d+)-\d+/(\d+)", answer.headers.get("Content-Range", ""))
        follows = answer.status == http.HTTPStatus.PARTIAL_CONTENT and span is not None and int(span[1]) == have
        length = answer.headers.get("Content-Length")
        start = have if follows else 0  # a server that does not support ranges sends the whole file
        total = None if length is None else start + int(length)
        advance = progress(f"fetching {part.stem}, MB", max(1, ((total or start) - start) // CHUNK))
        with part.open("ab" if follows else "wb") as file:
            while chunk := answer.read(CHUNK):
                file.write(chunk)
                advance()
            size = file.tell()
    return total is None or size == total


def _md5(file: Path) -> str:
    with file.open("rb") as content:
        return hashlib.file_digest(content, "md5").hexdigest()


def _unpack(archive: Path, folder: Path) -> None:
    try:
        with tarfile.open(archive, "r:gz") as tar:
            tar.extractall(folder, filter="data")
    except (tarfile.TarError, zlib.error, EOFError, ValueError) as error:
        raise InputError(f"{archive}: cannot be unpacked ({error}); remove it and try again") from error
