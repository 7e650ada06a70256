"""Counts of classes, in strips, against plain numpy."""

import numpy as np
import pytest

from trainer.inference.predictor import count_classes
from trainer.system import strips


def test_every_pixel_is_counted_once(monkeypatch: pytest.MonkeyPatch) -> None:
    mask = np.random.default_rng(0).integers(0, 4, (61, 43), np.uint8)
    expected = np.bincount(mask.ravel(), minlength=5).tolist()
    assert count_classes(mask, 5) == expected
    monkeypatch.setattr(strips, "STRIP_PIXELS", 300)
    assert count_classes(mask, 5) == expected
