"""Images found in inputs, the names of their results, and what is left out."""

import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.support.layouts import refusal
from trainer.data.account import Account
from trainer.inference.given import InputImage
from trainer.inference.inputs import find_images


def touch(root: Path, *names: str) -> Path:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()
    return root


def counts(account: Account) -> dict[str, int]:
    return {reason.text: one.count for reason, one in account.left.items()}


def names(images: list[InputImage]) -> list[str]:
    return sorted(map(str, (image.name for image in images)))


def test_every_file_is_predicted_or_counted(tmp_path: Path) -> None:
    taken = ["a.jpg", "b.JFIF", "c.jpe", "d.gif", "e.avif", "f.ppm", "day 2/a.jpg", "g.webp"]
    hidden = [".x.jpg", "._a.jpg", ".ipynb_checkpoints/a.jpg", "@eaDir/a.jpg/thumb.jpg", "Thumbs.db", "day 2/.DS_Store"]
    formats, others = ["h.JP2", "i.dng", "day 2/j.nii.gz"], ["k.txt", "noname"]
    root = touch(tmp_path / "in", *taken, *hidden, *formats, *others)
    (root / "folder.jpg").mkdir()
    os.mkfifo(root / "pipe.jpg")
    images, account = find_images([root], tmp_path / "out")
    assert names(images) == sorted(str(Path(name).with_suffix("")) for name in taken)
    assert account.count == len(hidden) + len(formats) + len(others) + 1
    assert counts(account) == {
        "hidden or of the system": len(hidden),
        "in formats that are not read here": len(formats),
        "of other kinds": len(others),
        "of no content to read (a pipe, device or broken link)": 1,
    }
    assert ".jp2 (1: h.JP2)" in account.summary()


def test_nothing_to_predict_says_what_lies_there(tmp_path: Path) -> None:
    root = touch(tmp_path / "in", "a.jp2", "b.jp2", ".c.jpg")
    with refusal("no pictures there", ".jp2 (2: a.jp2, ...)", ".c.jpg"):
        find_images([root], tmp_path / "out")


def test_earlier_results_are_counted(tmp_path: Path) -> None:
    root = touch(tmp_path, "a.jpg", "out/masks/a.png", "out/overlays/a.jpg", "out/report.json", "out/other.jpg")
    images, account = find_images([root], root / "out")
    assert names(images) == ["a", "out/other"]
    assert counts(account) == {"of earlier predictions": 2, "of other kinds": 1}


def test_only_the_images_of_one_name_are_named(tmp_path: Path) -> None:
    root = touch(tmp_path, "same.jpg", "same.png", "other.jpg", "x/two.jpg", "x/two.gif", "y/two.jpg")
    with refusal(f"{root / 'same.jpg'} and {root / 'same.png'}", "two.gif") as error:
        find_images([root], tmp_path / "out")
    assert "other.jpg" not in str(error.value)
    assert "y/two" not in str(error.value)


def test_one_file_given_twice_is_predicted_once_and_a_link_under_its_own_name(tmp_path: Path) -> None:
    root = touch(tmp_path, "a.jpg")
    (root / "b.jpg").symlink_to("a.jpg")
    images, account = find_images([root, root / "a.jpg"], tmp_path / "out")
    assert names(images) == ["a", "b"]
    assert account.count == 0


def test_pages_and_frames(tmp_path: Path) -> None:
    pages = [Image.fromarray(np.full((8, 9), value, np.uint8)) for value in (1, 2, 3)]
    pages[0].save(tmp_path / "stack.tif", save_all=True, append_images=pages[1:])
    pages[0].save(tmp_path / "anim.gif", save_all=True, append_images=pages[1:])
    pages[0].save(tmp_path / "odd.tif", save_all=True, append_images=[Image.new("L", (4, 4))])
    images, account = find_images([tmp_path], tmp_path / "out")
    assert names(images) == ["anim", "odd", "stack#1", "stack#2", "stack#3"]
    assert [image.shown for image in images if image.page] == [f"{tmp_path}/stack.tif#{page}" for page in (1, 2, 3)]
    assert counts(account) == {"behind the first frame, or pages of another size": 3}
    touch(tmp_path, "stack#2.png")
    with refusal("stack.tif", "stack#2.png"):
        find_images([tmp_path], tmp_path / "out")


@pytest.mark.parametrize("name", ["gone.jpg", "pipe.jpg"])
def test_an_input_that_is_no_file(name: str, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.jpg")
    with refusal(str(tmp_path / name), "no such file" if name == "gone.jpg" else "not a regular file"):
        find_images([tmp_path / name], tmp_path / "out")
