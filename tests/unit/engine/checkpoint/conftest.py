"""Fixtures of the checkpoint tests."""

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.checkpoints import make_optimizer, save, train
from trainer.model.segmenter import Segmenter


@pytest.fixture
def saved(tmp_path: Path, make_segmenter: Callable[..., Segmenter]) -> Path:
    """Checkpoint of step 3."""
    segmenter = make_segmenter()
    optimizer = make_optimizer(segmenter)
    train(segmenter, optimizer, range(3))
    return save(tmp_path, segmenter, optimizer)
