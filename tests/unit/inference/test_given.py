"""Inputs as patterns and lists."""

import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from trainer import InputError
from trainer.inference.given import LIST
from trainer.inference.inputs import find_images


@pytest.fixture
def tree(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working folder, with pictures in pics/ and folders below it."""
    for name in ("pics/a/1.png", "pics/b/1.png", "pics/b/deep/2.PNG", "pics/x [1].png", "other/3.jpg"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.zeros((4, 5, 3), np.uint8)).save(tmp_path / name)
    (tmp_path / "pics" / "notes.txt").write_text("no picture")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def found(*inputs: str, listed: bytes = b"") -> dict[str, str]:
    """Name of the results -> path of each image."""
    images, _ = find_images(list(map(Path, inputs)), Path("out"), lambda: listed)
    return {str(image.name): str(image.path) for image in images}


@pytest.mark.usefixtures("tree")
def test_patterns() -> None:
    assert found("pics/**/1.png") == {"a/1": "pics/a/1.png", "b/1": "pics/b/1.png"}
    assert found("pics/*/*.png", "other/?.jpg") == {"a/1": "pics/a/1.png", "b/1": "pics/b/1.png", "3": "other/3.jpg"}
    assert found("pics/**/*.PNG") == {"b/deep/2": "pics/b/deep/2.PNG"}
    assert found("pics/x [1].png") == {"x [1]": "pics/x [1].png"}  # a file of that name is not a pattern
    with pytest.raises(InputError, match=r"pics/\*\.bmp: no file is like that"):
        found("pics/*.bmp")
    with pytest.raises(InputError, match=r"would get results of the same name, 1; rename them"):
        found("pics/a/*.png", "pics/b/1.png")


@pytest.mark.parametrize("separator", [b"\n", b"\r\n", b"\0"])
def test_lists(separator: bytes, tree: Path) -> None:
    listed = separator.join([b"pics/a/1.png", b"pics/b/1.png", f"{tree}/pics/b/deep/2.PNG".encode(), b""])
    expected = {"a/1": "pics/a/1.png", "b/1": "pics/b/1.png", "b/deep/2": f"{tree}/pics/b/deep/2.PNG"}
    assert found("-", listed=listed) == found("-", listed=b"\xef\xbb\xbf" + listed) == expected


def test_a_list_of_folders_and_odd_names(tree: Path) -> None:
    assert found("-", listed=b"pics/b\nother/3.jpg\n") == {
        "pics/b/1": "pics/b/1.png",
        "pics/b/deep/2": "pics/b/deep/2.PNG",
        "other/3": "other/3.jpg",
    }
    odd = os.fsencode(tree) + b"/pics/a/new\nline \xff.png"
    (tree / "pics" / "a" / "1.png").rename(os.fsdecode(odd))
    ((_, path),) = found("-", listed=odd + b"\0").items()
    assert os.fsencode(path) == odd


@pytest.mark.usefixtures("tree")
def test_bad_lists() -> None:
    assert Path("-") == LIST
    with pytest.raises(InputError, match="standard input: no paths there"):
        found("-", listed=b"\n\n")
    with pytest.raises(InputError, match=r"nobody\.png: no such file"):
        found("-", listed=b"pics/a/1.png\nnobody.png\n")
    with pytest.raises(InputError) as error:
        found("-", listed=b"pics/a/1.png\n" + b"".join(b"gone%d.png\n" % number for number in range(23)))
    assert "gone0.png: no such file or folder\ngone1.png: no such" in str(error.value)
    assert str(error.value).endswith("gone19.png: no such file or folder\n... and 3 more")


@pytest.mark.parametrize("folder", ["labelme", "probabilities", "confidence", "masks", "overlays"])
def test_results_are_no_input(folder: str, tree: Path) -> None:
    (tree / "out" / folder).mkdir(parents=True)
    Image.fromarray(np.zeros((4, 5, 3), np.uint8)).save(tree / "out" / folder / "1.png")
    assert not any("out" in path for path in found(str(tree)).values())
