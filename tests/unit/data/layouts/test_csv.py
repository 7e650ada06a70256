"""CSV lists: dialects, splits, paths and faults."""

import shutil
from pathlib import Path

import pytest

from tests.support.layouts import (
    NAMES,
    find_in,
    open_data,
    plan_data,
    refusal,
    scenes,
    split_names,
    write_csv,
    write_pairs,
)


@pytest.fixture
def list_file(tmp_path: Path) -> Path:
    return write_csv(tmp_path / "data", scenes(6)) / "list.csv"


def rewrite(file: Path, *lines: str, encoding: str = "utf-8", end: str = "\n") -> Path:
    file.write_bytes("".join(line + end for line in lines).encode(encoding))
    return file


def test_a_file_and_its_folder(list_file: Path, tmp_path: Path) -> None:
    assert [sample.name for sample in find_in(list_file).samples] == [f"a/scene_0{number}" for number in range(6)]
    assert open_data(list_file, tmp_path / "cache").digest == open_data(list_file.parent, tmp_path / "cache").digest
    assert plan_data(list_file, tmp_path / "cache").names == NAMES  # class_names.txt beside it
    shutil.copy(list_file, list_file.with_name("other.csv"))
    with refusal("2 CSV files"):
        find_in(list_file.parent, layout="csv")


@pytest.mark.parametrize(
    ("delimiter", "quote", "encoding", "end"),
    [
        (";", "", "utf-8-sig", "\r\n"),
        (",", '"', "utf-8", "\n"),
        ("\t", "", "utf-8", "\n"),
        (", ", '"', "utf-8-sig", "\r\n"),
    ],
)
def test_dialects(delimiter: str, quote: str, encoding: str, end: str, list_file: Path) -> None:
    rows = [("Mask", "image", "split", "remark")]
    rows += [(f"b/scene_0{n}.png", f"a/scene_0{n}.png", "val" if n == 2 else "train", "x") for n in range(4)]
    lines = [delimiter.join(f"{quote}{cell}{quote}" for cell in row) for row in rows]
    rewrite(list_file, *lines, "", encoding=encoding, end=end)
    found = find_in(list_file)
    assert found.problems == []
    assert found.parts == {f"a/scene_0{n}": "val" if n == 2 else "train" for n in range(4)}


def test_splits(list_file: Path, tmp_path: Path) -> None:
    splits = ["train", "VALID", "", "test", "validation", "train"]
    lines = [f"a/scene_0{n}.png,b/scene_0{n}.png,{split}" for n, split in enumerate(splits)]
    found = find_in(rewrite(list_file, "image,mask,split", *lines))
    assert found.parts == {"a/scene_00": "train", "a/scene_01": "val", "a/scene_04": "val", "a/scene_05": "train"}
    assert [sample.name for sample in found.samples if sample.name not in found.parts] == ["a/scene_02"]
    assert "1 picture of split test; left out" in found.notes[0]
    all_train = [line.rpartition(",")[0] + ",train" for line in lines]
    train, val = split_names(plan_data(rewrite(list_file, "image,mask,split", *all_train), tmp_path / "cache"))
    assert len(train) > len(val) > 0


def test_paths(list_file: Path, tmp_path: Path) -> None:
    """Absolute paths, `..` and backslashes; the same stem in two folders means two samples."""
    write_pairs(tmp_path / "far" / "a", tmp_path / "far" / "b", scenes(2))
    far = tmp_path / "far"
    lines = [f"{far}/a/scene_00.png,{far}/b/scene_00.png", "../far/a/scene_01.png,../far/b/scene_01.png"]
    rewrite(list_file, "image,mask", *lines, "a\\scene_00.png,b\\scene_00.png", "./a/scene_01.png,b/scene_01.png")
    found = find_in(list_file)
    assert found.problems == []
    names = [sample.name for sample in found.samples]
    assert names == sorted([f"{far}/a/scene_00".lstrip("/"), "far/a/scene_01", "a/scene_00", "a/scene_01"])


def test_all_faults_are_listed_with_their_line(list_file: Path) -> None:
    shutil.copy(list_file.parent / "a" / "scene_04.png", list_file.parent / "a" / "scene_04.bmp")
    rewrite(
        list_file,
        "image,mask,split",
        "a/scene_00.png,b/scene_00.png,train",
        "a/gone.png,b/lost.png",
        "a/scene_01.png",
        "a/scene_02.png,b/scene_02.png,trian",
        "./a/scene_00.png,b/scene_03.png",
        "a/scene_04.png,b/scene_04.png",
        "a/scene_04.bmp,b/scene_04.png",
    )
    wanted = [
        (3, "a/gone.png"),
        (3, "b/lost.png"),
        (4, "no mask"),
        (5, "'trian'"),
        (6, "line 2 already"),
        (8, "suffix"),
    ]
    problems = find_in(list_file).problems
    assert len(problems) == len(wanted)
    for problem, (line, part) in zip(problems, wanted, strict=True):
        assert problem.startswith(f"{list_file}, line {line}: ")
        assert part in problem


@pytest.mark.parametrize("content", [b"", b"image;label\n", b"\n", b"picture,mask\na,b\n", b"a.png,b.png\n"])
def test_missing_columns(content: bytes, list_file: Path) -> None:
    list_file.write_bytes(content)
    with refusal(str(list_file), "no column", "first line"):
        find_in(list_file)


@pytest.mark.parametrize("content", [b"image,mask\n\xe9 ,b\n", b'image,mask\n"a,b\n', b'image,mask\n"a"x,b\n'])
def test_malformed_csv(content: bytes, list_file: Path) -> None:
    list_file.write_bytes(content)
    with refusal(str(list_file)):
        find_in(list_file)
