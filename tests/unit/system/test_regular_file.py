"""Reading of regular files alone."""

import os
import socket
from pathlib import Path

import pytest

from trainer import InputError
from trainer.data.files import read_bytes, read_lines
from trainer.data.image_header import count_pixels, read_header
from trainer.data.image_io import read_image, read_mask
from trainer.system.regular_file import read_regular


@pytest.fixture
def specials(tmp_path: Path) -> dict[str, Path]:
    """What is not a regular file, by the word for it, each by itself and behind a link."""
    os.mkfifo(tmp_path / "pipe")
    place = os.getcwd()
    os.chdir(tmp_path)  # a socket's path may have 107 bytes
    try:
        with socket.socket(socket.AF_UNIX) as one:
            one.bind("socket")
    finally:
        os.chdir(place)
    (tmp_path / "folder").mkdir()
    found = {"a named pipe": tmp_path / "pipe", "a socket": tmp_path / "socket", "a folder": tmp_path / "folder"}
    found |= {"a device": Path("/dev/zero")}
    for word, path in list(found.items()):
        link = tmp_path / f"link to {word}"
        link.symlink_to(path)
        found[f"{word} "] = link
    return found


@pytest.mark.timeout(20)
def test_what_is_no_file_is_named_at_once(specials: dict[str, Path]) -> None:
    for word, path in specials.items():
        for read in (read_bytes, read_image, read_mask, read_header, read_lines):
            with pytest.raises(InputError, match=f"{path}: {word.strip()}, not a file; remove it"):
                read(path)
        assert count_pixels(path) == 0


def test_links_in_a_circle_are_named(tmp_path: Path) -> None:
    (tmp_path / "one").symlink_to(tmp_path / "other")
    (tmp_path / "other").symlink_to(tmp_path / "one")
    with pytest.raises(InputError, match="one: cannot be read"):
        read_bytes(tmp_path / "one")


def test_a_link_to_a_file_is_read(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"content")
    (tmp_path / "link").symlink_to(tmp_path / "file")
    assert read_regular(tmp_path / "link", 7) == b"content"
    with pytest.raises(InputError, match="7 bytes, more than 6"):
        read_regular(tmp_path / "link", 6)


def test_a_file_of_a_terabyte_is_not_read(tmp_path: Path) -> None:
    with (tmp_path / "a.png").open("wb") as file:
        file.truncate(10**12)  # without blocks on the disk
    with pytest.raises(InputError, match="1,000,000,000,000 bytes, more than"):
        read_image(tmp_path / "a.png")


@pytest.mark.timeout(20)
@pytest.mark.skipif(not Path("/proc/kmsg").exists(), reason="no Linux")
def test_a_file_without_an_end_is_not_waited_for(tmp_path: Path) -> None:
    (tmp_path / "a.png").symlink_to("/proc/kmsg")  # a regular file by its mode
    with pytest.raises(InputError, match=r"a\.png: (an empty file|cannot be read)"):
        read_image(tmp_path / "a.png")


def test_a_file_that_comes_in_parts_is_read_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_bytes(b"content")
    real_read = os.read
    monkeypatch.setattr(os, "read", lambda descriptor, size: real_read(descriptor, min(size, 3)))
    assert read_regular(tmp_path / "file", 7) == b"content"
