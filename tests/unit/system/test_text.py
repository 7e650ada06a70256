"""Names are shown on one line, compared in one form, and arrive in a shell, in YAML and in a file as they are."""

import subprocess
import unicodedata
from collections.abc import Iterable
from pathlib import Path

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from trainer import printable
from trainer.system import text

CLASS_NAMES = [
    "no",
    "on",
    "a: b",
    "#1",
    "007",
    "it's",
    'say "x"',
    "$HOME",
    "`id`",
    "!",
    "c, d",
    "-",
    "~",
    "1e3",
    "",
    "猫",
]
"""Names that YAML or a shell would take for something else."""


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("cat 1.jpg", "cat 1.jpg"),
        ("裂缝 ü.jpg", "裂缝 ü.jpg"),
        (b"\xc1\xd1.jpg".decode(errors="surrogateescape"), r"\xc1\xd1.jpg"),
        ("a\nb\tc", r"a\nb\tc"),
        ("\x1b[31mred\x07", r"\x1b[31mred\x07"),
        ("gpj\u202e.exe", r"gpj\u202e.exe"),
        ("[red]x[/red]", "[red]x[/red]"),
        ("x" * 400, "x" * 150 + "…" + "x" * 150),
    ],
)
def test_names_are_shown_on_one_line(name: str, shown: str) -> None:
    assert text.show(name) == shown


@given(st.text())
def test_whatever_is_shown_can_be_printed(name: str) -> None:
    line = text.one_line(name)
    line.encode()
    assert len(line.splitlines()) <= 1
    assert printable(line) == line


def test_names_are_compared_in_one_form() -> None:
    known = ["Käfer", "B.one", "b.two", "x", "X"]
    names = [unicodedata.normalize("NFD", "Käfer"), "b.ONE", "B.TWO", "x"]
    meant = text.match_names(names, known)
    assert meant == dict(zip(names, ["Käfer", "B.one", "b.two", "x"], strict=True))


@pytest.mark.parametrize("known", [["Cat", "cAt"], []])
def test_what_could_be_two_names_is_none(known: list[str]) -> None:
    assert text.match_names(["cat"], known) == {}


def test_files_are_found_whatever_their_form(tmp_path: Path) -> None:
    file = tmp_path / unicodedata.normalize("NFD", "Bär") / "X.JPG"
    file.parent.mkdir()
    file.touch()
    assert text.existing_path(tmp_path / "Bär" / "x.jpg") == file
    assert text.existing_path(tmp_path / "none" / "x.jpg") == tmp_path / "none" / "x.jpg"


@pytest.mark.parametrize("name", ["x" * 300, "ü" * 200, "x" * 300 + "y", "図" * 100])
def test_long_names_are_shortened_and_stay_different(name: str) -> None:
    short = text.shorten(name, 100)
    assert len(short.encode()) <= 100
    assert short.startswith(name[:20])
    assert short != text.shorten(name + "z", 100)
    assert text.shorten(name, 10_000) == name


def arrive(words: Iterable[str]) -> list[bytes]:
    """What a shell hands to a program as its arguments."""
    command = f"printf '%s\\0' {' '.join(words)}"
    done = subprocess.run(["bash", "-c", command], capture_output=True, check=True, timeout=20)
    return done.stdout.split(b"\0")[:-1]


@settings(max_examples=10)
@given(st.lists(st.binary().filter(lambda name: b"\0" not in name), min_size=1, max_size=30))
def test_every_name_arrives_in_a_program(names: list[bytes]) -> None:
    assert arrive(text.quote(name.decode(errors="surrogateescape")) for name in names) == names


def test_class_names_arrive_in_an_option() -> None:
    maps = [{0: "background", "#ff0000": name} for name in CLASS_NAMES]
    lists = [[name, "cat"] for name in CLASS_NAMES]
    options = [text.option("data.value_map", one) for one in maps] + [text.option("data.classes", one) for one in lists]
    assert [yaml.safe_load(word) for word in arrive(options) if not word.startswith(b"--")] == [*maps, *lists]


@pytest.mark.parametrize("value", ["=cmd|' /C calc'!A0", "+1", "-1", "@SUM(A1)", "＝1"])  # noqa: RUF001
def test_formulas_are_texts(value: str) -> None:
    assert text.cell(value) == f"'{value}"


def test_cells_have_one_line() -> None:
    assert text.cell("a\nb\t=c") == r"a\nb\t=c"
    assert text.cell(0.5) == 0.5


@pytest.mark.parametrize(("count", "shown"), [(0, "0 images"), (1, "1 image"), (2, "2 images")])
def test_counts_of_things(count: int, shown: str) -> None:
    assert text.count_of(count, "image") == shown
