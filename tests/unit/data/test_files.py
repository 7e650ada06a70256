"""Listing of image files."""

from pathlib import Path

from trainer.data.files import list_images


def test_list_images(tmp_path: Path) -> None:
    names = ["B.JPG", "a.jpeg", "c.Png", "d.TIFF", "e.tif", "f.BMP", "g.webp", "a b.ü.jpg", "h.gif", "i.avif", "j.jfif"]
    for name in [*names, ".hidden.jpg", "notes.txt", "a.json", "jpg", "x.jpg.bak", "Thumbs.db", "._B.jpg"]:
        (tmp_path / name).touch()
    assert [path.name for path in list_images(tmp_path)] == sorted(names)
