"""Download of the Oxford-IIIT Pet Dataset: broken connections, wrong files and unsafe archives."""

import hashlib
import io
import re
import tarfile
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest
from filelock import FileLock

from tests.support.data import count_nothing
from tests.support.layouts import find_in, refusal, scenes, write_pets
from tests.support.program import Program
from trainer.make.oxford_pets import ARCHIVES, TRIES, fetch_pets

# ------------------------------------------------------------------------------------------------ a server


@dataclass
class ArchiveServer:
    """A web server with two archives, and with faults as set."""

    files: dict[str, bytes]
    drops: int = 0
    """Number of next answers that end half-way."""

    ranges: bool = True
    """True if Range requests are supported."""

    code: int = 200
    """HTTP status of all answers; 200 for the usual ones."""

    faults: int = 0
    """Number of next answers with the HTTP status 503."""

    lengths: bool = True
    """True if answers have a Content-Length."""

    requests: list[tuple[str, str | None]] = field(default_factory=list)
    """Name and Range header of each request."""

    port: int = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/pets"

    @property
    def sums(self) -> dict[str, str]:
        return {name: hashlib.md5(content).hexdigest() for name, content in self.files.items()}

    def answer(self, handler: BaseHTTPRequestHandler) -> None:
        name, span = handler.path.removeprefix("/pets/"), handler.headers.get("Range")
        self.requests.append((name, span))
        code = 503 if self.faults else self.code if self.code != 200 else 200 if name in self.files else 404
        self.faults = max(0, self.faults - 1)
        if code != 200:
            handler.send_error(code)
            return
        content = self.files[name]
        start = int(re.fullmatch(r"bytes=(\d+)-", span)[1]) if span and self.ranges else 0  # type: ignore[index]
        if start >= len(content):
            handler.send_response(416)
            handler.send_header("Content-Range", f"bytes */{len(content)}")
            handler.send_header("Content-Length", "0")
            handler.end_headers()
            return
        handler.send_response(206 if span and self.ranges else 200)
        if span and self.ranges:
            handler.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
        rest = content[start:]
        if self.lengths:
            handler.send_header("Content-Length", str(len(rest)))
        handler.end_headers()
        if self.drops:
            self.drops -= 1
            rest = rest[: len(rest) // 2]
        handler.wfile.write(rest)
        handler.close_connection = True


def pack(folder: Path, *names: str) -> bytes:
    content = io.BytesIO()
    with tarfile.open(fileobj=content, mode="w:gz") as tar:
        for name in names:
            tar.add(folder / name, name)
    return content.getvalue()


@pytest.fixture
def server(tmp_path: Path) -> Iterator[ArchiveServer]:
    root = write_pets(tmp_path / "original", scenes(6))
    (root / "images" / "noise.bin").write_bytes(np.random.default_rng(0).bytes(3_000_000))  # several chunks
    archives = ArchiveServer({f"{name}.tar.gz": pack(root, name) for name in ("images", "annotations")})

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            archives.answer(self)

        def log_message(self, *_: object) -> None:
            pass

    http_server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    archives.port = http_server.server_address[1]
    thread = threading.Thread(target=http_server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    yield archives
    http_server.shutdown()
    http_server.server_close()


def fetch(server: ArchiveServer, out: Path, **changes: object) -> None:
    fetch_pets(out, server.url, count_nothing, **({"sums": server.sums, "wait_s": 0.01} | changes))  # type: ignore[arg-type]


def names_in(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


# ------------------------------------------------------------------------------------------------ downloads


def test_archives_are_unpacked_and_read(server: ArchiveServer, tmp_path: Path) -> None:
    out = tmp_path / "new" / "pets"
    fetch(server, out)
    assert names_in(out.parent) == ["pets"]  # no partial download is left
    original = tmp_path / "original"
    names = sorted(path.relative_to(original) for path in original.rglob("*"))
    assert sorted(path.relative_to(out) for path in out.rglob("*")) == names
    assert all((out / name).read_bytes() == (original / name).read_bytes() for name in names if (out / name).is_file())
    assert len(find_in(out).samples) == 6
    assert server.requests == [("images.tar.gz", None), ("annotations.tar.gz", None)]


def test_resumes_after_a_broken_connection(server: ArchiveServer, tmp_path: Path) -> None:
    server.drops = 2
    fetch(server, tmp_path / "pets")
    assert len(find_in(tmp_path / "pets").samples) == 6
    size = len(server.files["images.tar.gz"])
    starts = [size // 2, size // 2 + (size - size // 2) // 2]
    assert server.requests[:3] == [
        ("images.tar.gz", None),
        *(("images.tar.gz", f"bytes={start}-") for start in starts),
    ]


def test_two_into_one_folder(server: ArchiveServer, tmp_path: Path) -> None:
    """The second is refused, and the first is not disturbed."""
    with FileLock(tmp_path / ".pets.lock"), refusal("another program is downloading"):
        fetch(server, tmp_path / "pets")
    assert server.requests == []
    fetch(server, tmp_path / "pets")
    assert [name for name in names_in(tmp_path) if name.startswith(".")] == []


def test_a_later_call_resumes(server: ArchiveServer, tmp_path: Path) -> None:
    server.drops = TRIES
    with refusal("images.tar.gz", "broke off", "continues from there"):
        fetch(server, tmp_path / "pets")
    part = tmp_path / ".pets.download" / "images.tar.gz.part"
    have = part.stat().st_size
    assert have > 2_000_000
    assert not (tmp_path / "pets").exists()
    server.requests.clear()
    fetch(server, tmp_path / "pets")
    assert server.requests[0] == ("images.tar.gz", f"bytes={have}-")
    assert len(find_in(tmp_path / "pets").samples) == 6


def test_a_server_without_ranges_sends_the_whole_file_again(server: ArchiveServer, tmp_path: Path) -> None:
    server.drops, server.ranges = 1, False
    fetch(server, tmp_path / "pets")
    assert len(find_in(tmp_path / "pets").samples) == 6


def test_a_server_that_sends_no_length(server: ArchiveServer, tmp_path: Path) -> None:
    server.lengths = False
    fetch(server, tmp_path / "pets")
    assert len(find_in(tmp_path / "pets").samples) == 6
    # Without a length, only the checksum shows that a file was cut off.
    server.drops = 1
    with refusal("MD5"):
        fetch(server, tmp_path / "again")


def test_wrong_checksum_removes_the_file(server: ArchiveServer, tmp_path: Path) -> None:
    with refusal("images.tar.gz", ARCHIVES["images.tar.gz"], "removed"):
        fetch(server, tmp_path / "pets", sums=ARCHIVES)
    assert names_in(tmp_path / ".pets.download") == []
    assert not (tmp_path / "pets").exists()


def test_a_partial_file_that_is_too_long_is_downloaded_again(server: ArchiveServer, tmp_path: Path) -> None:
    part = tmp_path / ".pets.download" / "images.tar.gz.part"
    part.parent.mkdir()
    part.write_bytes(bytes(5_000_000))
    fetch(server, tmp_path / "pets")
    assert len(find_in(tmp_path / "pets").samples) == 6


def test_complete_files_are_not_requested(server: ArchiveServer, tmp_path: Path) -> None:
    folder = tmp_path / ".pets.download"
    folder.mkdir()
    for name, content in server.files.items():
        (folder / f"{name}.part").write_bytes(content)
    fetch(server, tmp_path / "pets")
    assert server.requests == []


@pytest.mark.parametrize(("code", "requests"), [(404, 1), (403, 1), (500, TRIES), (503, TRIES)])
def test_a_server_that_refuses(code: int, requests: int, server: ArchiveServer, tmp_path: Path) -> None:
    """Server errors (5xx) are tried again; other errors are final."""
    server.code = code
    with refusal(f"{server.url}/images.tar.gz", str(code), "--url"):
        fetch(server, tmp_path / "pets")
    assert len(server.requests) == requests


def test_a_server_with_temporary_faults(server: ArchiveServer, tmp_path: Path) -> None:
    """The part that was downloaded before is not requested again."""
    part = tmp_path / ".pets.download" / "images.tar.gz.part"
    part.parent.mkdir()
    part.write_bytes(server.files["images.tar.gz"][:1_000_000])
    server.faults = TRIES - 1
    fetch(server, tmp_path / "pets")
    assert server.requests[:TRIES] == [("images.tar.gz", "bytes=1000000-")] * TRIES
    assert len(find_in(tmp_path / "pets").samples) == 6


def test_unreachable_server(server: ArchiveServer, tmp_path: Path) -> None:
    server.port = 9  # discard; closed on most machines
    with refusal("127.0.0.1:9", f"{TRIES} times"):
        fetch(server, tmp_path / "pets")


@pytest.mark.parametrize("name", ["../escaped.txt", "/tmp/escaped.txt", "images/../../escaped.txt", "link"])
def test_archive_members_that_lead_out(name: str, server: ArchiveServer, tmp_path: Path) -> None:
    content = io.BytesIO()
    with tarfile.open(fileobj=content, mode="w:gz") as tar:
        member = tarfile.TarInfo(name)
        if name == "link":
            member.type, member.linkname = tarfile.SYMTYPE, "/etc"
        tar.addfile(member)
    server.files["annotations.tar.gz"] = content.getvalue()
    if name.startswith("/"):  # the leading / is dropped, so that the file lands in the folder
        fetch(server, tmp_path / "pets")
        assert (tmp_path / "pets" / "tmp" / "escaped.txt").exists()
    else:
        with refusal("annotations.tar.gz.part", "cannot be unpacked"):
            fetch(server, tmp_path / "pets")
        assert not (tmp_path / "pets").exists()
    assert not list(tmp_path.glob("*escaped*"))
    assert not list(tmp_path.glob(".pets.*partial"))


@pytest.mark.parametrize("content", [b"", b"no archive", b"\x1f\x8b\x08\0\0\0\0\0\0\3broken"])
def test_malformed_archive(content: bytes, server: ArchiveServer, tmp_path: Path) -> None:
    server.files["annotations.tar.gz"] = content
    with refusal("annotations.tar.gz"):
        fetch(server, tmp_path / "pets")
    assert not (tmp_path / "pets").exists()


def test_impossible_urls_and_folders(server: ArchiveServer, tmp_path: Path) -> None:
    with refusal("--url", "http://"):
        fetch_pets(tmp_path / "pets", f"file://{tmp_path}", count_nothing)
    (tmp_path / "pets").mkdir()
    with refusal(str(tmp_path / "pets"), "exists already"):
        fetch(server, tmp_path / "pets")
    (tmp_path / "file").touch()
    with refusal(str(tmp_path / "file")):
        fetch(server, tmp_path / "file" / "pets")
    assert server.requests == []


def test_command_line(server: ArchiveServer, tmp_path: Path) -> None:
    program = Program(tmp_path / "program")
    for code, part in ((404, "404"), (200, "MD5")):
        server.code = code
        done = program.python("prepare", "pets", str(tmp_path / "pets"), "--url", server.url)
        assert done.returncode == 2
        assert part in done.stderr
        assert "Traceback" not in done.stderr
        assert not (tmp_path / "pets").exists()
