"""The watched pictures: the IoU in their corner is that of the tables."""

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from tests.support.data import SAME, VocMaker, count_nothing, sources_of
from trainer.config import LossConfig
from trainer.data.cache import open_samples
from trainer.data.dataset import ValidationSet
from trainer.data.sources import find_samples
from trainer.data.view import View
from trainer.drawing.figures import PANEL
from trainer.engine import reporter
from trainer.engine.evaluate import evaluate
from trainer.model.segmenter import Segmenter


def test_a_watched_picture_has_the_iou_that_was_counted_at_its_own_size(
    make_voc: VocMaker, make_segmenter: Callable[..., Segmenter], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    samples = find_samples([make_voc(*"abc")]).samples
    stored, _ = open_samples(sources_of(samples), View(32), tmp_path / "cache", count_nothing)
    data, segmenter = ValidationSet(samples, [0, 1, 2], stored, SAME), make_segmenter(1, seed=1)
    evaluation = evaluate(segmenter, data, LossConfig(class_weights=None))
    written, drawn = {}, {}

    def panels(*given: Any) -> np.ndarray:
        written[len(written)] = given[-1]
        return np.zeros((PANEL, 4 * PANEL, 3), np.uint8)

    monkeypatch.setattr(reporter, "watch_panels", panels)
    run = SimpleNamespace(
        folder=SimpleNamespace(checkpoints=tmp_path / "run" / "checkpoints", images=tmp_path),
        has_image=lambda *_: False,
        image=lambda key, _panels, step: drawn.update({key: step}),
    )
    one = reporter.Reporter(
        *(run, SimpleNamespace(log=print), data),  # type: ignore[arg-type]
        watch=3,
        minutes=0,
        checkpoint_minutes=10,
        steps_per_epoch=1,
        resumed_from=None,
        memory_gib=lambda: 0.0,
        advice=SimpleNamespace(),  # type: ignore[arg-type]
    )
    one.on_images(segmenter, evaluation.counts, 7)
    assert drawn == {"watch/a": 7, "watch/b": 7, "watch/c": 7}
    for place, sample in enumerate(samples):
        mask, (predicted, _) = sample.read_mask(SAME), segmenter.predict(sample.read_image())
        assert mask.shape != (PANEL, PANEL)
        iou = ((mask == 1) & (predicted == 1)).sum() / ((mask == 1) | (predicted == 1)).sum()
        assert 0 < iou < 1
        assert written[place] == pytest.approx(iou)
