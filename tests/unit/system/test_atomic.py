"""Atomic files and folders: complete, or absent."""

import errno
import hashlib
import json
import os
import shutil
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest
from safetensors import SafetensorError

from trainer import InputError
from trainer.system import atomic
from trainer.system.atomic import (
    atomic_file,
    atomic_folder,
    create_file,
    leftovers,
    new_folder,
    replace_file,
    why_not_written,
    write_json,
)


def test_write_json_replaces_the_whole_file(tmp_path: Path) -> None:
    path = tmp_path / "status.json"
    write_json(path, {"state": "running", "step": 1})
    with path.open() as before:
        write_json(path, {"state": "done"})
        assert json.load(before) == {"state": "running", "step": 1}  # a reader that opened the old file still has it
    assert json.loads(path.read_text()) == {"state": "done"}
    with pytest.raises(TypeError):
        write_json(path, {"state": object()})
    assert json.loads(path.read_text()) == {"state": "done"}
    assert [file.name for file in tmp_path.iterdir()] == ["status.json"]


def test_an_error_leaves_the_old_file(tmp_path: Path) -> None:
    target = tmp_path / "a"
    target.write_text("old")
    with pytest.raises(ZeroDivisionError), atomic_file(target) as file:
        file.write(b"%d" % (1 // 0))
    assert target.read_text() == "old"
    assert os.listdir(tmp_path) == ["a"]


@pytest.mark.parametrize("deep", [False, True])
def test_a_folder_appears_at_the_end(deep: bool, tmp_path: Path) -> None:
    target = tmp_path / "home" / "set" if deep else tmp_path / "set"
    with atomic_folder(target) as partial:
        (partial / "inside").mkdir()
        (partial / "inside" / "a").write_text("a")
        assert not target.exists()
        assert partial.name.startswith(".set.")
    assert (target / "inside" / "a").read_text() == "a"
    assert not list(tmp_path.rglob(".*"))
    with pytest.raises(RuntimeError), atomic_folder(tmp_path / "other" / "set") as partial:
        raise RuntimeError
    assert len(os.listdir(tmp_path)) == 1


def test_a_folder_is_on_the_disk_before_its_name_appears(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    target, calls = tmp_path / "set", []
    monkeypatch.setattr(atomic, "fsync", lambda path: calls.append((path.name, target.exists())))
    with atomic_folder(target) as partial:
        (partial / "a").touch()
        hidden = partial.name
    assert sorted(calls[:2]) == sorted([("a", False), (hidden, False)])
    assert calls[2:] == [(tmp_path.name, True)]


def test_many_files_are_synced_together(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[str] = []
    monkeypatch.setattr(os, "sync", lambda: calls.append("sync"))
    with atomic_folder(tmp_path / "set") as partial:
        for number in range(atomic.MOST_SYNCED + 1):
            (partial / f"{number}").touch()
    assert calls == ["sync"]


def test_a_replaced_folder_is_hidden(tmp_path: Path) -> None:
    target = tmp_path / "step-3"
    for content in ("old", "new"):
        with atomic_folder(target, replace=True) as partial:
            (partial / "a").write_text(content)
    assert (target / "a").read_text() == "new"
    (hidden,) = leftovers(tmp_path / "step-*")
    assert (hidden / "a").read_text() == "old"
    with pytest.raises(OSError, match="not empty"), atomic_folder(target):
        pass
    assert (target / "a").read_text() == "new"


def test_of_two_that_make_one_folder_the_second_is_told(tmp_path: Path) -> None:
    second = new_folder(tmp_path / "a")
    (second.__enter__() / "file").touch()
    with new_folder(tmp_path / "a") as first:
        (first / "other file").touch()
    with pytest.raises(InputError, match="another program has just made it"):
        second.__exit__(None, None, None)
    assert [path.name for path in (tmp_path / "a").iterdir()] == ["other file"]
    assert [path.name for path in tmp_path.iterdir()] == ["a"]


def test_new_folder_replaces_nothing(tmp_path: Path) -> None:
    with new_folder(tmp_path / "a" / "b") as partial:
        (partial / "c").touch()
    assert (tmp_path / "a" / "b" / "c").exists()
    with pytest.raises(InputError, match="exists already"), new_folder(tmp_path / "a"):
        raise AssertionError("not reached")
    (tmp_path / "link").symlink_to("nowhere")
    with pytest.raises(InputError, match="exists already"), new_folder(tmp_path / "link"):
        raise AssertionError("not reached")
    with pytest.raises(InputError, match="cannot be written"), new_folder(tmp_path / "d"):
        raise OSError(28, "No space left on device")
    assert sorted(os.listdir(tmp_path)) == ["a", "link"]


@pytest.mark.parametrize(
    ("error", "full"),
    [
        (OSError(errno.ENOSPC, "No space left on device"), True),
        (OSError(errno.EDQUOT, "Disk quota exceeded"), True),
        (OSError(errno.ENAMETOOLONG, "File name too long"), False),
        (PermissionError(errno.EACCES, "Permission denied"), False),
        (OSError(errno.EROFS, "Read-only file system"), False),
        (OSError(errno.EIO, "Input/output error"), False),
        (shutil.Error([("a", "b", "[Errno 28] No space left on device: 'b'")]), True),
        (SafetensorError("Error while serializing: I/O error: No space left on device (os error 28)"), True),
        (sqlite3.OperationalError("database or disk is full"), True),
        (RuntimeError("[enforce fail] PytorchStreamWriter failed writing file data/0: file write failed"), True),
        (RuntimeError("shapes differ"), False),
    ],
)
def test_only_a_full_disk_is_told_as_one(error: Exception, full: bool, tmp_path: Path) -> None:
    missing = tmp_path / "not" / "there"
    wrapped = ValueError("something went wrong")
    wrapped.__cause__ = error
    for one in (error, wrapped):
        text = why_not_written(missing, one)
        assert text.startswith(f"{missing}: cannot be written ({getattr(one, 'strerror', None) or one})")
        assert "[Errno" not in text or isinstance(error, shutil.Error)
        assert ("bytes are free on its disk" in text) is full


def test_a_limit_on_files_is_told_as_one(tmp_path: Path) -> None:
    """As `ulimit -f` sets it; in a process of its own, since it cannot be taken back."""
    code = (
        "import resource, sys; from pathlib import Path\n"
        "from trainer.system.atomic import write_text, why_not_written\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))\n"
        "try: write_text(Path(sys.argv[1]), 'x' * 5000)\n"
        "except OSError as error: print(why_not_written(Path(sys.argv[1]), error))"
    )
    ended = subprocess.run([sys.executable, "-c", code, tmp_path / "file"], capture_output=True, text=True, check=True)
    assert ended.stdout.endswith("; files of more than 4096 bytes are not allowed here, see ulimit -f\n")
    assert "bytes are free" not in ended.stdout


def test_a_new_file_never_replaces_one(tmp_path: Path) -> None:
    file = tmp_path / "a file"
    assert create_file(file, b"first")
    assert not create_file(file, b"second")
    assert file.read_bytes() == b"first"
    (tmp_path / "link").symlink_to(tmp_path / "nowhere")
    assert not create_file(tmp_path / "link", b"x")
    assert sorted(one.name for one in tmp_path.iterdir()) == ["a file", "link"]


def test_replace_file_replaces_only_what_is_known(tmp_path: Path) -> None:
    file, known = tmp_path / "a file", hashlib.sha256(b"known").hexdigest()
    assert not replace_file(file, b"new", known)
    assert not file.exists()
    file.write_bytes(b"a person's")
    assert not replace_file(file, b"new", known)
    assert file.read_bytes() == b"a person's"
    file.write_bytes(b"known")
    assert replace_file(file, b"new", known)
    assert file.read_bytes() == b"new"
    assert [one.name for one in tmp_path.iterdir()] == ["a file"]


@pytest.mark.parametrize(("moment", "links"), [("fsync", True), ("fsync", False), ("replace", True)])
def test_what_is_saved_while_a_file_is_replaced_stays(
    moment: str, links: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another program has the file open, and writes into it at the last moment before, or after, it is replaced."""
    file, known = tmp_path / "a file", hashlib.sha256(b"known").hexdigest()
    file.write_bytes(b"known")
    if not links:
        monkeypatch.setattr(os, "link", lambda *_: (_ for _ in ()).throw(OSError(errno.EPERM, "no links")))
    original = getattr(os, moment)
    with file.open("r+b", buffering=0) as opened:

        def save(*arguments: object) -> None:
            original(*arguments)
            os.pwrite(opened.fileno(), b"a person's", 0)

        monkeypatch.setattr(os, moment, save)
        assert not replace_file(file, b"new", known)
    assert file.read_bytes() == b"a person's"
    assert [one.name for one in tmp_path.iterdir()] == ["a file"]
