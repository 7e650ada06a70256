"""Prediction of files: how it is divided among threads, and that the masks do not depend on that."""

from collections.abc import Callable
from pathlib import Path

import hypothesis
import hypothesis.strategies as st
import numpy as np
import pytest
import torch
from PIL import Image

from tests.support.images import smooth_image
from trainer.inference.given import InputImage
from trainer.inference.inputs import find_images
from trainer.inference.outputs import ResultWriter, count_classes
from trainer.inference.predictor import MAX_BATCHES, divide, predict_files
from trainer.model.segmenter import Segmenter
from trainer.system import strips

COUNT = st.integers(1, 200)


@hypothesis.given(images=COUNT, batch_size=COUNT, threads=COUNT, most=st.integers(0, 200))
def test_a_thread_for_each_worker_and_no_more_memory(images: int, batch_size: int, threads: int, most: int) -> None:
    workers, size = divide(images, batch_size, threads, most)
    assert 1 <= workers <= min(images, threads)
    assert 1 <= size <= batch_size
    assert workers * size <= MAX_BATCHES * batch_size
    assert workers * size <= max(1, most)
    if min(images, most, MAX_BATCHES * batch_size) >= threads:
        assert workers == threads  # none of which waits for another one
    assert workers * (size - 1) < images  # no worker is left without work


@pytest.fixture
def images(tmp_path: Path) -> list[InputImage]:
    (tmp_path / "in").mkdir()
    for number in range(7):
        Image.fromarray(smooth_image(61 + number, 83, number)).save(tmp_path / "in" / f"{number}.png")
    return find_images([tmp_path / "in"], tmp_path / "out")[0]


def test_masks_are_the_same_on_any_number_of_cpus(
    images: list[InputImage], make_segmenter: Callable[..., Segmenter], tmp_path: Path
) -> None:
    found = {}
    segmenter = make_segmenter(3, width=32, image_size=64)
    try:
        for threads in (1, 2, 5):
            torch.set_num_threads(threads)
            output = tmp_path / f"{threads}"
            entries = list(predict_files(segmenter, images, ResultWriter(segmenter.contract, output), 4))
            assert torch.get_num_threads() == threads
            masks = [np.array(Image.open(file)) for file in sorted((output / "masks").iterdir())]
            found[threads] = (
                np.concatenate([mask.ravel() for mask in masks]),
                [entry.row["confidence"] for entry in entries],
            )
    finally:
        torch.set_num_threads(1)
    for threads in (2, 5):
        assert np.array_equal(found[threads][0], found[1][0])
        assert found[threads][1] == found[1][1]
    assert len(np.unique(found[1][0])) > 1


def test_every_pixel_is_counted_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Counts of classes, in strips, against plain numpy."""
    mask = np.random.default_rng(0).integers(0, 4, (61, 43), np.uint8)
    expected = np.bincount(mask.ravel(), minlength=5).tolist()
    assert count_classes(mask, 5) == expected
    monkeypatch.setattr(strips, "STRIP_PIXELS", 300)
    assert count_classes(mask, 5) == expected
