"""The Oxford-IIIT Pet Dataset: fetched over a connection that breaks, checked, unpacked, and read as it lies."""

import hashlib
import io
import re
import shutil
import tarfile
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest

from tests.support.data import count_nothing
from tests.support.layouts import found, opened, parts_of, planned, refusal, scenes, write_pets
from tests.support.program import Program
from trainer.make.oxford_pets import ARCHIVES, TRIES, fetch_pets

# ------------------------------------------------------------------------------------------------ a server


@dataclass
class Shop:
    """A web server with two archives, and the faults that it is told to have."""

    files: dict[str, bytes]
    drops: int = 0
    """So many answers end half-way."""
    ranges: bool = True
    """Whether it knows them."""
    code: int = 200
    faults: int = 0
    """So many answers are an error of the server, 503."""
    lengths: bool = True
    """Whether it says how long an answer is."""
    asked: list[tuple[str, str | None]] = field(default_factory=list)
    """Name and Range of each request."""
    port: int = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/pets"

    @property
    def sums(self) -> dict[str, str]:
        return {name: hashlib.md5(content).hexdigest() for name, content in self.files.items()}

    def answer(self, handler: BaseHTTPRequestHandler) -> None:
        name, wanted = handler.path.removeprefix("/pets/"), handler.headers.get("Range")
        self.asked.append((name, wanted))
        code = 503 if self.faults else self.code if self.code != 200 else 200 if name in self.files else 404
        self.faults = max(0, self.faults - 1)
        if code != 200:
            handler.send_error(code)
            return
        content = self.files[name]
        start = int(re.fullmatch(r"bytes=(\d+)-", wanted)[1]) if wanted and self.ranges else 0  # type: ignore[index]
        if start >= len(content):
            handler.send_response(416)
            handler.send_header("Content-Range", f"bytes */{len(content)}")
            handler.send_header("Content-Length", "0")
            handler.end_headers()
            return
        handler.send_response(206 if wanted and self.ranges else 200)
        if wanted and self.ranges:
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


def packed(folder: Path, *names: str) -> bytes:
    content = io.BytesIO()
    with tarfile.open(fileobj=content, mode="w:gz") as tar:
        for name in names:
            tar.add(folder / name, name)
    return content.getvalue()


@pytest.fixture
def shop(tmp_path: Path) -> Iterator[Shop]:
    root = write_pets(tmp_path / "original", scenes(6))
    (root / "images" / "noise.bin").write_bytes(np.random.default_rng(0).bytes(3_000_000))  # several chunks
    made = Shop({f"{name}.tar.gz": packed(root, name) for name in ("images", "annotations")})

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            made.answer(self)

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    made.port = server.server_address[1]
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    yield made
    server.shutdown()
    server.server_close()


def fetch(shop: Shop, out: Path, **changes: object) -> None:
    fetch_pets(out, shop.url, count_nothing, **({"sums": shop.sums, "wait_s": 0.01} | changes))  # type: ignore[arg-type]


def left(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


# ------------------------------------------------------------------------------------------------ fetching


def test_fetched_and_read(shop: Shop, tmp_path: Path) -> None:
    out = tmp_path / "new" / "pets"
    fetch(shop, out)
    assert left(out.parent) == ["pets"]  # nothing beside it
    original = tmp_path / "original"
    names = sorted(path.relative_to(original) for path in original.rglob("*"))
    assert sorted(path.relative_to(out) for path in out.rglob("*")) == names
    assert all((out / name).read_bytes() == (original / name).read_bytes() for name in names if (out / name).is_file())
    assert len(found(out).samples) == 6
    assert shop.asked == [("images.tar.gz", None), ("annotations.tar.gz", None)]


def test_goes_on_after_a_broken_connection(shop: Shop, tmp_path: Path) -> None:
    shop.drops = 2
    fetch(shop, tmp_path / "pets")
    assert len(found(tmp_path / "pets").samples) == 6
    size = len(shop.files["images.tar.gz"])
    starts = [size // 2, size // 2 + (size - size // 2) // 2]
    assert shop.asked[:3] == [("images.tar.gz", None), *(("images.tar.gz", f"bytes={start}-") for start in starts)]


def test_a_later_call_goes_on(shop: Shop, tmp_path: Path) -> None:
    shop.drops = TRIES
    with refusal("images.tar.gz", "broke off", "goes on from there"):
        fetch(shop, tmp_path / "pets")
    part = tmp_path / ".pets.download" / "images.tar.gz.part"
    have = part.stat().st_size
    assert have > 2_000_000
    assert not (tmp_path / "pets").exists()
    shop.asked.clear()
    fetch(shop, tmp_path / "pets")
    assert shop.asked[0] == ("images.tar.gz", f"bytes={have}-")
    assert len(found(tmp_path / "pets").samples) == 6


def test_a_server_without_ranges_sends_all_again(shop: Shop, tmp_path: Path) -> None:
    shop.drops, shop.ranges = 1, False
    fetch(shop, tmp_path / "pets")
    assert len(found(tmp_path / "pets").samples) == 6


def test_a_server_that_says_no_length(shop: Shop, tmp_path: Path) -> None:
    shop.lengths = False
    fetch(shop, tmp_path / "pets")
    assert len(found(tmp_path / "pets").samples) == 6
    # Cut short without a length is noticed by the checksum.
    shop.drops = 1
    with refusal("MD5"):
        fetch(shop, tmp_path / "again")


def test_wrong_checksum_removes_the_file(shop: Shop, tmp_path: Path) -> None:
    with refusal("images.tar.gz", ARCHIVES["images.tar.gz"], "removed"):
        fetch(shop, tmp_path / "pets", sums=ARCHIVES)
    assert left(tmp_path / ".pets.download") == []
    assert not (tmp_path / "pets").exists()


def test_what_lies_there_too_long_is_fetched_anew(shop: Shop, tmp_path: Path) -> None:
    part = tmp_path / ".pets.download" / "images.tar.gz.part"
    part.parent.mkdir()
    part.write_bytes(bytes(5_000_000))
    fetch(shop, tmp_path / "pets")
    assert len(found(tmp_path / "pets").samples) == 6


def test_what_is_complete_is_not_asked_for(shop: Shop, tmp_path: Path) -> None:
    folder = tmp_path / ".pets.download"
    folder.mkdir()
    for name, content in shop.files.items():
        (folder / f"{name}.part").write_bytes(content)
    fetch(shop, tmp_path / "pets")
    assert shop.asked == []


@pytest.mark.parametrize(("code", "requests"), [(404, 1), (403, 1), (500, TRIES), (503, TRIES)])
def test_a_server_that_refuses(code: int, requests: int, shop: Shop, tmp_path: Path) -> None:
    """What the server itself calls its own fault may pass; the rest does not."""
    shop.code = code
    with refusal(f"{shop.url}/images.tar.gz", str(code), "--url"):
        fetch(shop, tmp_path / "pets")
    assert len(shop.asked) == requests


def test_a_server_that_is_busy_for_a_while(shop: Shop, tmp_path: Path) -> None:
    """Even where it is in the middle of a file: what came before stays."""
    part = tmp_path / ".pets.download" / "images.tar.gz.part"
    part.parent.mkdir()
    part.write_bytes(shop.files["images.tar.gz"][:1_000_000])
    shop.faults = TRIES - 1
    fetch(shop, tmp_path / "pets")
    assert shop.asked[:TRIES] == [("images.tar.gz", "bytes=1000000-")] * TRIES
    assert len(found(tmp_path / "pets").samples) == 6


def test_nobody_there(shop: Shop, tmp_path: Path) -> None:
    shop.port = 9  # discard; nobody listens
    with refusal("127.0.0.1:9", f"{TRIES} times"):
        fetch(shop, tmp_path / "pets")


@pytest.mark.parametrize("name", ["../escaped.txt", "/tmp/escaped.txt", "images/../../escaped.txt", "link"])
def test_a_member_that_leads_out(name: str, shop: Shop, tmp_path: Path) -> None:
    content = io.BytesIO()
    with tarfile.open(fileobj=content, mode="w:gz") as tar:
        member = tarfile.TarInfo(name)
        if name == "link":
            member.type, member.linkname = tarfile.SYMTYPE, "/etc"
        tar.addfile(member)
    shop.files["annotations.tar.gz"] = content.getvalue()
    if name.startswith("/"):  # the root is taken off: it lands in the folder
        fetch(shop, tmp_path / "pets")
        assert (tmp_path / "pets" / "tmp" / "escaped.txt").exists()
    else:
        with refusal("annotations.tar.gz.part", "cannot be unpacked"):
            fetch(shop, tmp_path / "pets")
        assert not (tmp_path / "pets").exists()
    assert not list(tmp_path.glob("*escaped*"))
    assert not list(tmp_path.glob(".pets.partial*"))


@pytest.mark.parametrize("content", [b"", b"no archive", b"\x1f\x8b\x08\0\0\0\0\0\0\3broken"])
def test_an_archive_that_is_none(content: bytes, shop: Shop, tmp_path: Path) -> None:
    shop.files["annotations.tar.gz"] = content
    with refusal("annotations.tar.gz"):
        fetch(shop, tmp_path / "pets")
    assert not (tmp_path / "pets").exists()


def test_places_that_are_impossible(shop: Shop, tmp_path: Path) -> None:
    with refusal("--url", "http://"):
        fetch_pets(tmp_path / "pets", f"file://{tmp_path}", count_nothing)
    (tmp_path / "pets").mkdir()
    with refusal(str(tmp_path / "pets"), "exists already"):
        fetch(shop, tmp_path / "pets")
    (tmp_path / "file").touch()
    with refusal(str(tmp_path / "file")):
        fetch(shop, tmp_path / "file" / "pets")
    assert shop.asked == []


def test_as_a_person_runs_it(shop: Shop, tmp_path: Path) -> None:
    program = Program(tmp_path / "program")
    for code, part in ((404, "404"), (200, "MD5")):
        shop.code = code
        done = program.python("prepare", "pets", str(tmp_path / "pets"), "--url", shop.url)
        assert done.returncode == 2
        assert part in done.stderr
        assert "Traceback" not in done.stderr
        assert not (tmp_path / "pets").exists()


# ------------------------------------------------------------------------------------------------ reading


def test_split_and_values(tmp_path: Path) -> None:
    root = write_pets(tmp_path / "pets", scenes(6))
    sources = planned(root, tmp_path / "cache")
    assert sources.names == ("_background_", "pet")
    assert parts_of(sources) == ([f"scene_0{n}" for n in (0, 1, 2)], [f"scene_0{n}" for n in (3, 4, 5)])
    assert any("trainval.txt trains, test.txt validates" in note for note in sources.notes)
    assert opened(root, tmp_path / "cache", classes=["animal"]).names == ("_background_", "animal")
    with refusal("data.classes: cat, dog", "one name or none"):
        planned(root, tmp_path / "cache", classes=["cat", "dog"])


def test_pictures_that_no_list_names(tmp_path: Path) -> None:
    root = write_pets(tmp_path / "pets", scenes(6))
    (root / "annotations" / "test.txt").write_text("scene_03 1 1 1\n")
    inside = found(root)
    assert len(inside.samples) == 4
    assert any("2 pictures are in neither" in note for note in inside.notes)
    (root / "annotations" / "test.txt").unlink()
    (root / "annotations" / "trainval.txt").unlink()
    inside = found(root)
    assert (len(inside.samples), inside.parts, inside.notes, inside.problems) == (6, {}, [], [])


def test_half_unpacked(tmp_path: Path) -> None:
    root = write_pets(tmp_path / "pets", scenes(6))
    (root / "images" / "scene_03.jpg").unlink()
    assert "scene_03" in found(root).problems[0]
    shutil.rmtree(root / "images")
    with refusal(str(root), "prepare.py pets"):
        found(root, layout="pets")
