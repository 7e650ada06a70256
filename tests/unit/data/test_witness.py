"""Lists of images in older encodings, which the names of their images give away; otherwise the command converts."""

import json
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.support.images import box_mask, smooth_image
from trainer import InputError
from trainer.config import data_config
from trainer.data.image_io import write_mask
from trainer.data.sources import Sources, find_sources
from trainer.data.witness import images_near

Write = Callable[[Path, str, str, str], None]


def write_coco(root: Path, name: str, label: str, encoding: str) -> None:
    """COCO's JSON in a folder beside that of the images."""
    images = [{"id": n, "file_name": f"{name}{n}.png", "height": 40, "width": 56} for n in range(4)]
    square = {"category_id": 1, "segmentation": [[2, 2, 20, 2, 20, 20]], "bbox": [2, 2, 18, 18], "area": 162}
    annotations = [{"id": n, "image_id": n, "iscrowd": 0} | square for n in range(4)]
    content = {"images": images, "annotations": annotations, "categories": [{"id": 1, "name": label}]}
    (root / "annotations").mkdir()
    text = json.dumps(content, ensure_ascii=False)
    (root / "annotations" / "instances.json").write_bytes(text.encode(encoding))


def write_csv(root: Path, name: str, _label: str, encoding: str) -> None:
    rows = [f"images/{name}{n}.png,masks/{name}{n}.png" for n in range(4)]
    (root / "list.csv").write_bytes("\r\n".join(["image,mask", *rows]).encode(encoding))
    (root / "masks").mkdir()
    for n in range(4):
        write_mask(root / "masks" / f"{name}{n}.png", box_mask(40, 56, n, 2))


def make(root: Path, write: Write, name: str, label: str, encoding: str) -> Path:
    """Folder of four images, named `name`0 and so on, and their list in an encoding."""
    (root / "images").mkdir(parents=True)
    for n in range(4):
        Image.fromarray(smooth_image(40, 56, n)).save(root / "images" / f"{name}{n}.png")
    write(root, name, label, encoding)
    return root


def sources(root: Path, write: Write) -> Sources:
    return find_sources(data_config(root=str(root / "list.csv" if write is write_csv else root)))


@pytest.mark.parametrize("write", [write_coco, write_csv])
@pytest.mark.parametrize(("name", "label", "encoding"), [("裂缝", "墙", "gb18030"), ("ひび", "壁", "cp932")])
def test_names_of_images_give_an_encoding_away(
    write: Write, name: str, label: str, encoding: str, tmp_path: Path
) -> None:
    found = sources(make(tmp_path / "set", write, name, label, encoding), write)
    assert sorted(os.path.basename(one.image) for one in found.samples) == [f"{name}{n}.png" for n in range(4)]
    if write is write_coco:
        assert found.names is not None
        assert list(found.names)[1:] == [label]
    assert np.unique([one.name.split("/")[-1][:-1] for one in found.samples]).tolist() == [name]


@pytest.mark.parametrize("write", [write_coco])
def test_labels_alone_are_no_evidence(write: Write, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="iconv -f GB18030 -t UTF-8"):
        sources(make(tmp_path / "set", write, "p", "裂缝", "gb18030"), write)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('{"file_name": "p/裂0.png"}', True),
        ('{"file_name": "裂0.png", "other": "缝1.png"}', False),
        ("images\\裂0.png;masks\\裂0.PNG", False),
        ("裂 0.png.json, 裂0.pngs", None),
        ('{"file_name": "p0.png"}', None),
    ],
)
def test_what_a_text_says(text: str, said: bool | None, tmp_path: Path) -> None:
    (tmp_path / "deep").mkdir()
    (tmp_path / "deep" / "裂0.png").touch()
    assert images_near(tmp_path / "list.json")(text) is said
