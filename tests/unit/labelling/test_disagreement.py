"""Labels that a model disagrees with: a wrong one among right ones comes first, and what trained is said."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.support.data import count_nothing
from tests.support.images import smooth_image
from trainer import IGNORE, InputError
from trainer.config import DataConfig
from trainer.data.image_io import read_image, write_mask
from trainer.data.sources import Sources, find_sources
from trainer.labelling.disagreement import compare, describe, draw_disagreements, match_classes, rank
from trainer.model.features import pooled_features
from trainer.model.segmenter import Segmenter

NAMES = ("_background_", "class 1")


@pytest.fixture
def segmenter(make_segmenter: Callable[..., Segmenter]) -> Segmenter:
    return make_segmenter()


@pytest.fixture
def sources(tmp_path: Path, segmenter: Segmenter) -> Sources:
    """Images with the model's own predictions as labels; that of p3 is upside down."""
    for part in ("JPEGImages", "SegmentationClassPNG"):
        (tmp_path / "data" / part).mkdir(parents=True)
    for number in range(6):
        file = tmp_path / "data" / "JPEGImages" / f"p{number}.png"
        Image.fromarray(smooth_image(50, 70, number)).save(file)
        mask, _ = segmenter.predict(read_image(file))
        write_mask(tmp_path / "data" / "SegmentationClassPNG" / f"p{number}.png", 1 - mask if number == 3 else mask)
    return find_sources(DataConfig(root=str(tmp_path / "data"), classes=["class 1"]))


def test_the_wrong_label_comes_first(sources: Sources, segmenter: Segmenter, tmp_path: Path) -> None:
    found = rank(segmenter, sources.samples, sources.values, sources.names, None, count_nothing)
    assert found[0].name == "p3"
    assert found[0].iou == 0
    assert all((one.score, one.iou) == (0, 1) for one in found[1:])
    assert [one.trained for one in found] == [None] * 6
    lines = describe(found, known=False)
    assert "p3" in lines[1]
    assert "is not known" in lines[-1]
    assert len(lines) == 3 or found[0].score < 0.05
    sheet = tmp_path / "sheet.png"
    given = segmenter, sources.values, sources.names, sheet, count_nothing
    assert draw_disagreements(found, {one.name: one for one in sources.samples}, *given) == 1
    assert Image.open(sheet).size == (1280, 320 + 26)


def test_what_trained_is_told_by_the_pixels(sources: Sources, segmenter: Segmenter) -> None:
    from trainer.data.checks.scan import hash_pixels
    from trainer.model.training_images import hash_text

    trained = {hash_text(hash_pixels(sources.samples[3].read_image()))}
    found = rank(segmenter, sources.samples, sources.values, sources.names, trained, count_nothing)
    assert [one.trained for one in found] == [True, *[False] * 5]
    lines = describe(found, known=True)
    assert "the model has trained on it" in lines[1]
    assert "1 of 6 pictures trained the model" in lines[-1]


def test_pixels_count_by_how_sure_the_model_is() -> None:
    mask, predicted = np.zeros((10, 10), np.uint8), np.zeros((10, 10), np.uint8)
    mask[:4], predicted[2:6] = 1, 1
    confidence = np.full((10, 10), 0.75)
    score, iou = compare(mask, predicted, confidence)
    assert iou == pytest.approx(20 / 60)
    assert score == pytest.approx(40 * 0.5 / 60)
    assert compare(mask, predicted, np.full((10, 10), 0.5))[0] == 0
    mask[:2], mask[4:6] = IGNORE, IGNORE
    assert compare(mask, predicted, confidence) == (0, 1)


def test_a_speck_is_no_great_disagreement() -> None:
    mask, predicted = np.zeros((100, 100), np.uint8), np.zeros((100, 100), np.uint8)
    predicted[0, 0] = 1
    score, iou = compare(mask, predicted, np.ones((100, 100)))
    assert (round(score, 4), iou) == (0.02, 0)


def test_classes_are_matched_by_their_names() -> None:
    ids = match_classes(("_background_", "dog", "bird", "cat"), ("_background_", "cat", "dog"))
    assert ids[:5].tolist() == [0, 2, IGNORE, 1, IGNORE]
    assert match_classes(None, ("_background_", "cat"))[:3].tolist() == [0, 1, IGNORE]
    with pytest.raises(InputError, match="finds cat, and the labels are dog"):
        match_classes(("_background_", "dog"), ("_background_", "cat"))


def test_features_are_those_of_the_lowest_level(segmenter: Segmenter) -> None:
    import torch

    images = torch.randint(0, 256, (3, 3, 32, 32), dtype=torch.uint8)
    seen = []
    segmenter.network.down[-1].register_forward_hook(lambda _module, _given, result: seen.append(result))
    with torch.no_grad():
        segmenter.logits(images)
    found = pooled_features(segmenter, images)
    torch.testing.assert_close(found, seen[0].flatten(2).mean(dim=2))
