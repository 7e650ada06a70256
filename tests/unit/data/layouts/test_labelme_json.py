"""Labelme's JSON files: every fault is reported with its file, and nothing outside the folder is opened."""

import json
import math
import os
import sys
from copy import deepcopy
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.images import smooth_image
from tests.support.labelme import HEIGHT, IDS, WIDTH, LabelmeFolder, base64_text, png, record, shape
from tests.support.program import REPOSITORY
from trainer import InputError
from trainer.data.layouts.labelme import read_labels
from trainer.data.layouts.labelme_json import MAX_BYTES, read_annotation
from trainer.data.layouts.labelme_shapes import draw_shapes
from trainer.system.text import messages


class OpenedPaths:
    """Record of every path that Python opens or lists inside the `with`."""

    current: "OpenedPaths | None" = None
    installed = False

    def __init__(self, labelled: LabelmeFolder) -> None:
        self.labelled = labelled
        self.opened: list[str] = []

    def __enter__(self) -> "OpenedPaths":
        if not OpenedPaths.installed:  # an audit hook cannot be removed
            sys.addaudithook(OpenedPaths.record_event)
            OpenedPaths.installed = True
        OpenedPaths.current = self
        return self

    def __exit__(self, *_: object) -> None:
        OpenedPaths.current = None

    @staticmethod
    def record_event(event: str, arguments: tuple[Any, ...]) -> None:
        if OpenedPaths.current is not None and event in ("open", "os.listdir", "os.scandir"):
            path = arguments[0]
            # A partial output folder is removed through open folders: by descriptors, and by names relative to them.
            if not isinstance(path, int) and path not in ("JPEGImages", "SegmentationClassPNG"):
                OpenedPaths.current.opened.append(os.path.realpath(os.fsdecode(path)))

    def forbidden(self) -> list[str]:
        """Opened paths outside the annotated folder, the labels file, the partial output and Python's modules."""
        top = self.labelled.top.resolve()
        code = (sys.prefix, sys.base_prefix, str(REPOSITORY.resolve() / "trainer"))
        return [
            path
            for path in self.opened
            if not path.startswith((*code, f"{top / 'annotated'}", f"{top / 'labels.txt'}", f"{top / '.voc.'}"))
        ]


@pytest.fixture
def labelled(tmp_path: Path) -> LabelmeFolder:
    return LabelmeFolder(tmp_path / "data")


def test_opened_paths_outside_the_folder_are_reported(labelled: LabelmeFolder) -> None:
    with OpenedPaths(labelled) as paths:
        (labelled.folder / "link.png").read_bytes()
        (labelled.folder / "good.png").read_bytes()
    assert paths.forbidden() == [str(labelled.top.resolve() / "outside" / "secret.png")]


# ------------------------------------------------------------------------------------------------ faults, one at a time


def without(key: str) -> dict[str, Any]:
    return {name: value for name, value in record("good.png").items() if name != key}


def with_shape(kind: str | None, *points: Any, **more: Any) -> dict[str, Any]:
    return record("good.png", shape(kind, *points, **more))


NOT_AN_IMAGE = base64_text(b"GIF89a, or so it says")
BROKEN: dict[str, tuple[object, list[str]]] = {
    "not JSON": (b"PK\x03\x04", ["not valid JSON"]),
    "empty": (b"", ["not valid JSON"]),
    "cut off": (json.dumps(record("good.png")).encode()[:-9], ["not valid JSON"]),
    "not text": (b'{"shapes": "\xff\xfe"}', ["not UTF-8 text", "iconv -f"]),
    "endless number": (b"[" + b"9" * 5000 + b"]", ["not valid JSON"]),
    "nested deeply": (b"[" * 200_000, ["nested too deeply"]),
    "nested deeply in a shape": (b'{"shapes": ' + b'[{"points":' * 100_000, ["nested too deeply"]),
    "a list": ([], ["no list of shapes"]),
    "another program's": ({"annotations": []}, ["no list of shapes"]),
    "shapes of a wrong type": (record("good.png", shapes="none"), ["no list of shapes"]),
    "a shape of a wrong type": (record("good.png", shapes=[7]), ["shape 1 is 7"]),
    "imagePath missing": (without("imagePath"), ["imagePath is None"]),
    "imagePath of a wrong type": (record("good.png", imagePath=["good.png"]), ["imagePath is ['good.png']"]),
    "imagePath with a zero": (record("good\0.png"), ["imagePath is 'good\\x00.png'"]),
    "imagePath with half a character": (record("\ud800.png"), ["imagePath '\\ud800.png'"]),
    "imagePath without end": (record("x" * 5000), ["imagePath 'xxx"]),
    "up": (record("../outside/secret.png"), ["'../outside/secret.png' leads out"]),
    "up and down": (record("sub/../good.png"), ["leads out"]),
    "up in Windows": (record("..\\outside\\secret.png"), ["leads out"]),
    "absolute": (record("/etc/hostname"), ["'/etc/hostname' leads out"]),
    "absolute in Windows": (record("C:\\pictures\\good.png"), ["leads out"]),
    "another drive": (record("D:good.png"), ["leads out"]),
    "a share": (record("\\\\server\\share\\good.png"), ["leads out"]),
    "a link out": (record("link.png"), ["'link.png' is a link out of the folder"]),
    "a folder that is a link": (record("linked/secret.png"), ["'linked/secret.png' is a link out of the folder"]),
    "no such image": (record("gone.png"), ["'gone.png' is not a file"]),
    "a folder": (record("sub"), ["'sub' is not a file"]),
    "itself": (record("bad.json"), ["not a readable image"]),
    "imageData of a wrong type": (record("good.png", imageData=7), ["imageData is not base64"]),
    "imageData bad": (record("good.png", imageData="!!!"), ["imageData is not base64"]),
    "imageData cut off": (record("good.png", imageData="abcde"), ["imageData is not base64"]),
    "imageData no image": (record("good.png", imageData=NOT_AN_IMAGE), ["imageData", "not a readable image"]),
    "height": (record("good.png", imageHeight=HEIGHT + 1), ["imageHeight is 41, but the image has 40"]),
    "width": (record("good.png", imageWidth="56"), ["imageWidth is '56', but the image has 56"]),
    "size is NaN": (record("good.png", imageWidth=math.nan), ["imageWidth is nan"]),
    "turned": (record("good.png", imageHeight=WIDTH, imageWidth=HEIGHT), ["imageHeight is 56", "imageWidth is 40"]),
    "label unknown": (with_shape("point", [1, 1], label="cta"), ["shape 1", "'cta' is not in", "did you mean cat?"]),
    "label missing": (record("good.png", {"points": [[1, 1], [2, 2], [3, 1]]}), ["shape 1: label is None"]),
    "label of a wrong type": (with_shape("point", [1, 1], label=["cat"]), ["label is ['cat']"]),
    "label empty": (with_shape("point", [1, 1], label=" "), ["shape 1: label is ''; give it a name"]),
    "type unknown": (with_shape("star", [1, 1]), ["shape_type 'star' is unknown; there are polygon"]),
    "type of a wrong type": (with_shape(["point"], [1, 1]), ["shape_type ['point'] is unknown"]),
    "points missing": (record("good.png", {"label": "cat"}), ["points is None"]),
    "points of a wrong type": (record("good.png", {"label": "cat", "points": "1 2"}), ["points is '1 2'"]),
    "point of three": (with_shape("point", [1, 2, 3]), ["point [1, 2, 3]"]),
    "point of text": (with_shape("point", ["1", "2"]), ["point ['1', '2']"]),
    "point of truths": (with_shape("point", [True, False]), ["point [True, False]"]),
    "point NaN": (with_shape("polygon", [1, 1], [math.nan, 2], [5, 5]), ["point [nan, 2]"]),
    "point infinite": (with_shape("polygon", [1, 1], [-math.inf, 2], [5, 5]), ["point [-inf, 2]"]),
    "point too large for a float": (b'{"shapes": [{"label": "cat", "points": [[1e999, 1]]}]}', ["point [inf, 1]"]),
    "point too large": (with_shape("circle", [1, 1], [10**40, 2]), ["is not a position in a picture"]),
    "polygon of none": (with_shape("polygon"), ["0 points; a polygon has 2 or more"]),
    "polygon of one": (with_shape("polygon", [1, 1]), ["1 points; a polygon has 2 or more"]),
    "rectangle of three": (with_shape("rectangle", [1, 1], [1, 9], [9, 9]), ["3 points; a rectangle has 2"]),
    "rotation of two": (with_shape("rotation", [1, 1], [9, 9]), ["2 points; a rotation has 4"]),
    "oriented_rectangle of two": (with_shape("oriented_rectangle", [1, 1], [9, 9]), ["a oriented_rectangle has 4"]),
    "circle of one": (with_shape("circle", [1, 1]), ["1 points; a circle has 2"]),
    "line of three": (with_shape("line", [1, 1], [2, 2], [3, 3]), ["3 points; a line has 2"]),
    "linestrip of one": (with_shape("linestrip", [1, 1]), ["1 points; a linestrip has 2 or more"]),
    "point of none": (with_shape("point"), ["0 points; a point has 1"]),
    "mask missing": (with_shape("mask", [1, 1], [5, 5]), ["mask is not base64"]),
    "mask bad": (with_shape("mask", [1, 1], [5, 5], mask="&&&&"), ["mask is not base64"]),
    "mask no image": (with_shape("mask", [1, 1], [5, 5], mask=NOT_AN_IMAGE), ["mask", "not a readable image"]),
}


@pytest.mark.parametrize(("content", "parts"), BROKEN.values(), ids=BROKEN)
def test_broken_file(
    labelled: LabelmeFolder, capsys: pytest.CaptureFixture[str], content: object, parts: list[str]
) -> None:
    """The error names the file and the fault; exit code 2, and nothing is left behind."""
    file = labelled.write("bad", content)
    before = sorted(labelled.top.rglob("*"))
    with OpenedPaths(labelled) as paths:
        assert labelled.convert() == 2
    assert paths.forbidden() == []
    errors = capsys.readouterr().err
    for part in [str(file), *parts]:
        assert part in errors
    assert "good.json" not in errors
    assert sorted(labelled.top.rglob("*")) == before


def test_all_problems_in_one_list(labelled: LabelmeFolder, capsys: pytest.CaptureFixture[str]) -> None:
    bad = shape("star", [1, 1]), shape("point", [1, 1]), shape("circle", [1, 1])
    labelled.write("one", record("gone.png", *bad))
    labelled.write("two", b"")
    assert labelled.convert() == 2
    lines = capsys.readouterr().err.splitlines()
    assert named_files(lines) == ["one.json", "one.json", "one.json", "two.json"]
    for part, line in zip(("shape 1", "shape 3", "gone.png", "JSON"), lines, strict=True):
        assert part in line


def named_files(lines: list[str]) -> list[str]:
    """Name of the file that each line of a message begins with."""
    return [Path(line.removeprefix("prepare.py: ").split(": ")[0]).name for line in lines]


def test_a_file_of_200_megabytes_is_not_read(labelled: LabelmeFolder, capsys: pytest.CaptureFixture[str]) -> None:
    file = labelled.folder / "huge.json"
    with file.open("wb") as stream:
        stream.truncate(200_000_000)
    assert file.stat().st_size > MAX_BYTES
    with OpenedPaths(labelled) as paths:
        assert labelled.convert() == 2
    assert str(file.resolve()) not in paths.opened
    assert f"{file}: 200,000,000 bytes" in capsys.readouterr().err


def test_json_names_that_are_not_plain_files(labelled: LabelmeFolder, capsys: pytest.CaptureFixture[str]) -> None:
    """A link out of the folder, a link to itself, a pipe that would block, a folder; hidden files are left out."""
    (labelled.folder / "link.json").symlink_to(labelled.top / "outside" / "other.json")
    (labelled.folder / "circle.json").symlink_to(labelled.folder / "circle.json")
    os.mkfifo(labelled.folder / "pipe.json")
    (labelled.folder / "folder.json").mkdir()
    (labelled.folder / "._good.json").write_bytes(b"\0\5\26\7")
    with OpenedPaths(labelled) as paths:
        assert labelled.convert() == 2
    assert paths.forbidden() == []
    lines = capsys.readouterr().err.splitlines()
    assert named_files(lines) == ["circle.json", "folder.json", "link.json", "pipe.json"]
    assert "link out of the folder" in lines[2]


# ------------------------------------------------------------------------------------------------ random content


@pytest.fixture(scope="module")
def hostile(tmp_path_factory: pytest.TempPathFactory) -> LabelmeFolder:
    return LabelmeFolder(tmp_path_factory.mktemp("hostile") / "data")


NUMBERS = st.one_of(
    st.integers(-60, 60),
    st.floats(),
    st.sampled_from([1e5, -1e5, 10**400, -0.0, 1e308, True, 0.5]),
)
PATHS = [
    *("../outside/secret.png", "..\\outside\\secret.png", "sub/../../outside/secret.png", "good.png/.."),
    *("link.png", "linked/secret.png", "linked\\secret.png", "./linked/./secret.png", "good.png", "sub\\deep.png"),
    *("/dev/zero", "/etc/passwd", "C:\\x.png", "\\\\a\\b", "~/x.png", "file:///etc/passwd", "fuzz.json"),
    *(".", "", "a\0b", "\ud800", "x" * 300),
]
WORDS = st.one_of(
    st.sampled_from([*PATHS, *IDS, "polygon", "rectangle", "circle", "line", "linestrip", "point", "mask"]), st.text()
)
VALUES = st.recursive(
    st.one_of(st.none(), st.booleans(), NUMBERS, WORDS, st.lists(st.lists(NUMBERS, min_size=2, max_size=2))),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(WORDS, inner, max_size=4),
    max_leaves=8,
)


def key_paths(value: object, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Keys and indices that lead to each value within a JSON value."""
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [path, *(inner_path for key, child in inner for inner_path in key_paths(child, (*path, key)))]


EMBEDDED = base64_text(png(smooth_image(HEIGHT, WIDTH)))


@st.composite
def records(draw: st.DrawFn) -> Any:
    """Content of a valid file with one to three values replaced or removed."""
    whole: Any = deepcopy(record("good.png", imageData=draw(st.sampled_from([None, EMBEDDED]))))
    for _ in range(draw(st.integers(1, 3))):
        *keys, last = draw(st.sampled_from([path for path in key_paths(whole) if path] or [("shapes",)]))
        parent = whole
        for key in keys:
            parent = parent[key]
        if draw(st.integers(0, 4)):
            parent[last] = draw(VALUES)
        elif isinstance(parent, dict):
            parent.pop(last, None)
        else:
            del parent[last]
    return whole


@st.composite
def damaged(draw: st.DrawFn) -> bytes:
    """Bytes of a valid file, some of them changed, or cut off."""
    content = bytearray(json.dumps(record("good.png", imageData=draw(st.sampled_from([None, EMBEDDED])))).encode())
    for _ in range(draw(st.integers(1, 4))):
        content[draw(st.integers(0, len(content) - 1))] = draw(st.integers(0, 255))
    return bytes(content[: draw(st.sampled_from([len(content), draw(st.integers(0, len(content)))]))])


def assert_mask_or_error(hostile: LabelmeFolder, content: object) -> None:
    """Check that reading gives a mask, or an InputError whose messages name a file, and opens nothing outside."""
    file = hostile.write("fuzz", content)
    message = ""
    with OpenedPaths(hostile) as paths:
        try:
            annotation = read_annotation(file, hostile.folder, read_labels(hostile.labels))
            mask = draw_shapes(annotation.shapes, IDS, annotation.image.shape[:2])
            assert mask.shape == (HEIGHT, WIDTH)
            assert set(np.unique(mask)) <= set(IDS.values())
        except InputError as error:
            message = str(error)
    assert all(line.startswith(str(hostile.folder)) for line in messages(message) if line), message
    assert paths.forbidden() == []


@settings(max_examples=400, deadline=None)
@given(records())
def test_records_with_wrong_values(hostile: LabelmeFolder, content: Any) -> None:
    assert_mask_or_error(hostile, content)


@settings(max_examples=100, deadline=None)
@given(VALUES)
def test_any_json(hostile: LabelmeFolder, content: Any) -> None:
    assert_mask_or_error(hostile, content)


@settings(max_examples=200, deadline=None)
@given(damaged() | st.binary())
def test_damaged_bytes(hostile: LabelmeFolder, content: bytes) -> None:
    assert_mask_or_error(hostile, content)


@settings(max_examples=100, deadline=None)
@given(st.sampled_from(PATHS) | st.text())
def test_any_image_path(hostile: LabelmeFolder, path: str) -> None:
    assert_mask_or_error(hostile, record(path))
