"""Several models on all labelled images of a folder: the counts of evaluation, and refusals."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.support.data import VocMaker, count_nothing
from trainer import InputError
from trainer.config import DataConfig
from trainer.data.image_io import read_image
from trainer.engine.score_folder import open_labelled, score_on
from trainer.inference.model import Model
from trainer.model.ranking import rank
from trainer.model.segmenter import Segmenter

STEMS = ("a", "b ä", "c", "d", "e")


def models(make_segmenter: Callable[..., Segmenter]) -> dict[str, Model]:
    return {"one": Model(make_segmenter()), "other": Model(make_segmenter(seed=1, image_size=64))}


def config(root: Path) -> DataConfig:
    return DataConfig(root=str(root), classes=["class 1"])


def test_the_counts_are_those_of_the_masks(
    make_voc: VocMaker, make_segmenter: Callable[..., Segmenter], tmp_path: Path
) -> None:
    root, given = make_voc(*STEMS), models(make_segmenter)
    data = open_labelled(config(root), given, tmp_path / "cache", count_nothing)
    advanced: list[int] = []
    found = score_on(data.images, given, lambda: False, lambda: advanced.append(1))
    assert len(advanced) == 2 * len(STEMS)
    for name, model in given.items():
        table = found.tables[name]
        assert [image.name for image in table.images] == sorted(STEMS), "all of them, whatever would validate"
        for image in table.images:
            predicted, _ = model.segmenter.predict(read_image(root / "JPEGImages" / f"{image.name}.jpg"))
            true = np.array(Image.open(root / "SegmentationClassPNG" / f"{image.name}.png"))
            counted = true != 255
            expected = [
                [
                    int(((predicted == k) & (true == k)).sum()),
                    int(((predicted == k) & counted).sum()),
                    int((true == k).sum()),
                ]
                for k in (0, 1)
            ]
            assert [list(row) for row in image.counts] == expected
    assert rank(found.tables).pairs[0].comparison.images == len(STEMS)


def test_what_a_model_makes_of_an_image_is_drawn(
    make_voc: VocMaker, make_segmenter: Callable[..., Segmenter], tmp_path: Path
) -> None:
    given = models(make_segmenter)
    data = open_labelled(config(make_voc(*STEMS)), given, tmp_path / "cache", count_nothing)
    found = score_on(data.images, given, lambda: False, lambda: None)
    image = found.tables["one"].images[2]
    drawn = found.draw([(image.image, image.name)])
    assert list(drawn) == [(image.image, image.name)]
    pictures = drawn[(image.image, image.name)]
    assert set(pictures) == {"one", "other"}
    assert pictures["one"] != pictures["other"]
    assert pictures["one"].startswith(b"\x89PNG")


def test_a_signal_stops_it(make_voc: VocMaker, make_segmenter: Callable[..., Segmenter], tmp_path: Path) -> None:
    given = models(make_segmenter)
    data = open_labelled(config(make_voc("a", "b")), given, tmp_path / "cache", count_nothing)
    with pytest.raises(KeyboardInterrupt):
        score_on(data.images, given, lambda: True, lambda: None)


def test_other_classes_are_refused(
    make_voc: VocMaker, make_segmenter: Callable[..., Segmenter], tmp_path: Path
) -> None:
    root = make_voc("a", "b")
    (root / "class_names.txt").write_text("dog\n")
    with pytest.raises(InputError, match="dog"):
        open_labelled(DataConfig(root=str(root)), models(make_segmenter), tmp_path / "cache", count_nothing)


def test_one_image_is_enough(make_voc: VocMaker, make_segmenter: Callable[..., Segmenter], tmp_path: Path) -> None:
    given = models(make_segmenter)
    data = open_labelled(config(make_voc("a")), given, tmp_path / "cache", count_nothing)
    found = score_on(data.images, given, lambda: False, lambda: None)
    assert "1 image shows no spread" in rank(found.tables).pairs[0].sentence()
