"""Text in every encoding that its bytes or other files give away; otherwise the command that converts it."""

import json
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.images import smooth_image
from tests.support.labelme import png, record, shape
from trainer import InputError
from trainer.config import data_config
from trainer.data.encoding import UnknownEncoding, decode, disguised, iconv_all
from trainer.data.sources import find_sources

SQUARE: list[list[float]] = [[2, 2], [20, 2], [20, 20]]
MakeLabelme = Callable[..., Path]


@pytest.fixture
def make_labelme(tmp_path: Path) -> MakeLabelme:
    """Make a folder of four Labelme files in an encoding; images are named `image`0 and so on."""

    def make(label: str, image: str, encoding: str) -> Path:
        root = tmp_path / "set"
        root.mkdir()
        for number in range(4):
            name = f"{image}{number}"
            (root / f"{name}.png").write_bytes(png(smooth_image(40, 56, number)))
            text = json.dumps(record(f"{name}.png", shape("polygon", *SQUARE, label=label)), ensure_ascii=False)
            (root / f"{name}.json").write_bytes(text.encode(encoding))
        return root

    return make


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32"])
def test_byte_order_marks(encoding: str, tmp_path: Path) -> None:
    assert decode("Käfer 猫\r\n".encode(encoding), tmp_path) == "Käfer 猫\r\n"


@pytest.mark.parametrize(
    ("label", "image", "encoding"),
    [
        ("猫", "图", "gb18030"),  # bytes that are UTF-8 too: è and ͼ
        ("裂缝", "裂缝", "gb18030"),
        ("ひび", "きず", "cp932"),
        ("고양이", "사진", "cp949"),
        ("Käfer", "Käfer", "cp1252"),
        ("Käfer", "图", "utf-8"),
        ("猫", "x", "utf-8-sig"),
        ("猫", "图", "utf-16"),
    ],
)
def test_an_image_that_is_there_tells_the_encoding(
    label: str, image: str, encoding: str, make_labelme: MakeLabelme
) -> None:
    sources = find_sources(data_config(root=str(make_labelme(label, image, encoding))))
    assert sources.names == ("_background_", label)
    assert len(sources.samples) == 4


def test_labels_tell_the_encoding_of_their_list(make_labelme: MakeLabelme) -> None:
    root = make_labelme("猫", "图", "gb18030")
    (root / "labels.txt").write_bytes("猫\n".encode("gb18030"))
    assert find_sources(data_config(root=str(root))).names == ("_background_", "猫")


@pytest.mark.parametrize(
    ("label", "encoding", "name"),
    [("裂缝", "gb18030", "GB18030"), ("ひびわれ", "cp932", "CP932"), ("Käfer", "cp1252", "CP1252")],
)
def test_the_command_that_is_named_converts(label: str, encoding: str, name: str, make_labelme: MakeLabelme) -> None:
    root = make_labelme(label, "a b's ", encoding)
    with pytest.raises(InputError) as caught:
        find_sources(data_config(root=str(root)))
    commands = [line.strip() for line in str(caught.value).splitlines() if line.startswith("  ")]
    assert len(commands) == 4
    assert all(command.startswith(f"iconv -f {name} ") for command in commands)
    for command in commands:
        subprocess.run(["bash", "-c", command], check=True, timeout=20)
    assert find_sources(data_config(root=str(root))).names == ("_background_", label)


def test_chinese_that_looks_like_other_letters_is_suspected(make_labelme: MakeLabelme) -> None:
    root = make_labelme("猫", "x ", "gb18030")
    sources = find_sources(data_config(root=str(root)))
    assert sources.names == ("_background_", "è")
    note = next(note for note in sources.notes if "猫" in note)
    command = note.splitlines()[1].strip()
    assert command == iconv_all(root)
    assert shutil.which("iconv")
    subprocess.run(["bash", "-c", command], check=True, timeout=20)
    assert find_sources(data_config(root=str(root))).names == ("_background_", "猫")


@pytest.mark.parametrize(("name", "meant"), [("è", "猫"), ("ͼ", "图"), ("ͼ 1", "图 1")])
def test_disguised(name: str, meant: str) -> None:
    assert disguised(name) == meant


@pytest.mark.parametrize(
    "name", ["cat", "", "café", "Bär", "кот", "конь", "γάτα", "חתול", "قطة", "猫", "裂缝", "고양이"]
)
def test_names_that_are_what_they_look_like(name: str) -> None:
    assert disguised(name) is None


def test_without_a_witness_nothing_is_guessed(tmp_path: Path) -> None:
    with pytest.raises(UnknownEncoding, match="iconv -f GB18030"):
        decode("裂缝".encode("gb18030"), tmp_path / "class_names.txt")
