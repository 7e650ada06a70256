"""Search for images by the last part of a path."""

from pathlib import Path

import numpy as np
import pytest

from tests.support.layouts import save_image
from trainer.data.layouts.image_names import ImageNames, last_part

PIXELS = np.zeros((2, 3, 3), np.uint8)


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("..\\..\\media\\x 1.jpg", "x 1.jpg"),
        ("images\\1/x.jpg", "x.jpg"),
        ("/data/local-files/?d=my/x.jpg", "x.jpg"),
        ("https://example.org/a/x.jpg", "x.jpg"),
        ("x.jpg", "x.jpg"),
        ("..", ""),
        ("", ""),
    ],
)
def test_last_part(text: str, name: str) -> None:
    assert last_part(text).removesuffix("..") == name


def test_only_files_whose_name_is_unique(tmp_path: Path) -> None:
    root = tmp_path / "data"
    for name in ("a.jpg", "deep/er/b.jpg", "one/c.jpg", "two/c.jpg", ".hidden/d.jpg", "my e.jpg"):
        save_image(root / name, PIXELS)
    save_image(tmp_path / "f.jpg", PIXELS)
    (root / "f.jpg").symlink_to(tmp_path / "f.jpg")
    names = ImageNames(root)
    assert names.find("x/a.jpg") == root / "a.jpg"
    assert names.find("b.jpg") == root / "deep" / "er" / "b.jpg"
    assert names.find("/data/upload/1/0badcafe-a.jpg") == root / "a.jpg"
    assert names.find("/files/my%20e.jpg") == root / "my e.jpg"
    assert names.found == 4
    assert names.example == "x/a.jpg"
    for text in ("c.jpg", "d.jpg", "f.jpg", "gone.jpg", "A.jpg", "", None, 5, "x" * 5000, "\ud800", "a\0b"):
        assert names.find(text) is None


def test_unicode_forms_of_a_name(tmp_path: Path) -> None:
    """The file's form counts where there are two; else they are one name."""
    for name in ("Ba\u0308r.jpg", "Ku\u0308he.jpg", "K\u00fche.jpg"):
        save_image(tmp_path / name, PIXELS)
    names = ImageNames(tmp_path)
    assert names.find("x/B\u00e4r.jpg") == tmp_path / "Ba\u0308r.jpg"
    assert names.find("B%C3%A4r.jpg") == tmp_path / "Ba\u0308r.jpg"
    assert names.find("K\u00fche.jpg") == tmp_path / "K\u00fche.jpg"
